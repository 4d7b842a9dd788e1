"""The front page of a run: what to start from, how sure that is, what would settle it, and what was run.

Functions here turn the tables of a run into text and numbers, ``workflow/report/front_page.html`` says where they stand on the page,
and ``render`` puts them in: every text is escaped there. The page is one file that loads nothing: figures are in it as data, and a
few lines of JavaScript sort tables and enlarge figures. Without JavaScript, all of it can still be read.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from moco_transfer.escape import printable
from moco_transfer.report.advice_page import (
    Advice,
    compared,
    labels_text,
    may_be_best,
    near_chance,
    notes,
    shared_text,
    two_digits,
    verdict,
    way_parts,
)
from moco_transfer.report.names import TRAINED_LAYERS
from moco_transfer.report.tables import auroc_text, effect_text

CHANCE = 0.5
"""The AUROC of guessing."""
AXIS_STEP = 0.05
"""The axis of the bars of intervals begins and ends at multiples of this AUROC."""


@dataclass(frozen=True)
class Bar:
    """An estimate with its interval as shares, from 0 to 1, of the axis that all bars of a page have; ``chance`` is that of 0.5.

    An interval that is longer than the axis ends with the axis.
    """

    value: float
    lower: float
    upper: float
    chance: float | None


@dataclass(frozen=True)
class Way:
    """One way to train, in words; numbers are for sorting."""

    start: str
    layers: str
    auroc: str
    bar: Bar | None
    validation: str
    may_be_best: str
    images: int
    time: str
    advice: str
    numbers: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Case:
    """What the page says of one target and number of labels; ``sure`` is 'clear', 'open', 'unknown' or 'guess'."""

    labels: str
    dataset: str
    percent: str
    sure: str
    verdict: str
    ways: Sequence[Way]
    settle: str = ""
    remarks: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()

    @property
    def name(self) -> str:
        return f"{self.dataset} {self.percent}%"

    @property
    def chosen(self) -> Way | None:
        return self.ways[0] if self.ways and "best on validation" in self.ways[0].advice else None

    @property
    def cheapest(self) -> Way | None:
        return next((way for way in self.ways if "cheapest" in way.advice), None)


@dataclass(frozen=True)
class Question:
    """A claim of the paper or a question of the controls: what was found, and what would decide it."""

    text: str
    answer: str
    effect: str
    settle: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure as a file that a page can hold."""

    name: str
    svg: bytes
    caption: str = ""

    @property
    def address(self) -> str:
        """The figure as a data URI, without access to the page around it."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"


@dataclass(frozen=True)
class FrontPage:
    """All that the template shows; ``facts`` are name and text, ``tables`` name, title and HTML of finished tables."""

    run: str
    note: str
    interval: str
    datasets: Sequence[str]
    cases: Sequence[Case]
    questions: Sequence[Question]
    warnings: Sequence[tuple[str, str]]
    cards: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]
    axis: tuple[float, float] = (0.0, 1.0)
    time_unit: str = ""
    figures: Mapping[str, Sequence[Picture]] = field(default_factory=dict)
    tables: Sequence[tuple[str, str, str]] = ()
    main_figure: Picture | None = None

    @property
    def in_short(self) -> str:
        return in_short(self.cases)

    @property
    def decided(self) -> list[Question]:
        return [each for each in self.questions if not _is_open(each)]

    @property
    def undecided(self) -> list[Question]:
        return [each for each in self.questions if _is_open(each)]


def render(page: FrontPage, template: str) -> str:
    """Return the page as HTML: ``template`` is Jinja, with the one variable ``page``."""
    environment = jinja2.Environment(
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.from_string(template).render(page=page)


def cases(advice: Advice) -> list[Case]:
    """Return what is advised for each target and number of labels."""
    ends = axis(advice.ways)
    found = []
    for cell, every in advice.cells().items():
        ways, first = compared(every), every.iloc[0]
        known = notes(cell, every, advice)
        text = dict(iter(known.groupby("What")["In this run"]))
        shown = known["What"].isin(["What would settle it", "Warning"]) | (
            known["In this run"] == verdict(ways)
        )
        found.append(
            Case(
                labels=labels_text(every, advice),
                dataset=advice.titles.get(first["target"], first["target"]),
                percent=first["percent"],
                sure=_sureness(ways),
                verdict=_said(" ".join([*near_chance(ways), verdict(ways), *shared_text(ways, advice)])),
                ways=[_way(way, ends, advice) for _, way in every.iterrows()],
                settle=advice.settle.get(cell, ""),
                remarks=list(known[~shown].itertuples(index=False, name=None)),
                warnings=list(text.get("Warning", [])),
            )
        )
    return found


def _said(text: str) -> str:
    """Return a verdict beside a mark that says 'not clear'."""
    text = text.removeprefix("Not clear: ")
    return text[0].upper() + text[1:]


def _sureness(ways: pd.DataFrame) -> str:
    if ways.empty or not ways["chosen"].iloc[0]:
        return "unknown"
    if near_chance(ways):
        return "guess"
    if pd.isna(ways["p_best"].iloc[0]):
        return "unknown"
    return "clear" if ways["may_be_best"].tolist() == [True] + [False] * (len(ways) - 1) else "open"


def _way(way: pd.Series, ends: tuple[float, float], advice: Advice) -> Way:
    names = {"chosen": "best on validation images", "cheapest": "cheapest that is not ruled out"}
    start, layers = way_parts(way, advice)
    return Way(
        start=start,
        layers=layers,
        auroc=auroc_text(*way[["auroc", "lower", "upper"]]),
        bar=_bar(way, ends),
        validation=auroc_text(way["validation_auroc"]),
        may_be_best=may_be_best(way),
        images=int(way["images_trained"]),
        time=two_digits(way["images_trained"] / advice.speed / _seconds(advice)) if advice.speed else "",
        advice="; ".join(text for name, text in names.items() if way[name]),
        numbers=(way["auroc"], way["validation_auroc"]),
    )


def time_unit(advice: Advice) -> str:
    """Return in what the page counts the time of trainings, or nothing if their speed is unknown."""
    return "" if not advice.speed else "GPU-hours" if advice.device == "cuda" else "Minutes"


def _seconds(advice: Advice) -> int:
    return 3600 if time_unit(advice) == "GPU-hours" else 60


def axis(ways: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of the axis of bars: all estimates of ``ways`` and the intervals of the chosen ones lie on it."""
    chosen = ways.loc[ways["chosen"], ["lower", "upper"]].to_numpy(dtype=float).ravel()
    values = np.concatenate([ways["auroc"].to_numpy(dtype=float), chosen])
    low, high = np.round([np.nanmin(values) / AXIS_STEP, np.nanmax(values) / AXIS_STEP], 6)
    return AXIS_STEP * np.floor(low), AXIS_STEP * max(np.ceil(high), np.floor(low) + 1)


def _bar(way: pd.Series, ends: tuple[float, float]) -> Bar | None:
    if np.isnan(way["auroc"]):
        return None

    def place(value: float) -> float:
        return float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0, 1))

    lower, upper = (way["auroc"] if np.isnan(way[name]) else way[name] for name in ("lower", "upper"))
    chance = place(CHANCE) if ends[0] <= CHANCE <= ends[1] else None
    return Bar(place(way["auroc"]), place(lower), place(upper), chance)


def in_short(found: Sequence[Case]) -> str:
    """Return the answer in a sentence or two: in how many of the cases one way is clearly the best."""
    clear = [case for case in found if case.sure == "clear"]
    total = f"{len(found)} cases" if len(found) > 1 else "case"
    if len(clear) == len(found):
        return f"In {'each of the ' if len(found) > 1 else 'the '}{total} below, one way to train is clearly the best of those tried."
    if clear:
        rest = len(found) - len(clear)
        return (
            f"In {len(clear)} of the {total} below, one way to train is clearly the best of those tried. In the "
            f"{'others' if rest > 1 else 'other'}, the run names the way that did best on validation images and cannot rule out others."
        )
    none = "In none of the" if len(found) > 1 else "In the"
    which = "is one way to train" if len(found) > 1 else "no way to train is"
    return (
        f"{none} {total} below {which} clearly the best. The table names the way that did best on validation images, but this run "
        "cannot rule out others that may be as good or better."
    )


def all_warnings(found: Sequence[Case], cards: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return every warning once, with what it is about: the data cards' first, then those of the advice."""
    about: dict[str, list[str]] = {}
    for card in cards:
        for text in card["warnings"]:
            about.setdefault(text, []).append(card["title"])
    for case in found:
        for text in case.warnings:
            about.setdefault(text, []).append(case.name)
    everywhere = [case.name for case in found]
    return [
        ("All cases" if len(where) > 1 and where == everywhere else "; ".join(where), text)
        for text, where in about.items()
    ]


def claim_questions(claims: pd.DataFrame, settle: Mapping[str, str]) -> list[Question]:
    """Return the paper's claims as this run answers them.

    ``claims`` is the CSV of the claims, and ``settle`` says what would decide a claim, by its number and text as in the table decide.
    """
    found = []
    for row in claims[claims["cell"] == "all"].to_dict("records"):
        about = (
            ""
            if pd.isna(row["one_encoder"]) or row["verdict"].startswith("cannot")
            else ", about these encoders"
        )
        text = f"{row['claim']}: {row['text']}"
        found.append(
            Question(
                f"Claim {text}",
                row["verdict"] + about,
                effect_text(*(row[name] for name in ("effect", "lower", "upper"))),
                settle.get(text, ""),
            )
        )
    return found


def control_questions(controls: pd.DataFrame, settle: Mapping[str, str]) -> list[Question]:
    """Return the questions of the controls: one for each answer, and one for all cells in which a question is undecided."""
    found = []
    for text, asked in controls.groupby("question", sort=False):
        answered = asked[asked["answer"].isin(["yes", "no"])]
        for row in answered.itertuples():
            about = "" if pd.isna(row.one_encoder) else ", about these encoders"
            where = f"{row.target} {row.percent}%, training {TRAINED_LAYERS[row.mode]}"
            effect = effect_text(row.effect, row.lower, row.upper)
            found.append(Question(f"Control: {text} ({where})", row.answer + about, effect))
        if left := len(asked) - len(answered):
            cells = f" in {left} of {len(asked)} comparisons" if len(asked) > 1 else ""
            found.append(Question(f"Control: {text}", f"undecided{cells}", "", settle.get(text, "")))
    return found


def _is_open(question: Question) -> bool:
    return question.answer.startswith(("undecided", "cannot"))


def card_line(card: Mapping[str, Any]) -> str:
    """Return the data card of a dataset in one line; ``card`` is what ``scripts/data_card.py`` writes for this page."""
    counts = {row["split"]: row for row in card["counts"]}
    total = counts.pop("all")
    sides = ", ".join(f"{row['images']:,} {name}" for name, row in counts.items())
    left_out = card["indexed"] - card["stored"]
    parts = [f"{total['images']:,} images of {total['patients']:,} patients ({sides})"]
    parts.append(f"{left_out:,} left out as unreadable" if left_out else "none left out")
    parts += [] if card["shareable"] else ["not shareable, so its images are not shown"]
    return "; ".join(parts)


def caption_text(text: str) -> str:
    """Return a caption in reStructuredText as one line of plain text, without the marks of emphasis and literals."""
    return re.sub(
        r"``([^`]*)``|\*\*?([^*]*)\*\*?", lambda found: found[1] or found[2], " ".join(text.split())
    )
