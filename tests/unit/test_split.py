"""Splits and subsets: the paper's counts, undivided units, independence of row order, growing datasets."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moco_transfer.config import stages
from moco_transfer.config.datasets import Labels, Split
from moco_transfer.data.counts import check_percents, smallest_percent
from moco_transfer.data.index import REQUIRED, build
from moco_transfer.data.split import assign_splits, check_data, draw_subset, split, subset, subset_size
from moco_transfer.errors import UserError
from moco_transfer.files import write_parquet

KEEP = Labels(uncertain="zero", unlabeled="zero")
DROP = Labels(uncertain="zero", unlabeled="drop")
RANK = {"train": 0, "validation": 1, "test": 2}
COUNTED = {"image": "image_id", "study": "study_id", "patient": "patient_id"}


def index_of(patients: np.ndarray, official: list | np.ndarray | None = None) -> pd.DataFrame:
    """Return an index with one image per entry of ``patients``; every two images of a patient are a study."""
    count = len(patients)
    patient = pd.Series(patients).astype("str")
    visit = pd.Series(patients).groupby(patients).cumcount() // 2
    columns = pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(count)],
            "patient_id": patient,
            "study_id": patient + "-" + visit.astype("str"),
            "path": "x",
            "official_split": [None] * count if official is None else official,
        }
    )
    labels = pd.DataFrame({"finding": np.where(np.arange(count) % 3 == 0, np.nan, np.arange(count) % 2)})
    return build(columns, labels, "test")


def splits_of(train: int, other: int = 0) -> pd.DataFrame:
    names = [f"i{number}" for number in range(train + other)]
    split = ["train"] * train + ["test"] * other
    return pd.DataFrame({"image_id": names, "patient_id": names, "split": pd.Series(split, dtype="str")})


def nested_subset(splits: pd.DataFrame, percent: str, number: int, seed: int) -> pd.DataFrame:
    return draw_subset(splits, np.zeros((len(splits), 1)), percent, number, seed, "nested")


def test_spine_counts_of_the_paper():
    index = index_of(np.arange(10_466) // 2, ["train"] * 8_389 + ["test"] * 2_077)
    # 8,389 is odd: one study is in both splits, which is allowed if images are the unit
    splits = assign_splits(index, Split(unit="image", train=0.7, validation=0.3, test="official"), KEEP, 2023)
    assert splits["split"].value_counts().to_dict() == {"train": 5_872, "validation": 2_517, "test": 2_077}
    assert (splits["split"] == "test").equals(index["official_split"] == "test")
    assert [len(nested_subset(splits, percent, 1, 2023)) for percent in ("1", "10", "100")] == [
        58,
        587,
        5_872,
    ]


def test_chest_counts_of_the_paper():
    assert [subset_size(percent, 225_720) for percent in ("0.05", "0.1", "1", "10")] == [
        112,
        225,
        2_257,
        22_572,
    ]
    assert subset_size("0.05", 225_729) == 112
    assert subset_size("0.1", 12) == 1


@given(
    patients=st.lists(st.integers(0, 30), min_size=40, max_size=120),
    unit=st.sampled_from(["image", "study", "patient"]),
    shares=st.sampled_from(
        [(0.6, 0.2, 0.2), (0.7, 0.3, 0.0), (1.0, 0.0, 0.0), (0.29, 0.7, 0.01), (0.5, 0.0, 0.5)]
    ),
    seed=st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_shares_are_floors_and_no_unit_is_divided(patients, unit, shares, seed):
    index = index_of(np.array(patients))
    settings_ = Split(unit=unit, train=shares[0], validation=shares[1], test=shares[2])
    units = index[COUNTED[unit]]
    expected = [int(Fraction(str(share)) * units.nunique()) for share in shares]
    last = max(position for position in range(3) if shares[position] > 0)
    expected[last] = units.nunique() - sum(expected[:last])
    if any(count == 0 and share > 0 for count, share in zip(expected, shares, strict=True)):
        with pytest.raises(UserError, match="too few"):
            assign_splits(index, settings_, KEEP, seed)
        return
    splits = assign_splits(index, settings_, KEEP, seed)
    assert splits["image_id"].tolist() == index["image_id"].tolist()
    assert splits["patient_id"].tolist() == index["patient_id"].tolist()
    sides = splits["split"].groupby(units).agg(set)
    assert all(len(side) == 1 for side in sides)
    counts = sides.map(min).value_counts()
    assert [counts.get(side, 0) for side in ("train", "validation", "test")] == expected

    shuffled = index.sample(frac=1, random_state=seed).reset_index(drop=True)
    again = assign_splits(shuffled, settings_, KEEP, seed)
    merged = splits.merge(again, on="image_id", validate="one_to_one")
    assert (merged["split_x"] == merged["split_y"]).all()


def five_folds(unit: str, folds: int = 5, validation: float = 0.2) -> Split:
    test = round(1 / folds, 3)
    return Split(unit=unit, train=1 - validation - test, validation=validation, test=test, folds=folds)


@given(
    patients=st.lists(st.integers(0, 30), min_size=40, max_size=120),
    unit=st.sampled_from(["image", "study", "patient"]),
    folds=st.sampled_from([2, 3, 5]),
    seed=st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_with_folds_every_unit_is_tested_once_and_divided_never(patients, unit, folds, seed):
    index = index_of(np.array([*range(12), *patients]))
    units = index[COUNTED[unit]]
    count, tested = units.nunique(), Counter()
    for fold in range(1, folds + 1):
        side = (
            assign_splits(index, five_folds(unit, folds), KEEP, seed, fold)["split"].groupby(units).agg(set)
        )
        assert all(len(each) == 1 for each in side)
        found = side.map(min)
        sizes = found.value_counts()
        assert sizes["test"] in (count // folds, -(-count // folds))
        assert sizes["train"] == int(Fraction(count - int(sizes["test"])) * five_share(folds))
        tested.update(found.index[found == "test"])
    assert set(tested) == set(units) and set(tested.values()) == {1}


def five_share(folds: int) -> Fraction:
    """Return the share of training among the units that a fold does not test."""
    split = five_folds("image", folds)
    return Fraction(str(split.train)) / (1 - Fraction(str(split.test)))


def test_fold_one_is_the_split_without_folds_and_validation_takes_turns():
    index = index_of(np.arange(100))
    once = Split(unit="patient", train=0.6, validation=0.2, test=0.2)
    sides = [assign_splits(index, five_folds("patient"), KEEP, 3, fold)["split"] for fold in range(1, 6)]
    assert sides[0].equals(assign_splits(index, once, KEEP, 3)["split"])
    validated = sum((side == "validation").to_numpy().astype(int) for side in sides)
    assert set(validated) == {1}
    rows = index.sample(frac=1, random_state=0)
    again = assign_splits(rows, five_folds("patient"), KEEP, 3, 4).set_index("image_id")["split"]
    assert again.reindex(index["image_id"]).tolist() == sides[3].tolist()


def test_labelled_subsets_of_a_fold_are_among_its_training_images():
    index = index_of(np.arange(100))
    drawn = {}
    for fold in range(1, 6):
        splits = assign_splits(index, five_folds("patient"), KEEP, 3, fold)
        subset = draw_subset(splits, np.zeros((100, 1)), "50", 1, 3, "nested")
        assert (splits["split"].to_numpy()[subset["row"]] == "train").all() and len(subset) == 30
        drawn[fold] = set(subset["image_id"])
    assert len(set.union(*drawn.values())) > 45  # not the same images in each fold


def test_fewer_patients_than_folds_are_refused():
    with pytest.raises(UserError, match="4 patients are too few for 5 folds"):
        assign_splits(index_of(np.arange(8) // 2), five_folds("patient"), KEEP, 0, 1)


def test_another_seed_gives_another_split():
    index, halves = index_of(np.arange(100)), Split(unit="image", train=0.5, validation=0.5, test=0)
    first, second = (assign_splits(index, halves, KEEP, seed)["split"] for seed in (1, 2))
    assert 20 < (first != second).sum() < 80


def test_images_without_labels_can_be_dropped_and_count_in_no_share():
    index = index_of(np.arange(90))
    unlabeled = index["finding"].isna()
    splits = assign_splits(index, Split(unit="image", train=0.5, validation=0.25, test=0.25), DROP, 0)
    assert splits["split"].isna().equals(unlabeled)
    assert splits["split"].value_counts().to_dict() == {"train": 30, "validation": 15, "test": 15}
    assert (
        not assign_splits(index, Split(unit="image", train=1, validation=0, test=0), KEEP, 0)["split"]
        .isna()
        .any()
    )


@pytest.mark.parametrize(
    ("official", "message"),
    [
        (["train"] * 3 + [None] * 2 + ["test"], "2 of 6 images name no official split"),
        (["train"] * 6, "the release has no official test images"),
        (["train", "test"] * 3, "the official split divides 3 of 3 of them"),
    ],
)
def test_an_unusable_official_split_is_refused(official, message):
    index = index_of(np.arange(6) // 2, official)
    with pytest.raises(UserError, match=message):
        assign_splits(index, Split(unit="patient", train=0.5, validation=0.5, test="official"), KEEP, 0)


def test_a_patient_in_two_official_splits_is_refused_by_patient_but_not_by_study():
    # patients 0 to 4 with two studies of two images, the later study for testing
    index = index_of(np.arange(20) // 4, ["train", "train", "test", "test"] * 5)
    by_study = Split(unit="study", train=0.6, validation=0.4, test="official")
    splits = assign_splits(index, by_study, KEEP, 0)
    assert splits["split"].value_counts().to_dict() == {"test": 10, "train": 6, "validation": 4}
    with pytest.raises(UserError, match="divides 5 of 5 of them"):
        assign_splits(index, by_study.model_copy(update={"unit": "patient"}), KEEP, 0)


@given(
    patients=st.lists(st.integers(0, 25), min_size=30, max_size=90),
    validation=st.sampled_from([0.0, 0.2, "official"]),
    seed=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None)
def test_official_splits_are_kept_and_no_patient_is_divided(patients, validation, seed):
    # all 26 patients occur, so that no split is empty
    patient = np.array([*range(26), *patients])
    official = np.array(["train", "train", "train", "validation", "test"])[patient % 5]
    index = index_of(patient, official)
    train = 1.0 if validation == "official" else 1 - validation
    split = Split(unit="patient", train=train, validation=validation, test="official")
    side = assign_splits(index, split, KEEP, seed)["split"]
    assert (side.groupby(index["patient_id"]).nunique() == 1).all()
    assert ((side == "test") == (official == "test")).all()
    if validation == "official":
        assert (side == official).all()
    else:
        free = index["patient_id"][official != "test"].nunique()
        units = side.groupby(index["patient_id"]).first().value_counts()
        assert units["train"] == int(Fraction(str(train)) * free)
        assert units.get("validation", 0) == free - units["train"]


def test_dropped_images_need_no_official_split_and_divide_no_patient():
    # every third image has no label; these name no split, or one that is not their patient's
    official = np.array(["train"] * 9 + ["test"] * 9, dtype=object)
    official[[0, 3]], official[6] = None, "test"
    index = index_of(np.arange(18) // 3, official)
    halves = Split(unit="patient", train=0.5, validation=0.5, test="official")
    side = assign_splits(index, halves, DROP, 0)["split"]
    assert side.isna().tolist() == [number % 3 == 0 for number in range(18)]
    assert (side[9:].dropna() == "test").all()
    with pytest.raises(UserError, match="2 of 18 images name no official split"):
        assign_splits(index, halves, KEEP, 0)


@given(
    train=st.integers(1, 300),
    other=st.integers(0, 20),
    seed=st.integers(1, 4),
    how=st.sampled_from(["nested", "stratified"]),
)
@settings(max_examples=40, deadline=None)
def test_smaller_subsets_are_heads_of_larger_ones(train, other, seed, how):
    splits = splits_of(train, other)
    labels = np.random.default_rng(train).choice([0, 1, np.nan], (train + other, 2)).astype(np.float32)
    whole = draw_subset(splits, labels, "100", seed, 7, how)
    assert sorted(whole["row"]) == list(range(train))
    for percent in ("0.5", "10", "33.3", "50"):
        subset = draw_subset(splits, labels, percent, seed, 7, how)
        assert len(subset) == max(1, int(Fraction(percent) / 100 * train))
        pd.testing.assert_frame_equal(subset, whole.head(len(subset)))
        assert (splits["image_id"].to_numpy()[subset["row"]] == subset["image_id"]).all()


@pytest.mark.parametrize("how", ["nested", "stratified"])
def test_subsets_do_not_depend_on_the_order_of_rows(how):
    splits = splits_of(200, 50)
    labels = np.random.default_rng(0).integers(0, 2, (250, 3)).astype(np.float32)
    order = np.random.default_rng(1).permutation(250)
    shuffled = splits.iloc[order].reset_index(drop=True)
    first = draw_subset(splits, labels, "20", 1, 7, how)["image_id"]
    assert draw_subset(shuffled, labels[order], "20", 1, 7, how)["image_id"].tolist() == first.tolist()
    assert set(draw_subset(splits, labels, "20", 2, 7, how)["image_id"]) != set(first)
    assert set(draw_subset(splits, labels, "20", 1, 8, how)["image_id"]) != set(first)


def test_nested_subsets_are_uniform():
    splits, times = splits_of(40), np.zeros(40)
    for seed in range(400):
        times[nested_subset(splits, "25", seed, 7)["row"]] += 1
    # 400 draws of 1 in 4: mean 100, standard deviation 8.7
    assert times.sum() == 4000
    assert times.min() > 60
    assert times.max() < 140


@given(
    sizes=st.lists(st.integers(1, 80), min_size=1, max_size=8),
    size=st.integers(1, 100),
    seed=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_stratified_subsets_hold_each_label_set_in_proportion(sizes, size, seed):
    stratum = np.repeat(np.arange(len(sizes)), sizes)
    labels = ((stratum[:, None] >> np.arange(3)) & 1).astype(np.float32)
    total = len(stratum)
    drawn = draw_subset(splits_of(total), labels, str(size), seed, 7, "stratified")
    counts = np.bincount(stratum[drawn["row"]], minlength=len(sizes))
    expected = np.array(sizes) * len(drawn) / total
    # each stratum is within one image of its share of the line, whose end moves by at most one image per
    # stratum
    bound = 1 + len(sizes) * np.array(sizes) / total
    assert (np.abs(counts - expected) <= bound).all()


def test_stratified_halves_of_a_balanced_label_are_exact():
    labels = (np.arange(1000) % 2).astype(np.float32)[:, None]
    for percent, size in (("5.8", 58), ("10", 100)):
        drawn = draw_subset(splits_of(1000), labels, percent, 1, 7, "stratified")
        assert labels[drawn["row"]].sum() == size / 2


def test_a_rare_label_set_is_as_likely_drawn_as_any_other():
    alone = np.zeros((20, 1), dtype=np.float32)
    alone[13] = 1
    times = sum(
        13 in draw_subset(splits_of(20), alone, "25", seed, 7, "stratified")["row"].to_list()
        for seed in range(400)
    )
    # 400 draws of 1 in 4: mean 100, standard deviation 8.7
    assert 70 < times < 130


def test_no_training_image_is_an_error():
    with pytest.raises(UserError, match="no training image"):
        nested_subset(splits_of(0, 5), "10", 1, 7)


def side_of_units(index: pd.DataFrame, split: Split, seed: int) -> pd.Series:
    sides = assign_splits(index, split, KEEP, seed)["split"].groupby(index[COUNTED[split.unit]]).unique()
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
def test_rows_added_at_the_end_move_few_units(old, new, unit, shares, seed):
    split = Split(unit=unit, train=shares[0], validation=shares[1], test=shares[2])
    before = side_of_units(index_of(np.array(old)), split, seed)
    after = side_of_units(index_of(np.array(old + new)), split, seed)
    added = len(after) - len(before)
    moved = (after[before.index] != before).sum()
    cuts = sum(share > 0 for share in shares) - 1
    assert moved <= (added if cuts == 1 else 2 * added + 1)
    if added == 0:
        assert moved == 0
    # the old units keep their order: no unit overtakes another
    rank = after[before.index].map(RANK)
    for earlier, later in pairwise(side for side in RANK if (before == side).any()):
        assert rank[before == earlier].max() <= rank[before == later].min()


def test_a_fifth_more_patients_move_a_few_in_a_hundred():
    split = Split(unit="patient", train=0.6, validation=0.2, test=0.2)
    before = side_of_units(index_of(np.arange(1000)), split, 1)
    after = side_of_units(index_of(np.arange(1200)), split, 1)
    # each of the two cuts moves by about sqrt(200) = 14 patients; the bound is 401
    assert (after[before.index] != before).sum() < 40


@given(
    old=st.integers(1, 120),
    new=st.integers(0, 60),
    seed=st.integers(1, 3),
    percent=st.sampled_from(["5", "50"]),
)
@settings(max_examples=40, deadline=None)
def test_old_images_of_a_nested_subset_keep_their_order(old, new, seed, percent):
    names = [f"i{number}" for number in range(old + new)]
    splits = pd.DataFrame(
        {"image_id": names, "patient_id": names, "split": pd.Series(["train"] * len(names))}
    )
    before = nested_subset(splits.head(old), "100", seed, 7)["image_id"].tolist()
    after = nested_subset(splits, "100", seed, 7)["image_id"].tolist()
    assert [name for name in after if int(name[1:]) < old] == before
    subset = nested_subset(splits, percent, seed, 7)["image_id"].tolist()
    kept = [name for name in subset if int(name[1:]) < old]
    assert kept == before[: len(kept)]


@given(images=st.integers(2, 400_000))
def test_the_smallest_percentage_labels_two_images_and_is_a_valid_one(images):
    percent = smallest_percent(images)
    check_percents("a target", [percent], images)
    assert subset_size(percent, images) >= 2
    assert (
        stages.DrawSubset(uncertain="zero", percent=percent, subset=1, sampling="nested", seed=0).percent
        == percent
    )
    # Another percentage of three digits that works is larger.
    assert Fraction(percent) < Fraction(200, images) * Fraction(102, 100) or percent == "100"


@pytest.mark.parametrize(
    ("percent", "images", "cure"), [("1", 60, '"3.34"'), ("6.66", 30, '"6.67"'), ("50", 3, '"66.7"')]
)
def test_a_percentage_of_one_image_is_refused_with_the_smallest_that_works(percent, images, cure):
    with pytest.raises(UserError, match=f"{percent}% of {images} training images is fewer than .* {cure}"):
        check_percents("targets.hip.percents", ["100", percent], images)
    with pytest.raises(UserError, match="1 training images"):
        check_percents("targets.hip.percents", ["100"], 1)


def varied(sides: list[str], labels: list[float], folder: Path) -> Path:
    """Write the index of images in these official splits, each with one label, and return its path."""
    columns = pd.DataFrame({column: [f"i{number}" for number in range(len(sides))] for column in REQUIRED})
    index = build(columns.assign(official_split=sides), pd.DataFrame({"finding": labels}), "test")
    write_parquet(index, folder / "index.parquet")
    return folder / "index.parquet"


OFFICIAL = Split(unit="image", train=1, validation="official", test="official")
SIDES = ["train", "train", "validation", "validation", "test", "test"]


@pytest.mark.parametrize(
    ("labels", "uncertain", "found"),
    [
        ([0, 1, 0, 1, 0, 0], "zero", "the 2 test images"),
        ([0, 1, 0, 1, 1, 1], "zero", "the 2 test images"),
        ([0, 1, 1, 1, 0, 1], "zero", "the 2 validation images"),
        ([1, 1, 0, 1, 0, 1], "zero", "the 2 training images"),
        ([0, 1, 0, 1, 1, -1], "mask", "the 2 test images"),
        ([0, 1, 0, 1, 1, -1], "zero", None),
        ([0, 1, 0, 1, 1, np.nan], "zero", None),
    ],
)
def test_a_target_needs_a_class_with_both_values_in_every_split(labels, uncertain, found, tmp_path):
    index = varied(SIDES, labels, tmp_path)
    settings_ = stages.AssignSplits(
        split=OFFICIAL, fold=1, labels=Labels(uncertain=uncertain, unlabeled="zero"), seed=0
    )
    split(settings_, index=index, splits=tmp_path / "source.parquet", dataset="hip", scored="no")
    if found is None:
        split(settings_, index=index, splits=tmp_path / "splits.parquet", dataset="hip", scored=uncertain)
        return
    with pytest.raises(UserError, match=f"hip: no class has both values among {found}"):
        split(settings_, index=index, splits=tmp_path / "splits.parquet", dataset="hip", scored=uncertain)
    assert not (tmp_path / "splits.parquet").exists()


def test_a_subset_of_one_image_is_refused_where_it_is_drawn(tmp_path):
    index = varied(SIDES, [0, 1, 0, 1, 0, 1], tmp_path)
    settings_ = stages.AssignSplits(split=OFFICIAL, fold=1, labels=KEEP, seed=0)
    split(settings_, index=index, splits=tmp_path / "splits.parquet", dataset="hip", scored="zero")
    drawn = stages.DrawSubset(uncertain="zero", percent="50", subset=1, sampling="nested", seed=0)
    with pytest.raises(UserError, match='that works is "100"'):
        subset(drawn, index=index, splits=tmp_path / "splits.parquet", subset=tmp_path / "subset.parquet")


def test_dropping_all_images_is_refused_by_its_cause(tmp_path):
    index = pd.read_parquet(varied(SIDES, [np.nan] * 6, tmp_path))
    with pytest.raises(UserError, match=r"no image has a label, and labels\.unlabeled is 'drop'"):
        assign_splits(index, OFFICIAL, Labels(uncertain="zero", unlabeled="drop"), 0)


def test_the_check_before_packing_refuses_what_the_jobs_would(tmp_path):
    (tmp_path / "few").mkdir()
    index, few = (
        varied(SIDES, [0, 1, 0, 1, 0, 1], tmp_path),
        varied(SIDES[1:], [0, 0, 0, 0, 0], tmp_path / "few"),
    )
    hip, other = (stages.SplitDataset(name=name, split=OFFICIAL, labels=KEEP) for name in ("hip", "other"))

    def check(*indexes, **changes):
        sound = {
            "datasets": [hip],
            "percents": ["100"],
            "sources": ["hip"],
            "samples": [],
            "images": "train",
            "seed": 0,
        }
        check_data(stages.CheckData(**sound | changes), index=list(indexes), checked=tmp_path / "checked.txt")

    check(index)
    assert "hip: at most 2 train, 2 validation, 2 test images" in (tmp_path / "checked.txt").read_text()
    check(few, percents=[], sources=[])
    check(index, few, datasets=[hip, other], samples=["control"])
    (tmp_path / "checked.txt").unlink()
    by_patient = hip.model_copy(
        update={"split": Split(unit="image", train=0.9, validation=0.1, test="official")}
    )
    for call, message in (
        (lambda: check(index, percents=["50"]), "targets.hip.percents: 50% of 2 training images is fewer"),
        (
            lambda: check(few),
            "hip: it has 1 training|hip: no class has both values among the 1 training images",
        ),
        (lambda: check(few, percents=[]), "MoCo of hip needs at least two images"),
        (
            lambda: check(few, index, datasets=[other, hip], percents=[], sources=[], samples=["c"]),
            "controls.size.c: MoCo needs 2",
        ),
        (lambda: check(index, datasets=[by_patient]), "hip: no class has both"),
        (
            lambda: check(varied([None] * 6, [0, 1] * 3, tmp_path), datasets=[hip]),
            "datasets.hip.split: validation is 'official', but 6 of 6 images name no official split",
        ),
    ):
        with pytest.raises(UserError, match=message):
            call()
        assert not (tmp_path / "checked.txt").exists()


def test_every_fold_is_checked_before_packing(tmp_path):
    index = varied([None] * 10, [0, 1] * 5, tmp_path)
    split = Split(unit="image", train=0.25, validation=0.25, test=0.5, folds=2)
    sound = {"percents": ["100"], "sources": ["hip"], "samples": [], "images": "train", "seed": 0}

    def check(labels):
        frame = pd.read_parquet(index)
        write_parquet(frame.assign(finding=labels), index)
        datasets = [stages.SplitDataset(name="hip", split=split, labels=KEEP)]
        check_data(
            stages.CheckData(datasets=datasets, **sound), index=[index], checked=tmp_path / "checked.txt"
        )

    first = assign_splits(pd.read_parquet(index), split, KEEP, 0, 1)["split"]
    second = assign_splits(pd.read_parquet(index), split, KEEP, 0, 2)["split"]
    mixed = np.zeros(10)
    for side in ("train", "validation", "test"):
        mixed[np.flatnonzero(first == side)[::2]] = 1
    with pytest.raises(UserError, match="hip, fold 2 of 2: no class has both values"):
        check(np.where(second == "train", 0, mixed))
    for pair in (
        np.flatnonzero((first == a) & (second == b)) for a, b in (("test", "train"), ("test", "validation"))
    ):
        mixed[pair] = np.arange(len(pair)) % 2
    check(mixed)
    text = (tmp_path / "checked.txt").read_text()
    assert (
        "at most 2 train, 3 validation, 5 test images in fold 1; 2 train, 3 validation, 5 test images in fold 2"
        in text
    )
