"""Jitter, grayscale and blur against torchvision on grey and colour images; what is drawn, and that grey draws stay.

Tolerances are largest differences on the scale of 0 to 255. torchvision's weights of grey, 0.2989, 0.587 and 0.114, do not
add up to 1, which makes up to 0.03; a contrast or saturation of up to twice doubles it.
"""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from moco_transfer.augment import augment, draw_view
from moco_transfer.config.augmentation import PRESETS, Blur, Jitter, operations_of
from moco_transfer.intensities import (
    Deviations,
    Factors,
    Greyed,
    blur,
    draw_deviations,
    draw_factors,
    draw_greyed,
    grayscale,
    jitter,
    luminance,
)

ADJUST = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
SIDE = 48
ALL = Jitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8)
TOLERANCE = 0.1


@pytest.fixture(params=[1, 3], ids=["grey", "colour"])
def images(request):
    """24 images, float32 from 0 to 255: noise, smooth ones, and for colour also pure colours, black and white."""
    generator, channels = torch.Generator().manual_seed(0), request.param
    noise = torch.rand(8, channels, SIDE, SIDE, generator=generator)
    coarse = torch.rand(8, channels, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1)
    pure = (torch.rand(8, channels, 4, 4, generator=generator) < 0.5).float()
    pure = torch.nn.functional.interpolate(pure, size=(SIDE, SIDE), mode="nearest")
    return 255 * torch.cat([noise, smooth, pure])


def by_torchvision(images, factors):
    """Return ``images`` changed one by one by torchvision, in the order that was drawn for each."""
    changed = []
    for image, values, order in zip(images / 255, factors.values.tolist(), factors.order, strict=True):
        for change in order:
            image = ADJUST[change](image, values[change])
        changed.append(255 * image)
    return torch.stack(changed)


def assert_close(found, expected, atol=TOLERANCE):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("change", range(4), ids=["brightness", "contrast", "saturation", "hue"])
def test_each_change_alone(images, change):
    if change > 1 and images.shape[1] == 1:
        pytest.skip("not for grey images")
    values = np.tile(np.float32([1, 1, 1, 0]), (24, 1))
    bounds = (-0.5, 0.5) if change == 3 else (0, 2)
    values[:, change] = np.linspace(*bounds, 24)
    factors = Factors(values, np.full((24, 1), change))
    found = jitter(images, factors)
    assert_close(found, by_torchvision(images, factors))
    assert (found - images).abs().amax(dim=(1, 2, 3)).max() > 10


def test_all_changes_in_the_order_of_each_image(images):
    factors = draw_factors(ALL, 24, images.shape[1], np.random.default_rng(5))
    assert factors.order.shape == (24, 4 if images.shape[1] == 3 else 2)
    assert len(np.unique(factors.order, axis=0)) > (12 if images.shape[1] == 3 else 1)
    before = images.clone()
    # Clamped colours that lie close to each other have another hue after the least difference.
    difference = (jitter(images, factors) - by_torchvision(images, factors)).abs()
    assert difference.mean() < 0.02 and difference.max() < 0.5
    assert torch.equal(images, before)


def test_grayscale_of_some_images():
    colour = 255 * torch.rand(24, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    greyed = draw_greyed(0.4, 24, np.random.default_rng(0))
    assert 0 < greyed.greyed.sum() < 24
    expected = torch.stack(
        [
            TF.rgb_to_grayscale(image, 3) if chosen else image
            for image, chosen in zip(colour, greyed.greyed, strict=True)
        ]
    )
    assert_close(grayscale(colour, greyed), expected)
    assert_close(luminance(colour.byte()), TF.rgb_to_grayscale(colour.byte().float()))
    share = draw_greyed(0.2, 4000, np.random.default_rng(0)).greyed.mean()
    assert abs(share - 0.2) < 0.03


def test_blur(images):
    blurs = draw_deviations(Blur(sigma=[0.1, 2.0], p=0.5), 24, 224, np.random.default_rng(5))
    assert blurs.largest == 2.0 and 0 < (blurs.deviations > 0.1).sum() < 24
    expected = [
        TF.gaussian_blur(image, [13, 13], [float(sigma)] * 2) if sigma > 0.1 else image
        for image, sigma in zip(images, blurs.deviations, strict=True)
    ]
    assert_close(blur(images, blurs), torch.stack(expected), atol=0.01)


def test_grey_in_three_channels_stays_grey_and_as_bright_as_in_one(images):
    """This is what grey images of a mixed source go through; saturation, hue and grayscale have no effect."""
    grey = luminance(images)
    factors = draw_factors(ALL, 24, 3, np.random.default_rng(7))
    orders = np.stack([order[order < 2] for order in factors.order])
    found = jitter(grey.expand(-1, 3, -1, -1), factors)
    found = grayscale(found, Greyed(np.ones(24, bool)))
    assert_close(found, jitter(grey, factors._replace(order=orders)).expand(-1, 3, -1, -1), 0.01)


def test_factors_and_deviations_stay_within_their_bounds():
    random = np.random.default_rng(0)
    settings = Jitter(brightness=0.2, contrast=0.6, saturation=1, hue=0.5, p=0.8)
    factors = draw_factors(settings, 4000, 3, random)
    for values, neutral, spread in zip(factors.values.T, [1, 1, 1, 0], [0.2, 0.6, 1, 0.5], strict=True):
        assert neutral - spread <= values.min() + 1e-6 and values.min() < neutral - 0.98 * spread
        assert neutral + 0.98 * spread < values.max() <= neutral + spread + 1e-6
        assert abs((values == neutral).mean() - 0.2) < 0.03
    _, counts = np.unique(factors.order, axis=0, return_counts=True)
    assert len(counts) == 24 and counts.min() > 0.7 * 4000 / 24
    deviations = draw_deviations(Blur(sigma=[0.5, 2.0], p=0.5), 4000, 112, random).deviations
    blurred = deviations[deviations > 0.01]
    assert abs(len(blurred) / 4000 - 0.5) < 0.03
    assert 0.25 <= blurred.min() < 0.26 and 0.99 < blurred.max() <= 1


def test_what_grey_images_draw_never_changes():
    """The stream of a run from before colours existed, replayed: MoCo v2 without saturation, hue and grayscale."""
    n, size, side = 300, 32, 40
    random, replayed = np.random.default_rng(3), np.random.default_rng(3)
    view = draw_view(PRESETS["moco_v2"], (n, 1, side, side), size, random)
    mirrored = replayed.random(n) < 0.5
    replayed.uniform(0.2, 1, (n, 10))  # the resized crop
    replayed.uniform(np.log(3 / 4), np.log(4 / 3), (n, 10))
    replayed.random(n), replayed.random(n)
    changed = replayed.random(n) < 0.8
    values = np.where(changed[:, None], replayed.uniform(0.6, 1.4, (n, 2)), 1)
    brightness_first = replayed.random(n) < 0.5
    blurred = replayed.random(n) < 0.5
    deviations = np.where(blurred, replayed.uniform(0.1, 2, n), 0) * (size / 224)

    crop, flip = view.steps
    assert (flip.mirrored == mirrored).all() and len(crop.left) == n
    factors, blurs = view.intensities
    np.testing.assert_array_equal(factors.values, np.c_[values, np.ones(n), np.zeros(n)].astype(np.float32))
    np.testing.assert_array_equal(factors.order, np.where(brightness_first[:, None], [0, 1], [1, 0]))
    assert isinstance(blurs, Deviations)
    np.testing.assert_array_equal(blurs.deviations, np.maximum(deviations, 1e-3))
    assert random.integers(2**62) == replayed.integers(2**62)


def test_lists_for_colour_give_grey_images_the_bytes_of_lists_without():
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (16, 1, SIDE, SIDE), dtype=np.uint8))
    plain, blurred = {"brightness": 0.3, "contrast": 0.2, "p": 0.9}, {"blur": {"sigma": [0.5, 2]}}
    without = [{"rotate": 5}, {"crop": "random"}, {"jitter": plain}, blurred]
    colours = {"saturation": 0.5, "hue": 0.5}
    for_colour = [*without[:2], {"grayscale": 0.5}, {"jitter": plain | colours}, {"grayscale": 1}, blurred]
    one, other = (
        augment(images, operations_of(listed), 32, np.random.default_rng(4))
        for listed in (without, for_colour)
    )
    assert torch.equal(one, other)
