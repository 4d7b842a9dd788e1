"""Predicting from image files: the logits of the store, what is found, what is refused; the model in Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from dicom_files import dicom, pixels12
from made_up_images import pack
from made_up_models import network, write_random_model
from PIL import Image

import moco_transfer
from moco_transfer import cli
from moco_transfer.config.datasets import Store
from moco_transfer.data.index import build
from moco_transfer.errors import UnreadableImage, UserError
from moco_transfer.networks import build_network, save_encoder
from moco_transfer.training.images import ImagePool, View, predict

pytestmark = pytest.mark.usefixtures("one_thread")
STORE = Store(size=40, fit="stretch")


def write_release(folder: Path) -> pd.DataFrame:
    """Write radiographs as hospitals have them, of several shapes, and return their index."""
    folder.mkdir()
    names = [f"studies/{name}" for name in ("a.dcm", "b", "c.JPG", "d.png", "e.png", "1.2.840.5")]
    (folder / "studies").mkdir()
    paths = [folder / name for name in names]
    colours = np.random.default_rng(1).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    inverted = dicom(pixels12(2, 70, 50), 12, PhotometricInterpretation="MONOCHROME1")
    inverted.save_as(paths[0], enforce_file_format=True)
    dicom(pixels12(3, 44, 80), 12).save_as(paths[1], enforce_file_format=True)
    Image.fromarray(colours).resize((300, 200)).save(paths[2], "JPEG")
    Image.fromarray(colours[..., 0]).save(paths[3])
    Image.fromarray(pixels12(4, 50, 50) * np.uint16(16)).save(paths[4])
    dicom(pixels12(5, 90, 60), 12).save_as(paths[5], enforce_file_format=True)
    columns = pd.DataFrame(dict.fromkeys(("image_id", "patient_id", "study_id", "path"), names))
    return build(columns, pd.DataFrame({"one": [0, 1] * 3}), "test")


def run(*options: object) -> int:
    return cli.main(["predict", "--device", "cpu", *map(str, options)])


@pytest.fixture
def release(tmp_path):
    """A folder with the images of ``write_release`` and a model for them."""
    write_release(tmp_path / "images")
    write_random_model(tmp_path / "model.safetensors", STORE, network())
    return tmp_path


@pytest.mark.parametrize(
    ("store", "encoder"),
    [
        (STORE, network()),
        (Store(size=40, fit="pad", colour=True), network()),
        (Store(size=48, fit="center_crop"), network(channels=1, size=48)),
        (Store(size=40, fit="center_crop", colour=True), network(channels=1)),
    ],
)
def test_files_give_the_logits_of_the_store(tmp_path, store, encoder):
    index = write_release(tmp_path / "images")
    pack(index, tmp_path / "images", store, tmp_path / "store")
    model = write_random_model(tmp_path / "model.safetensors", store, encoder)
    pool = ImagePool([(tmp_path / "store" / "images.npy", np.arange(len(index)))])
    expected = predict(model, pool, View(32, encoder), torch.device("cpu"))
    (tmp_path / "table.csv").write_text("\n".join(["file", *(f"images/{path}" for path in index["path"])]))
    out = tmp_path / "predictions.csv"
    options = ("--model", tmp_path / "model.safetensors", "--out", out, "--batch", 4, "--workers", 2)
    assert run("--images", tmp_path / "table.csv", *options) == 0
    found = pd.read_csv(out)
    assert list(found["path"]) == [f"images/{path}" for path in index["path"]]
    logits = found[["logit_one", "logit_two"]].to_numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose(
        found[["probability_one", "probability_two"]], 1 / (1 + np.exp(-logits)), atol=1e-6
    )
    assert list(found["positive_one"]) == list((logits[:, 0] >= 0).astype(int))
    assert "positive_two" not in found

    loaded, transform = moco_transfer.load_model(tmp_path / "model.safetensors")
    images = torch.stack([transform(tmp_path / "images" / path) for path in index["path"]])
    assert images.shape == (len(index), encoder.channels, encoder.size, encoder.size)
    with torch.no_grad():
        np.testing.assert_allclose(loaded(images).numpy(), expected, rtol=0, atol=1e-5)


def test_a_folder_gives_every_image_below_it_in_order(release, capsys):
    images = release / "images"
    for name in ("notes.txt", ".hidden.png", "DICOMDIR"):
        (images / name).write_bytes((images / "studies" / "b").read_bytes())
    (images / "notes.txt").write_text("no image")
    (images / ".thumbnails").mkdir()
    (images / ".thumbnails" / "x.png").touch()
    os.mkfifo(images / "pipe")  # it would wait for a writer
    (images / "=x.png").write_bytes((images / "studies" / "d.png").read_bytes())
    (images / "broken.png").write_bytes((images / "studies" / "d.png").read_bytes()[:900])
    out = release / "new" / "predictions.csv"
    assert run("--model", release / "model.safetensors", "--images", images, "--out", out) == 0
    shown = [f"studies/{name}" for name in ("1.2.840.5", "a.dcm", "b", "c.JPG", "d.png", "e.png")]
    found = pd.read_csv(out)
    assert list(found["path"]) == ["./=x.png", *shown]
    np.testing.assert_allclose(found["logit_one"][0], found["logit_one"][5], atol=1e-6)
    unreadable = pd.read_csv(out.with_suffix(".quarantine.csv"))
    assert list(unreadable["path"]) == ["broken.png"] and unreadable["reason"].str.len().min() > 5
    last = capsys.readouterr().out.splitlines()[-1]
    assert "7 images" in last and "1 could not be read" in last
    # Again, with a table of the result's paths, and with one image; both replace the result.
    table = pd.DataFrame(
        {"image_id": ["x", "-5"], "place": [str(images / "studies/a.dcm"), "images/none.png"]}
    )
    table.to_parquet(release / "t.parquet")
    options = ("--model", release / "model.safetensors", "--out", out)
    assert run("--images", release / "t.parquet", "--path-column", "place", *options) == 0
    one = pd.read_csv(out)
    assert list(one["image_id"]) == ["x"]
    np.testing.assert_allclose(one["logit_two"][0], found["logit_two"][2], atol=1e-6)
    assert list(pd.read_csv(out.with_suffix(".quarantine.csv"))["path"]) == ["images/none.png"]
    assert run("--images", images / "studies" / "b", *options) == 0
    assert list(pd.read_csv(out)["path"]) == ["b"]


def test_if_no_image_can_be_read_it_fails_and_says_why(release, capsys):
    (release / "t.csv").write_text("path\nnone.png\nimages\n")
    out = release / "p.csv"
    assert run("--model", release / "model.safetensors", "--images", release / "t.csv", "--out", out) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "file not found (1)" in error and "p.quarantine.csv" in error
    assert not out.exists()
    assert len(pd.read_csv(release / "p.quarantine.csv")) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "none.safetensors"}, "No such file"),
        ({"model": "images"}, "directory"),
        ({"model": "weights.pth"}, "not a safetensors file"),
        ({"model": "encoder.safetensors"}, "not a finetuned model"),
        ({"model": "damaged.safetensors"}, "damaged"),
        ({"images": "none"}, "no such folder"),
        ({"images": "empty"}, "no image in it"),
        ({"images": "other.csv"}, "--path-column"),
        ({"images": "blank.csv"}, "line 3"),
        ({"images": "other.csv", "path-column": "nose"}, "'nose' is missing"),
        ({"images": "model.safetensors"}, "not a CSV"),
        ({"out": "predictions.parquet"}, ".csv"),
        ({"out": "other.csv"}, "is there and is no prediction"),
        ({"images": "old.csv", "out": "old.csv"}, "is there and is no prediction"),
        ({"out": "other.csv/p.csv"}, "cannot be written"),
        ({"out": "folder.csv"}, "cannot be written"),
        ({"out": "."}, ".csv"),
        ({"images": "semicolons.csv"}, "found path;x"),
        ({"model": "list.safetensors"}, "not a finetuned model"),
        ({"batch": 0}, "--batch"),
    ],
)
def test_a_mistake_is_one_line_before_an_image_is_read(release, capsys, monkeypatch, change, message):
    (release / "empty").mkdir()
    (release / "folder.csv").mkdir()
    (release / "other.csv").write_text("name,x\n1,2\n")
    (release / "blank.csv").write_text("path,x\na.png,2\n,3\n")
    (release / "old.csv").write_text("path,logit_one\nimages/studies/b,0.5\n")
    (release / "semicolons.csv").write_text("path;x\na.png;2\n")
    safetensors.torch.save_file(
        {"x": torch.zeros(1)}, release / "list.safetensors", metadata={"about": "[1]"}
    )
    torch.save({}, release / "weights.pth")
    model = release / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-100] ^= 1
    (release / "damaged.safetensors").write_bytes(content)
    save_encoder(build_network(network(), 1), release / "encoder.safetensors")
    before = {path: path.stat().st_mtime_ns for path in release.rglob("*")}
    monkeypatch.chdir(release)
    options = {"model": "model.safetensors", "images": "images", "out": "p.csv"} | change
    monkeypatch.setattr("moco_transfer.data.packing.decode", lambda *_: pytest.fail("an image was read"))
    assert run(*(part for name, value in options.items() for part in (f"--{name}", value))) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert before == {path: path.stat().st_mtime_ns for path in release.rglob("*")}


def test_ctrl_c_while_the_package_is_imported_is_no_traceback(monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", interrupted)
    assert run() == 130


def test_a_gpu_that_is_not_there_is_one_line(release, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    options = ("--model", release / "model.safetensors", "--images", release / "images")
    assert run(*options, "--out", release / "p.csv", "--device", "cuda") == 1
    assert "--device cuda" in capsys.readouterr().err


def test_the_transform_takes_pixels_and_refuses_others(release):
    _, transform = moco_transfer.load_model(str(release / "model.safetensors"))
    path = release / "images" / "studies" / "d.png"
    with Image.open(path) as picture:
        expected = transform(path)
        torch.testing.assert_close(transform(picture), expected)
        torch.testing.assert_close(transform(np.asarray(picture)), expected)
        for other in (picture.convert("P"), picture.convert("RGBA"), np.asarray(picture) / 255, np.zeros(3)):
            with pytest.raises(ValueError, match="expected uint8"):
                transform(other)
    with pytest.raises(UnreadableImage, match="not found"):
        transform("none.png")
    with pytest.raises(UserError, match="cannot be read"):
        moco_transfer.load_model("none.safetensors")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, moco_transfer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_help_explains_every_option(capsys):
    for command in ("predict", "export"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        text = capsys.readouterr().out
        options = text[text.index("options:") :].split("\n  -")[2:]
        assert len(options) >= 3 and all(len(option.split()) > 5 for option in options)
