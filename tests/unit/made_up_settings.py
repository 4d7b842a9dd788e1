"""Small settings of the stages that train. A test names only what it changes."""

from __future__ import annotations

from typing import Any, TypeVar

from moco_transfer.config import Section, stages
from moco_transfer.config.encoders import Network
from moco_transfer.config.training import Moco, Optimizer, Schedule

Settings = TypeVar("Settings", bound=Section)

NETWORK = Network(
    name="densenet_small", channels=3, size=32, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
)
COMPUTING = stages.Computing(precision="float32", compile=False)
OPTIMIZERS = {
    "sgd": Optimizer(batch=8, lr=0.05, name="sgd", momentum=0.9, weight_decay=1e-2),
    "adam": Optimizer(batch=8, lr=0.01, name="adam", momentum=None, weight_decay=1e-2),
}
PRETRAIN = stages.Pretrain(
    crop=32,
    moco=Moco(
        dim=8,
        momentum=0.9,
        temperature=0.2,
        queue=64,
        mask_own_keys=True,
        augment="moco_cxr",
        sgd_momentum=0.9,
        weight_decay=1e-4,
    ),
    schedule=Schedule(epochs=2, batch=8, lr=0.03, bn_groups=1),
    match="epochs",
    datasets=[stages.LabelledDataset(name=name, uncertain="zero") for name in ("a", "b")],
    images="train+validation+test",
    probe=None,
    computing=COMPUTING,
    seed=1,
    stream=["test"],
)
EMBED = stages.Embed(crop=32, views=1, augment="chexclusion", seed=1, stream=["test"])
_FINETUNE = {"uncertain": "zero", "checkpoint": "last", "average": "weighted", "seed": 1, "stream": ["test"]}
LINEAR = stages.Linear(**_FINETUNE, recipe="paper", optimizer=OPTIMIZERS["sgd"], epochs=3)
END_TO_END = stages.EndToEnd(
    **_FINETUNE,
    crop=32,
    optimizer=OPTIMIZERS["sgd"],
    budgets=[1, 3],
    longer_by=None,
    augment="none",
    computing=COMPUTING,
)


def changed(settings: Settings, **changes: Any) -> Settings:
    """Return ``settings`` with other values, validated; ``schedule__lr=0.1`` changes a value of an inner section."""
    values = settings.model_dump()
    for name, value in changes.items():
        *sections, key = name.split("__")
        inner = values
        for section in sections:
            inner = inner[section]
        inner[key] = value
    return type(settings).model_validate(values)
