"""Read the look-up tables of a DICOM, grey (PS3.3 C.11.1.1, C.11.2.1.1) or of a palette (C.7.6.3.1.5)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydicom import Dataset

from moco_transfer.errors import UnreadableImage

PALETTES = ("RedPaletteColorLookupTable", "GreenPaletteColorLookupTable", "BluePaletteColorLookupTable")
WORDS = 1 << 16


class Lut(NamedTuple):
    """A table: ``entries`` (uint8 or uint16) for the inputs from ``first`` on."""

    first: int
    entries: np.ndarray


def look_up(values: np.ndarray, lut: Lut) -> np.ndarray:
    """Return the entries for ``values``; those below the table take its first entry, those above it the last.

    ``values`` are all that can occur. They tell whether the first input is a negative number, which the file
    cannot say: its value representation is that of the stored pixels, or none.
    """
    first = lut.first
    other = first + WORDS if first < 0 else first - WORDS if first >= WORDS // 2 else first
    low, high = values.min(), values.max()

    def covered(start: int) -> float:
        return min(high, start + len(lut.entries) - 1) - max(low, start)

    if covered(other) > max(covered(first), 0) and (other >= 0 or low < 0):
        first = other
    position = np.clip(np.rint(values) - first, 0, len(lut.entries) - 1).astype(np.int64)
    return lut.entries[position]


def read_lut(item: Dataset, header: Dataset) -> Lut:
    """Return the grey LUT in ``item``, of the file with ``header``; raises UnreadableImage."""
    return _lut(item.get("LUTDescriptor"), item.get("LUTData"), header)


def read_palette(header: Dataset) -> list[Lut]:
    """Return the LUTs for red, green and blue; raises UnreadableImage."""
    luts = []
    for name in PALETTES:
        descriptor, data = header.get(f"{name}Descriptor"), header.get(f"{name}Data")
        luts.append(
            _lut(descriptor, data, header)
            if data
            else _segmented(descriptor, header.get(f"Segmented{name}Data"), header)
        )
    if len({lut.entries.dtype for lut in luts}) > 1:
        raise UnreadableImage("a DICOM whose palettes have different bits")
    return luts


def _descriptor(descriptor: object) -> tuple[int, int, int]:
    """Return the number of entries, the first input and the bits of an entry."""
    try:
        length, first, bits = (int(number) for number in descriptor)
    except (TypeError, ValueError):
        raise UnreadableImage("a DICOM with a LUT that is not described by three numbers") from None
    return length % WORDS or WORDS, first, bits


def _bytes(data: object, header: Dataset) -> bytes:
    """Return the words of ``data`` as little-endian bytes."""
    if data is None:
        return b""
    if isinstance(data, bytes):  # OW: as in the file
        if header.original_encoding[1]:
            return data
        return np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    return (np.atleast_1d(data).astype(np.int64) % WORDS).astype("<u2").tobytes()


def _lut(descriptor: object, data: object, header: Dataset) -> Lut:
    length, first, bits = _descriptor(descriptor)
    data = _bytes(data, header)
    # two entries per word, as some programs write 8 bits; one of 16 bits takes as many bytes
    packed = len(data) in (length, length + length % 2) and (bits <= 8 or length > 1)
    entries = np.frombuffer(data if packed else data[: len(data) // 2 * 2], np.uint8 if packed else "<u2")
    if not len(entries):
        raise UnreadableImage("a DICOM with a LUT of 0 entries")
    return Lut(first, entries[:length])


def _segmented(descriptor: object, data: object, header: Dataset) -> Lut:
    """Return a palette that is written as segments (PS3.3 C.7.9.2), which are constant lists or lines."""
    length, first, bits = _descriptor(descriptor)
    words = np.frombuffer(_bytes(data, header), np.uint8 if bits == 8 else "<u2").tolist()
    entries: list[float] = []
    position = 0
    while position + 1 < len(words) and len(entries) < length:
        kind, count = words[position : position + 2]
        position += 2
        if kind == 0:
            entries += words[position : position + count]
            position += count
        elif kind == 1 and entries and position < len(words):
            start = entries[-1]
            entries += np.linspace(start, words[position], count + 1)[1:].tolist()
            position += 1
        else:
            raise UnreadableImage("a DICOM with a palette of segments that cannot be read")
    if not entries:
        raise UnreadableImage("a DICOM with a LUT of 0 entries")
    return Lut(first, np.rint(entries[:length]).astype(np.uint8 if bits == 8 else np.uint16))
