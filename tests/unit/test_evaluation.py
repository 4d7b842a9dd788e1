"""One target's results against values computed by hand from the same files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_predictions import CLASSES, IMAGES, rewrite, write_predictions
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from moco_transfer.config.analysis import Evaluation
from moco_transfer.errors import UserError
from moco_transfer.seeds import stream
from moco_transfer.statistics.auroc import auroc_influence, influence_covariance
from moco_transfer.statistics.bootstrap import resample_counts
from moco_transfer.statistics.budgets import best_budgets, validation_aurocs
from moco_transfer.statistics.evaluation import evaluate_target
from moco_transfer.statistics.predictions import PredictionsFile, read_split

N_LABELED = {"1": 20, "10": 60}


def settings(**changes) -> Evaluation:
    values = {"average": "weighted", "replicates": 50, "percentiles": [5, 95], "unit": "image"}
    return Evaluation(**(values | {"validation": "full", "margin": 0.02, "level": 0.05} | changes))


def budgets(files, chosen: int = 50) -> pd.DataFrame:
    cells = {(file.source, file.percent) for file in files if file.mode == "end_to_end"}
    rows = [
        (source, percent, epochs, epochs == chosen)
        for source, percent in sorted(cells)
        for epochs in (25, 50)
    ]
    return pd.DataFrame(rows, columns=["source", "percent", "epochs", "selected"])


def evaluate(files, **changes) -> dict[str, pd.DataFrame]:
    return evaluate_target("chest", files, budgets(files), N_LABELED, settings(**changes), 1)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    files = write_predictions(tmp_path_factory.mktemp("small"), percents=("1",), sources=("none", "chest"))
    return files, evaluate(files)


def by_hand(file, epochs: int, weights: np.ndarray | None = None) -> tuple[list[float], list[float]]:
    """AUROC and number of positives of each class, images counted ``weights`` times."""
    frame = pd.read_parquet(file.path)
    rows = frame[(frame["split"] == "test") & (frame["epochs"] == epochs)].reset_index(drop=True)
    weights = np.ones(len(rows)) if weights is None else weights.astype(float)
    aurocs, positives = [], []
    for name in CLASSES:
        known = rows[f"label_{name}"].notna()
        y, w = rows.loc[known, f"label_{name}"], weights[known]
        aurocs.append(roc_auc_score(y, rows.loc[known, f"logit_{name}"], sample_weight=w))
        positives.append((y * w).sum())
    return aurocs, positives


def cell(frame: pd.DataFrame, source: str, mode: str, epochs: int) -> pd.DataFrame:
    return frame[(frame["source"] == source) & (frame["mode"] == mode) & (frame["epochs"] == epochs)]


def rarer_patients(job: PredictionsFile, name: str) -> int:
    """Return how many test patients have an image with the rarer label of a class."""
    frame = pd.read_parquet(job.path).query("split == 'test' and epochs == 25")
    return min(frame.loc[frame[f"label_{name}"] == label, "patient_id"].nunique() for label in (0, 1))


def test_estimates_subsets_classes_and_replicates_equal_values_computed_by_hand(small):
    files, frames = small
    jobs = [file for file in files if (file.source, file.mode) == ("chest", "end_to_end")]
    scores = [by_hand(job, 25) for job in jobs]
    weighted = [np.average(aurocs, weights=positives) for aurocs, positives in scores]
    estimate = cell(frames["estimates"], "chest", "end_to_end", 25).iloc[0]
    assert estimate["auroc"] == pytest.approx(np.mean(weighted), rel=1e-12)
    assert estimate["macro"] == pytest.approx(np.mean([np.mean(aurocs) for aurocs, _ in scores]), rel=1e-12)
    assert (estimate["n_subsets"], estimate["n_labeled"]) == (3, 20)
    subsets = cell(frames["subsets"], "chest", "end_to_end", 25)
    assert subsets["auroc"].tolist() == pytest.approx(weighted, rel=1e-12)
    classes = cell(frames["classes"], "chest", "end_to_end", 25)
    assert classes["class"].tolist() == CLASSES
    assert classes["positives"].tolist() == scores[0][1]
    assert classes["rarer"].tolist() == [rarer_patients(jobs[0], name) for name in CLASSES]
    assert classes["auroc"].tolist() == pytest.approx(np.mean([aurocs for aurocs, _ in scores], axis=0))

    ids = read_split(jobs[0].path, "test")[25].images
    counts = resample_counts(ids, 50, 1, "bootstrap", "chest")
    expected = [
        np.mean([np.average(a, weights=p) for a, p in (by_hand(job, 25, drawn) for job in jobs)])
        for drawn in counts.T[:5]
    ]
    replicates = cell(frames["replicates"], "chest", "end_to_end", 25)["auroc"]
    assert replicates.tolist()[:5] == pytest.approx(expected, rel=1e-12)
    ends = estimate[["lower", "median", "upper"]].astype(float)
    assert ends.tolist() == pytest.approx(np.percentile(replicates, [5, 50, 95]))


def test_the_covariance_is_that_of_subset_means_clustered_by_patient(small):
    files, frames = small

    def influence(source: str) -> np.ndarray:
        jobs = [file for file in files if (file.source, file.mode) == (source, "linear")]
        tests = [read_split(job.path, "test")[100] for job in jobs]
        return np.mean([auroc_influence(test.labels, test.scores, "weighted") for test in tests], axis=0)

    patients = np.arange(IMAGES, 2 * IMAGES) // 3
    expected = influence_covariance(np.stack([influence("none"), influence("chest")]), patients)
    covariance = frames["covariance"].set_index(
        [f"{name}_{side}" for side in "ab" for name in ("source", "mode", "percent", "epochs")]
    )["covariance"]
    linear = {source: (source, "linear", "1", 100) for source in ("none", "chest")}
    assert covariance[(*linear["none"], *linear["chest"])] == pytest.approx(expected[0, 1], rel=1e-9)
    assert covariance[(*linear["chest"], *linear["none"])] == pytest.approx(expected[0, 1], rel=1e-9)
    se_test = cell(frames["estimates"], "chest", "linear", 100)["se_test"].item()
    assert se_test == pytest.approx(np.sqrt(expected[1, 1]), rel=1e-9)
    assert len(covariance) == len(frames["estimates"]) ** 2


def test_a_class_has_the_logit_interval_of_its_subset_mean_clustered_by_patient(small):
    files, frames = small
    jobs = [file for file in files if (file.source, file.mode) == ("none", "linear")]
    tests = [read_split(job.path, "test")[100] for job in jobs]
    row = cell(frames["classes"], "none", "linear", 100).iloc[0]
    influence = np.mean([auroc_influence(t.labels[:, :1], t.scores[:, :1], "macro") for t in tests], axis=0)
    patients = np.arange(IMAGES, 2 * IMAGES) // 3
    se = np.sqrt(influence_covariance(influence[None], patients)[0, 0])
    assert row["se_test"] == pytest.approx(se, rel=1e-9)
    with_finding = len(set(patients[tests[0].labels[:, 0] == 1]))
    middle = np.log(row["auroc"] / (1 - row["auroc"]))
    reach = student.ppf(0.95, with_finding - 1) * se * np.sqrt(with_finding / (with_finding - 1))
    reach /= row["auroc"] * (1 - row["auroc"])
    ends = 1 / (1 + np.exp([reach - middle, -reach - middle]))
    assert [row["lower"], row["upper"]] == pytest.approx(ends.tolist(), rel=1e-9)


@pytest.mark.parametrize("images", ["full", "matched"])
def test_the_validation_auroc_is_the_mean_over_subsets_on_the_configured_images(small, images):
    files, frames = small
    estimates = evaluate(files, validation=images)["estimates"]
    for mode, epochs in (("linear", 100), ("end_to_end", 25)):
        aurocs = []
        for file in (file for file in files if (file.source, file.mode) == ("chest", mode)):
            scored = read_split(file.path, "validation")[epochs]
            kept = slice(None)
            if images == "matched":  # as many as are labelled at 1%
                kept = stream(1, "matched validation", "chest", file.subset).permutation(IMAGES)[:20]
            labels, scores = scored.labels[kept], scored.scores[kept]
            known = [~np.isnan(column) for column in labels.T]
            by_class = [roc_auc_score(y[k], s[k]) for y, s, k in zip(labels.T, scores.T, known, strict=True)]
            aurocs.append(np.average(by_class, weights=np.nansum(labels, axis=0)))
        estimate = cell(estimates, "chest", mode, epochs)["validation_auroc"].item()
        assert estimate == pytest.approx(np.mean(aurocs), rel=1e-12)
    pd.testing.assert_frame_equal(
        estimates.drop(columns="validation_auroc"), frames["estimates"].drop(columns="validation_auroc")
    )


def test_selects_the_chosen_budget_and_every_linear_cell(small):
    _, frames = small
    estimates = frames["estimates"]
    assert estimates[estimates["mode"] == "linear"]["selected"].all()
    end_to_end = estimates[estimates["mode"] == "end_to_end"]
    assert (end_to_end["selected"] == (end_to_end["epochs"] == 50)).all()


def test_resampling_patients_widens_the_interval_of_images_that_agree_within_a_patient(tmp_path):
    files = write_predictions(tmp_path, percents=("1",), sources=("none",), n_subsets=1)

    def agree(frame: pd.DataFrame) -> pd.DataFrame:
        first = frame.groupby(["split", "epochs", "patient_id"]).transform("first")
        values = [name for name in frame if name.startswith(("label_", "logit_"))]
        return frame.assign(**{name: first[name] for name in values})

    for file in files:
        rewrite(file.path, agree)
    widths = {}
    for unit in ("image", "patient"):
        estimate = evaluate(files, unit=unit, replicates=300)["estimates"].iloc[0]
        widths[unit] = estimate["upper"] - estimate["lower"]
    assert widths["patient"] > 1.3 * widths["image"]  # about the square root of 3


def test_does_not_depend_on_the_order_of_files_or_on_other_sources(small):
    files, frames = small
    again = evaluate(files[::-1])
    for name, frame in frames.items():
        pd.testing.assert_frame_equal(again[name], frame)
    alone = evaluate([file for file in files if file.source == "none"])["replicates"]
    together = frames["replicates"]
    pd.testing.assert_frame_equal(alone, together[together["source"] == "none"].reset_index(drop=True))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame: frame.iloc[::-1], "expected the images and labels"),
        (lambda frame: frame.drop(frame.index[-1]), "expected the images and labels"),
        (lambda frame: frame.assign(label_edema=1 - frame["label_edema"]), "expected the images and labels"),
        (lambda frame: frame.assign(logit_edema=np.nan), "not finite"),
        (lambda frame: frame.drop(columns="logit_edema"), "logit_edema"),
        (lambda frame: frame[frame["split"] == "validation"], "no image of the test split"),
    ],
)
def test_names_the_file_that_does_not_fit(tmp_path, change, says):
    files = write_predictions(tmp_path, percents=("1",), sources=("none", "chest"), n_subsets=1)
    broken = next(file for file in files if file.source == "none" and file.mode == "linear")
    rewrite(broken.path, change)
    with pytest.raises(UserError, match=says) as error:
        evaluate(files)
    assert str(broken.path) in str(error.value)


def test_refuses_budgets_that_were_chosen_from_other_predictions(tmp_path):
    files = write_predictions(tmp_path, percents=("1",), sources=("none",), n_subsets=1)
    with pytest.raises(UserError, match="'none' at 1%"):
        evaluate_target("chest", files, budgets(files, chosen=200), N_LABELED, settings(), 1)


def test_refuses_subsets_with_different_budgets(tmp_path):
    files = write_predictions(tmp_path, percents=("1",), sources=("none",), n_subsets=2)
    last = next(file for file in files if file.mode == "end_to_end" and file.subset == 2)
    rewrite(last.path, lambda frame: frame[frame["epochs"] == 50])
    with pytest.raises(UserError, match=r"\[50\].*\[25, 50\]"):
        evaluate(files)


def two_folds(folder: Path, **how) -> list[PredictionsFile]:
    """Write predictions of two folds: the second tests other, fewer images, some of them of patients of the first fold."""
    how = {"percents": ("1",), "sources": ("none", "chest")} | how
    first, second = (write_predictions(folder / name, **how) for name in ("first", "second"))

    def others(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame[frame["image_id"] < f"i{IMAGES + 80:04d}"].assign(image_id="j" + frame["image_id"])
        values = [name for name in frame if name.startswith(("label_", "logit_"))]
        return frame.assign(
            **frame.groupby(["split", "epochs"])[values].transform(lambda each: np.roll(each, 7))
        )

    for file in second:
        rewrite(file.path, others)
    return [*first, *(replace(file, fold=2) for file in second)]


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    files = two_folds(tmp_path_factory.mktemp("folded"))
    return files, evaluate(files, unit="patient", replicates=2000)


def of_subsets(files: list[PredictionsFile], source: str, mode: str) -> list[list[PredictionsFile]]:
    """Return the files of both folds of each subset."""
    own = [file for file in files if (file.source, file.mode) == (source, mode)]
    return [sorted((f for f in own if f.subset == s), key=lambda f: f.fold) for s in (1, 2, 3)]


def test_an_auroc_is_the_mean_of_those_of_the_folds(folded):
    files, frames = folded
    subsets = of_subsets(files, "chest", "end_to_end")
    found = cell(frames["subsets"], "chest", "end_to_end", 25)
    expected, by_class, positives = [], [], []
    for folds in subsets:
        scores = [by_hand(file, 25) for file in folds]
        expected.append(np.mean([np.average(aurocs, weights=weights) for aurocs, weights in scores]))
        by_class.append(np.mean([aurocs for aurocs, _ in scores], axis=0))
        positives.append(np.sum([weights for _, weights in scores], axis=0))
    assert found["auroc"].tolist() == pytest.approx(expected, rel=1e-12)
    estimate = cell(frames["estimates"], "chest", "end_to_end", 25).iloc[0]
    assert estimate["n_subsets"] == 3
    assert estimate["auroc"] == pytest.approx(np.mean(expected), rel=1e-12)
    assert estimate["macro"] == pytest.approx(np.mean(by_class), rel=1e-12)
    classes = cell(frames["classes"], "chest", "end_to_end", 25)
    assert classes["auroc"].tolist() == pytest.approx(np.mean(by_class, axis=0).tolist(), rel=1e-12)
    assert classes["positives"].tolist() == positives[0].tolist()


def test_patients_of_all_folds_are_resampled_and_each_fold_ranks_its_own_images(folded):
    files, frames = folded
    subsets = of_subsets(files, "chest", "linear")
    tests = [read_split(file.path, "test")[100] for file in subsets[0]]
    patients = np.concatenate([test.patients for test in tests])
    assert len(set(patients)) < sum(len(set(test.patients)) for test in tests)
    counts = resample_counts(patients, 2000, 1, "bootstrap", "chest")
    replicates = cell(frames["replicates"], "chest", "linear", 100)["auroc"]
    for drawn, found in zip(counts.T[:5], replicates, strict=False):
        parts = drawn[:IMAGES], drawn[IMAGES:]
        aurocs = [
            np.mean([np.average(a, weights=p) for a, p in map(by_hand, folds, (100, 100), parts)])
            for folds in subsets
        ]
        assert found == pytest.approx(np.mean(aurocs), rel=1e-12)


def test_the_standard_error_over_folds_is_that_of_the_bootstrap_of_patients(folded):
    files, frames = folded
    # The delta method by hand: each fold's AUROC is half of the mean, and a patient's images in both folds count together.
    moves: dict[str, float] = {}
    for folds in of_subsets(files, "chest", "linear"):
        for file in folds:
            test = read_split(file.path, "test")[100]
            influence = auroc_influence(test.labels, test.scores, "weighted")
            for patient, value in zip(test.patients, influence, strict=True):
                moves[patient] = moves.get(patient, 0.0) + value / len(influence) / 2 / 3
    expected = np.sqrt(np.sum(np.square([*moves.values()])) * len(moves) / (len(moves) - 1))
    estimate = cell(frames["estimates"], "chest", "linear", 100).iloc[0]
    assert estimate["se_test"] == pytest.approx(expected, rel=1e-9)
    replicates = cell(frames["replicates"], "chest", "linear", 100)["auroc"]
    assert estimate["se_test"] == pytest.approx(replicates.std(), rel=0.06)  # Monte Carlo error 1.6%
    of_class = cell(frames["classes"], "chest", "linear", 100).iloc[0]
    assert of_class["lower"] < of_class["auroc"] < of_class["upper"]


def test_scores_of_different_folds_are_never_compared(tmp_path):
    files = two_folds(tmp_path)
    before = evaluate(files)["estimates"]
    shift = [f"logit_{name}" for name in CLASSES]
    for file in files:
        if file.fold == 2:
            rewrite(file.path, lambda frame: frame.assign(**{name: frame[name] + 9 for name in shift}))
    after = evaluate(files)["estimates"]
    pd.testing.assert_frame_equal(after, before, atol=1e-6)


def test_a_class_without_positives_in_a_fold_is_that_of_the_other_folds(tmp_path):
    files = two_folds(tmp_path, n_subsets=1)

    def none(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(label_effusion=frame["label_effusion"] * (frame["split"] != "test"))

    for file in files:
        if file.fold == 2:
            rewrite(file.path, none)
    frames = evaluate(files)
    alone = evaluate([file for file in files if file.fold == 1])
    effusion, of_first = (
        cell(each["classes"], "none", "linear", 100).iloc[0].drop(["lower", "upper", "se_test"])
        for each in (frames, alone)
    )
    assert effusion.equals(of_first)
    errors = [cell(each["classes"], "none", "linear", 100)["se_test"].iloc[0] for each in (frames, alone)]
    assert errors[0] == pytest.approx(errors[1], rel=0.02)  # they differ in the number of patients
    folds = [file for file in files if (file.source, file.mode) == ("none", "linear")]
    aurocs, positives = by_hand(folds[0], 100)
    expected = np.mean([np.average(aurocs, weights=positives), auroc_of_edema(folds[1])])
    auroc = cell(frames["estimates"], "none", "linear", 100)["auroc"].item()
    assert auroc == pytest.approx(expected, rel=1e-12)


def auroc_of_edema(file: PredictionsFile) -> float:
    frame = pd.read_parquet(file.path)
    rows = frame[frame["split"] == "test"]
    return roc_auc_score(rows["label_edema"], rows["logit_edema"])


def test_the_same_budget_is_taken_in_all_folds(tmp_path):
    files = [file for file in two_folds(tmp_path, sources=("chest",)) if file.mode == "end_to_end"]
    aurocs = validation_aurocs("chest", files, N_LABELED, "weighted", 1)
    assert len(aurocs) == 2 * 3 * 2
    chosen = best_budgets(aurocs, "full")
    means = aurocs.groupby("epochs")["auroc_full"].mean()
    assert chosen["validation_auroc"].tolist() == pytest.approx(means.tolist())
    assert chosen.loc[chosen["selected"], "epochs"].item() == means.idxmax()
    rewrite(files[-1].path, lambda frame: frame[frame["epochs"] == 50])
    with pytest.raises(UserError, match=r"\[50\].*\[25, 50\]"):
        evaluate(files)
