"""A store is checked against its manifest and the original images; the first difference is reported."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_images import pack, write_images

from moco_transfer.checksums import file_sha256
from moco_transfer.cli import main
from moco_transfer.config.datasets import Store as Settings
from moco_transfer.data.verify import verify
from moco_transfer.errors import UserError

SETTINGS = Settings(size=16, fit="stretch", max_quarantined=0.5)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A store of 12 images, one of them quarantined, and its release."""
    index, _ = write_images(tmp_path, 12)
    (tmp_path / index["path"][4]).unlink()
    pack(index, tmp_path, SETTINGS, tmp_path / "store")
    return tmp_path / "store"


def rewrite_manifest(packed: Path, change: Callable[[dict], object]) -> None:
    path = packed / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def hash_again(packed: Path, name: str) -> None:
    rewrite_manifest(packed, lambda manifest: manifest["sha256"].update({name: file_sha256(packed / name)}))


def test_a_sound_store_is_called_sound(packed, capsys):
    assert main(["verify", "--store", str(packed)]) == 0
    assert capsys.readouterr().out == f"{packed}: sound, 11 images stored, 1 quarantined\n"
    assert main(["verify", "--store", str(packed), "--root", str(packed.parent), "--sample", "5"]) == 0
    assert capsys.readouterr().out.endswith("5 decoded again with the same bytes\n")


def test_a_difference_is_reported_in_one_line(packed, capsys):
    (packed / "sizes.parquet").unlink()
    assert main(["verify", "--store", str(packed)]) == 1
    assert capsys.readouterr().err == f"error: {packed}: sizes.parquet is missing; pack the dataset again\n"


@pytest.mark.parametrize("name", ["images.npy", "index.parquet", "sizes.parquet", "quarantine.csv"])
def test_one_changed_byte_is_found(packed, name):
    contents = bytearray((packed / name).read_bytes())
    contents[len(contents) // 2] ^= 1
    (packed / name).write_bytes(contents)
    with pytest.raises(UserError, match=f"{name} is not the file that was packed"):
        verify(store=packed)


@pytest.mark.parametrize("name", ["index.parquet", "sizes.parquet"])
def test_tables_that_are_not_aligned_are_found(packed, name):
    pd.read_parquet(packed / name).iloc[1:].to_parquet(packed / name)
    hash_again(packed, name)
    with pytest.raises(UserError, match=f"{name} 10.*does not agree with manifest.json"):
        verify(store=packed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.update(indexed=13), "does not agree"),
        (lambda manifest: manifest.update(quarantined=2), "does not agree"),
        (lambda manifest: manifest.pop("settings"), "settings.*pack the dataset again"),
    ],
)
def test_a_manifest_that_disagrees_is_found(packed, change, message):
    rewrite_manifest(packed, change)
    with pytest.raises(UserError, match=message):
        verify(store=packed)


def test_no_manifest_is_no_store(packed):
    manifest = packed / "manifest.json"
    manifest.unlink()
    for make in (lambda: None, manifest.mkdir, lambda: (manifest.rmdir(), os.mkfifo(manifest))):
        make()
        with pytest.raises(UserError, match="not a finished store; pack the dataset again"):
            verify(store=packed)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"indexed": 12}', b"null", b"[" * 100_000]
)
def test_a_damaged_manifest_is_one_line(packed, content, capsys):
    (packed / "manifest.json").write_bytes(content)
    assert main(["verify", "--store", str(packed)]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: {packed / 'manifest.json'}: damaged") and message.count("\n") == 1
    assert "pack the dataset again" in message


def test_settings_of_another_version_are_one_line(packed):
    rewrite_manifest(packed, lambda manifest: manifest["settings"].update(size="large"))
    verify(store=packed)
    with pytest.raises(UserError, match="settings of another version; pack the dataset again"):
        verify(store=packed, root=packed.parent)


def test_images_are_compared_with_the_release(packed):
    """Image 10 of the release is row 9 of the store: image 4 was quarantined."""
    images = np.load(packed / "images.npy")
    images[9, 3, 3] ^= 1
    np.save(packed / "images.npy", images)
    hash_again(packed, "images.npy")
    verify(store=packed)
    with pytest.raises(UserError, match="image 10 of 11 decodes to other pixels; pack") as caught:
        verify(store=packed, root=packed.parent)
    assert "image10" not in str(caught.value)
    rewrite_manifest(packed, lambda manifest: manifest["versions"].update(pillow="0.1"))
    with pytest.raises(UserError, match=r"packed with pillow 0.1, now \d"):
        verify(store=packed, root=packed.parent)


def test_a_wrong_size_is_found(packed):
    sizes = pd.read_parquet(packed / "sizes.parquet")
    sizes.loc[2, "height"] = 17
    sizes.to_parquet(packed / "sizes.parquet")
    hash_again(packed, "sizes.parquet")
    with pytest.raises(UserError, match="image 3 of 11 is 16 x 16, but was 17 x 16"):
        verify(store=packed, root=packed.parent)


def test_a_wrong_release_is_not_reported_as_a_broken_store(packed):
    with pytest.raises(
        UserError, match=r"image 1 of 11 cannot be read again \(file not found\); give the root"
    ):
        verify(store=packed, root=packed / "elsewhere")
