"""Decoding and fitting one radiograph in one thread: a JPEG of MIMIC-CXR-JPG's size, an uncompressed DICOM.

The references are the obvious ways: Pillow decodes and resizes the whole JPEG, and pydicom's pixels pass
through the window in float64. The images are made up: as smooth as a radiograph, and noisy enough that the
JPEG takes 1.5 MB, the mean of MIMIC-CXR-JPG. Noise matters, because decoding Huffman codes takes most of our
time. Every reader of a JPEG must decode them all, so the time for that alone is the limit of what can be
reached, and a measure of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from measure import Measure, best_seconds
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from moco_transfer.data.decode import decode, fit
from moco_transfer.seeds import stream

SIZE = 256
MAX_PIXELS = 50_000_000
CENTER, WIDTH = 2048, 3000
NOISE = 29  # of 4096 levels


def measure() -> list[Measure]:
    """Return milliseconds per image, of the fastest repeat."""
    with tempfile.TemporaryDirectory() as folder:
        jpeg, dicom = Path(folder, "radiograph.jpg"), Path(folder, "radiograph.dcm")
        Image.fromarray((radiograph(3056, 2544) // 16).astype(np.uint8)).save(jpeg, quality=95)
        write_dicom(radiograph(3000, 2500), dicom)
        return [
            _compare("pack a JPEG of 2544 x 3056", jpeg, pillow, 1.8),
            _compare("pack a JPEG of 2544 x 3056, beside decoding its Huffman codes only", jpeg, codes, 0.85),
            _compare("pack a DICOM of 2500 x 3000, 16 bits", dicom, naive_dicom, 3.0),
        ]


def _compare(name: str, path: Path, reference: Callable[[Path], object], goal: float) -> Measure:
    ours, theirs = best_seconds(lambda: packed(path), lambda: reference(path), repeats=15)
    return Measure(name, 1000 * ours, 1000 * theirs, "ms", goal)


def packed(path: Path) -> np.ndarray:
    """Return what the store keeps of the image at ``path``: uint8 [256, 256]."""
    return fit(decode(path, MAX_PIXELS, SIZE), SIZE, "stretch", False)


def pillow(path: Path) -> np.ndarray:
    """Return the JPEG at ``path`` by a full decode and an antialiased resize: uint8 [256, 256]."""
    return np.asarray(Image.open(path).convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def codes(path: Path) -> None:
    """Decode the JPEG at ``path`` at an eighth of its size: all Huffman codes, and of each block only the mean."""
    with Image.open(path) as picture:
        picture.draft(None, (1, 1))
        picture.load()


def naive_dicom(path: Path) -> np.ndarray:
    """Return the DICOM at ``path`` through its window, every pixel in float64: uint8 [256, 256]."""
    dataset = pydicom.dcmread(path)
    values = dataset.pixel_array.astype(np.float64)
    shown = np.clip((values - (CENTER - 0.5)) / (WIDTH - 1) + 0.5, 0, 1)
    picture = Image.fromarray((255 * shown).astype(np.uint8))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def radiograph(height: int, width: int) -> np.ndarray:
    """Return a made-up radiograph of 12 bits, uint16 [height, width]: shadows of every size, and noise."""
    rng = stream(0, "bench", "decoding")
    image = np.zeros((height, width), np.float32)
    for cells in (4, 16, 64, 256):
        coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        image += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) * 600 / np.sqrt(cells)
    image += rng.normal(scale=NOISE, size=image.shape).astype(np.float32)
    return np.clip(image + 2048, 0, 4095).astype(np.uint16)


def write_dicom(pixels: np.ndarray, path: Path) -> None:
    """Write ``pixels`` (uint16 [rows, columns], 12 bits) to ``path``, uncompressed, with a window."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "2.25.1"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = CENTER, WIDTH
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
