"""A dataset that grows: what its splits and subsets keep, and how many units may change sides at most."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moco_transfer.config import Labels, Split
from moco_transfer.data import split as module
from moco_transfer.data.index import build
from moco_transfer.data.split import assign_splits, draw_subset

KEEP = Labels(uncertain="zero", unlabeled="zero")
COLUMN = {"image": "image_id", "study": "study_id", "patient": "patient_id"}
RANK = {"train": 0, "validation": 1, "test": 2}


def index_of(patients: list[int]) -> pd.DataFrame:
    """An index with an image for every entry of ``patients``; row i is the same image however many follow."""
    patient = pd.Series(patients).astype("str")
    visit = pd.Series(patients).groupby(patient.to_numpy()).cumcount() // 2
    columns = pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(len(patients))],
            "patient_id": patient,
            "study_id": patient + "-" + visit.astype("str"),
            "path": "x",
        }
    )
    return build(columns, pd.DataFrame({"finding": np.arange(len(patients)) % 2}), "test")


def side_of_units(index: pd.DataFrame, split: Split, seed: int) -> pd.Series:
    sides = assign_splits(index, split, KEEP, seed)["split"].groupby(index[COLUMN[split.unit]]).unique()
    assert (sides.map(len) == 1).all()
    return sides.map(lambda side: side[0])


@given(
    old=st.lists(st.integers(0, 40), min_size=40, max_size=60),
    new=st.lists(st.integers(0, 80), max_size=40),
    unit=st.sampled_from(["image", "study", "patient"]),
    shares=st.sampled_from([(0.6, 0.2, 0.2), (0.49, 0.5, 0.01), (0.7, 0.3, 0.0), (0.5, 0.0, 0.5)]),
    seed=st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_rows_added_at_the_end_move_few_units(
    old: list[int], new: list[int], unit: str, shares: tuple, seed: int
) -> None:
    split = Split(unit=unit, train=shares[0], validation=shares[1], test=shares[2])
    before = side_of_units(index_of(old), split, seed)
    after = side_of_units(index_of(old + new), split, seed)
    added = len(after) - len(before)
    moved = (after[before.index] != before).sum()
    cuts = sum(share > 0 for share in shares) - 1
    assert moved <= (added if cuts == 1 else 2 * added + 1)
    if added == 0:
        assert moved == 0
    # the old units keep their order: whoever was on an earlier side than another is never on a later one now
    rank = after[before.index].map(RANK)
    for earlier, later in pairwise(side for side in RANK if (before == side).any()):
        assert rank[before == earlier].max() <= rank[before == later].min()


def test_the_bound_on_moves_is_reached_in_the_worst_case(monkeypatch: pytest.MonkeyPatch) -> None:
    # keys in the order of the identifiers: the new units come last
    monkeypatch.setattr(module, "stream_key", lambda root, *names: int(names[-1].removeprefix("i")))

    def moved(old: int, new: int, split: Split) -> int:
        before, after = (side_of_units(index_of(list(range(n))), split, 0) for n in (old, old + new))
        return (after[before.index] != before).sum()

    # 99 units are 48, 49 and 2, and 100 are 49, 50 and 1: both floors grow by one at once
    assert moved(99, 1, Split(unit="image", train=0.49, validation=0.5, test=0.01)) == 3
    assert moved(99, 1, Split(unit="image", train=0.99, validation=0.01, test=0)) == 1


def test_a_fifth_more_patients_move_a_few_in_a_hundred() -> None:
    split = Split(unit="patient", train=0.6, validation=0.2, test=0.2)
    before = side_of_units(index_of(list(range(1000))), split, 1)
    after = side_of_units(index_of(list(range(1200))), split, 1)
    # two cuts, each by some sqrt(200) = 14 patients at most; the bound is 401
    assert (after[before.index] != before).sum() < 40


@given(
    old=st.integers(1, 120),
    new=st.integers(0, 60),
    seed=st.integers(1, 3),
    percent=st.sampled_from(["5", "50"]),
)
@settings(max_examples=40, deadline=None)
def test_old_images_of_a_nested_subset_keep_their_order(old: int, new: int, seed: int, percent: str) -> None:
    names = [f"i{number}" for number in range(old + new)]
    splits = pd.DataFrame(
        {"image_id": names, "patient_id": names, "split": pd.Series(["train"] * len(names))}
    )
    before = draw_subset(splits.head(old), None, "100", seed, 7)["image_id"].tolist()
    after = draw_subset(splits, None, "100", seed, 7)["image_id"].tolist()
    assert [name for name in after if int(name[1:]) < old] == before
    subset = draw_subset(splits, None, percent, seed, 7)["image_id"].tolist()
    kept = [name for name in subset if int(name[1:]) < old]
    assert kept == before[: len(kept)]
