"""How large the parts are on a GPU, and on the CPU where only the parts themselves are tested; the paper's settings at both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moco_transfer.config import Precision, stages
from moco_transfer.config.composition import read_config
from moco_transfer.config.encoders import IMAGENET_MEAN, IMAGENET_STD, Network
from moco_transfer.config.experiment import Config

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


@dataclass(frozen=True)
class Scale:
    """Sizes of images (in pixels), numbers of images and steps.

    Attributes
    ----------
    network, stored, crop : of the speed, as in the paper
    checked : the side of the images in the other parts, smaller to save time
    copies : how often the speed's dataset holds each image; it fills the paper's queue of keys
    moco, end_to_end : the measured batches
    precisions : of the speed; the first is the one that the paper's configuration uses on such a device
    repeats : of each measurement; the fastest counts
    warm, timed, profiled : steps in each window of a measurement
    """

    network: str
    stored: int
    crop: int
    checked: int
    images: int
    copies: int
    moco: tuple[int, ...]
    end_to_end: tuple[int, ...]
    precisions: tuple[Precision, ...]
    repeats: int
    warm: int
    timed: int
    profiled: int

    def encoder(self, size: int) -> Network:
        """Return the network for images of ``size`` pixels."""
        return Network(name=self.network, channels=3, size=size, mean=IMAGENET_MEAN, std=IMAGENET_STD)


FULL = Scale(
    network="densenet121.tv_in1k",
    stored=256,
    crop=224,
    checked=112,
    images=256,
    copies=96,
    moco=(64, 256),
    end_to_end=(16, 48),
    precisions=("bfloat16", "float32"),
    repeats=2,
    warm=6,
    timed=16,
    profiled=3,
)
SMALL = Scale(
    network="densenet_small",
    stored=48,
    crop=40,
    checked=32,
    images=80,
    copies=2,
    moco=(8, 16),
    end_to_end=(8, 12),
    precisions=("float32",),
    repeats=1,
    warm=1,
    timed=3,
    profiled=1,
)


def scale_of(device: str) -> Scale:
    """Return the sizes for ``device``."""
    return FULL if device == "cuda" else SMALL


def paper() -> Config:
    """Return the configuration of the paper's experiment."""
    return read_config([])


def moco_settings(
    scale: Scale,
    batch: int,
    precision: Precision,
    epochs: int = 1,
    crop: int | None = None,
    compiled: bool = False,
    groups: int | None = None,
) -> stages.Pretrain:
    """Return the paper's settings of MoCo, unless ``groups`` is given with groups of 32 images or, in small batches, two."""
    config = paper()
    schedule = config.schedule("chest").model_copy(
        update={"epochs": epochs, "batch": batch, "bn_groups": groups or max(2, batch // 32)}
    )
    return stages.Pretrain(
        crop=crop or scale.crop,
        moco=config.moco,
        schedule=schedule,
        match="epochs",
        datasets=[stages.LabelledDataset(name="chest", uncertain="zero")],
        images="train",
        probe=None,
        computing=stages.Computing(precision=precision, compile=compiled),
        seed=1,
        stream=["gpu"],
    )


def end_to_end_settings(
    scale: Scale, precision: Precision, epochs: int, compiled: bool = False
) -> stages.EndToEnd:
    """Return the paper's settings of finetuning on chest, with augmentation and the best epoch, which take the longest way."""
    return stages.EndToEnd(
        uncertain="zero",
        optimizer=paper().finetune.optimizer("chest").model_copy(update={"batch": 16}),
        checkpoint="best",
        average="weighted",
        seed=1,
        stream=["gpu"],
        crop=scale.checked,
        budgets=[epochs],
        longer_by=None,
        augment="chexclusion",
        computing=stages.Computing(precision=precision, compile=compiled),
    )


@dataclass(frozen=True)
class Files:
    """The files that the part ``images`` writes into the folder ``work``."""

    work: Path

    @property
    def release(self) -> Path:
        """JPEG files in the layout of MIMIC-CXR-JPG."""
        return self.work / "release"

    @property
    def store(self) -> Path:
        """The images, squares of ``Scale.stored`` pixels, with their index."""
        return self.work / "store"

    @property
    def images(self) -> Path:
        return self.store / "images.npy"

    @property
    def one_class(self) -> Path:
        """The same images, each with exactly one of three classes."""
        return self.work / "one_class"

    @property
    def splits(self) -> Path:
        return self.work / "splits.parquet"

    @property
    def subset(self) -> Path:
        return self.work / "subset.parquet"

    def encoder(self, size: int) -> Path:
        """An encoder with random weights for images of ``size`` pixels."""
        return self.work / f"encoder{size}.safetensors"
