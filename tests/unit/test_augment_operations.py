"""Every batched operation against torchvision's transform of one image, at the same parameters.

Tolerances are mean absolute differences in grey levels of 255, on smooth, noisy and real images alike unless said.
"""

import numpy as np
import pytest
import torch
from augmentation_images import SIDE, batch_of
from torchvision.transforms import functional as TF

from moco_transfer.augment import (
    Box,
    Flip,
    Turn,
    blur,
    draw_deviations,
    draw_factors,
    draw_geometry,
    draw_resized_crop,
    jitter,
    warp,
)
from moco_transfer.config.augmentation import Blur, Jitter, Operation

BILINEAR = TF.InterpolationMode.BILINEAR
DEGREES = np.array([-10.0, 10.0, 3.3, 0.0, 15.0, -1.0])
SMALL = 64


@pytest.fixture(scope="module", params=["smooth", "noisy", "real"])
def images(request):
    return batch_of(request.param)


def boxes(left, top, width, height):
    return Box(*(np.broadcast_to(np.asarray(side, float), 6) for side in (left, top, width, height)))


WHOLE = boxes(0, 0, SIDE, SIDE)


def difference(views, expected, margin=0):
    inside = slice(margin, views.shape[-1] - margin)
    return (views - torch.stack(expected))[..., inside, inside].abs().mean().item()


def test_crop_and_flip(images):
    left, top = np.array([0, 3, 8, 1, 32, 5]), np.array([8, 0, 4, 32, 7, 1])
    mirrored = np.array([True, False] * 3)
    views = warp(images, SMALL, [boxes(left, top, SMALL, SMALL), Flip(mirrored)])
    expected = [
        TF.crop(image, y, x, SMALL, SMALL)
        for image, y, x in zip(images, top.tolist(), left.tolist(), strict=True)
    ]
    expected = [TF.hflip(e) if m else e for e, m in zip(expected, mirrored, strict=True)]
    assert difference(views, expected) < 0.01


def test_rotate(images):
    views = warp(images, SIDE, [Turn(DEGREES), WHOLE])
    expected = [
        TF.rotate(i, d, interpolation=BILINEAR) for i, d in zip(images, DEGREES.tolist(), strict=True)
    ]
    assert difference(views, expected) < 0.01


@pytest.mark.parametrize("width, height", [(40, 34), (96, 80)])
def test_resized_crop(images, width, height):
    views = warp(images, SMALL, [boxes(0, 6, width, height)])
    expected = [TF.resized_crop(i, 6, 0, height, width, [SMALL, SMALL], antialias=False) for i in images]
    # At its edge torchvision repeats the crop's outermost pixels, the warp sees their neighbours.
    assert difference(views, expected, margin=2) < 0.01


@pytest.mark.parametrize("kind, tolerance", [("smooth", 0.5), ("real", 0.5)])
def test_a_resized_crop_that_shrinks_is_near_torchvisions_with_its_low_pass(kind, tolerance):
    images = batch_of(kind)
    views = warp(images, 84, [boxes(0, 0, SIDE, SIDE)])  # by 224 / 256, the most that a store of 256 needs
    expected = [TF.resized_crop(i, 0, 0, SIDE, SIDE, [84, 84], antialias=True) for i in images]
    assert difference(views, expected, margin=2) < tolerance


def test_several_steps_in_one_warp_are_the_steps_one_by_one(images):
    crop, mirrored = boxes(20, 12, SMALL, SMALL), np.array([True, False] * 3)
    before = warp(images, SMALL, [Turn(DEGREES), crop, Flip(mirrored)])
    after = warp(images, SMALL, [crop, Flip(mirrored), Turn(DEGREES)])
    flipped = warp(images, SMALL, [Flip(mirrored), Turn(DEGREES), crop])
    expected = {"before": [], "after": [], "flipped": []}
    for image, degrees, mirror in zip(images, DEGREES.tolist(), mirrored, strict=True):
        flip = TF.hflip if mirror else lambda x: x
        turned = TF.rotate(image, degrees, interpolation=BILINEAR)
        expected["before"].append(flip(TF.crop(turned, 12, 20, SMALL, SMALL)))
        small = flip(TF.crop(image, 12, 20, SMALL, SMALL))
        expected["after"].append(TF.rotate(small, degrees, interpolation=BILINEAR))
        turned = TF.rotate(flip(image), degrees, interpolation=BILINEAR)
        expected["flipped"].append(TF.crop(turned, 12, 20, SMALL, SMALL))
    for name, views in {"before": before, "after": after, "flipped": flipped}.items():
        assert difference(views, expected[name], margin=14) < 0.01, name


def test_two_turns_are_one_and_a_turn_before_a_resize_is_taken_first():
    images = batch_of("smooth")
    twice = warp(images, SIDE, [Turn(DEGREES), Turn(DEGREES), WHOLE])
    torch.testing.assert_close(twice, warp(images, SIDE, [Turn(2 * DEGREES), WHOLE]), atol=0.05, rtol=0)
    views = warp(images, SMALL, [Turn(DEGREES), boxes(30, 20, 40, 50)])
    turned = [TF.rotate(i, d, interpolation=BILINEAR) for i, d in zip(images, DEGREES.tolist(), strict=True)]
    expected = [TF.resized_crop(t, 20, 30, 50, 40, [SMALL, SMALL], antialias=False) for t in turned]
    assert difference(views, expected, margin=2) < 0.3  # torchvision samples twice


def test_jitter(images):
    brightness, contrast, first = draw_factors(
        Jitter(brightness=0.4, contrast=0.4), 6, np.random.default_rng(5)
    )
    assert first.any() and not first.all()
    views = jitter(images, brightness, contrast, first)
    expected = []
    for image, b, c, brightness_first in zip(images / 255, brightness, contrast, first, strict=True):
        if brightness_first:
            expected.append(255 * TF.adjust_contrast(TF.adjust_brightness(image, b), c))
        else:
            expected.append(255 * TF.adjust_brightness(TF.adjust_contrast(image, c), b))
    assert difference(views, expected) < 0.01


def test_blur(images):
    deviations, largest = draw_deviations(Blur(sigma=[0.1, 2.0], p=0.5), 6, 224, np.random.default_rng(5))
    assert largest == 2.0 and 0 < (deviations > 0.1).sum() < 6
    views = blur(images, deviations, largest)
    expected = [
        TF.gaussian_blur(image, [13, 13], [float(sigma)] * 2) if sigma > 0.1 else image
        for image, sigma in zip(images, deviations, strict=True)
    ]
    assert difference(views, expected) < 0.01


def test_factors_and_deviations_lie_in_their_bounds():
    random = np.random.default_rng(0)
    brightness, contrast, first = draw_factors(Jitter(brightness=0.2, contrast=0.6, p=0.8), 4000, random)
    assert 0.8 <= brightness.min() < 0.81 and 1.19 < brightness.max() <= 1.2001
    assert 0.4 <= contrast.min() < 0.41 and 1.59 < contrast.max() <= 1.6001
    assert abs((brightness == 1).mean() - 0.2) < 0.03 and abs(first.mean() - 0.5) < 0.03
    deviations, _ = draw_deviations(Blur(sigma=[0.5, 2.0], p=0.5), 4000, 112, random)
    blurred = deviations[deviations > 0.01]
    assert abs(len(blurred) / 4000 - 0.5) < 0.03
    assert 0.25 <= blurred.min() < 0.26 and 0.99 < blurred.max() <= 1


def test_resized_crops_lie_in_the_image_and_cover_the_stated_shares():
    box = draw_resized_crop((0.2, 1.0), 4000, 64, 64, np.random.default_rng(0))
    assert (box.left >= 0).all() and (box.top >= 0).all()
    assert (box.left + box.width <= 64).all() and (box.top + box.height <= 64).all()
    share, ratio = box.width * box.height / 64**2, box.width / box.height
    assert share.min() > 0.19 and share.max() <= 1 and 0.5 < share.mean() < 0.62
    assert ratio.min() > 0.72 and ratio.max() < 1.38
    small = draw_resized_crop((0.05, 0.1), 4000, 64, 64, np.random.default_rng(0))
    share = small.width * small.height / 64**2
    assert share.min() > 0.045 and share.max() < 0.11


def test_random_crops_reach_every_place_and_turns_every_angle():
    listed = [Operation(rotate=15), Operation(crop="random")]
    turn, box = draw_geometry(listed, 4000, 40, 36, 32, np.random.default_rng(0))
    assert set(box.left) == set(range(5)) and set(box.top) == set(range(9))
    assert -15 <= turn.degrees.min() < -14.9 and 14.9 < turn.degrees.max() <= 15
