"""What an analysis of similarity must pass: one population comes out as one, unrelated ones as unrelated.

At a size near that of a real layer: 256 channels whose variances fall as 1 / i, means that differ from 0, 300 images. Every measure
on shared channels must place two samples of one population at its ceiling and two unrelated populations at its null. The
literal SVCCA must be seen to do neither. Two networks on the same images must score 1 where they are one, and chance where
they have nothing in common.
"""

from __future__ import annotations

import numpy as np
import pytest

from moco_transfer.config import Similarity
from moco_transfer.similarity import compare, subspaces
from moco_transfer.similarity.networks import compare_networks
from moco_transfer.similarity.subspaces import random_rotation
from moco_transfer.similarity.svcca import leading_directions, mean_canonical_correlation

CHANNELS, IMAGES = 256, 300
BOUNDED = ["svcca_channels", "cka_covariance", "variance_share"]
TWINS, STRANGERS, COUSINS = ("one", "same"), ("one", "other"), ("one", "cousin")


def sample(population, number, images=IMAGES, channels=CHANNELS):
    """Return images of a population: a rotation of one spectrum and of one mean; 1.5 lies between 1 and 2."""
    rows = np.random.default_rng([int(10 * population), number]).standard_normal((images, channels))
    signals = rows * np.arange(1, channels + 1) ** -0.5 + np.linspace(0.2, 0, channels)
    return (signals @ rotation_of(population, channels)).astype(np.float32)


def rotation_of(population, channels):
    if population == int(population):
        return random_rotation(channels, np.random.default_rng(int(population)))
    # A population between turns half of its directions as one neighbour does, and half as the other.
    below, above = (rotation_of(np.floor(population) + i, channels) for i in (0, 1))
    half = np.arange(channels) % 2 == 0
    return np.linalg.qr(np.where(half[:, None], below, above).T)[0].T


@pytest.fixture(scope="module")
def table():
    populations = {"one": (1, 1), "same": (1, 2), "other": (2, 3), "cousin": (1.5, 4)}
    settings = Similarity(
        datasets=list(populations),
        images=IMAGES,
        network="none",
        variance=0.99,
        directions=20,
        null_draws=24,
        split_halves=6,
    )
    layers = {name: {"DB4": sample(*of)} for name, of in populations.items()}
    return compare(layers, settings, 2023).set_index(["measure", "dataset_a", "dataset_b"])


@pytest.mark.parametrize(
    ("measure", "pair"), [*((measure, TWINS) for measure in BOUNDED), ("variance_share", TWINS[::-1])]
)
def test_two_samples_of_one_population_are_at_the_ceiling(table, measure, pair):
    row = table.loc[(measure, *pair)]
    assert row["normalised"] == pytest.approx(1, abs=0.06)
    assert row["value"] > row["null_upper"] + 5 * (row["null_upper"] - row["null_lower"])
    # Halves of different images: a ceiling of 1 would be one of a half with itself.
    assert row["ceiling"] < 0.97


@pytest.mark.parametrize("measure", BOUNDED)
def test_unrelated_populations_are_at_the_null(table, measure):
    row = table.loc[(measure, *STRANGERS)]
    assert row["normalised"] == pytest.approx(0, abs=0.06)
    assert abs(row["value"] - row["null_mean"]) < 2 * (row["null_upper"] - row["null_lower"])


@pytest.mark.parametrize("measure", BOUNDED)
def test_related_populations_lie_between(table, measure):
    assert 0.15 < table.loc[(measure, *COUSINS), "normalised"] < 0.85


def test_frechet_distances_are_those_of_halves_of_one_population_or_of_its_null(table):
    twins, cousins, strangers = (table.loc[("frechet", *pair)] for pair in (TWINS, COUSINS, STRANGERS))
    assert twins["value"] == pytest.approx(twins["ceiling"], rel=0.05)
    assert twins["value"] < 0.5 * cousins["value"] and cousins["value"] < 0.9 * strangers["value"]
    assert abs(strangers["value"] - strangers["null_mean"]) < 2 * (
        strangers["null_upper"] - strangers["null_lower"]
    )


def test_the_literal_svcca_is_inside_its_null_for_every_pair(table):
    literal = table.loc["svcca"]
    width = literal["null_upper"] - literal["null_lower"]
    assert ((literal["value"] - literal["null_mean"]).abs() < 2 * width).all()
    # No room for more: the same number of directions, the same null, whatever the populations.
    assert literal["value"].max() - literal["value"].min() < 3 * width.max()
    assert (literal["value"] > 0.5).all()


def test_over_many_pairs_the_literal_svcca_separates_nothing_and_channels_separate_all():
    """Forty pairs of either kind: each measure's chance that a pair of one population is ranked above an unrelated one."""
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


@pytest.fixture(scope="module")
def moved():
    """The same images in networks that are one, turned, half replaced, or unrelated."""
    before, unrelated = sample(3, 1, channels=64), sample(4, 2, channels=64)
    half = np.where(np.arange(64) < 32, before, unrelated)
    turned = before @ random_rotation(64, np.random.default_rng(5)).astype(np.float32)
    others = {"same": before, "turned": turned, "half": half, "unrelated": unrelated}
    table = compare_networks({"DB4": before}, {name: {"DB4": o} for name, o in others.items()}, "x", 0.99, 1)
    return table.set_index(["measure", "source"])


@pytest.mark.parametrize("measure", ["svcca", "cka"])
def test_one_network_scores_1_and_unrelated_ones_chance(moved, measure):
    value, chance = moved.loc[measure, "value"], moved.loc[measure, "chance"]
    assert value["same"] == pytest.approx(1, abs=1e-6)
    assert value["turned"] == pytest.approx(1, abs=1e-4)
    assert value["unrelated"] == pytest.approx(chance["unrelated"], abs=0.03)
    assert chance["unrelated"] + 0.15 < value["half"] < 0.95


def test_chance_is_0_for_the_unbiased_cka_and_far_above_it_for_svcca(moved):
    assert moved.loc["cka", "chance"].abs().max() < 0.03
    assert moved.loc["svcca", "chance"].min() > 0.3
