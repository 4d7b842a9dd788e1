"""Use a finetuned model from Python: the network, and what turns an image into its input.

from moco_transfer import load_model

model, transform = load_model("results/demo/models/spine/10pct/model.safetensors")
logits = model(transform("image.dcm")[None])
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from moco_transfer.config.encoders import About
from moco_transfer.data.decode import Decoded, decode, fit
from moco_transfer.model import Classifier, load_classifier
from moco_transfer.training.images import View, channels_first

if TYPE_CHECKING:
    from PIL import Image


class Transform:
    """How an image becomes the input of a model, float32 [channels, size, size]: exactly as in its training.

    The image is fitted to the square that the training stored, its middle is cut out, resized to the network's input and
    normalised. ``about`` says how.
    """

    def __init__(self, about: About) -> None:
        self.about = about
        self.view = View(about.crop, about.network)

    def __call__(self, image: str | os.PathLike | np.ndarray | Image.Image) -> Tensor:
        """Return network input of one image: the path of a DICOM, JPEG or PNG, or the upright pixels.

        Pixels are a uint8 array [h, w] or [h, w, 3], or a Pillow image of mode L or RGB. A path is better: it also gets what
        training did to files (windows of a DICOM, inverted and 16-bit grey, rotation, transparency).

        Raises UnreadableImage if the file is missing or damaged, and ValueError for other pixels.
        """
        return self.view.of(channels_first(torch.from_numpy(self.stored(image)[None].copy())))[0]

    def stored(self, image: str | os.PathLike | np.ndarray | Image.Image) -> np.ndarray:
        """Return the square that the training stored of an image: uint8 [size, size], or [size, size, 3] in colour."""
        store = self.about.store
        if isinstance(image, str | os.PathLike):
            decoded = decode(Path(image), store.max_pixels, store.size)
        else:
            decoded = _given(image)
        return fit(decoded, store.size, store.fit, store.colour)


def _given(image: np.ndarray | Image.Image) -> Decoded:
    pixels, mode = np.asarray(image), getattr(image, "mode", "array")
    channels = pixels.shape[2:]
    if (
        pixels.dtype != np.uint8
        or pixels.ndim < 2
        or channels not in ((), (3,))
        or mode not in ("array", "L", "RGB")
    ):
        raise ValueError(
            f"expected uint8 [h, w] or [h, w, 3], or a Pillow image of mode L or RGB; found {pixels.dtype} "
            f"{list(pixels.shape)}, mode {mode}; give the path of the file"
        )
    return Decoded(pixels, *pixels.shape[:2])


def load_model(path: str | os.PathLike) -> tuple[Classifier, Transform]:
    """Return a finetuned model and the transform of its images.

    The model is a ``torch.nn.Module`` in evaluation mode on the CPU, from network input [n, channels, size, size] to
    logits [n, classes], whose sigmoid is the probability of the class. ``transform(image)`` returns the input of one image, and ``transform.about.classes`` the names.

    Raises UserError if ``path`` is missing, damaged, or not a finetuned model.
    """
    model, about = load_classifier(Path(path))
    return model, Transform(about)
