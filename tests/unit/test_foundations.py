"""Streams, whole files, missing releases, the command line."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moco_transfer import cli
from moco_transfer import files as atomic
from moco_transfer.data.releases import describe_missing, find_tables
from moco_transfer.errors import UserError
from moco_transfer.seeds import stream, stream_key

ROOT = Path(__file__).parents[2]
names = st.lists(st.one_of(st.text(max_size=5), st.integers(-5, 300)), max_size=4)


@given(names, names)
def test_different_names_are_different_streams(one, other):
    same = [(type(x), x) for x in one] == [(type(x), x) for x in other]
    assert (stream_key(1, *one) == stream_key(1, *other)) == same


def test_a_stream_is_the_same_wherever_it_is_named():
    assert stream(3, "a", 1).random() == stream(3, "a", 1).random() != stream(4, "a", 1).random()
    with pytest.raises(TypeError):
        stream(3, 0.5)


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "new" / "table.csv"
    atomic.write_text(path, "old")
    with pytest.raises(RuntimeError), atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_equal_frames_give_equal_bytes(tmp_path):
    frame = pd.DataFrame({"a": ["x", None], "b": [1.5, float("nan")]})
    for name in "pq":
        atomic.write_parquet(frame, tmp_path / name)
    assert (tmp_path / "p").read_bytes() == (tmp_path / "q").read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "p"), frame)


def test_missing_releases_are_named_with_what_to_do_instead(tmp_path):
    wanted = {"spine": ("vindr_spinexr", str(tmp_path)), "natural": ("image_folder", str(tmp_path / "no"))}
    first, second, last = describe_missing(wanted).splitlines()
    for part in ("annotations/train.csv", str(tmp_path), "physionet.org", "datasets.spine.root"):
        assert part in first
    assert "image-net.org" in second and "config/demo.yaml" in last


def test_the_tables_of_a_release_are_found_when_all_are_there(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "train.csv").touch()
    assert find_tables("vindr_spinexr", tmp_path) == ([], ["annotations/test.csv"])
    (tmp_path / "annotations" / "test.csv").touch()
    names = [str(tmp_path / "annotations" / f"{name}.csv") for name in ("train", "test")]
    assert find_tables("vindr_spinexr", tmp_path) == (names, [])
    assert find_tables("image_folder", tmp_path) == ([str(tmp_path / "annotations")], [])


def test_a_digest_is_of_contents_and_names_in_folders_wherever_they_are(tmp_path):
    table, folder = tmp_path / "a" / "t.csv", tmp_path / "a" / "images"
    folder.mkdir(parents=True)
    table.write_text("x\n")
    (folder / "1.png").touch()
    before = atomic.content_digest([table, folder])
    moved = shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copy)
    os.utime(moved / "t.csv", (2e9, 2e9))
    (moved / "images" / ".DS_Store").touch()
    assert atomic.content_digest([moved / "t.csv", moved / "images"]) == before
    (moved / "images" / "2.png").touch()
    added = atomic.content_digest([moved / "t.csv", moved / "images"])
    (moved / "t.csv").write_text("y\n")
    assert len({before, added, atomic.content_digest([moved / "t.csv", moved / "images"])}) == 3
    os.mkfifo(tmp_path / "pipe")  # it would wait for a writer
    atomic.content_digest([tmp_path / "pipe", tmp_path / "none"])


def test_the_command_line_prints_a_users_error_in_one_line(tmp_path, capsys):
    (tmp_path / "encoder.safetensors").write_text("no encoder")
    settings = json.dumps({"crop": 32, "datasets": ["a"], "images": 10, "seed": 1})
    names = {"encoder": "encoder", "images": "images", "activations": "a"}
    files = [text for name, file in names.items() for text in (f"--{name}", f"{tmp_path}/{file}.safetensors")]
    assert cli.main(["activations", "--settings", settings, *files, "--device", "cpu"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "encoder.safetensors" in error and error.count("\n") == 1


def test_a_disk_that_fills_up_anywhere_in_a_stage_is_one_line(tmp_path, capsys, monkeypatch):
    def verify(*, store: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moco_transfer.data.verify.verify", verify)
    assert cli.main(["verify", "--store", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: no space left") and error.count("\n") == 1


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_may_not_be_written_to_is_an_error(tmp_path, number):
    with (
        pytest.raises(UserError, match=f"^{tmp_path}: cannot be written to"),
        atomic.replacing(tmp_path / "a"),
    ):
        raise OSError(number, "not allowed", str(tmp_path / ".a.1"))
    with pytest.raises(OSError, match="not allowed"), atomic.replacing(tmp_path / "a"):
        raise OSError(number, "not allowed", "/elsewhere/input")  # is not blamed on the folder


def test_what_snakemake_imports_does_not_import_torch():
    rules = "\n".join(path.read_text() for path in (ROOT / "workflow").rglob("*.smk"))
    modules = sorted(set(re.findall(r"^from (moco_transfer\S*) import", rules, re.MULTILINE)))
    assert "moco_transfer.training.attempt" in modules
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_stage_has_a_help_text(capsys):
    for name in cli.STAGES:
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == 0
    assert "--settings" in capsys.readouterr().out
