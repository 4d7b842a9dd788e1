"""The table of similarities: what has power and what has not, nulls and ceilings, order, and bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moco_transfer.config import Similarity
from moco_transfer.errors import UserError
from moco_transfer.seeds import stream
from moco_transfer.similarity import compare, subspaces
from moco_transfer.similarity.pairwise import COLUMNS
from moco_transfer.similarity.subspaces import random_rotation
from moco_transfer.similarity.svcca import leading_directions, permutation_null

IMAGES, CHANNELS = 240, 24


def settings_for(**changes):
    values = {"datasets": ["a", "b"], "images": IMAGES, "network": "none", "variance": 0.99}
    return Similarity(**(values | {"directions": 4, "null_draws": 40, "split_halves": 6} | changes))


def sample(population, number, images=IMAGES, channels=CHANNELS):
    """Return one sample of a population, which is a rotation of the channels of one steep spectrum."""
    rotation = random_rotation(channels, np.random.default_rng([population, channels]))
    rows = np.random.default_rng([population, number, images]).standard_normal((images, channels))
    return (rows * np.arange(1, channels + 1) ** -1.0 @ rotation).astype(np.float32)


@pytest.fixture(scope="module")
def three():
    """Two samples of one population and one of another, at two layers."""
    return {
        name: {layer: sample(population, number, channels=c) for layer, c in (("CV1", 12), ("DB4", CHANNELS))}
        for name, population, number in (("spine", 1, 1), ("chest", 1, 2), ("natural", 2, 3))
    }


@pytest.fixture(scope="module")
def table(three):
    return compare(three, settings_for(), 2023)


def test_every_measure_layer_and_pair_has_one_row(table):
    assert list(table.columns) == COLUMNS
    assert not table.duplicated(["measure", "layer", "dataset_a", "dataset_b"]).any()
    pairs = table.groupby("measure", sort=False).size()
    assert pairs.to_dict() == {
        "svcca": 6,
        "svcca_channels": 6,
        "cka_covariance": 6,
        "frechet": 6,
        "variance_share": 12,
    }
    assert list(table["layer"][:6]) == ["CV1"] * 3 + ["DB4"] * 3
    assert set(table.loc[table["measure"] == "svcca", "images"]) == {IMAGES}
    assert set(table.loc[table["measure"] != "svcca", "images"]) == {IMAGES // 2}


def test_literal_svcca_cannot_tell_one_population_from_unrelated_ones(table):
    literal = table[(table["measure"] == "svcca") & (table["layer"] == "DB4")]
    width = literal["null_upper"] - literal["null_lower"]
    assert ((literal["value"] - literal["null_mean"]).abs() < 1.5 * width).all()
    assert literal["value"].max() - literal["value"].min() < 2 * width.max()
    assert literal["ceiling"].isna().all()
    assert literal["normalised"].isna().all()


def test_measures_on_channels_can(table):
    bounded = table[table["measure"].isin(["svcca_channels", "cka_covariance", "variance_share"])]
    related = ~bounded["dataset_a"].eq("natural") & ~bounded["dataset_b"].eq("natural")
    np.testing.assert_allclose(bounded.loc[related, "normalised"], 1, atol=0.1)
    assert (bounded.loc[related, "value"] > bounded.loc[related, "null_upper"]).all()
    assert (bounded.loc[~related, "normalised"] < 0.6).all()
    distance = table[table["measure"] == "frechet"]
    related = distance["dataset_b"] == "chest"
    np.testing.assert_allclose(distance.loc[related, "value"], distance.loc[related, "ceiling"], rtol=0.25)
    assert (distance.loc[~related, "value"] > 3 * distance.loc[~related, "ceiling"]).all()
    assert distance["normalised"].isna().all()


def test_normalised_is_the_place_between_null_and_ceiling(table):
    row = table[table["normalised"].notna()].iloc[0]
    assert row["normalised"] == (row["value"] - row["null_mean"]) / (row["ceiling"] - row["null_mean"])
    assert row["null_lower"] < row["null_mean"] < row["null_upper"] < row["ceiling"]


def test_the_null_is_summed_up_by_its_mean_and_its_5_and_95_percentiles(three, table):
    bases = [leading_directions(three[name]["DB4"], 0.99) for name in ("spine", "natural")]
    names = ("similarity", "svcca", "DB4", "spine", "natural")
    draws = np.sort(permutation_null(*bases, (stream(2023, *names, i) for i in range(40))))
    row = table.set_index(["measure", "layer", "dataset_a", "dataset_b"]).loc[
        ("svcca", "DB4", "spine", "natural")
    ]
    assert row["null_mean"] == pytest.approx(draws.mean())
    # Of 40 sorted draws (numbered from 0) the 5 percentile lies at 0.05 x 39 = 1.95, the 95 percentile at 37.05.
    assert row["null_lower"] == pytest.approx(0.05 * draws[1] + 0.95 * draws[2])
    assert row["null_upper"] == pytest.approx(0.95 * draws[37] + 0.05 * draws[38])


def test_the_spread_is_that_of_the_values_over_the_draws_of_halves(three, table):
    values = []
    for split in range(6):
        halves = []
        for name in ("spine", "natural"):
            order = stream(2023, "similarity", "halves", "DB4", name, name, split).permutation(IMAGES)
            halves.append(subspaces.channel_spectrum(three[name]["DB4"][order[: IMAGES // 2]]))
        values.append(subspaces.cka_covariance(*halves))
    values.sort()
    row = table.set_index(["measure", "layer", "dataset_a", "dataset_b"]).loc[
        ("cka_covariance", "DB4", "spine", "natural")
    ]
    assert row["value"] == pytest.approx(np.mean(values))
    # Of 6 sorted values (numbered from 0) the 5 percentile lies at 0.05 x 5 = 0.25, the 95 percentile at 4.75.
    assert row["value_lower"] == pytest.approx(0.75 * values[0] + 0.25 * values[1])
    assert row["value_upper"] == pytest.approx(0.25 * values[4] + 0.75 * values[5])
    literal = table["measure"] == "svcca"
    assert table.loc[literal, ["value_lower", "value_upper"]].isna().all(axis=None)
    assert (table.loc[~literal, "value_lower"] < table.loc[~literal, "value_upper"]).all()


def test_the_ceiling_of_a_directed_measure_is_that_of_the_second_dataset(table):
    share = table[table["measure"] == "variance_share"]
    assert (share.groupby(["layer", "dataset_b"])["ceiling"].nunique() == 1).all()
    assert share.groupby("layer")["ceiling"].nunique().eq(3).all()
    ceilings = table.set_index(["measure", "layer", "dataset_a", "dataset_b"])["ceiling"]["cka_covariance"][
        "DB4"
    ]
    assert ceilings.nunique() == 3


def test_null_of_the_variance_share_is_k_over_channels(table):
    null = table[(table["measure"] == "variance_share") & (table["layer"] == "DB4")]["null_mean"]
    np.testing.assert_allclose(null, 4 / CHANNELS, atol=0.05)


def test_equal_calls_give_equal_tables_and_seeds_move_only_the_draws(three, table):
    pd.testing.assert_frame_equal(compare(three, settings_for(), 2023), table, check_exact=True)
    other = compare(three, settings_for(), 7)
    literal = table["measure"] == "svcca"
    assert (other.loc[literal, "value"] == table.loc[literal, "value"]).all()
    assert (other.loc[literal, "null_mean"] != table.loc[literal, "null_mean"]).all()


def test_a_pair_does_not_depend_on_what_else_is_compared(three, table):
    alone = compare({name: three[name] for name in ("chest", "natural")}, settings_for(), 2023)
    both = table["dataset_a"].isin(["chest", "natural"]) & table["dataset_b"].isin(["chest", "natural"])
    pd.testing.assert_frame_equal(alone, table[both].reset_index(drop=True))


def test_datasets_are_cut_to_the_smallest_and_the_log_says_so(caplog):
    caplog.set_level("INFO")
    a, b = sample(1, 1, images=100), sample(2, 1, images=61)
    few = settings_for(null_draws=5, split_halves=2, images=61)
    cut = compare({"a": {"x": a}, "b": {"x": b}}, few, 1)
    assert caplog.messages == ["every dataset is cut to 61 images, as many as the smallest has"]
    pd.testing.assert_frame_equal(cut, compare({"a": {"x": a[:61]}, "b": {"x": b}}, few, 1))
    assert len(caplog.messages) == 1
    assert set(cut["images"]) == {61, 30}


def test_degenerate_activations_give_no_value_but_a_row():
    alive = sample(1, 1, images=10, channels=30)
    narrow = np.zeros((10, 30), dtype=np.float32)
    narrow[:, 0] = np.arange(10)
    dead = np.full((10, 30), 0.1, dtype=np.float32)
    few = settings_for(null_draws=3, split_halves=2)
    table = compare({"a": {"x": alive}, "b": {"x": dead}, "c": {"x": narrow}}, few, 1)
    with_dead = table["dataset_a"].eq("b") | table["dataset_b"].eq("b")
    assert table.loc[with_dead & table["measure"].isin(["svcca", "cka_covariance"]), "value"].isna().all()
    assert table.loc[~with_dead, ["value", "null_mean", "null_lower", "null_upper"]].notna().all(axis=None)
    kept = table.set_index(["measure", "dataset_a", "dataset_b"])[["kept_a", "kept_b"]]
    assert kept.loc[("svcca", "a", "b"), "kept_a"] in range(1, 10)
    assert kept.loc[("svcca", "a", "b"), "kept_b"] == 0
    assert kept.loc[("svcca_channels", "a", "c")].to_list() == [4, 1]
    assert kept.loc[("cka_covariance", "a", "c")].to_list() == [4, 1]
    assert kept.loc[("frechet", "a", "b")].to_list() == [4, 0]


def test_with_few_images_or_channels_the_table_says_what_is_forced():
    few = settings_for(null_draws=3, split_halves=2, directions=20, variance=1.0)
    names = ("a", "b")
    table = compare({name: {"x": sample(i, 1, images=50)} for i, name in enumerate(names)}, few, 1)
    row = table.set_index("measure").loc
    # Two times 24 directions in the 49 dimensions of 50 centred images; two times 20 of 24 channels.
    assert row["svcca", ["kept_a", "kept_b", "forced"]].to_list() == [24, 24, 0]
    assert row["svcca_channels", ["kept_a", "kept_b", "forced"]].to_list() == [20, 20, 16]
    assert (table.set_index("measure")["forced"].drop(["svcca", "svcca_channels"]) == 0).all()
    table = compare({name: {"x": sample(i, 1, images=30)} for i, name in enumerate(names)}, few, 1)
    literal = table.set_index("measure").loc["svcca"]
    assert literal[["kept_a", "kept_b", "forced"]].to_list() == [24, 24, 19]
    assert literal["value"] > 19 / 24


def test_channels_that_are_dead_in_both_lend_the_null_no_room():
    """Unrelated populations in the same 24 of 64 channels: nothing but those 24 may be turned, and counted."""
    few = settings_for(null_draws=20, split_halves=10, directions=20)
    alive = {name: sample(i, i, images=100) for i, name in enumerate(("a", "b"))}
    padded = {name: np.hstack([rows, np.ones((100, 40), np.float32)]) for name, rows in alive.items()}
    with_dead, without = (
        compare({name: {"x": rows} for name, rows in each.items()}, few, 1).set_index("measure")
        for each in (padded, alive)
    )
    assert with_dead["forced"]["svcca_channels"] == 16
    for measure in ("svcca_channels", "cka_covariance", "variance_share"):
        both = (frame.loc[[measure], "null_mean"].to_numpy() for frame in (with_dead, without))
        np.testing.assert_allclose(*both, atol=0.01)


def test_k_that_takes_in_every_channel_has_nothing_to_normalise(three):
    table = compare(
        {n: {"CV1": three[n]["CV1"]} for n in three}, settings_for(directions=12, null_draws=3), 1
    )
    limited = table["measure"].isin(["svcca_channels", "variance_share"])
    np.testing.assert_allclose(table.loc[limited, ["value", "null_mean", "ceiling"]], 1)
    assert table.loc[limited, "normalised"].isna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: {"y": rows}, "layers y, but a has x"),
        (lambda rows: {"x": rows[:, 1:]}, r"shape \(240, 23\), but a has \(240, 24\)"),
        (lambda rows: {"x": rows.ravel()}, "shape"),
        (lambda rows: {"x": rows[:3]}, "b has 3 images; at least 4"),
        (
            lambda rows: {"x": np.where(rows == rows.max(), np.nan, rows)},
            "b x holds a value that is not finite",
        ),
    ],
)
def test_bad_activations_are_named(change, message):
    with pytest.raises(UserError, match=message):
        compare({"a": {"x": sample(1, 1)}, "b": change(sample(2, 1))}, settings_for(), 1)
