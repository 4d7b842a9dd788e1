"""What augmentations do: eight images, and six views of each by every preset and by the run's own lists."""

import json
from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from moco_transfer.augment import augment
from moco_transfer.config.augmentation import operations_of
from moco_transfer.errors import in_one_line
from moco_transfer.files import map_array
from moco_transfer.report import style
from moco_transfer.report.lettering import fitted
from moco_transfer.report.names import dataset_label
from moco_transfer.seeds import stream
from moco_transfer.training.images import channels_first

IMAGES, VIEWS = 8, 6
GAP = 0.06
"""Width of the lines between views, as a share of a view's side."""


def draw(
    images: NDArray[np.uint8], views: Mapping[str, NDArray[np.uint8]], shown: str, note: str = ""
) -> Figure:
    """Return a column of ``images``, and one panel per augmentation with their views, one row per image.

    ``images`` are [IMAGES, h, w] or, in colour, [IMAGES, h, w, 3]; ``views`` maps the name of an augmentation to
    [IMAGES, VIEWS, size, size(, 3)]. ``shown``, which says what the images are, is written below the panels, ``note`` on
    the figure.
    """
    pictures = [mosaic(images[:, None]), *map(mosaic, views.values())]
    columns = [1, *(tiles.shape[1] for tiles in views.values())]
    tile = style.TWO_COLUMNS / (sum(columns) + 0.7)
    figure = style.new_figure(style.TWO_COLUMNS, len(images) * tile + 0.65, note, [shown])
    axes = figure.subplots(1, len(columns), width_ratios=columns)
    for ax, picture, count in zip(axes, pictures, columns, strict=True):
        # The extent is in views, so that a stored image appears as large as a view of it.
        ax.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=(0, count, 0, len(images)))
        ax.axis("off")
    axes[0].set_title("Image", loc="left", fontsize=7)
    style.label_panels(axes[1:], views)
    shown = fitted(shown, 0.98 * style.TWO_COLUMNS, 7)
    style.grow(figure, shown.count("\n"), 7)
    figure.supxlabel(shown, fontsize=7)
    return figure


def mosaic(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one picture of ``tiles``, uint8 [rows, columns, h, w(, 3)], with white lines between them."""
    rows, columns, height, width, *colour = tiles.shape
    gap = max(1, round(GAP * width))
    picture = np.full((rows, height + gap, columns, width + gap, *colour), 255, np.uint8)
    picture[:, :height, :, :width] = tiles.swapaxes(1, 2)
    return picture.reshape(rows * (height + gap), columns * (width + gap), *colour)


def drawn_card(side: int, colour: bool = False) -> NDArray[np.uint8]:
    """Return a drawn picture, uint8 [side, side] or, in ``colour``, [side, side, 3], for runs whose images must not be shown.

    It has what augmentations change: a ramp of grey levels or hues, coarse and fine stripes, and a hook that tells
    left from right.
    """
    down, across = np.mgrid[:side, :side] / side
    card = 60 + 120 * across
    card = np.where(down < 0.25, np.where(np.sin(80 * across**2) > 0, 200, 40), card)
    ring = np.abs(np.hypot(across - 0.5, down - 0.62) - 0.3) < 0.02
    stem = (np.abs(across - 0.42) < 0.03) & (np.abs(down - 0.62) < 0.18)
    bar = (np.abs(down - 0.47) < 0.03) & (across > 0.42) & (across < 0.62)
    card = np.where(ring | stem | bar, 240, card).astype(np.uint8)
    if not colour:
        return card
    tints = 0.5 + 0.5 * np.cos(2 * np.pi * (across[..., None] - np.arange(3) / 3))
    return (card[..., None] * (0.4 + 0.6 * tints)).astype(np.uint8)


def views_of(images: NDArray[np.uint8], augmentation: list, params, name: str) -> NDArray[np.uint8]:
    repeated = channels_first(torch.from_numpy(np.repeat(images, VIEWS, axis=0)))
    random = stream(params.seed, "augmentation views", name)
    views = augment(repeated, operations_of(augmentation), params.crop, random)
    views = views.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return views.reshape(len(images), VIEWS, params.crop, params.crop, *images.shape[3:])


def main(inputs, outputs, params) -> None:
    torch.set_num_threads(1)
    if params.dataset:
        images = map_array(inputs.images[0])
        random = stream(params.seed, "augmentation examples", params.dataset)
        images = images[np.sort(random.permutation(len(images))[:IMAGES])]
        whose = dataset_label(params.dataset, json.loads(params.titles))
    else:
        images = np.stack([drawn_card(params.card_side, params.card_colour)] * IMAGES)
        whose = "a drawn test card, as no dataset is shareable"
    views = {name: views_of(images, listed, params, name) for name, listed in params.augmentations.items()}
    height, width = images.shape[1:3]
    shown = f"Images: {whose}, {width} x {height} pixels; views: {params.crop} x {params.crop} pixels"
    style.save(draw(images, views, shown, params.note), *outputs)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
