"""Which columns are labels, and the rules that make labels of them. The parts of a path are columns, too."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from moco_transfer.config.listing import MISSING
from moco_transfer.new import words
from moco_transfer.new.look import Notes
from moco_transfer.new.words import plain

# More classes are believed of a column whose name says that it holds classes.
MOST_VALUES, MOST_CLASSES, MOST_FINDINGS = 20, 50, 40
# With so many values, and one for each second image, a column holds identifiers or free text.
MANY = 100
# Values are shown only if so many images share each: others may identify a patient.
SHARED = 5
SEPARATORS = "|;,"


@dataclass
class Labels:
    """The section ``labels`` or, if ``classes``, ``classes`` of a table or of folders; a reason for each label or for all.

    ``unlabeled`` is what ``labels.unlabeled`` should be.
    """

    rules: list[str] | dict[str, Any]
    classes: bool = False
    reasons: dict[str, str] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    unlabeled: str = "drop"


@dataclass
class Candidate:
    """What a column may be: ``kind`` is plain, rule, classes, findings or grade."""

    column: str
    kind: str
    rules: dict[str, Any]
    reason: str
    check: bool = False
    has_negatives: bool = True


def guess_labels(rows: pd.DataFrame, columns: list[str], notes: Notes) -> Labels | None:
    """Return the labels among ``columns`` of ``rows`` (text; blanks are null), or None if there are none."""
    candidates = [found for column in columns if (found := _candidate(rows[column]))]
    usual = [
        each
        for each in candidates
        if words.is_class(each.column) or not (words.is_metadata(each.column) or words.is_view(each.column))
    ]
    numbers = measured(rows, columns)
    if numbers:
        notes.check.append(
            f"measured numbers are not learned, because there is no regression: {_named(numbers)}; 'labels' with at_least makes a threshold of one"
        )
    chosen = _choose(usual)
    if not chosen and not numbers:
        chosen = _choose([each for each in candidates if words.is_sex(each.column)])
    if not chosen:
        return None
    used = {each.column for each in chosen}  # with those that say the same as another
    chosen = _without_twins(rows, chosen, notes)
    if len(chosen) > 1:
        notes.check.append(
            f"each of {len(chosen)} columns of yes and no is a label; remove from the list what is none, such as a body part or a device"
        )
    others = [each.column for each in usual if each.column not in used]
    if others:
        notes.check.append(
            f"labels are {_named([each.column for each in chosen])}; other columns that could be labels: {_named(others)}"
        )
    for each in chosen:
        (notes.check if each.check else notes.found).append(f"column '{each.column}': {each.reason}")
    if any(" uncertain" in each.reason for each in chosen):
        notes.check.append(
            "uncertain labels count as absent; 'uncertain: mask' leaves them out of training and scores"
        )
    names = [each.column for each in chosen]
    reasons = {name: each.reason for each in chosen for name in each.rules}
    first = chosen[0]
    if first.kind == "classes":
        return Labels(first.rules, True, {"": first.reason}, names)
    unlabeled = "drop" if any(each.has_negatives for each in chosen) else "zero"
    rules = {name: rule for each in chosen for name, rule in each.rules.items()}
    are_plain = all(each.kind == "plain" for each in chosen)
    return Labels(names if are_plain else rules, False, reasons, names, unlabeled)


def _without_twins(rows: pd.DataFrame, chosen: list[Candidate], notes: Notes) -> list[Candidate]:
    """Return ``chosen`` without columns of words, such as 'malignant', that say the same as a column of ones and zeros."""
    plains = [each for each in chosen if each.kind == "plain"]
    kept = list(plains)
    for each in [each for each in chosen if each.kind != "plain"]:
        same = (
            other
            for other in plains
            if each.kind == "rule" and _present(rows, each).equals(_present(rows, other))
        )
        if twin := next(same, None):
            notes.check.append(f"column '{each.column}' says the same as '{twin.column}', so it is not used")
        else:
            kept.append(each)
    return [each for each in chosen if each in kept]


def _present(rows: pd.DataFrame, each: Candidate) -> pd.Series:
    values = rows[each.column]
    return values.isin(each.rules[each.column]["positive"]).astype(object).where(values.notna())


def _named(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _choose(candidates: list[Candidate]) -> list[Candidate]:
    """Return the columns that are the labels: all columns of yes and no, or else one other."""
    binary = [each for each in candidates if each.kind in ("plain", "rule") and not each.check]
    named = [each for each in candidates if words.is_class(each.column)]
    if len(binary) >= 3 or any(each in binary for each in named):
        return binary
    if named:
        return named[:1]
    if binary:
        return binary
    grades = [each for each in candidates if each.kind == "grade"]
    graded = [each for each in grades if words.is_grade(each.column)]
    return (graded or [each for each in candidates if each.kind == "findings"] or grades or candidates)[:1]


def _candidate(column: pd.Series) -> Candidate | None:
    """Return what a column of text may be as a label, or None: constants, identifiers, measurements and free text."""
    name, values = str(column.name), column.dropna()
    counts = values.value_counts()
    if counts.empty or (len(counts) == 1 and len(values) == len(column)):
        return None
    if len(counts) == 1:
        if plain(counts.index[0]) not in words.POSITIVE:
            return None
        return _binary(name, counts, len(column) - len(values))
    if len(counts) > max(MANY, len(values) / 2):
        return None
    texts = {plain(value) for value in counts.index}
    answers = texts <= words.ANSWERS | words.NO_ANSWERS | words.UNCERTAIN
    two = texts <= words.POSITIVE | words.NEGATIVE | words.UNCERTAIN and len(texts - words.UNCERTAIN) <= 2
    if (answers or two) and texts & words.POSITIVE:
        return _binary(name, counts, len(column) - len(values))
    numbers = pd.to_numeric(pd.Series(counts.index), errors="coerce")
    if numbers.notna().all():
        return _grade(name, numbers.tolist(), counts)
    if numbers.notna().mean() > 0.5:
        return None
    if len(counts) <= 11 and (ranks := words.ranks(list(counts.index))):
        return _grade(name, ranks, counts)
    if (found := _findings(name, values)) or (found := _of_two(name, counts)) or len(counts) == 2:
        return found
    most = MOST_CLASSES if words.is_class(name) else MOST_VALUES
    if len(counts) <= most and len(values) >= 2 * len(counts) and counts.index.str.len().max() <= 60:
        shown = ", ".join(counts.index) if counts.min() >= SHARED else f"{len(counts)} values"
        rules = {"from": name, "values": sorted(counts.index)}
        vague = [value for value in counts.index if plain(value) in words.UNLABELLED | words.UNCERTAIN]
        what = f"; '{vague[0]}' is a class, too: leave these rows out if it means nothing" if vague else ""
        reason = f"{len(counts)} values, so one class each: {shown}{what}"
        return Candidate(name, "classes", rules, reason, check=bool(vague))
    return None


def _binary(name: str, counts: pd.Series, blank: int) -> Candidate:
    sides = {value: plain(value) for value in counts.index}
    positive, negative, uncertain = (
        [value for value in counts.index if sides[value] in known]
        for known in (words.POSITIVE, words.NEGATIVE, words.UNCERTAIN)
    )
    told = f"{counts[positive].sum():,} positive, {counts[negative].sum():,} negative"
    told += f", {counts[uncertain].sum():,} uncertain" if uncertain else ""
    told += f", {blank:,} blank" if blank else ""
    if {value.casefold() for value in counts.index} <= words.READ_AS_THEY_ARE or all(
        sides[value] in ("1", "0", "-1") for value in counts.index
    ):
        return Candidate(
            name, "plain", {name: _rule(name, positive, negative, uncertain)}, told, False, bool(negative)
        )
    rule = _rule(name, positive, negative, uncertain)
    told = f"{' and '.join(map(repr, positive))} counts as positive: {told}"
    return Candidate(name, "rule", {name: rule}, told, False, bool(negative))


def _rule(name: str, positive: list[str], negative: list[str], uncertain: list[str]) -> dict[str, Any]:
    rule = {"from": name, "positive": positive}
    # Otherwise, a word such as 'none' would be a blank.
    needed = uncertain or any(value.lower() in MISSING for value in negative)
    return rule | {"negative": negative} if needed else rule


def _of_two(name: str, counts: pd.Series) -> Candidate | None:
    """Return the label of a column with two texts, or two apart from their numbers: the one that a word tells is positive.

    If no word tells it, it is the rarer one, but only of two.
    """
    texts = pd.Series([re.sub("[0-9]+", "", value) for value in counts.index], counts.index)
    if len(counts) == 2:
        texts[:] = counts.index
    if texts.nunique() != 2 or counts.min() < 2 or counts.index.str.len().max() > 60:
        return None
    first, second = counts.groupby(texts).sum().sort_values(ascending=False).index

    def candidate(text: str, why: str = "", check: bool = False) -> Candidate:
        positive, negative = texts.index[texts == text].tolist(), texts.index[texts != text].tolist()
        shown = " and ".join(map(repr, positive)) if counts.min() >= SHARED else "one of two values"
        counting = "count" if len(positive) > 1 else "counts"
        reason = f"{why}{shown} {counting} as positive ({counts[positive].sum():,} of {counts.sum():,})"
        return Candidate(name, "rule", {name: _rule(name, positive, negative, [])}, reason, check)

    for value, other in ((first, second), (second, first)):
        if words.among(other, words.NEGATIVE) or words.among(value, words.POSITIVE):
            return candidate(value)
    return candidate(second, "the rarer of two values, ", check=True) if len(counts) == 2 else None


def _grade(name: str, ranks: list[float], counts: pd.Series) -> Candidate | None:
    """Return the label of a column of whole numbers, or of words with such ``ranks``: a threshold, or classes if the name says so."""
    numbers = sorted(ranks)
    if len(numbers) > 11 or any(number % 1 for number in numbers) or not 0 <= numbers[0] <= numbers[-1] <= 10:
        return None
    if len(numbers) < 2 or (len(numbers) == 2 and not (words.is_class(name) or words.is_grade(name))):
        return None
    written = [f"{number:g}" for number in numbers]
    are_numbers = {plain(value) for value in counts.index} == set(written)
    # 0 to 3 and 0 to 4 are grades in most tables.
    if (
        len(numbers) > 2
        and (are_numbers or counts.index.str.fullmatch("[IVX]+").all())
        and words.is_class(name)
        and not words.is_grade(name)
        and numbers not in ([0, 1, 2, 3], [0, 1, 2, 3, 4])
    ):
        values = written if are_numbers else sorted(counts.index)
        reason = f"{len(values)} numbers in a column of classes, so one class each; if they are grades, use labels with at_least"
        return Candidate(name, "classes", {"from": name, "values": values}, reason, check=True)
    lowest, highest = int(numbers[0]), int(numbers[-1])
    limit = lowest + -(-(highest - lowest) // 2)
    above = np.array(ranks) >= limit
    told = f"counts as positive ({counts[above].sum():,} of {counts.sum():,})"
    if are_numbers:
        rules = {f"{name} from {limit}": {"from": name, "at_least": limit}}
        reason = f"grades {lowest} to {highest}; {limit} and above {told}; another at_least moves it"
    else:
        ordered = counts.index[np.argsort(ranks)].tolist()
        positive = [value for value in ordered if value in counts.index[above]]
        rule = _rule(name, positive, [value for value in ordered if value not in positive], [])
        rules = {f"{name} from {positive[0]}": rule}
        reason = f"grades {ordered[0]} to {ordered[-1]}; {positive[0]} and above {told}; the list 'positive' moves it, and 'classes' would keep them apart"
    return Candidate(name, "grade", rules, reason, check=True)


def measured(rows: pd.DataFrame, columns: list[str]) -> list[str]:
    """Return those ``columns`` that hold measurements, such as an angle or a percentage, which are no labels as they are."""
    found = []
    for name in columns:
        values = rows[name].dropna()
        other = words.is_metadata(name) or words.is_patient(name) or "id" in words.words_of(name)
        if other or len(name) < 3 or values.nunique() <= 11 or (numbers := _numbers(values)).isna().any():
            continue
        if not (values.is_unique and (numbers % 1 == 0).all()):  # numbers of images
            found.append(name)
    return found


def _numbers(values: pd.Series) -> pd.Series:
    return pd.to_numeric(values.str.rstrip("% ").str.replace(",", ".", regex=False), errors="coerce")


def _findings(name: str, values: pd.Series) -> Candidate | None:
    """Return the labels of a column whose cells list several findings: one per finding that is not 'normal'."""
    for separator in SEPARATORS:
        listed = values[values.str.contains(separator, regex=False)]
        if len(listed) < max(2, len(values) / 100):
            continue
        parts = values.str.split(separator).explode().str.strip()
        counts = parts[parts != ""].value_counts()
        if (
            not 2 <= len(counts) <= MOST_FINDINGS
            or counts.index.str.len().max() > 60
            or len(values) < 2 * len(counts)
        ):
            continue
        found = sorted(value for value in counts.index if plain(value) not in words.NEGATIVE)
        reason = f"cells list several of {len(counts)} values, separated by '{separator}', so one label each"
        rules = {value: {"from": name, "positive": [value], "separator": separator} for value in found}
        # A word such as 'none' is a blank here.
        named = not any(value.lower() in MISSING for value in counts.index)
        return Candidate(name, "findings", rules, reason, has_negatives=named)
    return None
