"""The literal SVCCA against Hotelling's eigenvalues, and against QR and SVD (Bjorck and Golub, 1973)."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from moco_transfer.similarity.svcca import (
    forced_correlations,
    leading_directions,
    mean_canonical_correlation,
    permutation_null,
)


def basis_by_qr(rows, tolerance=1e-9):
    """An orthonormal basis of the centred columns, by QR with pivots above the tolerance."""
    rows = rows.astype(np.longdouble)
    centred = (rows - rows.mean(axis=0)).astype(np.float64)
    q, r, _ = scipy.linalg.qr(centred, mode="economic", pivoting=True)
    pivots = np.abs(np.diag(r))
    return q[:, pivots > tolerance * pivots[0]]


def mean_correlation_by_qr(a, b, tolerance=1e-9):
    first, second = basis_by_qr(a, tolerance), basis_by_qr(b, tolerance)
    correlations = np.linalg.svd(first.T @ second, compute_uv=False)
    return correlations[: min(first.shape[1], second.shape[1])].mean()


def svcca(a, b, variance=1.0):
    return mean_canonical_correlation(leading_directions(a, variance), leading_directions(b, variance))


def sides(seed, images, channels_a, channels_b):
    """Two sides that share three directions; the standard deviations of their own fall by a factor of 20."""
    draw = np.random.default_rng(seed)
    shared = draw.standard_normal((images, 3))
    return [
        shared @ draw.standard_normal((3, c))
        + draw.standard_normal((images, c)) * np.geomspace(2, 0.1, c) @ draw.standard_normal((c, c))
        for c in (channels_a, channels_b)
    ]


def canonical_correlations_by_eigenvalues(a, b):
    """Hotelling's own equation: the roots of the eigenvalues of inv(Saa) Sab inv(Sbb) Sba, largest first."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    product = np.linalg.solve(a.T @ a, a.T @ b) @ np.linalg.solve(b.T @ b, b.T @ a)
    return np.sort(np.sqrt(np.clip(np.linalg.eigvals(product).real, 0, 1)))[::-1]


def reduced_by_covariance(rows, variance):
    """The rows in the fewest eigenvectors of their covariance that hold the share ``variance``."""
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(rows, rowvar=False)))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = next(k for k in range(1, len(values) + 1) if values[:k].sum() >= variance * values.sum())
    return rows @ vectors[:, :kept]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    channels=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    variance=st.sampled_from([0.5, 0.9, 0.99]),
)
def test_equals_cca_of_the_reduced_sides(seed, channels, variance):
    generator = np.random.default_rng(seed)
    shared = generator.standard_normal((60, 3))
    a, b = (
        shared @ generator.standard_normal((3, c))
        + generator.standard_normal((60, c)) * np.linspace(2, 0.1, c)
        + 5
        for c in channels
    )
    reduced = [reduced_by_covariance(rows, variance) for rows in (a, b)]
    bases = [leading_directions(rows, variance) for rows in (a, b)]
    assert [basis.shape[1] for basis in bases] == [rows.shape[1] for rows in reduced]
    count = min(basis.shape[1] for basis in bases)
    expected = canonical_correlations_by_eigenvalues(*reduced)[:count].mean()
    assert mean_canonical_correlation(*bases) == pytest.approx(expected, abs=1e-6)


def test_an_invertible_map_of_the_channels_changes_nothing():
    generator = np.random.default_rng(1)
    a, b = generator.standard_normal((50, 6)), generator.standard_normal((50, 4))
    mapped = b @ generator.standard_normal((4, 4)) + 3
    assert svcca(a, mapped) == pytest.approx(svcca(a, b))
    assert svcca(b, mapped) == pytest.approx(1)


@pytest.mark.parametrize("variance", [0.99, 1.0])
def test_dead_and_repeated_channels_change_nothing(variance):
    generator = np.random.default_rng(2)
    rows, other = generator.standard_normal((40, 5)), generator.standard_normal((40, 7))
    padded = np.hstack([rows, rows[:, :2], np.full((40, 3), 1e6 / 3), np.zeros((40, 2))])
    kept = leading_directions(padded, variance).shape[1]
    assert kept <= 5
    if variance == 1.0:
        assert kept == 5
        assert svcca(padded, other) == pytest.approx(svcca(rows, other))


@pytest.mark.parametrize("value", [0.0, 1.0 / 3.0, 1e8 / 7])
def test_constant_activations_keep_nothing_and_have_no_value(value):
    constant = leading_directions(np.full((20, 4), value, dtype=np.float32), 0.99)
    other = leading_directions(np.random.default_rng(4).standard_normal((20, 4)), 0.99)
    assert constant.shape == (20, 0)
    assert np.isnan(mean_canonical_correlation(constant, other))
    assert np.isnan(permutation_null(constant, other, [np.random.default_rng(0)])).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    images=st.integers(5, 80),
    channels=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_equals_qr_and_svd_for_every_shape(seed, images, channels):
    a, b = sides(seed, images, *channels)
    assert svcca(a, b) == pytest.approx(mean_correlation_by_qr(a, b), abs=1e-6)
    assert svcca(b, a) == pytest.approx(svcca(a, b), abs=1e-9)


@pytest.mark.parametrize(("images", "channels"), [(400, (96, 128)), (120, (96, 128)), (90, (96, 128))])
def test_equals_qr_and_svd_at_larger_sizes(images, channels):
    a, b = sides(1, images, *channels)
    assert svcca(a, b) == pytest.approx(mean_correlation_by_qr(a, b), abs=1e-6)
    order = np.random.default_rng(7).permutation(images)
    drawn = permutation_null(
        leading_directions(a, 1.0), leading_directions(b, 1.0), [np.random.default_rng(7)]
    )
    assert drawn[0] == pytest.approx(mean_correlation_by_qr(a, b[order]), abs=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_scale_and_precision_of_the_input_do_not_matter(scale, kind):
    a, b = ((scale * side).astype(kind) for side in sides(2, 60, 10, 14))
    assert svcca(a, b) == pytest.approx(mean_correlation_by_qr(a, b), abs=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_channels_far_from_zero(kind):
    a, b = ((side + 1e6).astype(kind) for side in sides(3, 60, 10, 14))
    assert leading_directions(a, 1.0).shape == (60, 10)
    assert svcca(a, b) == pytest.approx(mean_correlation_by_qr(a, b), abs=1e-6)


def test_a_small_signal_beside_a_dead_channel_far_from_zero_is_kept():
    a, b = sides(4, 60, 5, 6)
    padded = np.hstack([1e-6 * a, np.full((60, 4), 1e8 / np.array([3, 7, 11, 13]))])
    assert leading_directions(padded, 1.0).shape == (60, 5)
    assert svcca(padded, b) == pytest.approx(mean_correlation_by_qr(a, b), abs=1e-6)


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e5])
def test_a_direction_of_little_variance_counts_like_any_other(condition):
    """The Gram matrix alone would lose it: it squares the condition."""
    draw = np.random.default_rng(5)
    a, b = sides(5, 200, 8, 12)
    rotation = np.linalg.qr(draw.standard_normal((8, 8)))[0]
    a = np.linalg.qr(a - a.mean(axis=0))[0] * np.geomspace(1, 1 / condition, 8) @ rotation
    assert leading_directions(a, 1.0).shape == (200, 8)
    basis = leading_directions(a, 1.0)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=1e-8)
    assert svcca(a, b) == pytest.approx(mean_correlation_by_qr(a, b), abs=1e-6)


@pytest.mark.parametrize("variance", [0.99, 1.0])
def test_channels_that_are_collinear_up_to_rounding_count_once(variance):
    """At a condition of 1e10, such a direction holds 1e-20 of the variance."""
    a, b = sides(6, 80, 6, 9)
    draw = np.random.default_rng(6)
    doubled = np.hstack([a, a[:, :3] + 1e-10 * draw.standard_normal((80, 3))])
    exact = np.hstack([a, a[:, :3]])
    assert leading_directions(doubled, variance).shape == leading_directions(exact, variance).shape
    assert leading_directions(doubled, variance).shape[1] <= 6
    assert svcca(doubled, b, variance) == pytest.approx(svcca(exact, b, variance), abs=1e-6)
    if variance == 1.0:
        assert svcca(doubled, b) == pytest.approx(mean_correlation_by_qr(a, b), abs=1e-6)


@pytest.mark.parametrize(("images", "channels"), [(50, 6), (12, 30), (12, 12)])
def test_bases_are_orthonormal_and_centred(images, channels):
    basis = leading_directions(sides(8, images, channels, 1)[0], 1.0)
    assert basis.shape == (images, min(images - 1, channels))
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-9)
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize(("images", "kept"), [(12, (11, 11)), (30, (20, 15)), (30, (15, 14)), (30, (3, 29))])
def test_forced_correlations_are_1_whatever_the_images_show(images, kept):
    a, b = (
        leading_directions(np.random.default_rng([9, i]).standard_normal((images, k)), 1.0)
        for i, k in enumerate(kept)
    )
    correlations = np.linalg.svd(a.T @ b, compute_uv=False)
    assert forced_correlations(*kept, images - 1) == np.sum(correlations > 1 - 1e-9)
