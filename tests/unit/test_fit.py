"""The three ways of making an image square."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moco_transfer.data.decode import fit


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 40),
    st.sampled_from(["stretch", "pad", "center_crop"]),
    st.booleans(),
    st.integers(1, 255),
)
def test_fit_is_square_and_keeps_a_constant(
    height: int, width: int, size: int, how: str, colour: bool, value: int
) -> None:
    square = fit(np.full((height, width), value, dtype=np.uint8), size, how, colour)
    assert square.shape == ((size, size, 3) if colour else (size, size))
    assert square.dtype == np.uint8
    assert set(np.unique(square)) <= ({0, value} if how == "pad" else {value})
    if how == "pad":
        rows, columns = np.nonzero(square[..., 0] if colour else square)
        shown = (np.ptp(rows) + 1, np.ptp(columns) + 1)
        scale = size / max(height, width)
        assert shown == (max(1, round(height * scale)), max(1, round(width * scale)))


def test_center_crop_keeps_the_middle_and_pad_keeps_all() -> None:
    image = np.zeros((60, 120), dtype=np.uint8)
    image[:, 30:90] = 200
    assert (fit(image, 30, "center_crop", False) == 200).mean() > 0.93
    padded = fit(image, 60, "pad", False)
    assert not padded[:15].any()
    assert not padded[45:].any()
    assert padded[15:45].mean() == pytest.approx(100, abs=1)
    assert fit(image.T, 30, "center_crop", False).mean() == fit(image, 30, "center_crop", False).mean()


def test_fit_is_antialiased() -> None:
    checkerboard = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    small = fit(checkerboard, 32, "stretch", False)
    np.testing.assert_allclose(small, 127.5, atol=3)


def test_gray_and_colour_convert_into_each_other() -> None:
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    as_colour = fit(gray, 8, "stretch", True)
    np.testing.assert_array_equal(as_colour, np.dstack([gray] * 3))
    np.testing.assert_array_equal(fit(as_colour, 8, "stretch", False), gray)
    with pytest.raises(ValueError, match="crop"):
        fit(gray, 8, "squeeze", False)
