"""How a user's own table or folders were read, on the page and the figure of a data card."""

from __future__ import annotations

import textwrap

import pandas as pd

from moco_transfer import escape
from moco_transfer.data.adapters.reading import ColumnReading, Reading
from moco_transfer.data.card import MOST_VALUES, SHOWN_LABELS
from moco_transfer.report.tables import markdown


def section(reading: Reading) -> list[str]:
    """Return lines of Markdown: the columns by role, what the labels are made from, and the values of those columns."""
    roles = _roles(reading)
    if reading.source == "folders":
        roles["not used"] = ", ".join(reading.unused) or "none"
    labels = pd.DataFrame(
        {
            "label": each.label,
            "from": ", ".join(each.columns),
            "1 if": each.rule,
            **{
                f"images {value}": f"{images:,}"
                for value, images in zip(
                    ("1", "0", "-1", "blank"),
                    (each.present, each.absent, each.uncertain, each.blank),
                    strict=True,
                )
            },
        }
        for each in reading.labels[:SHOWN_LABELS]
    )
    count = len(reading.labels)
    shown = f" The first {SHOWN_LABELS} of {count:,}." if count > SHOWN_LABELS else ""
    what = {"table": ("table", "file", "column"), "folders": ("folders", "pattern", "wildcard")}
    source, name, column = what[reading.source]
    parts = [
        f"## How the {source} {'was' if source == 'table' else 'were'} read",
        "",
        f"The {name} is {escape.markdown(reading.name)}: {reading.images:,} images, {reading.studies:,} studies, {_patients_text(reading)}.",
        *_left_out_text(reading),
        "",
        markdown(pd.DataFrame(roles.items(), columns=["role", column]), f"The {column} of each role."),
        markdown(labels, f"What the labels are made from, before images are left out.{shown}"),
    ]
    if reading.columns:
        values = pd.DataFrame(
            {column: each.column, "images by value": _values_text(each), "blank": f"{each.blank:,}"}
            for each in reading.columns[:SHOWN_LABELS]
        )
        caption = (
            "The values that rules use. Others are shown only if they are few and several patients have each."
        )
        parts.append(markdown(values, caption))
    return parts


def facts(reading: Reading) -> list[str]:
    """Return in two sentences how the table or the folders were read, for the figure; the page says more."""
    columns = {"table": "columns of the table", "folders": "wildcards of the folders"}[reading.source]
    roles = ", ".join(f"{what}: {found}" for what, found in _roles(reading).items())
    first, more = reading.labels[0], len(reading.labels) - 1
    rule = textwrap.shorten(f"{' or '.join(first.columns)} is {first.rule}", 120, placeholder=" ...")
    others = f"; {more:,} more label{'s' if more > 1 else ''}" if more else ""
    return [f"{columns}: {roles}", f"{_patients_text(reading)}; '{first.label}' is 1 if {rule}{others}"]


def _left_out_text(reading: Reading) -> list[str]:
    reasons = "; ".join(f"{count:,} {why}" for why, count in reading.left_out.items())
    return [f"**Images left out:** {reasons}."] if reasons else []


def _roles(reading: Reading) -> dict[str, str]:
    """Return the column of each role, or what stands in for it."""
    patient, study = (
        reading.roles[role] or f"none ({reading.stand_in(role)})" for role in ("patient_id", "study_id")
    )
    others = {"view": reading.roles["view"], "official split": reading.roles["official_split"]}
    return {
        "path": reading.roles["path"] or "the pattern",
        "patient": patient,
        "study": study,
        **{what: column or "none" for what, column in others.items()},
    }


def _patients_text(reading: Reading) -> str:
    if reading.roles["patient_id"] is None:
        return f"no patients: {reading.stand_in('patient_id')}"
    images = "image" if reading.median == 1 else "images"
    return (
        f"{reading.patients:,} patients, {reading.median:g} {images} each (median; at most {reading.most:,})"
    )


def _values_text(column: ColumnReading) -> str:
    shown = [f"{value}: {images:,}" for value, images in column.values.items()][:MOST_VALUES]
    left = column.others + len(column.values) - len(shown)
    return "; ".join([*shown, *([f"{left:,} other values"] if left else [])]) or "none"
