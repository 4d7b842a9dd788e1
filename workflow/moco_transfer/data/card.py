"""The numbers of a dataset's card: what was indexed and stored, and how images and labels are split.

A card helps people decide whether to trust a dataset. It holds counts and shares but no identifier, so it may
be shown for a credentialed release as well; papers on these releases print such counts, even small ones. A view
may be an identifier, so it is shown only if it is one of few and several patients share it. ``scripts/data_card.py`` draws the card and writes its page.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from moco_transfer.data.adapters.reading import Reading
from moco_transfer.data.labels import SPLITS, label_columns
from moco_transfer.errors import UserError

NOT_USED = "not used"
"""The card's name for images without a split, which ``labels.unlabeled: drop`` leaves out."""
NOT_STATED = "not stated"
OTHERS = "others"
"""The card's name for views that it does not show, and for classes whose names it does not show."""
SHOWN_LABELS = 25
"""A card shows only the most frequent labels; a dataset of many folders may have thousands."""
SHOWN_VIEWS, SHOWN_CLASSES = 10, 5
# The user chooses the column of views; identifiers have many values with one patient each.
MOST_VALUES, LEAST_PATIENTS = 20, 5


@dataclass(frozen=True)
class DataCard:
    """The numbers of one card.

    The columns of ``counts`` are split, images, studies and patients, with a last row ``all``; those of
    ``labels`` are split, label, images, present (value 1), uncertain (-1), blank and prevalence (present /
    images). ``views`` has view and images, ``sizes`` width, height and images, ``quarantined`` reason and
    images, ``repairs`` repair and images, the most frequent first. ``settings`` are the store's. ``warnings``
    are sentences about splits in which a class has no positives or no negatives, and on the ``reading`` of a user's own table
    or folders (else None).
    """

    indexed: int
    stored: int
    counts: pd.DataFrame
    labels: pd.DataFrame
    views: pd.DataFrame
    sizes: pd.DataFrame
    quarantined: pd.DataFrame
    settings: Mapping[str, Any]
    repairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["repair", "images"]))
    warnings: Sequence[str] = ()
    reading: Reading | None = None


def data_card(
    index: pd.DataFrame,
    splits: pd.DataFrame,
    sizes: pd.DataFrame,
    quarantine: pd.DataFrame,
    manifest: Mapping[str, Any],
    uncertain: str | None = "zero",
    declared: bool = True,
    identified: bool = True,
    reading: Reading | None = None,
) -> DataCard:
    """Return the numbers of the card of a store.

    ``index``, ``sizes`` (height and width of the original images in pixels) and ``splits`` have one row per
    stored image, in the same order; ``quarantine`` has one row with its ``reason`` per image that is not
    stored; ``manifest`` has indexed, stored, quarantined and settings, and may have repairs (repair to number
    of images). ``uncertain`` says what a label of -1 counts as; it is None if no network
    learns the labels, and then they need no warnings. Classes have names on the card only if these are
    ``declared``, by a release or a configuration: names of folders may be identifiers. Views have names only
    if patients are ``identified``: otherwise each study or image counts as a patient, and a view may be one.
    ``reading`` says how a user's own table or folders were read. Raises
    UserError if the counts do not reconcile.
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
    labels = _labels(index, side, present)
    named = set(labels["label"]) if declared else set()
    return DataCard(
        indexed=indexed,
        stored=stored,
        counts=_counts(index, side, present),
        labels=_with_others(labels, named),
        views=_views(index, identified),
        sizes=_frequencies(sizes[["width", "height"]]),
        quarantined=_frequencies(quarantine[["reason"]]),
        settings=manifest["settings"],
        repairs=_most_frequent(pd.Series(manifest.get("repairs", {}), dtype="int64"), ["repair"]),
        warnings=[
            *(reading.warnings(learned=uncertain is not None) if reading else ()),
            *(one_sided(labels, uncertain, named) if uncertain else ()),
        ],
        reading=reading,
    )


def frequent_labels(labels: pd.DataFrame) -> list[str]:
    """Return the labels that a card shows, the most frequent first; ``labels`` is that of a ``DataCard``."""
    present = labels.groupby("label", sort=False)["present"].sum()
    return list(present.sort_values(ascending=False, kind="stable").index[:SHOWN_LABELS])


def one_sided(labels: pd.DataFrame, uncertain: str, named: Collection[str]) -> list[str]:
    """Return a sentence for each split with classes that have no positives, or no negatives, there.

    ``labels`` is that of a ``DataCard``; only classes in ``named`` are named.
    """
    positives = labels["present"] + (labels["uncertain"] if uncertain == "one" else 0)
    known = labels["images"] - (labels["uncertain"] if uncertain == "mask" else 0)
    sentences = []
    for lacking, found in (("positives", positives), ("negatives", known - positives)):
        for split in SPLITS:
            classes = labels.loc[(labels["split"] == split) & (found == 0), "label"]
            names = [f"'{label}'" for label in classes if label in named][:SHOWN_CLASSES]
            if left := len(classes) - len(names):
                names.append(f"{left} {'more ' if names else ''}{'class' if left == 1 else 'classes'}")
            if names:
                sentences.append(f"No {lacking} among the {split} images: {', '.join(names)}.")
    return sentences


def _with_others(labels: pd.DataFrame, named: Collection[str]) -> pd.DataFrame:
    """Return ``labels`` with one row per split for all classes outside ``named``, which exclude each other."""
    hidden = ~labels["label"].isin(named)
    if not hidden.any():
        return labels
    others = f"{OTHERS} ({labels.loc[hidden, 'label'].nunique():,} classes)"
    joined = labels.assign(label=labels["label"].mask(hidden, others))
    sums = dict.fromkeys(("present", "uncertain", "blank"), "sum") | {"images": "first"}
    joined = joined.groupby(["split", "label"], sort=False, as_index=False).agg(sums)
    return joined.assign(prevalence=joined["present"] / joined["images"])


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


def _views(index: pd.DataFrame, identified: bool) -> pd.DataFrame:
    """Return the views by frequency; views that are not shown share a row, as do images without a view."""
    counts = index["view"].value_counts()
    patients = index.groupby("view")["patient_id"].nunique()
    few = identified and len(counts) <= MOST_VALUES
    may_be_shown = (patients[counts.index] >= LEAST_PATIENTS) & few
    shown = counts[may_be_shown].head(SHOWN_VIEWS)
    rows = [*shown.items(), (OTHERS, counts.sum() - shown.sum()), (NOT_STATED, index["view"].isna().sum())]
    return pd.DataFrame([(str(name), n) for name, n in rows if n > 0], columns=["view", "images"])


def _frequencies(values: pd.DataFrame) -> pd.DataFrame:
    """Return the distinct rows of ``values`` and how often they occur, most frequent first, then by value."""
    return _most_frequent(values.value_counts(sort=False), list(values))


def _most_frequent(counts: pd.Series, names: list[str]) -> pd.DataFrame:
    ordered = counts.sort_index().sort_values(ascending=False, kind="stable")
    return ordered.rename_axis(names).reset_index(name="images")
