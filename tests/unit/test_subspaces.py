"""The measures on shared channels against their textbook formulas on full matrices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from moco_transfer.similarity import subspaces


def rows_of(seed, images=50, channels=7):
    generator = np.random.default_rng(seed)
    mix = generator.standard_normal((channels, channels))
    return generator.standard_normal((images, channels)) @ mix + generator.standard_normal(channels)


def pair(seed, images=50, channels=7):
    return rows_of([seed, 0], images, channels), rows_of([seed, 1], images, channels)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), images=st.integers(2, 40), channels=st.integers(1, 12))
def test_spectrum_rebuilds_mean_and_covariance(seed, images, channels):
    rows = rows_of(seed, images, channels)
    spectrum = subspaces.channel_spectrum(rows)
    rebuilt = spectrum.directions * spectrum.variances @ spectrum.directions.T
    covariance = np.cov(rows, rowvar=False).reshape(channels, channels)
    np.testing.assert_allclose(rebuilt, covariance, atol=1e-9 * np.abs(covariance).max())
    np.testing.assert_allclose(spectrum.mean, rows.mean(axis=0))
    np.testing.assert_allclose(spectrum.directions.T @ spectrum.directions, np.eye(spectrum.rank), atol=1e-9)
    assert spectrum.rank <= min(images - 1, channels)
    assert (np.diff(spectrum.variances) <= 0).all()


@pytest.mark.parametrize("k", [1, 3, 7])
def test_svcca_channels_is_the_mean_cosine_of_the_principal_angles(k):
    a, b = pair(1)
    leading = [np.linalg.svd(rows - rows.mean(axis=0))[2][:k].T for rows in (a, b)]
    expected = np.cos(scipy.linalg.subspace_angles(*leading)).mean()
    spectra = [subspaces.channel_spectrum(rows) for rows in (a, b)]
    assert subspaces.svcca_channels(*spectra, k) == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), images=st.integers(3, 30))
def test_cka_is_the_cosine_of_the_covariances(seed, images):
    a, b = pair(seed, images)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.sum(first * second) / np.linalg.norm(first) / np.linalg.norm(second)
    spectra = [subspaces.channel_spectrum(rows) for rows in (a, b)]
    assert subspaces.cka_covariance(*spectra) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_frechet_distance_with_a_matrix_square_root(seed):
    a, b = pair(seed)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    expected = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2) + np.trace(first + second - 2 * root)
    spectra = [subspaces.channel_spectrum(rows) for rows in (a, b)]
    assert subspaces.frechet_distance(*spectra) == pytest.approx(expected)


def test_frechet_distance_of_a_shift_is_its_squared_length():
    rows = rows_of(3)
    shift = np.arange(7.0)
    a, b = subspaces.channel_spectrum(rows), subspaces.channel_spectrum(rows + shift)
    assert subspaces.frechet_distance(a, b) == pytest.approx(shift @ shift)
    assert subspaces.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_variance_share_is_the_variance_after_projection():
    a, b = pair(5)
    leading = np.linalg.svd(a - a.mean(axis=0))[2][:3]
    projected = (b - b.mean(axis=0)) @ leading.T
    expected = projected.var(axis=0).sum() / b.var(axis=0).sum()
    spectra = [subspaces.channel_spectrum(rows) for rows in (a, b)]
    assert subspaces.variance_share(*spectra, 3) == pytest.approx(expected)
    assert subspaces.variance_share(*spectra, 7) == pytest.approx(1)


def test_variance_share_has_a_direction():
    generator = np.random.default_rng(6)
    narrow, wide = np.zeros((100, 6)), generator.standard_normal((100, 6))
    narrow[:, :2] = generator.standard_normal((100, 2))
    narrow, wide = subspaces.channel_spectrum(narrow), subspaces.channel_spectrum(wide)
    assert subspaces.variance_share(wide, narrow, 6) == pytest.approx(1)
    assert subspaces.variance_share(narrow, wide, 6) < 0.6


def test_a_rotated_spectrum_is_the_spectrum_of_rotated_channels():
    rows = rows_of(7)
    rotation = subspaces.random_rotation(7, np.random.default_rng(0))
    turned = subspaces.rotated(subspaces.channel_spectrum(rows), rotation, np.full(7, True))
    direct = subspaces.channel_spectrum(rows @ rotation.T)
    np.testing.assert_allclose(turned.mean, direct.mean)
    np.testing.assert_allclose(turned.variances, direct.variances)
    assert subspaces.cka_covariance(turned, direct) == pytest.approx(1)


def test_channels_that_are_not_rotated_stay():
    rows = np.hstack([rows_of(7), np.full((50, 2), 3.0)])
    some = np.arange(9) < 7
    rotation = subspaces.random_rotation(7, np.random.default_rng(0))
    turned = subspaces.rotated(subspaces.channel_spectrum(rows), rotation, some)
    direct = subspaces.channel_spectrum(np.hstack([rows[:, :7] @ rotation.T, rows[:, 7:]]))
    np.testing.assert_allclose(turned.mean, direct.mean)
    assert subspaces.frechet_distance(turned, direct) == pytest.approx(0, abs=1e-9)


def test_random_rotations_are_orthogonal_and_uniform():
    draws = np.array([subspaces.random_rotation(4, np.random.default_rng(i)) for i in range(3000)])
    np.testing.assert_allclose(
        draws @ draws.transpose(0, 2, 1), np.broadcast_to(np.eye(4), draws.shape), atol=1e-12
    )
    # Uniform: entries have mean 0 and mean square 1/4, also on the diagonal (which plain QR biases).
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose((draws**2).mean(axis=0), 0.25, atol=0.03)


@pytest.mark.parametrize("value", [0.0, 1 / 3, 1e7 / 3])
def test_constant_activations_have_rank_zero_and_no_similarity(value):
    constant = subspaces.channel_spectrum(np.full((10, 7), value, dtype=np.float32))
    alive = subspaces.channel_spectrum(rows_of(8))
    assert constant.rank == 0
    for similarity in (
        subspaces.svcca_channels(constant, alive, 3),
        subspaces.cka_covariance(alive, constant),
        subspaces.variance_share(alive, constant, 3),
        subspaces.variance_share(constant, alive, 3),
    ):
        assert np.isnan(similarity)
    expected = np.sum((constant.mean - alive.mean) ** 2) + alive.variances.sum()
    assert subspaces.frechet_distance(constant, alive) == pytest.approx(expected)


def test_dead_channels_do_not_change_a_measure():
    a, b = pair(9)
    plain = [subspaces.channel_spectrum(rows) for rows in (a, b)]
    padded = [subspaces.channel_spectrum(np.hstack([rows, np.ones((50, 3))])) for rows in (a, b)]
    assert [spectrum.rank for spectrum in padded] == [7, 7]
    assert subspaces.svcca_channels(*padded, 3) == pytest.approx(subspaces.svcca_channels(*plain, 3))
    assert subspaces.cka_covariance(*padded) == pytest.approx(subspaces.cka_covariance(*plain))
    assert subspaces.frechet_distance(*padded) == pytest.approx(subspaces.frechet_distance(*plain))
    assert subspaces.variance_share(*padded, 3) == pytest.approx(subspaces.variance_share(*plain, 3))


def measures_of(a, b, k=3):
    """Every measure, the distance in units of the second side's variance."""
    first, second = subspaces.channel_spectrum(a), subspaces.channel_spectrum(b)
    return [
        subspaces.svcca_channels(first, second, k),
        subspaces.cka_covariance(first, second),
        subspaces.variance_share(first, second, k),
        subspaces.frechet_distance(first, second) / second.variances.sum(),
    ]


@pytest.mark.parametrize("images", [50, 5])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("scale", "offset"), [(1, 1e6), (1e-12, 0), (1e-3, -1e3), (1e12, 0)])
def test_offset_scale_and_precision_of_the_input_do_not_matter(images, kind, scale, offset):
    a, b = ((scale * side + offset).astype(kind) for side in pair(10, images))
    # What the input holds after rounding, moved back near zero and one.
    exact = [((side.astype(np.longdouble) - offset) / scale).astype(np.float64) for side in (a, b)]
    assert subspaces.channel_spectrum(a).rank == min(images - 1, 7)
    assert measures_of(a, b) == pytest.approx(measures_of(*exact), abs=1e-6)


def test_collinear_channels_count_once_and_change_no_measure():
    a, b = pair(11)
    noise = 1e-10 * np.random.default_rng(11).standard_normal((50, 7))
    collinear, exact = (np.hstack([a, a + each]) for each in (noise, 0 * noise))
    doubled = np.hstack([b, b])
    assert subspaces.channel_spectrum(collinear).rank == subspaces.channel_spectrum(exact).rank == 7
    assert measures_of(collinear, doubled) == pytest.approx(measures_of(exact, doubled), abs=1e-6)


def test_with_fewer_images_than_channels_and_k_the_rank_counts():
    a, b = pair(12, images=4, channels=30)
    spectra = [subspaces.channel_spectrum(rows) for rows in (a, b)]
    assert [spectrum.rank for spectrum in spectra] == [3, 3]
    leading = [np.linalg.qr((rows - rows.mean(axis=0)).T)[0][:, :3] for rows in (a, b)]
    cosines = np.linalg.svd(leading[0].T @ leading[1], compute_uv=False)
    assert subspaces.svcca_channels(*spectra, 20) == pytest.approx(cosines.mean())
    assert subspaces.variance_share(spectra[0], spectra[0], 20) == pytest.approx(1)
