"""The literal SVCCA against canonical correlations by eigenvalues, on good and on degenerate matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moco_transfer.similarity.svcca import leading_directions, mean_canonical_correlation, permutation_null


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


def test_does_not_see_an_invertible_map_of_the_channels():
    generator = np.random.default_rng(1)
    a, b = generator.standard_normal((50, 6)), generator.standard_normal((50, 4))
    mapped = b @ generator.standard_normal((4, 4)) + 3
    plain = mean_canonical_correlation(leading_directions(a, 1.0), leading_directions(b, 1.0))
    assert mean_canonical_correlation(
        leading_directions(a, 1.0), leading_directions(mapped, 1.0)
    ) == pytest.approx(plain)
    assert mean_canonical_correlation(
        leading_directions(b, 1.0), leading_directions(mapped, 1.0)
    ) == pytest.approx(1)


@pytest.mark.parametrize("variance", [0.99, 1.0])
def test_dead_and_repeated_channels_change_nothing(variance):
    generator = np.random.default_rng(2)
    rows, other = (
        generator.standard_normal((40, 5)),
        leading_directions(generator.standard_normal((40, 7)), 1.0),
    )
    padded = np.hstack([rows, rows[:, :2], np.full((40, 3), 1e6 / 3), np.zeros((40, 2))])
    basis = leading_directions(padded, variance)
    assert basis.shape[1] <= 5
    if variance == 1.0:
        plain = mean_canonical_correlation(leading_directions(rows, 1.0), other)
        assert basis.shape[1] == 5
        assert mean_canonical_correlation(basis, other) == pytest.approx(plain)


def test_fewer_images_than_channels_keeps_at_most_images_less_one():
    generator = np.random.default_rng(3)
    a, b = (leading_directions(generator.standard_normal((12, 30)), 1.0) for _ in range(2))
    assert a.shape == b.shape == (12, 11)
    # Both sides then span every centred vector, so all correlations are 1 whatever the images show.
    assert mean_canonical_correlation(a, b) == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 1.0 / 3.0, 1e8 / 7])
def test_constant_activations_keep_nothing_and_have_no_value(value):
    constant = leading_directions(np.full((20, 4), value, dtype=np.float32), 0.99)
    other = leading_directions(np.random.default_rng(4).standard_normal((20, 4)), 0.99)
    assert constant.shape == (20, 0)
    assert np.isnan(mean_canonical_correlation(constant, other))
    assert np.isnan(permutation_null(constant, other, [np.random.default_rng(0)])).all()


def test_a_null_draw_is_svcca_of_permuted_rows():
    generator = np.random.default_rng(5)
    a, b = generator.standard_normal((80, 9)), generator.standard_normal((80, 6)) * np.linspace(3, 0.1, 6)
    null = permutation_null(
        leading_directions(a, 0.95), leading_directions(b, 0.95), (np.random.default_rng(i) for i in range(4))
    )
    for i, draw in enumerate(null):
        permuted = b[np.random.default_rng(i).permutation(80)]
        expected = mean_canonical_correlation(leading_directions(a, 0.95), leading_directions(permuted, 0.95))
        assert draw == pytest.approx(expected)
    assert len(set(null.round(12))) == 4
