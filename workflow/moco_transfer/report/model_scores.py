"""The sections of a model card on how good the model is: scores with intervals, decisions, calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from moco_transfer.report.model_card import ModelCard, frequent
from moco_transfer.report.tables import auroc_text, effect_text, markdown
from moco_transfer.statistics.calibration import Proportion
from moco_transfer.statistics.scorecard import FEWEST, Area, ClassResult


def results_section(card: ModelCard) -> list[str]:
    """Return the scores of the classes, the decisions if an image has exactly one class, and how to read them."""
    evaluation = card.facts["evaluation"]
    rows = [
        {
            "class": each.name,
            "test AUROC": _interval(each.auroc) if each.auroc else _too_few(each.test, "test"),
            "sensitivity": _share(each.sensitivity) if each.sensitivity else _no_decision(each),
            "specificity": _share(each.specificity) if each.specificity else _no_decision(each),
            "threshold": "" if each.threshold is None else f"{expit(each.threshold):.3f}",
        }
        for each in frequent(card.results)
    ]
    if len(card.results) > 1:
        kind = {"weighted": "average, weighted by positives", "macro": "average"}[evaluation["average"]]
        blank = dict.fromkeys(("sensitivity", "specificity", "threshold"), "")
        rows.append(
            {"class": kind, "test AUROC": _interval(card.average) if card.average else "too few images"}
            | blank
        )
    if evaluation["unit"] == "patient":
        wilson = "Wilson's for the number of images divided by the design effect of patients. Images of one patient count as dependent."
    else:
        wilson = "Wilson's."
        images, patients = card.images[card.about.made.target].loc["test", ["images", "patients"]]
        if patients < images:
            wilson += (
                f" The {images:,} test images are of {patients:,} patients, but each counts as independent, which makes intervals too "
                "narrow (`evaluation.unit: patient` corrects this)."
            )
    return [
        markdown(
            pd.DataFrame(rows),
            f"Scores of the {len(card.test):,} test images, with {card.interval}s.{card.left_out}",
        ),
        f"The interval of an AUROC is computed on the logit scale from influence functions; those of sensitivity and specificity are "
        f"{wilson} The encoder and the labelled images are taken as fixed: another training would give other numbers. "
        f"A class with fewer than {FEWEST} positive or {FEWEST} negative images gets no number.",
        "",
        "The threshold is the probability from which an image counts as positive. It was chosen on the validation images: where "
        "Youden's J = sensitivity + specificity - 1 is largest. This weighs a missed positive as much as a false alarm. For a use in "
        "which one of them is worse, choose another threshold, on images other than the test images.",
        *(_one_of_many(card) if card.one_of_many else []),
    ]


def _one_of_many(card: ModelCard) -> list[str]:
    """Return how to read numbers of one class against the others, and how good the most probable class is."""
    lines = [
        "",
        "An image has exactly one of the classes. Each row above compares one class with all others together (one-vs-rest): the "
        "positive images are those of the class, the negative ones those of all other classes. Thresholds count for each class by "
        "itself, so an image may reach those of several classes or of none. For one answer per image, take the most probable class "
        "(`predicted` in the table that `moco-transfer predict` writes).",
        "",
    ]
    found = card.decisions
    if found is None:
        return [
            *lines,
            f"There are fewer than {FEWEST} test images, too few to say how often that class is right.",
        ]
    shares = {
        "accuracy": _interval(found.accuracy),
        "balanced accuracy": _interval(found.balanced),
        "accuracy of always calling the most frequent class": f"{found.commonest:.3f}",
    }
    return [
        *lines,
        markdown(
            pd.DataFrame({"most probable class": shares.keys(), "test images": shares.values()}),
            f"How often the most probable class is right, with {card.interval}s.",
        ),
        "Accuracy is the share of images whose most probable class is theirs; its interval is computed as that of a sensitivity. "
        "Balanced accuracy is the mean over classes of the share of their images that are called right, so that rare classes count as "
        f"much as frequent ones; its interval is computed as that of an AUROC, and is unknown if a class has fewer than {FEWEST} images.",
        "",
        markdown(
            _confusion(card),
            f"Numbers of test images: rows are their classes, columns the most probable class.{card.left_out}",
        ),
    ]


def _confusion(card: ModelCard) -> pd.DataFrame:
    """Return the confusion matrix of the frequent classes; if that leaves some out, the last column counts calls of those."""
    names = [each.name for each in frequent(card.results)]
    numbers = [card.about.classes.index(name) for name in names]
    rows = card.decisions.confusion[numbers]
    table = pd.DataFrame(rows[:, numbers], columns=[f"called {name}" for name in names])
    if len(names) < len(card.about.classes):
        table["called another class"] = rows.sum(axis=1) - rows[:, numbers].sum(axis=1)
    table.insert(0, "class", names)
    return table


def _share(share: Proportion) -> str:
    return f"{_interval(share)}, {share.images:,} images"


def _interval(number: Area | Proportion) -> str:
    unknown = "; interval unknown" if np.isnan(number.lower) else ""
    return auroc_text(number.value, number.lower, number.upper) + unknown


def _too_few(counts: tuple[int, int], split: str) -> str:
    """Return what images a number lacks, in words."""
    for count, kind in zip(counts, ("positive", "negative"), strict=True):
        if count == 0:
            return f"none: no {kind} {split} image"
    return f"too few images: {counts[0]:,} positive, {counts[1]:,} negative ({split})"


def _no_decision(result: ClassResult) -> str:
    if min(result.validation) < FEWEST:
        return _too_few(result.validation, "validation")
    if result.threshold is None:
        return "no threshold is better than chance (validation)"
    return _too_few(result.test, "test")


def calibration_section(card: ModelCard) -> list[str]:
    """Return the calibration of the classes, and what it means."""
    rows = [
        {
            "class": each.name,
            "Brier score": f"{each.calibration.brier:.4f}",
            "always the prevalence": f"{each.calibration.reference:.4f}",
            "mean probability - prevalence": effect_text(each.calibration.excess, np.nan, np.nan),
        }
        if each.calibration
        else {"class": each.name, "Brier score": _too_few(each.test, "test")}
        for each in frequent(card.results)
    ]
    return [
        "![Reliability curves](reliability.svg)",
        "",
        markdown(
            pd.DataFrame(
                rows,
                columns=["class", "Brier score", "always the prevalence", "mean probability - prevalence"],
            ),
            f"Calibration on the test images.{card.left_out}",
        ),
        "The Brier score is the mean squared difference between probability and label; lower is better. A model whose score is not "
        "below that of always answering with the prevalence of the test images gives probabilities that help nobody, however well it "
        "ranks images. Nothing was recalibrated. Where the disease is rarer than here, probabilities are too high, and where it is "
        "more frequent, too low.",
    ]
