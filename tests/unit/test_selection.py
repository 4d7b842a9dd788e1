"""Budgets are chosen on validation images alone, by the mean over seeds, the smaller one of equals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_up_predictions import CLASSES, rewrite, write_predictions
from sklearn.metrics import roc_auc_score

from moco_transfer.errors import UserError
from moco_transfer.statistics.selection import read_budgets, select_budgets, validation_aurocs

N_LABELED = {"1": 20, "10": 60}


def end_to_end(files):
    return [file for file in files if file.mode == "end_to_end"]


def validation(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["source", "percent", "seed", "epochs", "auroc"])


def test_takes_the_best_mean_over_seeds_not_the_best_seed():
    budgets = select_budgets(
        validation(
            [
                ("none", "1", 1, 25, 0.70),
                ("none", "1", 2, 25, 0.70),
                ("none", "1", 1, 50, 0.90),
                ("none", "1", 2, 50, 0.49),
            ]
        )
    )
    assert budgets[["epochs", "selected"]].to_numpy().tolist() == [[25, True], [50, False]]
    assert budgets["validation_auroc"].tolist() == pytest.approx([0.70, 0.695])


def test_takes_the_smaller_budget_of_equals_and_one_for_each_source_and_percent():
    rows = [
        (source, percent, 1, epochs, auroc)
        for source in ("none", "chest")
        for percent in ("1", "10")
        for epochs, auroc in [(200, 0.8), (50, 0.8), (25, 0.7), (100, np.nan)]
    ]
    budgets = select_budgets(validation(rows))
    assert budgets.loc[budgets["selected"], "epochs"].tolist() == [50] * 4
    assert budgets.groupby(["source", "percent"])["selected"].sum().tolist() == [1] * 4


def test_says_which_cell_cannot_be_scored():
    with pytest.raises(UserError, match="chest, 1%"):
        select_budgets(validation([("chest", "1", 1, 25, np.nan), ("chest", "1", 1, 50, np.nan)]))


def test_permuting_test_labels_changes_nothing_and_permuting_validation_labels_does(tmp_path):
    files = end_to_end(write_predictions(tmp_path, percents=("1",), sources=("none", "chest"), seeds=2))
    before = validation_aurocs("chest", files, N_LABELED, "full", "weighted", 1)

    def permuted(split: str):
        def change(frame: pd.DataFrame) -> pd.DataFrame:
            frame = frame.copy()
            for _, rows in frame[frame["split"] == split].groupby("epochs"):
                order = np.random.default_rng(5).permutation(len(rows))
                for name in CLASSES:
                    frame.loc[frame.index[rows.index], f"label_{name}"] = rows[f"label_{name}"].to_numpy()[
                        order
                    ]
            return frame

        return lambda frame: change(frame.reset_index(drop=True))

    for file in files:
        rewrite(file.path, permuted("test"))
    after = validation_aurocs("chest", files, N_LABELED, "full", "weighted", 1)
    pd.testing.assert_frame_equal(after, before)
    for file in files:
        rewrite(file.path, permuted("validation"))
    assert not validation_aurocs("chest", files, N_LABELED, "full", "weighted", 1).equals(before)


def test_scores_the_validation_rows_as_scikit_learn_does(tmp_path):
    files = end_to_end(write_predictions(tmp_path, percents=("1",), sources=("chest",), seeds=1))
    found = validation_aurocs("chest", files, N_LABELED, "full", "macro", 1)
    frame = pd.read_parquet(files[0].path)
    for epochs, auroc in zip(found["epochs"], found["auroc"], strict=True):
        rows = frame[(frame["split"] == "validation") & (frame["epochs"] == epochs)]
        expected = []
        for name in CLASSES:
            known = rows.dropna(subset=[f"label_{name}"])
            expected.append(roc_auc_score(known[f"label_{name}"], known[f"logit_{name}"]))
        assert auroc == pytest.approx(np.mean(expected), rel=1e-12)


def test_matched_validation_is_as_large_as_the_subset_and_the_same_for_all_sources(tmp_path):
    files = end_to_end(write_predictions(tmp_path, sources=("none", "chest"), seeds=2))
    for file in files:  # every source predicts the same, so their scores agree if their images do
        rewrite(
            file.path,
            lambda frame: frame.assign(logit_edema=frame["image_id"].str[1:].astype(np.float32) % 13),
        )
        rewrite(file.path, lambda frame: frame.drop(columns=["label_effusion", "logit_effusion"]))
    found = validation_aurocs("chest", files, {"1": 20, "10": 10_000}, "matched", "weighted", 1)
    full = validation_aurocs("chest", files, {"1": 20, "10": 60}, "full", "weighted", 1)
    assert found.groupby(["percent", "seed"])["auroc"].nunique().tolist() == [1, 1, 1, 1]
    few, all_of_them = (found[found["percent"] == percent] for percent in ("1", "10"))
    assert few["auroc"].nunique() == 2  # another subset for another seed
    assert all_of_them["auroc"].tolist() == pytest.approx(full[full["percent"] == "10"]["auroc"].tolist())


def test_budgets_keep_the_names_of_percentages_on_disk(tmp_path):
    budgets = select_budgets(validation([("none", "0.10", 1, 25, 0.7), ("none", "100", 1, 25, 0.7)]))
    budgets.to_csv(tmp_path / "budgets.csv", index=False)
    pd.testing.assert_frame_equal(read_budgets(tmp_path / "budgets.csv"), budgets, check_dtype=False)
    assert read_budgets(tmp_path / "budgets.csv")["percent"].tolist() == ["0.10", "100"]
