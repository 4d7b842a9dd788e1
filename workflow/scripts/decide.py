"""The decide table: what would decide what this run leaves undecided, and how much training that takes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from claims import read_design
from controls import read_pretrainings

from moco_transfer.config.analysis import Controls
from moco_transfer.config.experiment import Config, check
from moco_transfer.costs import TRAINING_PASSES, measured_speed
from moco_transfer.errors import in_one_line
from moco_transfer.files import read_parquet
from moco_transfer.image_counts import count_images
from moco_transfer.plan import planned_jobs
from moco_transfer.report.names import left_out_note
from moco_transfer.report.tables import effect_text, write_table
from moco_transfer.statistics.advice import advice_table
from moco_transfer.statistics.controls import control_questions
from moco_transfer.statistics.evidence import read_run
from moco_transfer.statistics.power import ENOUGH, Needed, Numbers, are_apart, numbers_of, what_decides
from moco_transfer.statistics.undecided import (
    Undecided,
    undecided_advice,
    undecided_claims,
    undecided_controls,
)

SCENARIOS = {"seen": "as seen", "of interest": "the smallest of interest"}
HEADINGS = {"claim": "Claim ", "control": "Control: ", "advice": "Advice: "}
WAYS = ("patients", "subsets", "encoders", "together")
NUMBERS = ("test_patients", "n_subsets", "replicates")
IMAGES = ("trained", "forward")
COUNTS = [
    *NUMBERS,
    *(f"{way}_{name}" for way in WAYS for name in (*NUMBERS, *(IMAGES if way != "patients" else ()))),
]
RECORDS = [
    *("kind", "question", "cell", "whole", "target", "effect", "lower", "upper", "above", "below"),
    *("tested_at", "difference", "true_effect", "power", "one_encoder", "apart", *COUNTS),
]
Work = Callable[[Numbers], tuple[int, int]]
"""Takes other numbers of subsets and encoders; returns the images to train on in addition, and those to pass forward."""


def main(inputs, outputs, params, config: Config) -> None:
    estimates, evidence = read_run(
        inputs.estimates, inputs.covariance, inputs.subsets, inputs.extra, params.seen, params.trained
    )
    questions = control_questions(
        Controls.model_validate(params.controls),
        params.percents,
        params.sources_of_one,
        read_pretrainings(params, inputs.splits),
        params.augmented,
    )
    # What a way costs does not decide which may be the best.
    choices = estimates[estimates["source"].isin(list(params.choices))].assign(images_trained=0)
    advice = advice_table(choices, evidence, params.level, params.all_seen)
    undecided = [
        *undecided_claims(evidence, read_design(params, inputs.splits), params.margin, params.level),
        *undecided_controls(questions, evidence, params.level),
        *undecided_advice(advice, evidence, params.level),
    ]
    # A standard error of zero shows a degenerate sample, of which nothing can be predicted.
    undecided = [each for each in undecided if each.contrast.se > 0]
    records = decide_records(
        undecided, patients_of(inputs.tested), additional_work(config), params.margin, params.level
    )
    write_table(
        decide_summary(records, measured_speed(config), params.device),
        outputs,
        "How much larger this run would have to be to decide what it leaves undecided. Each number gives the test "
        f"{100 * ENOUGH:.0f}% power, if the true difference is as seen (which may be luck), or the smallest of interest "
        f"({params.margin:g} AUROC, or that far from the margin of a test of equivalence or non-inferiority). Each column "
        "changes one number; 'All together' is used only if none of them suffices. Labelled subsets are set by n_subsets, "
        "encoders of each source by pretraining.replicates. A claim is represented by the comparison that decides it; if it is "
        "about all cells, its other comparisons must be shown as well. The CSV has all. 'Images added' is the training added to the "
        "whole run in the cheapest column but that of test patients; a forward pass alone counts as a third of an image. The numbers "
        f"rest on the variances seen in this run, so they are rough if it has few subsets or encoders.{left_out_note(params.seen)}",
        params.note,
        records,
    )


def patients_of(paths: Sequence[str | Path]) -> dict[str, int]:
    """Return the number of test patients of each target, from the files of its splits, in a folder of its name."""
    tested: dict[str, set[str]] = {}
    for path in map(Path, paths):
        rows = read_parquet(path)
        tested.setdefault(path.parent.name, set()).update(rows.loc[rows["split"] == "test", "patient_id"])
    return {target: len(patients) for target, patients in tested.items()}


def additional_work(config: Config) -> Work:
    """Return what a run of ``config`` with other numbers trains in addition.

    The plan counts it for one more subset and one more encoder; more of them are taken to cost in proportion.
    """
    images, now = count_images(config), config.pretraining.replicates

    def total(subsets: int, replicates: int) -> np.ndarray:
        pretraining = config.pretraining.model_copy(update={"replicates": replicates})
        changed = config.model_copy(update={"n_subsets": subsets, "pretraining": pretraining})
        jobs = planned_jobs(changed, images)
        return np.array([sum(job.trained for job in jobs), sum(job.forward for job in jobs)])

    at_present = total(config.n_subsets, now)
    of_subset = total(config.n_subsets + 1, now) - at_present
    of_encoder = total(config.n_subsets, now + 1) - at_present

    def work(numbers: Numbers) -> tuple[int, int]:
        # What does not vary with the encoders of this run leaves their number as it is.
        subsets, encoders = (
            max(number, 0) for number in (numbers.subsets - config.n_subsets, numbers.encoders - now)
        )
        trained, forward = subsets * of_subset + encoders * of_encoder
        return int(trained), int(forward)

    return work


def decide_records(
    undecided: Sequence[Undecided], patients: dict[str, int], work: Work, margin: float, level: float
) -> pd.DataFrame:
    """Return two rows for each of ``undecided``: for the difference seen, and for the smallest of interest.

    The columns are kind, question, cell, whole, target; effect, lower, upper (the 1 - 2 ``level`` interval); above
    and below (the bounds of what is to be shown), tested_at (the level); difference ('seen' or 'of interest'),
    true_effect (what it would be), power (at present); the numbers at present: test_patients, n_subsets, replicates
    (encoders of each source; 1 if none varies), one_encoder (the sources with a single trained one), apart (whether
    the parts of subsets and encoders are known apart); for each of ``WAYS`` the numbers that suffice:
    {way}_test_patients, {way}_n_subsets, {way}_replicates, blank if none does; and the images that subsets, encoders,
    together add: {way}_trained, {way}_forward.
    """
    rows = []
    for each in undecided:
        contrast = each.contrast
        now = numbers_of(contrast)
        units = tuple(
            _in_images(*work(now._replace(**{name: getattr(now, name) + 1})))
            for name in ("subsets", "encoders")
        )
        facts = {name: getattr(each, name) for name in ("kind", "question", "cell", "whole", "target")}
        facts |= dict(
            zip(("effect", "lower", "upper"), (contrast.effect, *contrast.interval(level)), strict=True)
        )
        facts |= {"above": each.statement.lower, "below": each.statement.upper, "tested_at": each.level}
        found = what_decides(contrast, each.statement, each.level, margin, units)
        for difference, needed in zip(SCENARIOS, found, strict=True):
            row = facts | {"difference": difference, "true_effect": needed.effect, "power": needed.power}
            row |= {"one_encoder": " ".join(contrast.one_encoder), "apart": are_apart(contrast)}
            row |= _numbers(now, "", patients[each.target])
            for way in WAYS:
                row |= _way(needed, way, patients[each.target], work)
            rows.append(row)
    return pd.DataFrame(rows, columns=RECORDS).astype(dict.fromkeys(COUNTS, "Int64") | {"whole": bool})


def _way(needed: Needed, way: str, patients: int, work: Work) -> dict[str, object]:
    numbers = getattr(needed, way)
    names = [f"{way}_{name}" for name in NUMBERS]
    cells = dict.fromkeys(names) if numbers is None else _numbers(numbers, f"{way}_", patients)
    if way != "patients":
        images = (None, None) if numbers is None else work(numbers)
        cells |= {f"{way}_{name}": count for name, count in zip(IMAGES, images, strict=True)}
    return cells


def _numbers(numbers: Numbers, prefix: str, patients: int) -> dict[str, int]:
    counts = (int(np.ceil(numbers.patients * patients)), numbers.subsets, numbers.encoders)
    return {f"{prefix}{name}": count for name, count in zip(NUMBERS, counts, strict=True)}


def _in_images(trained: float, forward: float) -> float:
    return trained + forward / TRAINING_PASSES


def decide_summary(records: pd.DataFrame, speed: float | None, device: str) -> pd.DataFrame:
    """Return ``decide_records`` as text, without the single comparisons of claims; what equals the row above is blank.

    ``speed`` is in images per second.
    """
    rows = []
    for row in records[records["whole"]].to_dict("records"):
        ways = {way: _text(row, way) for way in WAYS}
        costs = [
            _in_images(row[f"{way}_trained"], row[f"{way}_forward"])
            for way in WAYS[1:]
            if not pd.isna(row[f"{way}_trained"])
        ]
        images = min(costs, default=np.nan)
        rows.append(
            {
                "Undecided": f"{HEADINGS[row['kind']]}{row['question']}",
                "Cell": row["cell"],
                "Difference seen": effect_text(row["effect"], row["lower"], row["upper"]),
                "If the true one is": f"{row['true_effect']:+.3f}, {SCENARIOS[row['difference']]}",
                "Power now": f"{100 * row['power']:.0f}%",
                "More test patients": ways["patients"],
                "More labelled subsets": ways["subsets"],
                "More encoders": ways["encoders"],
                "All together": ways["together"],
                "Images added": "" if np.isnan(images) else f"{_rounded(images):,}",
                "Time (measured speed)": _time(images, speed, device),
            }
        )
    table = pd.DataFrame(rows, columns=SUMMARY)
    named = SUMMARY[:3]
    # Each question has rows of several cells, and each cell one row for each difference.
    same = (table[named] == table[named].shift()).cummin(axis="columns")
    return table.assign(**table[named].mask(same, ""))


SUMMARY = [
    *("Undecided", "Cell", "Difference seen", "If the true one is", "Power now", "More test patients"),
    *("More labelled subsets", "More encoders", "All together", "Images added", "Time (measured speed)"),
]


def settling_text(row: dict) -> str:
    """Return in one sentence which numbers would decide the comparison of a ``row`` of ``decide_records``."""
    if not (numbers := deciding_numbers(row)):
        return "No number of test patients, labelled subsets or encoders would tell it from its best rival."
    return (
        f"To tell it from its best rival ({100 * ENOUGH:.0f}% power, if the true difference is as seen, {row['true_effect']:+.3f}): "
        f"{numbers}. The table decide says more."
    )


def deciding_numbers(row: dict) -> str:
    """Return '320 test patients (2.0 times); or 12 subsets': what decides a ``row`` of ``decide_records``; nothing if no number does."""
    return "; or ".join(_text(row, way) for way in WAYS if not pd.isna(row[f"{way}_n_subsets"]))


def _text(row: dict, way: str) -> str:
    """Return the numbers of ``way`` that suffice as a person would set them, or why there are none."""
    patients, subsets, replicates = (row[f"{way}_{name}"] for name in NUMBERS)
    if pd.isna(subsets):
        if way == "encoders" and row["one_encoder"]:
            return "unknown: one encoder"
        if way == "encoders" and row["replicates"] == 1:
            return "does not apply"
        if way == "encoders" and not row["apart"]:
            return "one for each subset"
        alone = any(not pd.isna(row[f"{each}_n_subsets"]) for each in WAYS[:3])
        return "" if way == "together" and alone else "no number suffices"
    parts = [f"{int(patients):,} test patients ({patients / row['test_patients']:.1f} times)"]
    parts = parts if patients > row["test_patients"] else []
    parts += [f"{int(subsets):,} subsets"] if subsets > row["n_subsets"] else []
    parts += [f"{int(replicates):,} encoders"] if replicates > row["replicates"] else []
    return ", ".join(parts) or "enough as it is"


def _rounded(number: float) -> int:
    """Return ``number`` rounded to two digits."""
    return int(float(f"{number:.2g}"))


def _time(images: float, speed: float | None, device: str) -> str:
    """Return how long ``images`` take, in hours or minutes of a GPU or of this machine; blank if unknown."""
    if np.isnan(images) or not speed:
        return ""
    minutes = images / speed / 60
    amount, unit = (minutes / 60, "hours") if minutes >= 120 else (minutes, "minutes")
    return f"{float(f'{amount:.2g}'):,g} {'GPU' if device == 'cuda' else 'CPU'}-{unit}"


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params, check(snakemake.config))
