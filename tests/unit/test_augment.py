"""Augmentation: warps against torchvision, recorded views of the presets, and views of a list of operations.

Tolerances in grey levels are mean absolute differences on the scale of 0 to 255.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as TF

from moco_transfer.augment import Box, Flip, Rotation, augment, draw_resized_crop, draw_view, warp
from moco_transfer.config.augmentation import PRESETS, Operation, operations_of
from moco_transfer.training.images import centre_crop

BILINEAR = TF.InterpolationMode.BILINEAR
DEGREES = np.array([-10.0, 10.0, 3.3, 0.0, 15.0, -1.0])
MIRRORED = np.array([True, False] * 3)
SIDE, SMALL = 96, 64
REAL = os.environ.get("MOCO_TRANSFER_REAL_DATA")
# For each preset: its views projected on three random directions, five pixels, and the generator's next draw.
# Not a checksum, because processors differ in the last digits of a convolution.
RECORDED = {
    "moco_cxr": ([1078.50, -18922.94, 21149.39], [123.506, 98.048, 182.792, 78.514, 137.795], 1493560446),
    "moco_v2": ([277.53, -12591.27, 15731.66], [67.339, 86.956, 255.0, 188.477, 73.398], 2536855382),
    "chexclusion": ([-3423.65, -16629.88, 15184.25], [0.0, 100.516, 137.021, 176.915, 136.498], 3729466512),
}


def batch_of(kind):
    """Return six images, float32 [6, 1, SIDE, SIDE] from 0 to 255; skip if real ones are missing."""
    generator = torch.Generator().manual_seed(0)
    if kind == "noisy":
        return torch.rand(6, 1, SIDE, SIDE, generator=generator) * 255
    if kind == "smooth":
        coarse = torch.rand(6, 1, 8, 8, generator=generator) * 255
        return torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 255)
    if REAL is None:
        pytest.skip("MOCO_TRANSFER_REAL_DATA names no folder with NIH ChestX-ray14")
    radiographs = [Image.open(path).convert("L") for path in sorted(Path(REAL).rglob("*.png"))[:6]]
    small = [np.asarray(each.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) for each in radiographs]
    return torch.from_numpy(np.stack(small)[:, None])


@pytest.fixture(scope="module", params=["smooth", "noisy", "real"])
def images(request):
    return batch_of(request.param)


@pytest.fixture(scope="module")
def smooth():
    return batch_of("smooth")


def boxes(left, top, width, height):
    return Box(*(np.broadcast_to(np.asarray(side, float), 6) for side in (left, top, width, height)))


def turned(images):
    return [TF.rotate(i, d, interpolation=BILINEAR) for i, d in zip(images, DEGREES.tolist(), strict=True)]


def flipped(images):
    return [TF.hflip(image) if m else image for image, m in zip(images, MIRRORED, strict=True)]


def difference(views, expected, margin=0):
    inside = slice(margin, views.shape[-1] - margin)
    return (views - torch.stack(list(expected)))[..., inside, inside].abs().mean().item()


WHOLE = boxes(0, 0, SIDE, SIDE)


def test_crop_and_flip(images):
    left, top = np.array([0, 3, 8, 1, 32, 5]), np.array([8, 0, 4, 32, 7, 1])
    views = warp(images, SMALL, [boxes(left, top, SMALL, SMALL), Flip(MIRRORED)])
    places = zip(images, top.tolist(), left.tolist(), strict=True)
    expected = flipped(TF.crop(image, y, x, SMALL, SMALL) for image, y, x in places)
    assert difference(views, expected) < 0.01


def test_rotate(images):
    assert difference(warp(images, SIDE, [Rotation(DEGREES), WHOLE]), turned(images)) < 0.01


@pytest.mark.parametrize("width, height", [(40, 34), (96, 80)])
def test_resized_crop(images, width, height):
    views = warp(images, SMALL, [boxes(0, 6, width, height)])
    expected = [TF.resized_crop(i, 6, 0, height, width, [SMALL, SMALL], antialias=False) for i in images]
    # At its edge torchvision repeats the crop's outermost pixels; the warp sees their neighbours.
    assert difference(views, expected, margin=2) < 0.01


@pytest.mark.parametrize("kind", ["smooth", "real"])
def test_a_resized_crop_that_shrinks_is_close_to_torchvisions_with_its_low_pass(kind):
    images = batch_of(kind)
    views = warp(images, 84, [WHOLE])  # by 224 / 256, the most that a store of 256 needs
    expected = [TF.resized_crop(i, 0, 0, SIDE, SIDE, [84, 84], antialias=True) for i in images]
    assert difference(views, expected, margin=2) < 0.5


def test_several_steps_in_one_warp_equal_the_steps_one_by_one(images):
    crop, turn, flip = boxes(20, 12, SMALL, SMALL), Rotation(DEGREES), Flip(MIRRORED)

    def cropped(images):
        return [TF.crop(image, 12, 20, SMALL, SMALL) for image in images]

    for steps, expected in [
        ([turn, crop, flip], flipped(cropped(turned(images)))),
        ([crop, flip, turn], turned(flipped(cropped(images)))),
        ([flip, turn, crop], cropped(turned(flipped(images)))),
    ]:
        assert difference(warp(images, SMALL, steps), expected, margin=14) < 0.01, steps


def test_two_rotations_add_up_and_a_rotation_before_a_resize_comes_first(smooth):
    twice = warp(smooth, SIDE, [Rotation(DEGREES), Rotation(DEGREES), WHOLE])
    torch.testing.assert_close(twice, warp(smooth, SIDE, [Rotation(2 * DEGREES), WHOLE]), atol=0.05, rtol=0)
    views = warp(smooth, SMALL, [Rotation(DEGREES), boxes(30, 20, 40, 50)])
    expected = [
        TF.resized_crop(image, 20, 30, 50, 40, [SMALL, SMALL], antialias=False) for image in turned(smooth)
    ]
    assert difference(views, expected, margin=2) < 0.3  # torchvision samples twice


def test_resized_crops_are_inside_the_image_and_cover_the_stated_shares():
    box = draw_resized_crop((0.2, 1.0), 4000, 64, 64, np.random.default_rng(0))
    assert (box.left >= 0).all() and (box.top >= 0).all()
    assert (box.left + box.width <= 64).all() and (box.top + box.height <= 64).all()
    share, ratio = box.width * box.height / 64**2, box.width / box.height
    assert share.min() > 0.19 and share.max() <= 1 and 0.5 < share.mean() < 0.62
    assert ratio.min() > 0.72 and ratio.max() < 1.38
    small = draw_resized_crop((0.05, 0.1), 4000, 64, 64, np.random.default_rng(0))
    share = small.width * small.height / 64**2
    assert share.min() > 0.045 and share.max() < 0.11


def test_random_crops_reach_every_position_and_rotations_every_angle():
    listed = [Operation(rotate=15), Operation(crop="random")]
    turn, box = draw_view(listed, (4000, 1, 40, 36), 32, np.random.default_rng(0)).steps
    assert set(box.left) == set(range(5)) and set(box.top) == set(range(9))
    assert -15 <= turn.degrees.min() < -14.9 and 14.9 < turn.degrees.max() <= 15


@pytest.mark.parametrize("preset", RECORDED)
def test_a_preset_gives_the_recorded_views(preset):
    images = torch.from_numpy(np.random.default_rng(7).integers(0, 256, (5, 1, 40, 36), dtype=np.uint8))
    directions = np.random.default_rng(8).normal(size=(3, 5 * 32 * 32))
    random = np.random.default_rng(11)
    views = augment(images, PRESETS[preset], 32, random).numpy().astype(float).ravel()
    projections, pixels, next_draw = RECORDED[preset]
    np.testing.assert_allclose(directions @ views, projections, atol=0.1)
    np.testing.assert_allclose(views[[0, 1000, 2000, 3000, 5000]], pixels, atol=0.01)
    assert random.integers(2**32) == next_draw


@pytest.mark.parametrize("preset", PRESETS)
def test_grey_in_three_channels_is_warped_as_in_one(smooth, preset):
    """The steps of the geometry are drawn first, so they are the same for any number of channels."""
    for images in (smooth, smooth.byte()):
        views = [
            warp(batch, SMALL, draw_view(PRESETS[preset], batch.shape, SMALL, np.random.default_rng(3)).steps)
            for batch in (images, images.expand(-1, 3, -1, -1))
        ]
        torch.testing.assert_close(views[1], views[0].expand(-1, 3, -1, -1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_part_of_a_batch_gets_the_same_views_as_in_the_whole(smooth, preset):
    view = draw_view(PRESETS[preset], smooth.shape, SMALL, np.random.default_rng(2))
    rows = np.array([4, 0, 5, 2])
    torch.testing.assert_close(view.rows(rows).of(smooth[rows]), view.of(smooth)[rows], rtol=0, atol=1e-3)


@pytest.mark.parametrize("preset", PRESETS)
def test_views_depend_only_on_the_stream_and_differ_between_images(smooth, preset):
    for images in (smooth, smooth.view(2, 3, SIDE, SIDE)):
        one, again, other = (
            augment(images, PRESETS[preset], SMALL, np.random.default_rng(s)) for s in (1, 1, 2)
        )
        assert torch.equal(one, again) and not torch.equal(one, other)
        assert one.shape == (*images.shape[:2], SMALL, SMALL) and one.min() >= 0 and one.max() < 255.01
    alike = augment(smooth[:1].expand(6, -1, -1, -1), PRESETS[preset], SMALL, np.random.default_rng(1))
    assert not torch.allclose(alike[0], alike[1])


def views_by(listed, images, size=SMALL, seed=0):
    return augment(images, operations_of(listed), size, np.random.default_rng(seed))


def test_operations_that_never_happen_leave_a_centre_crop(smooth):
    idle = [
        {"rotate": 0},
        {"crop": "centre"},
        {"flip": 0},
        {"jitter": {"brightness": 1, "contrast": 1, "p": 0}},
        {"blur": {"sigma": [1, 2], "p": 0}},
    ]
    torch.testing.assert_close(views_by(idle, smooth), centre_crop(smooth, SMALL), atol=0.01, rtol=0)


def test_operations_of_probability_one_change_every_image(smooth):
    cropped = centre_crop(smooth, SMALL)
    mirrored = views_by([{"crop": "centre"}, {"flip": 1}], smooth)
    torch.testing.assert_close(mirrored, cropped.flip(3), atol=0.01, rtol=0)
    blurred = views_by([{"crop": "centre"}, {"blur": {"sigma": [3, 4]}}], smooth)
    assert ((blurred - cropped).abs().mean(dim=(1, 2, 3)) > 0.1).all()


@pytest.mark.parametrize(
    "operation, p", [({"flip": 0.3}, 0.3), ({"jitter": {"brightness": 0.5, "p": 0.8}}, 0.8)]
)
def test_the_share_of_changed_images_is_the_probability(operation, p):
    ramp = torch.linspace(50, 150, SIDE).expand(2000, 1, SIDE, SIDE)
    views = views_by([{"crop": "centre"}, operation], ramp, size=4, seed=5)
    changed = (views - centre_crop(ramp, 4)).abs().amax(dim=(1, 2, 3)) > 0.1
    assert abs(changed.float().mean().item() - p) < 0.04
