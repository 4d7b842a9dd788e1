"""The picture of augmentations: every view has its place, equal input gives equal bytes, the test card shows a flip."""

import numpy as np

from moco_transfer.plotting.augmentations import GAP, IMAGES, VIEWS, draw_augmentations, drawn_card, mosaic
from moco_transfer.report import style

SIDE = 16


def test_a_mosaic_has_each_tile_in_its_place():
    tiles = np.random.default_rng(0).integers(0, 255, (2, 3, SIDE, SIDE), dtype=np.uint8)
    picture, step = mosaic(tiles), SIDE + round(GAP * SIDE)
    assert picture.shape == (2 * step, 3 * step)
    for row in range(2):
        for column in range(3):
            place = picture[row * step : row * step + SIDE, column * step : column * step + SIDE]
            np.testing.assert_array_equal(place, tiles[row, column])
    assert (picture[SIDE:step] == 255).all() and (picture[:, SIDE:step] == 255).all()


def test_equal_views_give_equal_files_that_name_what_they_show(tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (IMAGES, SIDE, SIDE), dtype=np.uint8)
    views = {name: random.integers(0, 255, (IMAGES, VIEWS, 8, 8), dtype=np.uint8) for name in ("one", "two")}
    kinds, contents = ("pdf", "svg", "png"), []
    for attempt in range(2):
        paths = [tmp_path / f"{attempt}.{kind}" for kind in kinds]
        style.save(draw_augmentations(images, views, "Images: made up", "A note"), *paths)
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    for words in (b"one", b"two", b"Images: made up", b"A note"):
        assert words in contents[0][1]


def test_the_drawn_card_tells_left_from_right_and_up_from_down():
    card = drawn_card(64)
    assert card.shape == (64, 64) and card.dtype == np.uint8
    for changed in (card[:, ::-1], card[::-1], card.T):
        assert np.abs(card.astype(int) - changed).mean() > 10
