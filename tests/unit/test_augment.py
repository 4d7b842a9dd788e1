"""Views of a batch: the presets keep their draws and their pixels, lists do what they say."""

import numpy as np
import pytest
import torch
from augmentation_images import SIDE, batch_of

from moco_transfer.augment import augment, draw_view
from moco_transfer.config.augmentation import PRESETS
from moco_transfer.errors import UserError
from moco_transfer.training.images import centre_crop

# Of each preset: views projected on three random directions, five pixels, and the next draw of the generator. Written down
# when the presets were functions of their own. Projections and not a checksum, because the last digits of a convolution
# differ between processors.
RECORDED = {
    "moco_cxr": ([1078.50, -18922.94, 21149.39], [123.506, 98.048, 182.792, 78.514, 137.795], 1493560446),
    "moco_v2": ([277.53, -12591.27, 15731.66], [67.339, 86.956, 255.0, 188.477, 73.398], 2536855382),
    "chexclusion": ([-3423.65, -16629.88, 15184.25], [0.0, 100.516, 137.021, 176.915, 136.498], 3729466512),
}


@pytest.fixture(scope="module")
def images():
    return batch_of("smooth")


@pytest.mark.parametrize("preset", RECORDED)
def test_a_preset_draws_and_computes_what_it_always_did(preset):
    images = torch.from_numpy(np.random.default_rng(7).integers(0, 256, (5, 1, 40, 36), dtype=np.uint8))
    directions = np.random.default_rng(8).normal(size=(3, 5 * 32 * 32))
    random = np.random.default_rng(11)
    views = augment(images, preset, 32, random).numpy().astype(float).ravel()
    projections, pixels, next_draw = RECORDED[preset]
    np.testing.assert_allclose(directions @ views, projections, atol=0.1)
    np.testing.assert_allclose(views[[0, 1000, 2000, 3000, 5000]], pixels, atol=0.01)
    assert random.integers(2**32) == next_draw


@pytest.mark.parametrize("preset", PRESETS)
def test_a_part_of_a_batch_looks_as_it_does_in_the_whole(images, preset):
    n, _, height, width = images.shape
    view = draw_view(preset, n, height, width, 64, np.random.default_rng(2))
    rows = np.array([4, 0, 5, 2])
    torch.testing.assert_close(view.rows(rows).of(images[rows]), view.of(images)[rows], rtol=0, atol=1e-3)


@pytest.mark.parametrize("preset", PRESETS)
def test_views_depend_on_the_stream_alone_and_differ_between_images(images, preset):
    one, again, other = (augment(images, preset, 64, np.random.default_rng(s)) for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.shape == (6, 1, 64, 64) and one.min() >= 0 and one.max() < 255.01
    alike = augment(images[:1].expand(6, -1, -1, -1), preset, 64, np.random.default_rng(1))
    assert not torch.allclose(alike[0], alike[1])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_the_list_it_stands_for(images, preset):
    listed = [operation.model_dump() for operation in PRESETS[preset]]
    by_name, by_list = (augment(images, each, 64, np.random.default_rng(3)) for each in (preset, listed))
    assert torch.equal(by_name, by_list)


def test_operations_that_never_happen_leave_a_centre_crop(images):
    idle = [
        {"rotate": 0},
        {"crop": "centre"},
        {"flip": 0},
        {"jitter": {"brightness": 1, "contrast": 1, "p": 0}},
        {"blur": {"sigma": [1, 2], "p": 0}},
    ]
    views = augment(images, idle, 64, np.random.default_rng(0))
    torch.testing.assert_close(views, centre_crop(images, 64), atol=0.01, rtol=0)


def test_probability_one_happens_to_all(images):
    mirrored = augment(images, [{"crop": "centre"}, {"flip": 1}], 64, np.random.default_rng(0))
    torch.testing.assert_close(mirrored, centre_crop(images, 64).flip(3), atol=0.01, rtol=0)
    blurred = augment(images, [{"crop": "centre"}, {"blur": {"sigma": [3, 4]}}], 64, np.random.default_rng(0))
    assert ((blurred - centre_crop(images, 64)).abs().mean(dim=(1, 2, 3)) > 0.1).all()


def test_shares_of_images_that_are_changed_are_the_probabilities():
    ramp = torch.linspace(50, 150, SIDE).expand(2000, 1, SIDE, SIDE)
    crop = [{"crop": "centre"}]
    for listed, p in (
        (crop + [{"flip": 0.3}], 0.3),
        (crop + [{"jitter": {"brightness": 0.5, "p": 0.8}}], 0.8),
    ):
        views = augment(ramp, listed, 4, np.random.default_rng(5))
        changed = (views - centre_crop(ramp, 4)).abs().amax(dim=(1, 2, 3)) > 0.1
        assert abs(changed.float().mean().item() - p) < 0.04


def test_neither_a_preset_nor_a_list_is_a_users_error(images):
    for wrong in ("simclr", [{"rotate": 10}], [{"solarize": 128}]):
        with pytest.raises(UserError, match=r"^augmentation: "):
            augment(images, wrong, 64, np.random.default_rng(0))
