"""Corrections for many comparisons, against worked examples and by counting errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moco_transfer.statistics.evidence import at_least, holm, required, verdict

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_holm_on_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    with_gap = holm([0.01, np.nan, 0.04])
    assert np.isnan(with_gap[1])
    assert with_gap[[0, 2]].tolist() == pytest.approx([0.02, 0.04])


@given(P_VALUES, st.floats(0.001, 0.2))
def test_holm_rejects_what_its_step_down_procedure_rejects(p, level):
    rejected = set()
    for step, i in enumerate(np.argsort(p, kind="stable")):
        if p[i] * (len(p) - step) >= level:
            break
        rejected.add(int(i))
    assert set(np.flatnonzero(holm(p) < level).tolist()) == rejected


@given(P_VALUES)
def test_all_of_them_is_the_intersection_union_test_and_some_of_them_bonferronis(p):
    m = len(p)
    assert at_least(p, required("all", m)) == max(p)
    assert at_least(p, required("some", m)) == pytest.approx(min(1.0, m * min(p)))


def test_most_is_more_than_half():
    assert [required("most", m) for m in (1, 2, 3, 8, 9)] == [1, 2, 2, 5, 5]


def test_two_true_of_three_are_not_taken_for_three_nor_one_for_two():
    """2,000 families with one hypothesis short of the claim, the others plain: errors stay near the level."""
    generator = np.random.default_rng(0)
    for u, true in ((3, 2), (2, 1), (1, 0)):
        p = generator.random((2000, 3))
        p[:, :true] = 0.0
        assert np.mean([at_least(each, u) < 0.05 for each in p]) < 0.065


def test_verdicts():
    assert verdict(0.01, 0.99, 0.05) == "supported"
    assert verdict(0.99, 0.01, 0.05) == "not supported"
    assert verdict(0.3, 0.7, 0.05) == "undecided"
    assert verdict(float("nan"), float("nan"), 0.05) == "cannot be tested"
