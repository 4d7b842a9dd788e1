"""What was made fast against the plain way: warps in parts, narrow blurs, network input of any batch."""

import numpy as np
import pytest
import torch
from made_up_settings import NETWORK

from moco_transfer.augment import IN_CACHE, Box, Deviations, Flip, Rotation, blur, warp
from moco_transfer.training.images import View

SIDE, SIZE = 40, 32


def made_up_images(n, channels=1):
    values = np.random.default_rng(0).integers(0, 256, (n, channels, SIDE, SIDE), dtype=np.uint8)
    return torch.from_numpy(values)


@pytest.mark.parametrize("n", [1, IN_CACHE, 2 * IN_CACHE + 1])
def test_each_image_of_a_batch_is_warped_as_it_is_alone(n):
    random, images = np.random.default_rng(1), made_up_images(n)
    degrees, mirrored = random.uniform(-20, 20, n), random.random(n) < 0.5
    left, top = random.integers(0, SIDE - SIZE + 1, (2, n)).astype(float)
    side = np.full(n, float(SIZE))

    def steps(rows):
        box = Box(left[rows], top[rows], side[rows], side[rows])
        return [Rotation(degrees[rows]), box, Flip(mirrored[rows])]

    together = warp(images, SIZE, steps(slice(None)))
    alone = [warp(images[i : i + 1], SIZE, steps(slice(i, i + 1))) for i in range(n)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-3, rtol=0)


def test_a_narrow_blur_is_the_convolution_with_the_whole_kernel():
    images, deviations = made_up_images(3).float(), np.array([0.25, 0.3, 0.5])
    views = blur(images, Deviations(deviations, largest=2.0)).numpy()[:, 0]
    offsets = np.arange(-6, 7)
    for image, view, deviation in zip(images.numpy()[:, 0], views, deviations, strict=True):
        kernel = np.exp(-0.5 * (offsets / deviation) ** 2)
        kernel /= kernel.sum()
        padded = np.pad(image.astype(float), 6, mode="reflect")
        across = np.apply_along_axis(np.convolve, 1, padded, kernel, "valid")
        expected = np.apply_along_axis(np.convolve, 0, across, kernel, "valid")
        np.testing.assert_allclose(view, expected, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_network_input_is_normalised_by_channel_and_lies_channels_last(channels, kind):
    images = made_up_images(5, channels).to(kind)
    before = images.clone()
    network = NETWORK.model_copy(update={"size": SIDE})
    found = View(SIDE, network).prepare(images)
    mean, deviation = (np.reshape(values, (3, 1, 1)) for values in (network.mean, network.std))
    np.testing.assert_allclose(found, (images.double().numpy() / 255 - mean) / deviation, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)
