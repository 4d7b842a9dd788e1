"""Files with checksums: no flipped bit and no cut goes unnoticed, and files without one are read as before."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save

from moco_transfer import checksums, files
from moco_transfer.errors import UserError
from moco_transfer.networks import read_weights, write_weights
from moco_transfer.similarity.activations import read_layers, write_layers

FRAME = pd.DataFrame({"split": ["train", "test"] * 20, "row": np.arange(40), "score": np.linspace(0, 1, 40)})
NUMBERS = np.arange(12, dtype=np.float32).reshape(4, 3)


def read_lists(path):
    weights, about = read_weights(path)
    return {name: values.tolist() for name, values in weights.items()}, about["x"]


KINDS = {
    "frame": (lambda path: files.write_parquet(FRAME, path), lambda path: files.read_parquet(path).to_csv()),
    "columns": (
        lambda path: files.write_table(pa.Table.from_pandas(FRAME), path),
        lambda path: files.read_columns(path, ["row", "split"]).to_pydict(),
    ),
    "names": (lambda path: files.write_parquet(FRAME, path), files.column_names),
    "array": (lambda path: files.write_array(NUMBERS, path), lambda path: files.read_array(path).tolist()),
    "encoder": (
        lambda path: write_weights(path, {"b": torch.ones(3), "a": torch.zeros(2)}, {"x": [1]}),
        read_lists,
    ),
    "layers": (
        lambda path: write_layers(path, {"DB1": NUMBERS, "CV1": NUMBERS + 1}),
        lambda path: [(name, values.tolist()) for name, values in read_layers(path).items()],
    ),
}


def read_or_error(read, path, content):
    """Return what is read from ``content``, or None if that is refused in one line that names the file."""
    path.write_bytes(content)
    try:
        return read(path)
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_or_a_cut_changes_no_result(tmp_path, kind):
    write, read = KINDS[kind]
    path = tmp_path / kind
    write(path)
    content, whole = path.read_bytes(), read(path)
    mark = content.index(checksums.MARK.encode())
    places = [*range(0, len(content), 1 + len(content) // 60), len(content) - 1]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        found = read_or_error(read, path, flipped)
        # A flip in the mark takes the checksum away, and nothing else.
        in_mark = mark <= place < mark + len(checksums.MARK)
        assert found is None or (in_mark and found == whole), place
        assert read_or_error(read, path, content[:place]) is None


@pytest.mark.parametrize("kind", KINDS)
def test_equal_content_gives_equal_bytes(tmp_path, kind):
    for name in "ab":
        KINDS[kind][0](tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_sealed_files_are_ordinary_files_of_their_kind(tmp_path):
    files.write_parquet(FRAME, tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), FRAME)
    files.write_array(np.asfortranarray(NUMBERS), tmp_path / "array.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "array.npy"), NUMBERS)
    plain = io.BytesIO()
    np.save(plain, NUMBERS)
    assert (tmp_path / "array.npy").read_bytes().startswith(plain.getvalue())


def test_tables_and_weights_of_others_need_no_checksum(tmp_path):
    FRAME.to_parquet(tmp_path / "table")
    pd.testing.assert_frame_equal(files.read_parquet(tmp_path / "table"), FRAME)
    weights = {"a": torch.ones(3, dtype=torch.bfloat16)}
    (tmp_path / "weights").write_bytes(save(weights))
    found, about = read_weights(tmp_path / "weights")
    assert torch.equal(found["a"], weights["a"]) and about == {}


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"text" * 100])
def test_what_is_no_array_is_one_line(tmp_path, content):
    (tmp_path / "images.npy").write_bytes(content)
    for read in (files.map_array, files.read_array):
        with pytest.raises(UserError, match=r"images\.npy: "):
            read(tmp_path / "images.npy")


def test_a_table_that_the_machine_cannot_read_is_not_called_damaged(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    files.write_parquet(FRAME, tmp_path / "table")
    monkeypatch.setattr(pd, "read_parquet", fail)
    with pytest.raises(OSError, match="Input/output"):
        files.read_parquet(tmp_path / "table")


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2", b"a,b\n1,x\0\n", b"b,c\n1,2\n", b"a,b\n1,2\n1,2,3\n", b"a,b\n1,\xff\n"]
)
def test_what_is_no_csv_of_this_project_is_one_line(tmp_path, content):
    path = tmp_path / "budgets.csv"
    path.write_bytes(b"a,b\n01,2\n")
    assert files.read_csv(path, ["b"], ["a"]).values.tolist() == [["01", 2]]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"budgets\.csv: "):
        files.read_csv(path, ["a", "b"])
