"""Which columns are labels, and the rules that make labels of them. The parts of a path are columns, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

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
    chosen = _choose(usual) or _choose([each for each in candidates if words.is_sex(each.column)])
    if not chosen:
        return None
    used = {each.column for each in chosen}
    others = [each.column for each in usual if each.column not in used]
    if others:
        notes.check.append(
            f"labels are {_named([each.column for each in chosen])}; other columns that could be labels: {_named(others)}"
        )
    for each in chosen:
        (notes.check if each.check else notes.found).append(f"column '{each.column}': {each.reason}")
    names = [each.column for each in chosen]
    reasons = {name: each.reason for each in chosen for name in each.rules}
    first = chosen[0]
    if first.kind == "classes":
        return Labels(first.rules, True, {"": first.reason}, names, "drop")
    unlabeled = "drop" if any(each.has_negatives for each in chosen) else "zero"
    if all(each.kind == "plain" for each in chosen):
        return Labels(names, False, reasons, names, unlabeled)
    merged = {name: rule for each in chosen for name, rule in each.rules.items()}
    return Labels(merged, False, reasons, names, unlabeled)


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
        return _grade(name, sorted(numbers), counts)
    if numbers.notna().mean() > 0.5:
        return None
    if found := _findings(name, values):
        return found
    if len(counts) == 2:
        return _of_two(name, counts)
    most = MOST_CLASSES if words.is_class(name) else MOST_VALUES
    if len(counts) <= most and len(values) >= 2 * len(counts) and counts.index.str.len().max() <= 60:
        shown = ", ".join(counts.index) if counts.min() >= SHARED else f"{len(counts)} values"
        rules = {"from": name, "values": sorted(counts.index)}
        return Candidate(name, "classes", rules, f"{len(counts)} values, so one class each: {shown}")
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
    return rule | {"negative": negative} if uncertain else rule


def _of_two(name: str, counts: pd.Series) -> Candidate | None:
    """Return the label of a column with two texts: the one that a word tells is positive, else the rarer one."""
    if counts.min() < 2 or counts.index.str.len().max() > 60:
        return None
    first, second = counts.index
    for value, other in ((first, second), (second, first)):
        if words.among(other, words.NEGATIVE) or words.among(value, words.POSITIVE):
            reason = f"two values; '{value}' counts as positive ({counts[value]:,} of {counts.sum():,})"
            return Candidate(name, "rule", {name: {"from": name, "positive": [value]}}, reason)
    reason = (
        f"two values; the rarer one, '{second}', counts as positive ({counts[second]:,} of {counts.sum():,})"
    )
    return Candidate(name, "rule", {name: {"from": name, "positive": [second]}}, reason, check=True)


def _grade(name: str, numbers: list[float], counts: pd.Series) -> Candidate | None:
    """Return the label of a column of whole numbers: a threshold, or classes if the name says so."""
    if len(numbers) > 11 or any(number % 1 for number in numbers) or not 0 <= numbers[0] <= numbers[-1] <= 10:
        return None
    if len(numbers) < 2 or (len(numbers) == 2 and not (words.is_class(name) or words.is_grade(name))):
        return None
    # 0 to 3 and 0 to 4 are grades in most tables.
    if (
        len(numbers) > 2
        and words.is_class(name)
        and not words.is_grade(name)
        and numbers not in ([0, 1, 2, 3], [0, 1, 2, 3, 4])
    ):
        values = [f"{number:g}" for number in numbers]
        reason = f"{len(values)} numbers in a column of classes, so one class each; if they are grades, use labels with at_least"
        return Candidate(name, "classes", {"from": name, "values": values}, reason, check=True)
    lowest, highest = int(numbers[0]), int(numbers[-1])
    limit = lowest + -(-(highest - lowest) // 2)
    at_least = pd.to_numeric(pd.Series(counts.index)).ge(limit).to_numpy()
    reason = f"grades {lowest} to {highest}; {limit} and above counts as positive ({counts[at_least].sum():,} of {counts.sum():,}); another at_least moves it"
    rules = {f"{name} from {limit}": {"from": name, "at_least": limit}}
    return Candidate(name, "grade", rules, reason, check=True)


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
        return Candidate(name, "findings", rules, reason)
    return None
