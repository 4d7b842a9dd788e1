"""Made-up predictions of one model, and what a model card says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from made_up_settings import NETWORK

from moco_transfer.config.datasets import Store
from moco_transfer.config.encoders import About, Made
from moco_transfer.report.model_card import ModelCard
from moco_transfer.statistics.predictions import Scored
from moco_transfer.statistics.scorecard import ClassResult, average_result, class_results

PERCENTILES = [5, 95]


def scored(
    images: int, classes: Sequence[str] = ("effusion", "edema"), split: str = "test", positive: float = 0.3
) -> Scored:
    """Return predictions of ``images`` images, three a patient, that know something; some labels are masked."""
    random = np.random.default_rng([images, len(classes), len(split)])
    labels = (random.random((images, len(classes))) < positive).astype(np.float32)
    logits = (random.normal(size=labels.shape) + 1.5 * labels - 1).astype(np.float32)
    labels[random.random(labels.shape) < 0.1] = np.nan
    numbers = np.arange(images)
    return Scored(
        images=np.array([f"{split}{number}" for number in numbers]),
        patients=np.array([f"{split}{number // 3}" for number in numbers]),
        classes=tuple(classes),
        labels=labels,
        scores=logits,
    )


def results(
    images: int, classes: Sequence[str] = ("effusion", "edema"), unit: str = "image", **how: Any
) -> list[ClassResult]:
    """Return the results of a model on ``images`` validation and test images."""
    validation, test = (scored(images, classes, split, **how) for split in ("validation", "test"))
    return class_results(validation, test, unit, PERCENTILES)


def model_card(
    images: int = 300,
    classes: Sequence[str] = ("effusion", "edema"),
    source: str = "chest",
    mode: str = "end_to_end",
    unit: str = "image",
    advised: bool = True,
    shareable: bool = True,
    phantom: bool = False,
    way: dict[str, Any] | None = None,
    **how: Any,
) -> ModelCard:
    """Return the card of a model of the target spine whose MoCo saw chest images."""
    validation, test = (scored(images, classes, split, **how) for split in ("validation", "test"))
    found = class_results(validation, test, unit, PERCENTILES)
    counts = pd.DataFrame({"images": [600, images, images], "patients": [200, images // 3, images // 3]})
    counts.index = pd.Index(["train", "validation", "test"], name="split")
    datasets = {
        name: {"phantom": phantom, "shareable": shareable or name == "natural"}
        for name in ("spine", "chest", "natural")
    }
    made = Made(run="test", target="spine", source=source, mode=mode, percent="10", subset=1, epochs=50)
    return ModelCard(
        about=About(
            network=NETWORK,
            crop=48,
            store=Store(size=56, fit="pad"),
            classes=list(classes),
            thresholds=[each.threshold for each in found],
            made=made,
        ),
        way={"validation_auroc": 0.7321, "auroc": 0.7654, "n_subsets": 3} | (way or {}),
        ways=8,
        results=found,
        average=average_result(test, unit, PERCENTILES, "weighted"),
        decisions=None,
        labelled=test.labels[:60],
        validation=validation.labels,
        test=test.labels,
        images=dict.fromkeys(datasets, counts),
        facts={
            "advised": advised,
            "uncertain": "zero",
            "split": {"unit": "patient", "folds": 1},
            "seed": 1,
            "sources": {"none": [], "chest": ["chest"]},
            "encoders": {
                "initial": {
                    "name": "densenet_small",
                    "weights": "trained here on the classes of natural",
                    "classes_of": "natural",
                    "others": False,
                },
                "lite0": {
                    "name": "efficientnet_lite0",
                    "weights": "lite0.pth",
                    "classes_of": None,
                    "others": True,
                },
            },
            "moco": {"queue": 1024},
            "pretraining": {"images": "train"},
            "schedules": {"chest": {"epochs": 123}, "spine": {"epochs": 45}},
            "recipe": "paper",
            "finetune": {
                "linear": {"epochs": 50, "views": 1},
                "augment": "chexclusion",
                "checkpoint": "last",
            },
            "optimizer": {"name": "adam", "batch": 16, "lr": 0.001, "momentum": None, "weight_decay": 0.0},
            "evaluation": {"average": "weighted", "percentiles": PERCENTILES, "unit": unit},
            "datasets": datasets,
        },
        titles={"spine": "A & B <spines>", "chest": "Chests", "natural": "Objects"},
        versions={"torch": "9.9"},
    )
