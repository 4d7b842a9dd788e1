"""Budgets are chosen by the mean validation AUROC over subsets, on full or matched images."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from made_up_predictions import CLASSES, rewrite, write_predictions
from sklearn.metrics import roc_auc_score

from moco_transfer import cli
from moco_transfer.errors import UserError
from moco_transfer.statistics.budgets import best_budgets, read_budgets, validation_aurocs

N_LABELED = {"1": 20, "10": 60}


def end_to_end(files):
    return [file for file in files if file.mode == "end_to_end"]


def validation(rows: list[tuple]) -> pd.DataFrame:
    """Return AUROCs on full images and, in the sixth value of a row if it has one, on matched images."""
    columns = ["source", "percent", "subset", "epochs", "auroc_full", "auroc_matched"]
    rows = [row if len(row) == len(columns) else (*row, row[-1]) for row in rows]
    return pd.DataFrame(rows, columns=columns).assign(images_full=120, images_matched=20)


def test_the_budget_with_the_best_mean_over_subsets_is_chosen():
    aurocs = {(1, 25): 0.70, (2, 25): 0.70, (1, 50): 0.90, (2, 50): 0.49}
    rows = [("none", "1", subset, epochs, auroc) for (subset, epochs), auroc in aurocs.items()]
    budgets = best_budgets(validation(rows), "full")
    assert budgets[["epochs", "selected"]].to_numpy().tolist() == [[25, True], [50, False]]
    assert budgets["validation_auroc"].tolist() == pytest.approx([0.70, 0.695])


def test_the_smallest_of_equally_good_budgets_is_chosen():
    rows = [
        (source, percent, 1, epochs, auroc)
        for source in ("none", "chest")
        for percent in ("1", "10")
        for epochs, auroc in [(200, 0.8), (50, 0.8), (25, 0.7), (100, np.nan)]
    ]
    budgets = best_budgets(validation(rows), "full")
    assert budgets.loc[budgets["selected"], "epochs"].tolist() == [50] * 4
    assert budgets.groupby(["source", "percent"])["selected"].sum().tolist() == [1] * 4


@pytest.mark.parametrize("images", ["full", "matched"])
def test_an_error_names_the_cell_that_cannot_be_scored(images):
    with pytest.raises(UserError, match="chest, 1%"):
        best_budgets(validation([("chest", "1", 1, 25, np.nan), ("chest", "1", 1, 50, np.nan)]), images)


def test_both_choices_are_made_and_the_configured_one_counts():
    rows = [("none", "1", 1, 25, 0.8, 0.5), ("none", "1", 1, 50, 0.7, 0.6)]
    both = best_budgets(validation(rows), "full"), best_budgets(validation(rows), "matched")
    pairs = ["images", "validation_auroc", "selected"]
    columns = [f"{column}_{images}" for column in pairs for images in ("full", "matched")]
    pd.testing.assert_frame_equal(both[0][columns], both[1][columns])
    for images, budgets in zip(("full", "matched"), both, strict=True):
        assert budgets.columns.tolist() == [
            *("source", "percent", "epochs", "validation_auroc", "selected"),
            *columns,
        ]
        assert budgets[["images_full", "images_matched"]].to_numpy().tolist() == [[120, 20]] * 2
        assert budgets["selected_full"].tolist() == [True, False]
        assert budgets["selected_matched"].tolist() == [False, True]
        for column in pairs[1:]:
            assert budgets[column].equals(budgets[f"{column}_{images}"].rename(column))


def test_matched_images_without_both_values_are_an_error_only_if_they_are_configured():
    unscored = [("chest", "1", 1, 25, 0.7, np.nan), ("chest", "1", 1, 50, 0.8, np.nan)]
    scored = [("none", "1", 1, 25, 0.7, 0.6), ("none", "1", 1, 50, 0.8, 0.5)]
    budgets = best_budgets(validation(unscored + scored), "full").set_index(["source", "epochs"])
    assert budgets.loc["chest", "validation_auroc_matched"].isna().all()
    assert not budgets.loc["chest", "selected_matched"].any()
    assert budgets.loc["chest", "selected"].tolist() == [False, True]
    assert budgets.loc["none", "selected_matched"].tolist() == [True, False]
    with pytest.raises(UserError, match="chest, 1%"):
        best_budgets(validation(unscored + scored), "matched")


def test_scores_the_validation_rows_as_scikit_learn_does(tmp_path):
    files = end_to_end(write_predictions(tmp_path, percents=("1",), sources=("chest",), n_subsets=1))
    found = validation_aurocs("chest", files, N_LABELED, "macro", 1)
    frame = pd.read_parquet(files[0].path)
    for epochs, auroc in zip(found["epochs"], found["auroc_full"], strict=True):
        rows = frame[(frame["split"] == "validation") & (frame["epochs"] == epochs)]
        expected = []
        for name in CLASSES:
            known = rows.dropna(subset=[f"label_{name}"])
            expected.append(roc_auc_score(known[f"label_{name}"], known[f"logit_{name}"]))
        assert auroc == pytest.approx(np.mean(expected), rel=1e-12)


def test_matched_validation_is_as_large_as_the_subset_and_the_same_for_all_sources(tmp_path):
    files = end_to_end(write_predictions(tmp_path, sources=("none", "chest"), n_subsets=2))
    for file in files:  # every source predicts the same, so their scores agree if their images do
        rewrite(
            file.path,
            lambda frame: frame.assign(logit_edema=frame["image_id"].str[1:].astype(np.float32) % 13),
        )
        rewrite(file.path, lambda frame: frame.drop(columns=["label_effusion", "logit_effusion"]))
    found = validation_aurocs("chest", files, {"1": 20, "10": 10_000}, "weighted", 1)
    assert found.groupby("percent")["images_matched"].unique().map(list).to_dict() == {"1": [20], "10": [120]}
    assert set(found["images_full"]) == {120}
    assert found.groupby(["percent", "subset"])["auroc_matched"].nunique().tolist() == [1, 1, 1, 1]
    few, all_of_them = (found[found["percent"] == percent] for percent in ("1", "10"))
    assert few["auroc_matched"].nunique() == 2  # each subset has other matched images
    assert all_of_them["auroc_matched"].tolist() == all_of_them["auroc_full"].tolist()


def test_the_stage_chooses_by_the_configured_images_even_if_the_matched_ones_have_no_auroc(tmp_path, capsys):
    """With one labelled image there is one matched image, so there is no AUROC."""
    files = end_to_end(write_predictions(tmp_path, percents=("1",), sources=("none", "chest"), n_subsets=2))
    pd.DataFrame({"row": [0]}).to_parquet(tmp_path / "subset.parquet")
    settings = {"target": "chest", "percents": ["1"], "average": "weighted", "seed": 1}
    settings["jobs"] = [(file.source, file.mode, file.percent, file.subset, 1, 1) for file in files]
    paths = ["--predictions", *(str(file.path) for file in files), "--subsets", f"{tmp_path}/subset.parquet"]
    paths += ["--budgets", f"{tmp_path}/budgets.csv"]

    def run(images: str) -> int:
        asked = json.dumps(settings | {"validation": images})
        return cli.main(["select-budgets", "--settings", asked, *paths])

    assert run("full") == 0
    budgets = read_budgets(tmp_path / "budgets.csv")
    assert budgets.groupby("source")["selected"].sum().tolist() == [1, 1]
    assert budgets["selected"].equals(budgets["selected_full"].rename("selected"))
    assert budgets["validation_auroc_matched"].isna().all() and not budgets["selected_matched"].any()
    assert set(budgets["images_matched"]) == {1}
    (tmp_path / "budgets.csv").unlink()
    assert run("matched") == 1
    assert "chest, 1%" in capsys.readouterr().err
    assert not (tmp_path / "budgets.csv").exists()


def test_percentages_and_names_stay_strings_on_disk(tmp_path):
    rows = [("none", "0.10", 1, 25, 0.7), ("none", "100", 1, 25, 0.7), ("nan", "100", 1, 25, 0.7)]
    budgets = best_budgets(validation(rows), "full")
    budgets.to_csv(tmp_path / "budgets.csv", index=False)
    pd.testing.assert_frame_equal(read_budgets(tmp_path / "budgets.csv"), budgets, check_dtype=False)
    assert read_budgets(tmp_path / "budgets.csv")["percent"].tolist() == ["100", "0.10", "100"]
