"""The error of cross-validated AUROCs, simulated: the truth about every fitted model is known there.

docs/statistics.md has the numbers of larger simulations of this kind.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from moco_transfer.config.analysis import Evaluation
from moco_transfer.config.datasets import Labels, Split
from moco_transfer.data.split import assign_splits
from moco_transfer.statistics.evaluation import evaluate_target
from moco_transfer.statistics.predictions import PredictionsFile

PATIENTS, IMAGES, FEATURES = 130, 259, 8
EVALUATION = Evaluation(
    average="weighted",
    replicates=200,
    percentiles=[5, 95],
    unit="patient",
    validation="full",
    margin=0.02,
    level=0.05,
)
# Linear cells need no budget.
NO_BUDGETS = pd.DataFrame(
    {name: [] for name in ("source", "percent", "epochs")} | {"selected": pd.Series(dtype=bool)}
)


def images(number: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return an index of images with one label, their features [n, f], and how far apart the two classes are [f].

    Images of one patient share half of the variance of each feature.
    """
    draw = np.random.default_rng([number, 5])
    whose = np.concatenate([np.arange(PATIENTS), draw.integers(0, PATIENTS, IMAGES - PATIENTS)])
    finding = (draw.random(PATIENTS) < 0.45)[whose].astype(np.float32)
    apart = np.full(FEATURES, 1.4 / np.sqrt(FEATURES))
    shared, own = draw.normal(size=(PATIENTS, FEATURES))[whose], draw.normal(size=(IMAGES, FEATURES))
    names = pd.DataFrame(
        {"image_id": [f"i{k}" for k in range(IMAGES)], "patient_id": [f"p{k}" for k in whose]}
    )
    return names.assign(finding=finding), np.sqrt(0.5) * (shared + own) + finding[:, None] * apart, apart


def cross_validated(number: int, folds: int, folder: Path) -> tuple[pd.Series, float]:
    """Return the estimate of a logistic regression, and the mean over the folds of the true AUROCs of the fitted models."""
    index, features, apart = images(number)
    split = Split(unit="patient", train=0.6, validation=0.2, test=0.2, folds=folds)
    files, true = [], []
    for fold in range(1, folds + 1):
        side = assign_splits(index, split, Labels(uncertain="zero", unlabeled="zero"), number, fold)["split"]
        train = (side == "train").to_numpy()
        model = LogisticRegression().fit(features[train], index["finding"][train])
        weights = model.coef_[0]
        # Scores are normal in both classes, with a variance of |weights|^2.
        true.append(norm.cdf(weights @ apart / np.sqrt(2) / np.linalg.norm(weights)))
        scores = index.rename(columns={"finding": "label_finding"}).assign(split=side, epochs=1)
        scores["logit_finding"] = model.decision_function(features)
        path = folder / f"{number}-{folds}-{fold}.parquet"
        scores[~train].to_parquet(path)
        files.append(PredictionsFile("none", "linear", "100", 1, 1, fold, path))
    frames = evaluate_target("hips", files, NO_BUDGETS, {"100": IMAGES}, EVALUATION, number)
    return frames["estimates"].iloc[0], float(np.mean(true))


def test_intervals_of_a_cross_validation_cover_what_its_models_are_worth_and_are_narrow(tmp_path):
    simulated = {}
    for folds in (1, 5):
        estimates, true = zip(
            *(cross_validated(number, folds, tmp_path) for number in range(60)), strict=True
        )
        simulated[folds] = pd.DataFrame(estimates).reset_index().assign(true=true)
    five = simulated[5]
    inside = (five["lower"] <= five["true"]) & (five["true"] <= five["upper"])
    assert 0.80 <= inside.mean() <= 0.99  # the Monte Carlo error of 0.9 is 0.04
    errors = five["auroc"] - five["true"]
    assert abs(errors.mean()) < 3 * errors.std() / np.sqrt(len(errors))
    # A standard deviation from 60 values has an error of 9%.
    assert np.sqrt((errors**2).mean()) == pytest.approx(np.sqrt((five["se_test"] ** 2).mean()), rel=0.27)
    # Five times as many images are tested: 1 / sqrt(5) is 0.447.
    widths = {folds: (found["upper"] - found["lower"]).mean() for folds, found in simulated.items()}
    assert 0.38 < widths[5] / widths[1] < 0.52
