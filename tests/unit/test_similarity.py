"""The similarity of datasets: which measures have power, nulls and ceilings, order, and bad input.

At nearly the size of a real layer (256 channels whose variances fall as 1 / i, means that differ from 0, 300
images), every measure on shared channels must place two samples of one population at its ceiling, and two
unrelated populations at its null. The literal SVCCA does neither.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moco_transfer.config.analysis import Similarity
from moco_transfer.errors import UserError
from moco_transfer.seeds import stream
from moco_transfer.similarity import subspaces
from moco_transfer.similarity.pairwise import COLUMNS, compare
from moco_transfer.similarity.subspaces import random_rotation
from moco_transfer.similarity.svcca import leading_directions, mean_canonical_correlation, permutation_null

IMAGES, CHANNELS = 240, 24
BOUNDED = ["svcca_channels", "cka_covariance", "variance_share"]
TWINS, STRANGERS, COUSINS = ("one", "same"), ("one", "other"), ("one", "cousin")


def settings_for(**changes):
    values = {"datasets": ["a", "b"], "images": IMAGES, "network": "none", "variance": 0.99}
    return Similarity(**(values | {"directions": 4, "null_draws": 40, "split_halves": 6} | changes))


def sample(population, number, images=IMAGES, channels=CHANNELS):
    """Return images of a population, a rotation of one spectrum and mean; 1.5 lies between 1 and 2."""
    rows = np.random.default_rng([int(10 * population), number]).standard_normal((images, channels))
    signals = rows * np.arange(1, channels + 1) ** -0.5 + np.linspace(0.2, 0, channels)
    return (signals @ rotation_of(population, channels)).astype(np.float32)


def rotation_of(population, channels):
    if population == int(population):
        return random_rotation(channels, np.random.default_rng(int(population)))
    # Half of its directions are those of one neighbour, the other half those of the other.
    below, above = (rotation_of(np.floor(population) + i, channels) for i in (0, 1))
    half = np.arange(channels) % 2 == 0
    return np.linalg.qr(np.where(half[:, None], below, above).T)[0].T


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
    assert table["normalised"].notna().equals(table["measure"].isin(BOUNDED))
    assert table["ceiling"].notna().equals(table["measure"] != "svcca")


def test_normalised_is_the_position_between_null_and_ceiling(table):
    row = table[table["normalised"].notna()].iloc[0]
    assert row["normalised"] == (row["value"] - row["null_mean"]) / (row["ceiling"] - row["null_mean"])
    assert row["null_lower"] < row["null_mean"] < row["null_upper"] < row["ceiling"]


def test_the_null_has_its_mean_and_its_5th_and_95th_percentiles(three, table):
    bases = [leading_directions(three[name]["DB4"], 0.99) for name in ("spine", "natural")]
    names = ("similarity", "svcca", "DB4", "spine", "natural")
    draws = np.sort(permutation_null(*bases, (stream(2023, *names, i) for i in range(40))))
    row = table.set_index(["measure", "layer", "dataset_a", "dataset_b"]).loc[
        ("svcca", "DB4", "spine", "natural")
    ]
    assert row["null_mean"] == pytest.approx(draws.mean())
    # Of 40 sorted draws (numbered from 0) the 5th percentile lies at 0.05 x 39 = 1.95, the 95th at 37.05.
    assert row["null_lower"] == pytest.approx(0.05 * draws[1] + 0.95 * draws[2])
    assert row["null_upper"] == pytest.approx(0.95 * draws[37] + 0.05 * draws[38])


def test_the_spread_is_taken_over_the_draws_of_halves(three, table):
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
    # Of 6 sorted values (numbered from 0) the 5th percentile lies at 0.05 x 5 = 0.25, the 95th at 4.75.
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


def test_equal_calls_give_equal_tables_and_seeds_change_only_the_draws(three, table):
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
    assert len(caplog.messages) == 1 and "61" in caplog.messages[0]
    pd.testing.assert_frame_equal(cut, compare({"a": {"x": a[:61]}, "b": {"x": b}}, few, 1))
    assert len(caplog.messages) == 1
    assert set(cut["images"]) == {61, 30}


def test_degenerate_activations_give_a_row_without_a_value():
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


def test_with_few_images_or_channels_the_table_counts_forced_correlations():
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


def test_channels_that_are_dead_in_both_do_not_change_the_null():
    """Unrelated populations in the same 24 of 64 channels: only those 24 may be rotated and counted."""
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


def test_if_k_is_the_number_of_channels_nothing_is_normalised(three):
    table = compare(
        {n: {"CV1": three[n]["CV1"]} for n in three}, settings_for(directions=12, null_draws=3), 1
    )
    limited = table["measure"].isin(["svcca_channels", "variance_share"])
    np.testing.assert_allclose(table.loc[limited, ["value", "null_mean", "ceiling"]], 1)
    assert table.loc[limited, "normalised"].isna().all()


@pytest.fixture(scope="module")
def populations():
    samples = {"one": (1, 1), "same": (1, 2), "other": (2, 3), "cousin": (1.5, 4)}
    layers = {name: {"DB4": sample(*of, images=300, channels=256)} for name, of in samples.items()}
    settings = settings_for(directions=20, null_draws=24)
    return compare(layers, settings, 2023).set_index(["measure", "dataset_a", "dataset_b"])


@pytest.mark.parametrize(
    ("measure", "pair"), [*((measure, TWINS) for measure in BOUNDED), ("variance_share", TWINS[::-1])]
)
def test_two_samples_of_one_population_are_at_the_ceiling(populations, measure, pair):
    row = populations.loc[(measure, *pair)]
    assert row["normalised"] == pytest.approx(1, abs=0.06)
    assert row["value"] > row["null_upper"] + 5 * (row["null_upper"] - row["null_lower"])
    # A ceiling of 1 would mean that a half was compared with itself.
    assert row["ceiling"] < 0.97


@pytest.mark.parametrize("measure", BOUNDED)
def test_unrelated_populations_are_at_the_null(populations, measure):
    row = populations.loc[(measure, *STRANGERS)]
    assert row["normalised"] == pytest.approx(0, abs=0.06)
    assert abs(row["value"] - row["null_mean"]) < 2 * (row["null_upper"] - row["null_lower"])


@pytest.mark.parametrize("measure", BOUNDED)
def test_related_populations_lie_between(populations, measure):
    assert 0.15 < populations.loc[(measure, *COUSINS), "normalised"] < 0.85


def test_frechet_distances_lie_between_those_of_one_population_and_the_null(populations):
    twins, cousins, strangers = (populations.loc[("frechet", *pair)] for pair in (TWINS, COUSINS, STRANGERS))
    assert twins["value"] == pytest.approx(twins["ceiling"], rel=0.05)
    assert twins["value"] < 0.5 * cousins["value"] and cousins["value"] < 0.9 * strangers["value"]
    assert abs(strangers["value"] - strangers["null_mean"]) < 2 * (
        strangers["null_upper"] - strangers["null_lower"]
    )


def test_the_literal_svcca_is_inside_its_null_for_every_pair(populations):
    literal = populations.loc["svcca"]
    width = literal["null_upper"] - literal["null_lower"]
    assert ((literal["value"] - literal["null_mean"]).abs() < 2 * width).all()
    # The number of directions, and so the null, is the same whatever the populations.
    assert literal["value"].max() - literal["value"].min() < 3 * width.max()
    assert (literal["value"] > 0.5).all()


def test_over_many_pairs_the_literal_svcca_ranks_at_random_and_channels_rank_perfectly():
    """How often does a measure rank a pair of one population above an unrelated pair, of forty each?"""
    literal, channels = {}, {}
    for kind, second in (("twins", 1), ("strangers", 2)):
        pairs = [
            [sample(p, 100 * second + 2 * i + j, 80, 24) for j, p in enumerate((1, second))]
            for i in range(40)
        ]
        literal[kind] = [
            mean_canonical_correlation(*(leading_directions(rows, 0.99) for rows in pair)) for pair in pairs
        ]
        channels[kind] = [
            subspaces.svcca_channels(*(subspaces.channel_spectrum(rows) for rows in pair), 4)
            for pair in pairs
        ]
    # A fair ranking of 40 against 40 scatters by 0.065 about a half.
    assert ranked_above(literal) == pytest.approx(0.5, abs=0.2)
    assert ranked_above(channels) == 1


def ranked_above(values):
    return np.mean(np.greater.outer(values["twins"], values["strangers"]))


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
