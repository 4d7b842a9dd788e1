"""The picture of augmentations: eight images, and six views of each by every preset and list of the configuration."""

import numpy as np
import torch

from moco_transfer.augment import augment
from moco_transfer.config.augmentation import operations_of
from moco_transfer.plotting.augmentations import IMAGES, VIEWS, draw_augmentations, drawn_card
from moco_transfer.report import style
from moco_transfer.seeds import stream


def example_images(path: str, seed: int, dataset: str) -> np.ndarray:
    images = np.load(path, mmap_mode="r")
    rows = stream(seed, "augmentation examples", dataset).permutation(len(images))[:IMAGES]
    return images[np.sort(rows)]


def views_of(images: np.ndarray, augmentation: list, params, name: str) -> np.ndarray:
    repeated = torch.from_numpy(np.repeat(images, VIEWS, axis=0)[:, None])
    random = stream(params.seed, "augmentation views", name)
    views = augment(repeated, operations_of(augmentation), params.input_size, random)
    shape = (len(images), VIEWS, params.input_size, params.input_size)
    return views.round().clamp(0, 255).byte().numpy().reshape(shape)


def main(inputs, outputs, params) -> None:
    torch.set_num_threads(1)
    if params.dataset:
        images = example_images(inputs.images[0], params.seed, params.dataset)
        whose = style.dataset_label(params.dataset, params.titles)
    else:
        # images are no input where no dataset is shareable: nothing here could show them
        images = np.stack([drawn_card(params.card_side)] * IMAGES)
        whose = "a drawn test card, as no dataset of grey images is shareable"
    figure = draw_augmentations(
        images,
        {name: views_of(images, listed, params, name) for name, listed in params.augmentations.items()},
        f"Images: {whose}, {images.shape[2]} x {images.shape[1]} pixels; "
        f"views: {params.input_size} x {params.input_size} pixels",
        params.note,
    )
    style.save(figure, outputs.pdf, outputs.svg, outputs.png)


main(snakemake.input, snakemake.output, snakemake.params)
