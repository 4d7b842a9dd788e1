"""Two encoders on the same images: CKA against its definition, the table, invariances of both measures."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from made_up_settings import NETWORK

from moco_transfer.config import stages
from moco_transfer.errors import UserError
from moco_transfer.networks import build_network, save_encoder
from moco_transfer.similarity.encoders import (
    centred_similarities,
    cka_of_similarities,
    compare_encoders,
    compare_networks,
)
from moco_transfer.similarity.subspaces import random_rotation
from moco_transfer.similarity.svcca import leading_directions, mean_canonical_correlation


def linear_cka(a, b):
    return cka_of_similarities(centred_similarities(a), centred_similarities(b))


def hsic_by_quadruples(k, m):
    """The unbiased HSIC as a U-statistic (Song et al. 2012, theorem 5): the mean over ordered quadruples."""
    values = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in permutations(range(len(k)), 4)]
    return np.mean(values)


def hsic_by_traces(k, m):
    """The same in closed form (Song et al. 2012, equation 5)."""
    n = len(k)
    k, m = (gram - np.diag(np.diag(gram)) for gram in (k, m))
    trace = np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
    return trace / (n * (n - 3))


def cka_by(hsic, a, b):
    k, m = a @ a.T, b @ b.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def two_sides(n, p, q, seed=0):
    generator = np.random.default_rng(seed)
    shared = generator.standard_normal((n, 3))
    return (
        shared @ generator.standard_normal((3, c)) + generator.standard_normal((n, c)) + 2 for c in (p, q)
    )


@pytest.mark.parametrize(("n", "p", "q"), [(6, 4, 3), (7, 20, 5)])
def test_cka_is_the_ratio_of_u_statistics(n, p, q):
    a, b = two_sides(n, p, q)
    assert linear_cka(a, b) == pytest.approx(cka_by(hsic_by_quadruples, a, b), abs=1e-9)


@pytest.mark.parametrize(("n", "p", "q"), [(50, 8, 12), (30, 100, 60)])
def test_cka_equals_its_closed_form(n, p, q):
    a, b = two_sides(n, p, q)
    assert linear_cka(a, b) == pytest.approx(cka_by(hsic_by_traces, a, b), abs=1e-9)


def test_unrelated_layers_are_at_zero_where_the_plug_in_value_is_not():
    generator = np.random.default_rng(1)
    pairs = [generator.standard_normal((2, 60, 200)) for _ in range(100)]
    values = [linear_cka(a, b) for a, b in pairs]
    assert abs(np.mean(values)) < 3 * np.std(values) / 10
    a, b = (side - side.mean(axis=0) for side in pairs[0])
    plug_in = np.sum((a.T @ b) ** 2) / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert plug_in > 0.5


def test_rotation_scale_shift_and_dead_channels_leave_cka_unchanged():
    a, b = two_sides(40, 6, 9)
    rotation = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))[0]
    moved = np.hstack([1e3 * a @ rotation + 7, np.full((40, 2), 1 / 3)])
    assert linear_cka(moved, b) == pytest.approx(linear_cka(a, b))
    assert linear_cka(moved, a) == pytest.approx(1)


def cka_by_qr_and_svd(a, b):
    """The closed form from QR of each side and the SVD of its triangle, centred in long doubles."""
    grams = []
    for side in (a, b):
        rows = side.astype(np.longdouble)
        rows = (rows - rows.mean(axis=0)).astype(np.float64)
        q, r = np.linalg.qr(rows / np.abs(rows).max())
        u, singular, _ = np.linalg.svd(r)
        left = q @ u[:, : len(singular)]
        grams.append(left * singular**2 @ left.T)
    k, m = grams
    return hsic_by_traces(k, m) / np.sqrt(hsic_by_traces(k, k) * hsic_by_traces(m, m))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1, 1e6), (1e-12, 0), (1e12, 0)])
@pytest.mark.parametrize(("n", "p", "q"), [(60, 8, 12), (12, 30, 20)])
def test_cka_equals_qr_and_svd_whatever_offset_scale_and_precision(n, p, q, scale, offset, kind):
    a, b = ((scale * side + offset).astype(kind) for side in two_sides(n, p, q, 5))
    assert linear_cka(a, b) == pytest.approx(cka_by_qr_and_svd(a, b), abs=1e-6)


def test_cka_of_dead_repeated_and_collinear_channels():
    a, b = two_sides(40, 6, 9)
    noise = 1e-10 * np.random.default_rng(6).standard_normal(a.shape)
    degenerate = np.hstack([a, a + noise, np.full((40, 2), 1e6 / 3)])
    assert linear_cka(degenerate, b) == pytest.approx(cka_by_qr_and_svd(np.hstack([a, a]), b), abs=1e-6)


def test_a_constant_layer_has_no_value():
    a, _ = two_sides(10, 4, 4)
    assert np.isnan(linear_cka(a, np.full((10, 3), 1 / 3, dtype=np.float32)))


def test_a_layer_in_which_only_one_image_differs_has_no_value():
    a, b = np.ones((2, 30, 5))
    a[3], b[7] = np.random.default_rng(0).standard_normal((2, 5))
    assert np.isnan(linear_cka(a, a)) and np.isnan(linear_cka(a, b))


def test_a_collapsed_layer_has_a_high_svcca_but_a_low_cka_and_few_directions():
    before = np.random.default_rng(4).standard_normal((400, 62))
    collapsed = before[:, :2] @ np.random.default_rng(5).standard_normal((2, 62))
    table = compare_encoders({"DB4": before}, {"chest": {"DB4": collapsed}}, "spine", 0.99, 0)
    svcca, cka = (table.set_index("measure").loc[measure] for measure in ("svcca", "cka"))
    assert svcca["value"] > 0.95 and svcca["kept"] == 2 and svcca["kept_initial"] > 55
    assert cka["value"] < 0.4


def test_the_table_has_value_and_chance_of_each_layer_and_source():
    a, b = two_sides(60, 8, 8)
    unrelated = np.random.default_rng(3).standard_normal((60, 8))
    table = compare_encoders(
        {"DB1": a, "DB2": b},
        {"same": {"DB1": a, "DB2": b}, "other": {"DB1": b, "DB2": unrelated}},
        "spine",
        0.99,
        0,
    )
    found = table.set_index(["measure", "source", "layer"])
    assert len(found) == 8 and set(table["target"]) == {"spine"} and set(table["images"]) == {60}
    for layer in ("DB1", "DB2"):
        for measure in ("svcca", "cka"):
            assert found["value"][measure, "same", layer] == pytest.approx(1)
    assert found["value"]["cka", "other", "DB1"] == pytest.approx(linear_cka(a, b))
    sides = [leading_directions(side, 0.99) for side in (a, b)]
    assert found["value"]["svcca", "other", "DB1"] == pytest.approx(mean_canonical_correlation(*sides))
    # Unrelated rows: SVCCA stays at its chance level, which is not 0, and CKA at 0.
    svcca, cka = (found.loc[measure, "other", "DB2"] for measure in ("svcca", "cka"))
    assert svcca["value"] == pytest.approx(svcca["chance"], abs=0.1) and svcca["chance"] > 0.15
    assert abs(cka["chance"]) < 0.1 and abs(cka["value"]) < 0.2


def test_the_table_counts_directions_and_forced_correlations():
    a, b = two_sides(12, 30, 8)
    table = compare_encoders({"DB1": a}, {"x": {"DB1": b}}, "spine", 1.0, 0).set_index("measure")
    assert table.loc["svcca", ["kept_initial", "kept", "forced"]].to_list() == [11, 8, 8]
    assert table.loc["svcca", "value"] == pytest.approx(1) and table.loc["svcca", "chance"] == pytest.approx(
        1
    )
    assert table.loc["cka", ["kept_initial", "kept", "forced"]].isna().all()


@pytest.mark.parametrize("spoilt", ["initial", "other"])
def test_bad_activations_are_named(spoilt):
    a, b = two_sides(10, 4, 4)
    sides = {"initial": {"DB1": a}, "other": {"DB1": b}}
    sides[spoilt] = {"DB1": np.where(np.arange(10)[:, None] == 3, np.inf, a)}
    name = {"initial": "the initial network", "other": "x"}[spoilt]
    with pytest.raises(UserError, match=f"{name} DB1 holds a value that is not finite"):
        compare_encoders(sides["initial"], {"x": sides["other"]}, "spine", 0.99, 0)
    with pytest.raises(UserError, match="has 3 images; at least 4"):
        compare_encoders({"DB1": a[:3]}, {"x": {"DB1": b[:3]}}, "spine", 0.99, 0)


def test_chance_is_drawn_from_named_streams():
    a, b = two_sides(30, 5, 5)
    one, two = (compare_encoders({"DB1": a}, {"x": {"DB1": b}}, "spine", 0.99, seed) for seed in (0, 0))
    assert one.equals(two)
    assert not one.equals(compare_encoders({"DB1": a}, {"x": {"DB1": b}}, "spine", 0.99, 1))


def test_the_stage_passes_the_same_images_through_every_encoder(tmp_path):
    images = np.random.default_rng(4).integers(0, 256, (40, 36, 36), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    for key in (1, 2):
        save_encoder(build_network(NETWORK, key), tmp_path / f"{key}.safetensors")
    compare_networks(
        stages.CompareNetworks(
            crop=32,
            sources=["none", "copy", "other"],
            targets=["spine"],
            images=30,
            variance=0.99,
            seed=1,
        ),
        encoders=[tmp_path / f"{key}.safetensors" for key in (1, 1, 2)],
        images=[tmp_path / "images.npy"],
        networks=tmp_path / "networks.parquet",
        device="cpu",
    )
    found = pd.read_parquet(tmp_path / "networks.parquet")
    value = found.set_index(["source", "measure", "layer"])["value"]
    assert list(found["layer"].unique()) == ["CV1", "DB1", "DB2", "DB3", "DB4"]
    assert set(found["images"]) == {30}
    np.testing.assert_allclose(value["copy"], 1)
    assert (value["other"] < 0.999).all()


@pytest.fixture(scope="module")
def moved():
    """The same images in encoders that are equal, rotated, half replaced, or unrelated."""
    before, unrelated = (
        np.random.default_rng([i, 1]).standard_normal((300, 64))
        * np.arange(1, 65) ** -0.5
        @ random_rotation(64, np.random.default_rng(i))
        for i in (3, 4)
    )
    half = np.where(np.arange(64) < 32, before, unrelated)
    turned = before @ random_rotation(64, np.random.default_rng(5))
    others = {"same": before, "turned": turned, "half": half, "unrelated": unrelated}
    table = compare_encoders({"DB4": before}, {name: {"DB4": o} for name, o in others.items()}, "x", 0.99, 1)
    return table.set_index(["measure", "source"])


@pytest.mark.parametrize("measure", ["svcca", "cka"])
def test_an_encoder_scores_1_with_itself_and_chance_with_unrelated_ones(moved, measure):
    value, chance = moved.loc[measure, "value"], moved.loc[measure, "chance"]
    assert value["same"] == pytest.approx(1, abs=1e-6)
    assert value["turned"] == pytest.approx(1, abs=1e-4)
    assert value["unrelated"] == pytest.approx(chance["unrelated"], abs=0.03)
    assert chance["unrelated"] + 0.15 < value["half"] < 0.95


def test_chance_is_0_for_the_unbiased_cka_and_far_above_it_for_svcca(moved):
    assert moved.loc["cka", "chance"].abs().max() < 0.03
    assert moved.loc["svcca", "chance"].min() > 0.3
