"""Small DICOM files for the tests of decoding, written attribute by attribute."""

import io
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from moco_transfer.data.dicom import read_dicom

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
FULL12 = {"WindowCenter": 2048, "WindowWidth": 4096}  # all of 12 bits
RADIOGRAPH = "1.2.840.10008.5.1.4.1.1.1.1"


def dicom(
    pixels: np.ndarray, bits: int = 16, syntax: str = ExplicitVRLittleEndian, **attributes: object
) -> Dataset:
    """Return a grayscale DICOM of ``pixels``, with ``attributes`` in addition to or instead of the
    defaults."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = RADIOGRAPH
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "2.25.1"
    dataset.PatientName, dataset.PatientID = "Identifying^Name", "10000032"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    if syntax == ExplicitVRBigEndian:
        dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def compressed(frame: bytes, pixels: np.ndarray, bits: int, syntax: str, **attributes: object) -> Dataset:
    """Return a DICOM that encapsulates ``frame``, a compressed image of ``pixels``."""
    dataset = dicom(pixels, bits, syntax, **attributes)
    dataset.PixelData = encapsulate([frame]) if frame else bytes.fromhex("feff00e000000000")
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def saved(dataset: Dataset, folder: Path) -> Path:
    """Return the path of ``dataset``, written to ``folder`` with preamble and header."""
    path = folder / "image.dicom"
    dataset.save_as(path, enforce_file_format=True)
    return path


def content(dataset: Dataset) -> bytes:
    """Return the bytes of ``dataset`` as a file with preamble and header."""
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def read(dataset: Dataset | bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the image of a file and its repairs."""
    whole = dataset if isinstance(dataset, bytes) else content(dataset)
    return read_dicom(io.BytesIO(whole), 132, 1_000_000)


def shown(dataset: Dataset | bytes) -> np.ndarray:
    """Return the image of a file that needs no repair."""
    image, repairs = read(dataset)
    assert not repairs
    return image


def full(values: np.ndarray, bits: int) -> np.ndarray:
    """Return ``values`` of ``bits`` as a window of their whole range shows them."""
    return 255 * values.astype(float) / (2**bits - 1)


def lut(first: int, bits: int, entries: np.ndarray, words: str) -> Dataset:
    """Return a LUT item; ``words`` is the byte order of its data as words (OW), or empty for numbers (US)."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    if words:
        item.add_new("LUTData", "OW", entries.astype(f"{words}u2").tobytes())
    else:
        item.add_new("LUTData", "US", entries.tolist())
    return item


def pixels12(seed: int = 0, height: int = 31, width: int = 17) -> np.ndarray:
    """Return random pixels of 12 bits, uint16 [height, width]."""
    return np.random.default_rng(seed).integers(0, 4096, (height, width), dtype=np.uint16)


def smooth(bits: int, height: int = 40, width: int = 48) -> np.ndarray:
    """Return a smooth image of ``bits`` bits that lossy encoders keep well, uint8 or uint16 [height,
    width]."""
    rows, columns = np.mgrid[:height, :width]
    waves = 0.5 + 0.25 * np.sin(rows / 7) + 0.24 * np.cos(columns / 9)
    return (waves * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
