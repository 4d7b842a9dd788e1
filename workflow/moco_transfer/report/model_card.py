"""What a model card says, as ``scripts/model_card.py`` collects it for ``model_page``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from moco_transfer import escape
from moco_transfer.config.encoders import About
from moco_transfer.statistics.decisions import Decisions
from moco_transfer.statistics.scorecard import Area, ClassResult

SHOWN = 20
"""A card shows only the most frequent classes; a dataset of many folders may have thousands."""


@dataclass(frozen=True)
class ModelCard:
    """What a card says.

    Attributes
    ----------
    about : what the model's file says of itself
    way : its row of the advice: source, mode, epochs, validation_auroc and auroc (means over the labelled subsets), n_subsets, n_labeled
    ways : the number of ways to train that were compared
    results, average : of the test images; ``average`` is None if there are too few
    decisions : the most probable classes of the test images; None if an image may have several classes, or images are too few
    labelled, validation, test : labels [n, classes] of 0, 1 or NaN
    images : numbers of images and patients by dataset and split
    facts : the run's settings (``model_facts`` in settings.smk)
    titles : dataset to title
    versions : of the packages that trained the model
    """

    about: About
    way: Mapping[str, Any]
    ways: int
    results: Sequence[ClassResult]
    average: Area | None
    decisions: Decisions | None
    labelled: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    images: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any]
    titles: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The target's title, escaped."""
        return self.title_of(self.about.made.target)

    def title_of(self, dataset: str) -> str:
        """Return the title of ``dataset``, escaped."""
        return escape.markdown(self.titles.get(dataset, dataset))

    @property
    def one_of_many(self) -> bool:
        """Whether an image has exactly one of the classes."""
        return self.about.task == "multiclass"

    @property
    def left_out(self) -> str:
        """A sentence for tables of classes that lack some; else nothing."""
        count = len(self.results)
        return f" The {SHOWN} most frequent of {count:,} classes." if count > SHOWN else ""

    @property
    def interval(self) -> str:
        """The name of its intervals: '90% interval'."""
        lower, upper = self.facts["evaluation"]["percentiles"]
        return f"{upper - lower:g}% interval"


def frequent(results: Sequence[ClassResult]) -> list[ClassResult]:
    """Return the SHOWN classes with the most positive test images, in their order."""
    kept = sorted(range(len(results)), key=lambda k: -results[k].test[0])[:SHOWN]
    return [results[k] for k in sorted(kept)]
