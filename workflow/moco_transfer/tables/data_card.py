"""The data card of one dataset as a page of Markdown: the numbers that its figure draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from moco_transfer.data.card import SHOWN_LABELS, DataCard, frequent_labels
from moco_transfer.report.tables import markdown

SHOWN_SIZES = 5


def data_card_page(
    card: DataCard,
    title: str,
    figure: str,
    split: Mapping[str, Any],
    labels: Mapping[str, Any],
    shareable: bool,
    note: str = "",
) -> str:
    """Return the page: ``title`` is the dataset's, ``figure`` the path of its figure from the page.

    ``split`` and ``labels`` are those sections of the dataset's configuration; ``note`` stands on top.
    """
    quarantined = card.indexed - card.stored
    examples = (
        "Example images are drawn at random from all that are stored."
        if shareable
        else "No example images: the dataset is not shareable (`shareable: false`), the card holds counts alone."
    )
    tables = [
        (_whole_numbers(card.counts), f"Images by split. {_split_text(split)}"),
        (_label_table(card.labels), _label_text(card.labels, labels)),
        (_whole_numbers(card.views), "Views."),
        (_whole_numbers(card.sizes.head(SHOWN_SIZES)), _size_text(card.sizes)),
        (_settings_table(card.settings), "How the images are stored."),
    ]
    if quarantined:
        tables.append((_whole_numbers(card.quarantined), "Quarantined images, by reason."))
    parts = [f"# Data card: {title}", ""]
    parts += [f"**{note}**", ""] if note else []
    parts += [
        f"{card.indexed:,} images indexed = {card.stored:,} stored + {quarantined:,} quarantined. {examples}",
        "",
        f"![The card as a figure]({figure})",
        "",
        *(markdown(frame, caption) for frame, caption in tables),
    ]
    return "\n".join(parts)


def _split_text(split: Mapping[str, Any]) -> str:
    shares = ", ".join(f"{side} {split[side]}" for side in ("train", "validation", "test"))
    return f"No {split['unit']} lies in two splits; shares asked for: {shares}."


def _label_text(labels: pd.DataFrame, policy: Mapping[str, Any]) -> str:
    count = labels["label"].nunique()
    shown = f" The {SHOWN_LABELS} most frequent of {count:,}." if count > SHOWN_LABELS else ""
    unlabeled = {"zero": "kept as all zeros", "drop": "left out"}[policy["unlabeled"]]
    return (
        "Labels by split: images with the value 1 (share of the split), with -1 (uncertain), and blank. For training, -1 "
        f"counts as '{policy['uncertain']}', a blank as 0; images without any label are {unlabeled}.{shown}"
    )


def _label_table(labels: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for label in frequent_labels(labels):
        row = {("", "label"): label}
        for cell in labels[labels["label"] == label].itertuples():
            row |= {
                (cell.split, "1"): f"{cell.present:,} ({cell.prevalence:.1%})",
                (cell.split, "-1"): f"{cell.uncertain:,}",
                (cell.split, "blank"): f"{cell.blank:,}",
            }
        rows.append(row)
    return pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(list(rows[0])))


def _size_text(sizes: pd.DataFrame) -> str:
    ends = {side: f"{sizes[side].min():,} to {sizes[side].max():,}" for side in ("width", "height")}
    shown = f"; the {SHOWN_SIZES} most frequent of {len(sizes):,} sizes" if len(sizes) > SHOWN_SIZES else ""
    return f"Original sizes in pixels: width {ends['width']}, height {ends['height']}{shown}."


def _settings_table(settings: Mapping[str, Any]) -> pd.DataFrame:
    return pd.DataFrame({"setting": list(settings), "value": [str(value) for value in settings.values()]})


def _whole_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` with its whole numbers written with commas."""
    numbers = frame.select_dtypes("integer").columns
    return frame.assign(**{name: frame[name].map("{:,}".format) for name in numbers})
