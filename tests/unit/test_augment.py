"""The batched augmentations against torchvision's transforms of one image, at the same parameters."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as TF

from moco_transfer.augment import augment, blur, random_resized_crop, warp


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 1, 8, 8, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, size=(40, 40), mode="bicubic").clamp(0, 255)


def whole(n, size):
    return np.zeros(n), np.zeros(n), np.full(n, float(size)), np.full(n, float(size))


def test_crop_and_flip_are_exact(images):
    left, top = np.array([0, 3, 8, 1, 2, 5]), np.array([8, 0, 4, 2, 7, 1])
    flip = np.array([True, False] * 3)
    out = warp(images, 32, left, top, np.full(6, 32.0), np.full(6, 32.0), np.zeros(6), flip)
    for i in range(6):
        expected = TF.crop(images[i], int(top[i]), int(left[i]), 32, 32)
        expected = TF.hflip(expected) if flip[i] else expected
        torch.testing.assert_close(out[i], expected, atol=1e-2, rtol=0)


def test_rotation_equals_torchvisions(images):
    degrees = np.array([-10.0, 10.0, 3.3, 0.0, 7.0, -1.0])
    out = warp(images, 40, *whole(6, 40), degrees, np.zeros(6, bool))
    for i in range(6):
        expected = TF.rotate(images[i], float(degrees[i]), interpolation=TF.InterpolationMode.BILINEAR)
        # torchvision blends a black border in by a mask, this warp by zero padding: the outermost pixels differ.
        assert (out[i] - expected)[:, 8:-8, 8:-8].abs().mean() < 0.05


def test_resized_crop_equals_torchvisions_enlargement(images):
    out = warp(
        images[:1],
        40,
        np.array([4.0]),
        np.array([6.0]),
        np.array([20.0]),
        np.array([16.0]),
        np.zeros(1),
        np.zeros(1, bool),
    )
    expected = TF.resized_crop(images[0], 6, 4, 16, 20, [40, 40], antialias=False)
    # Inside; at the edge torchvision repeats the crop's outermost pixels, the warp sees their neighbours.
    assert (out[0] - expected)[:, 3:-3, 3:-3].abs().max() < 0.05


def test_blur_equals_torchvisions(images):
    random = np.random.default_rng(5)
    applied, sigma = np.random.default_rng(5).random(6) < 0.5, None
    replay = np.random.default_rng(5)
    replay.random(6)
    sigma = replay.uniform(0.1, 2.0, 6) * 40 / 224
    out = blur(images, random)
    assert applied.any() and not applied.all()
    for i in range(6):
        expected = TF.gaussian_blur(images[i], [5, 5], [float(sigma[i])] * 2) if applied[i] else images[i]
        assert (out[i] - expected).abs().mean() < 0.05


def test_boxes_lie_in_the_image_and_cover_the_stated_shares():
    left, top, width, height = random_resized_crop(4000, 64, 64, np.random.default_rng(0))
    assert (
        (left >= 0).all() and (top >= 0).all() and (left + width <= 64).all() and (top + height <= 64).all()
    )
    share = width * height / 64**2
    assert share.min() > 0.19 and share.max() <= 1 and 0.5 < share.mean() < 0.62
    ratio = width / height
    assert ratio.min() > 0.72 and ratio.max() < 1.38


@pytest.mark.parametrize("preset", ["moco_cxr", "moco_v2", "chexclusion"])
def test_views_depend_on_the_stream_alone_and_differ_between_images(images, preset):
    one, again, other = (augment(images, preset, 32, np.random.default_rng(s)) for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.shape == (6, 1, 32, 32) and one.min() >= 0 and one.max() < 255.01
    alike = augment(images[:1].expand(6, -1, -1, -1), preset, 32, np.random.default_rng(1))
    assert not torch.allclose(alike[0], alike[1])
