"""The numbers of a dataset's card: what was indexed and stored, and how images and labels are split.

A card helps people decide whether to trust a dataset. It holds counts and shares but no identifier, so it may
be shown for a credentialed release as well; papers on these releases print such counts, even small ones.
``scripts/data_card.py`` draws the card and writes its page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from moco_transfer.data.labels import SPLITS, label_columns
from moco_transfer.errors import UserError

NOT_USED = "not used"
"""The card's name for images without a split, which ``labels.unlabeled: drop`` leaves out."""
NOT_STATED = "not stated"
RARE_VIEWS = "others"
SHOWN_LABELS = 25
"""A card shows only the most frequent labels; a dataset of many folders may have thousands."""
# The user chooses the column of views. If it holds identifiers, each of them is too rare to be shown.
LEAST_IMAGES_PER_VIEW, SHOWN_VIEWS = 5, 10


@dataclass(frozen=True)
class DataCard:
    """The numbers of one card.

    The columns of ``counts`` are split, images, studies and patients, with a last row ``all``; those of
    ``labels`` are split, label, images, present (value 1), uncertain (-1), blank and prevalence (present /
    images). ``views`` has view and images, ``sizes`` width, height and images, ``quarantined`` reason and
    images, the most frequent first. ``settings`` are the store's.
    """

    indexed: int
    stored: int
    counts: pd.DataFrame
    labels: pd.DataFrame
    views: pd.DataFrame
    sizes: pd.DataFrame
    quarantined: pd.DataFrame
    settings: Mapping[str, Any]


def data_card(
    index: pd.DataFrame,
    splits: pd.DataFrame,
    sizes: pd.DataFrame,
    quarantine: pd.DataFrame,
    manifest: Mapping[str, Any],
) -> DataCard:
    """Return the numbers of the card of a store.

    ``index``, ``sizes`` (height and width of the original images in pixels) and ``splits`` have one row per
    stored image, in the same order; ``quarantine`` has one row with its ``reason`` per image that is not
    stored; ``manifest`` has indexed, stored, quarantined and settings. Raises UserError if the counts do not
    reconcile.
    """
    indexed, stored, quarantined = (manifest[key] for key in ("indexed", "stored", "quarantined"))
    if indexed != stored + quarantined:
        raise UserError(
            f"manifest.json: {indexed} images indexed, but {stored} stored and {quarantined} quarantined; "
            "pack again"
        )
    tables = [
        ("index.parquet", index, stored),
        ("sizes.parquet", sizes, stored),
        ("the splits", splits, stored),
    ]
    for name, table, expected in [*tables, ("quarantine.csv", quarantine, quarantined)]:
        if len(table) != expected:
            raise UserError(
                f"{name}: {len(table)} rows, but manifest.json says {expected}; pack and split again"
            )
    if (splits["image_id"].to_numpy() != index["image_id"].to_numpy()).any():
        raise UserError(
            "the splits: their images are not in the order of index.parquet; split the dataset again"
        )
    side = splits["split"].fillna(NOT_USED).to_numpy(dtype=object)
    present = [name for name in (*SPLITS, NOT_USED) if (side == name).any()]
    return DataCard(
        indexed=indexed,
        stored=stored,
        counts=_counts(index, side, present),
        labels=_labels(index, side, present),
        views=_views(index["view"]),
        sizes=_frequencies(sizes[["width", "height"]]),
        quarantined=_frequencies(quarantine[["reason"]]),
        settings=manifest["settings"],
    )


def frequent_labels(labels: pd.DataFrame) -> list[str]:
    """Return the labels that a card shows, the most frequent first; ``labels`` is that of a ``DataCard``."""
    present = labels.groupby("label", sort=False)["present"].sum()
    return list(present.sort_values(ascending=False, kind="stable").index[:SHOWN_LABELS])


def _counts(index: pd.DataFrame, side: np.ndarray, present: list[str]) -> pd.DataFrame:
    rows = [(name, index[side == name]) for name in present] + [("all", index)]
    return pd.DataFrame(
        {
            "split": name,
            "images": len(members),
            # A study's number may be unique only within its patient.
            "studies": len(members[["patient_id", "study_id"]].drop_duplicates()),
            "patients": members["patient_id"].nunique(),
        }
        for name, members in rows
    )


def _labels(index: pd.DataFrame, side: np.ndarray, present: list[str]) -> pd.DataFrame:
    values = index[label_columns(index.columns)]
    kinds = {"present": values == 1, "uncertain": values == -1, "blank": values.isna()}
    counts = pd.DataFrame(
        {kind: found.groupby(side).sum().loc[present].stack() for kind, found in kinds.items()}
    )
    counts = counts.rename_axis(["split", "label"]).reset_index()
    images = counts["split"].map(pd.Series(side).value_counts())
    return counts.assign(images=images, prevalence=counts["present"] / images)


def _views(view: pd.Series) -> pd.DataFrame:
    """Return the views by frequency; rare views share a row, as do images without a view."""
    counts = view.value_counts()
    shown = counts[counts >= LEAST_IMAGES_PER_VIEW].head(SHOWN_VIEWS)
    rows = [*shown.items(), (RARE_VIEWS, counts.sum() - shown.sum()), (NOT_STATED, view.isna().sum())]
    return pd.DataFrame([(str(name), n) for name, n in rows if n > 0], columns=["view", "images"])


def _frequencies(values: pd.DataFrame) -> pd.DataFrame:
    """Return the distinct rows of ``values`` and how often they occur, most frequent first, then by value."""
    counts = values.value_counts(sort=False).sort_index()
    return counts.sort_values(ascending=False, kind="stable").reset_index(name="images")
