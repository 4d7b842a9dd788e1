"""Minimal encoders for two kinds of JPEG that no library here writes: lossless, and sequential with 12 bits.

Both follow ITU-T T.81. Their Huffman tables are the plainest that cover every symbol: all codes have one
length.
"""

import struct

import numpy as np


def jpeg_lossless(pixels: np.ndarray, bits: int, selection: int) -> bytes:
    """Return ``pixels`` (unsigned [h, w]) as JPEG lossless, process 14, with one of the predictors 1 to 7
    (H.1.2.1)."""
    values = pixels.astype(np.int64)
    left, above = np.roll(values, 1, 1), np.roll(values, 1, 0)
    corner = np.roll(above, 1, 1)
    predicted = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + (above - corner >> 1),
        6: above + (left - corner >> 1),
        7: left + above >> 1,
    }[selection].copy()
    predicted[0], predicted[1:, 0] = left[0], above[1:, 0]
    predicted[0, 0] = 1 << bits - 1
    differences = (values - predicted + (1 << 15)) % (1 << 16) - (1 << 15)
    # category 16 stands for this one value, without further bits
    differences[differences == -(1 << 15)] = 1 << 15
    coded = []
    for difference in differences.ravel().tolist():
        category = abs(difference).bit_length()
        coded.append(f"{category:05b}" + (_extra_bits(difference, category) if category < 16 else ""))
    tables = _huffman(0, range(17), 5)
    return _jpeg(0xC3, pixels.shape, bits, tables, selection, 0, "".join(coded))


def jpeg_sequential(pixels: np.ndarray, bits: int) -> bytes:
    """Return ``pixels`` (unsigned [h, w], sides multiples of 8) as JPEG extended, process 4, quantised by
    1."""
    height, width = pixels.shape
    shifted = pixels.astype(np.float64) - (1 << bits - 1)
    blocks = shifted.reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    k = np.arange(8)
    cosine = np.cos((2 * k + 1) * k[:, None] * np.pi / 16) * np.where(k, 0.5, np.sqrt(0.125))[:, None]
    coefficients = np.rint(cosine @ blocks @ cosine.T).astype(int).reshape(-1, 64)
    zigzag = sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))
    symbols = [0x00, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 15))]
    coded, last_dc = [], 0
    for block in coefficients[:, zigzag].tolist():
        category = abs(block[0] - last_dc).bit_length()
        coded.append(f"{category:05b}" + _extra_bits(block[0] - last_dc, category))
        last_dc, run = block[0], 0
        for value in block[1:]:
            if value == 0:
                run += 1
                continue
            coded.append(f"{symbols.index(0xF0):08b}" * (run // 16))
            size = abs(value).bit_length()
            coded.append(f"{symbols.index(run % 16 << 4 | size):08b}" + _extra_bits(value, size))
            run = 0
        if run:
            coded.append(f"{symbols.index(0x00):08b}")
    tables = _segment(0xDB, b"\0" + b"\1" * 64) + _huffman(0, range(16), 5) + _huffman(0x10, symbols, 8)
    return _jpeg(0xC1, pixels.shape, bits, tables, 0, 63, "".join(coded))


def _extra_bits(value: int, category: int) -> str:
    """Return the bits that pick ``value`` out of its category (F.1.2.1.1)."""
    return f"{value if value > 0 else value + (1 << category) - 1:0{category}b}" if category else ""


def _huffman(table: int, symbols: list[int] | range, length: int) -> bytes:
    counts = bytearray(16)
    counts[length - 1] = len(symbols)
    return _segment(0xC4, bytes([table]) + bytes(counts) + bytes(symbols))


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _jpeg(
    frame: int, shape: tuple[int, int], bits: int, tables: bytes, first: int, last: int, coded: str
) -> bytes:
    coded += "1" * (-len(coded) % 8)
    data = int(coded, 2).to_bytes(len(coded) // 8, "big").replace(b"\xff", b"\xff\0")
    header = _segment(frame, struct.pack(">BHHB", bits, *shape, 1) + b"\1\x11\0")
    return (
        b"\xff\xd8" + tables + header + _segment(0xDA, bytes([1, 1, 0, first, last, 0])) + data + b"\xff\xd9"
    )
