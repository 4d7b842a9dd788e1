"""The numbers of a dataset's card: what came in, what is stored, how it is divided, what its labels say.

A card is for people who decide whether to trust a dataset. It holds counts and shares and no identifier, so it may be
shown for a credentialed release as well: counts, small ones too, are what papers on these releases print.
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
"""What the card calls images without a split: those that ``labels.unlabeled: drop`` leaves out."""
NOT_STATED = "not stated"
RARE_VIEWS = "others"
SHOWN_LABELS = 25
"""Labels on a card at most; of more, as a folder a class may have, the most frequent are shown."""
# A column of views is the user's choice: were it one of identifiers, each would occur a few times, and none be shown.
SHOWN_VIEW = 5
SHOWN_VIEWS = 10


@dataclass(frozen=True)
class DataCard:
    """The numbers of one card.

    ``counts`` has split, images, studies, patients, and a last row ``all``. ``labels`` has label, split, images, present
    (value 1), uncertain (-1), blank and prevalence (present / images). ``views`` has view and images, ``sizes`` width,
    height and images, ``quarantined`` reason and images, each with the most frequent first. ``settings`` are the store's.
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

    ``index``, ``sizes`` (height, width of the original images, in pixels) and ``splits`` are aligned, a row each stored
    image; ``quarantine`` has a row with its ``reason`` for each image that is not stored; ``manifest`` has indexed, stored,
    quarantined and settings. Raises UserError if the counts do not reconcile.
    """
    _reconcile(index, splits, sizes, quarantine, manifest)
    side = splits["split"].fillna(NOT_USED).to_numpy(dtype=object)
    present = [name for name in (*SPLITS, NOT_USED) if (side == name).any()]
    return DataCard(
        indexed=manifest["indexed"],
        stored=manifest["stored"],
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


def _reconcile(
    index: pd.DataFrame,
    splits: pd.DataFrame,
    sizes: pd.DataFrame,
    quarantine: pd.DataFrame,
    manifest: Mapping[str, Any],
) -> None:
    indexed, stored, quarantined = (manifest[key] for key in ("indexed", "stored", "quarantined"))
    if indexed != stored + quarantined:
        raise UserError(
            f"manifest.json: {indexed} images indexed, but {stored} stored and {quarantined} quarantined; pack again"
        )
    for table, rows, expected in (
        ("index.parquet", len(index), stored),
        ("sizes.parquet", len(sizes), stored),
        ("quarantine.csv", len(quarantine), quarantined),
        ("the splits", len(splits), stored),
    ):
        if rows != expected:
            raise UserError(f"{table}: {rows} rows, but manifest.json says {expected}; pack and split again")
    if (splits["image_id"].to_numpy() != index["image_id"].to_numpy()).any():
        raise UserError(
            "the splits: their images do not stand in the order of index.parquet; split the dataset again"
        )


def _counts(index: pd.DataFrame, side: np.ndarray, present: list[str]) -> pd.DataFrame:
    rows = [(name, index[side == name]) for name in present] + [("all", index)]
    return pd.DataFrame(
        {
            "split": name,
            "images": len(members),
            # a study belongs to one patient; its number may be unique within the patient alone
            "studies": len(members[["patient_id", "study_id"]].drop_duplicates()),
            "patients": members["patient_id"].nunique(),
        }
        for name, members in rows
    )


def _labels(index: pd.DataFrame, side: np.ndarray, present: list[str]) -> pd.DataFrame:
    rows = []
    for label in label_columns(index.columns):
        values = index[label].to_numpy()
        for name in present:
            inside = values[side == name]
            rows.append(
                {
                    "label": label,
                    "split": name,
                    "images": len(inside),
                    "present": int((inside == 1).sum()),
                    "uncertain": int((inside == -1).sum()),
                    "blank": int(np.isnan(inside).sum()),
                    "prevalence": float((inside == 1).mean()),
                }
            )
    return pd.DataFrame(rows)


def _views(view: pd.Series) -> pd.DataFrame:
    """Return the views by frequency; rare ones are one row, and so are images whose view is not stated."""
    counts = view.dropna().value_counts()
    shown = counts[counts >= SHOWN_VIEW].head(SHOWN_VIEWS)
    rows = [*shown.items(), (RARE_VIEWS, len(view.dropna()) - shown.sum()), (NOT_STATED, view.isna().sum())]
    return pd.DataFrame(
        [{"view": str(name), "images": int(count)} for name, count in rows if count > 0],
        columns=["view", "images"],
    )


def _frequencies(values: pd.DataFrame) -> pd.DataFrame:
    """Return the distinct rows of ``values`` with their number ``images``, most frequent first, then by value."""
    columns = list(values.columns)
    counted = values.groupby(columns).size().rename("images").reset_index()
    return counted.sort_values(["images", *columns], ascending=[False, *[True] * len(columns)]).reset_index(
        drop=True
    )
