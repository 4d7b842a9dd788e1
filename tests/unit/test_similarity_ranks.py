"""Does similarity predict the best source? The named and the best source, and the figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_up_predictions import independent_aurocs
from scipy import stats
from similarity_ranks import LABELS, draw, ranks_summary

from moco_transfer.statistics.evidence import Evidence
from moco_transfer.statistics.similarity_ranks import source_gains, source_ranks

DATASETS = {"none": "natural", "spine": "spine", "chest": "chest", "hand": "hand"}
AUROCS = {"none": 0.60, "spine": 0.90, "chest": 0.70, "hand": 0.65, "spine+chest": 0.99}
SE = np.sqrt(2e-4)  # of a difference of two independent AUROCs, each of variance 1e-4
LABELED = {"10": 72, "60": 435}


def alike(measure: str, a: str, b: str, value: float, layer: str = "DB4") -> dict:
    row = {"measure": measure, "layer": layer, "dataset_a": a, "dataset_b": b, "value": value}
    return row | {"null_lower": 0.2, "null_upper": 0.3}


SIMILARITY = pd.DataFrame(
    [
        # Undirected: the target is on either side.
        *(alike("cka_covariance", *row) for row in [("spine", "chest", 0.8), ("hand", "spine", 0.5)]),
        alike("cka_covariance", "spine", "natural", 0.4),
        # Directed: of both orders, the one from the source to the target counts.
        *(alike("variance_share", *row) for row in [("spine", "chest", 0.95), ("chest", "spine", 0.6)]),
        *(alike("variance_share", *row) for row in [("spine", "hand", 0.1), ("hand", "spine", 0.7)]),
        alike("variance_share", "natural", "spine", 0.5),
        # A distance: smaller values mean more alike.
        *(alike("frechet", *row) for row in [("spine", "chest", 0.1), ("spine", "hand", 9.0)]),
        alike("frechet", "spine", "natural", 5.0),
        # Inside its null.
        *(alike("svcca", *row) for row in [("spine", "chest", 0.29), ("spine", "hand", 0.25)]),
        alike("svcca", "spine", "natural", float("nan")),
    ]
)


def evidence(aurocs=AUROCS, subsets=2) -> tuple[pd.DataFrame, Evidence]:
    """Return estimates and evidence on the target spine, without scatter between subsets."""
    cells = {("spine", s, "linear", p): [auroc] * subsets for s, auroc in aurocs.items() for p in LABELED}
    rows = [("spine", percent, n) for percent, n in LABELED.items()]
    estimates = pd.DataFrame(rows, columns=["target", "percent", "n_labeled"])
    return estimates, independent_aurocs(cells, 1e-4)


@pytest.fixture(scope="module")
def gains() -> pd.DataFrame:
    return source_gains(SIMILARITY, *evidence(), DATASETS, 0.05)


def ranks_of(gains: pd.DataFrame, aurocs=AUROCS) -> pd.DataFrame:
    ranks = source_ranks(gains, evidence(aurocs)[1], 0.05)
    return ranks[ranks["percent"] == "10"].set_index("measure")


def test_every_out_of_domain_source_has_its_similarity_and_its_gain(gains):
    own = gains[gains["percent"] == "10"].set_index(["measure", "source"])
    assert sorted(own.loc["cka_covariance"].index) == ["chest", "hand", "none"]
    assert own["similarity"].loc["cka_covariance"].to_dict() == {"none": 0.4, "chest": 0.8, "hand": 0.5}
    assert own["similarity"].loc["variance_share"].to_dict() == {"none": 0.5, "chest": 0.6, "hand": 0.7}
    chest = own.loc["frechet", "chest"]
    assert chest["gain"] == pytest.approx(0.1)
    assert chest["upper"] == pytest.approx(0.1 + stats.norm.ppf(0.95) * SE)
    assert tuple(own.loc["frechet", "none"][["gain", "lower", "upper"]]) == (0, 0, 0)
    assert own["outside_null"].loc["cka_covariance"].all() and not own["outside_null"].loc["svcca"].any()
    assert own["outside_null"].loc["frechet"].to_dict() == {"none": False, "chest": True, "hand": False}
    assert ("svcca", "none") not in own.index  # its similarity has no value


def test_the_most_similar_is_compared_with_every_rival(gains):
    ranks = ranks_of(gains)
    assert ranks["most_similar"].to_dict() == {
        "cka_covariance": "chest",
        "variance_share": "hand",
        "frechet": "chest",
        "svcca": "chest",
    }
    assert set(ranks["best"]) == {"chest"}
    # Its smallest lead decides; p_against is that of the best of two rivals, with Bonferroni's correction.
    assert ranks["effect"]["cka_covariance"] == pytest.approx(0.05)
    assert ranks["p"]["cka_covariance"] == pytest.approx(stats.norm.sf(0.05 / SE))
    assert ranks["p_against"]["variance_share"] == pytest.approx(2 * stats.norm.sf(0.05 / SE))
    assert ranks["first"].to_dict() == {
        "cka_covariance": "yes",
        "variance_share": "no",
        "frechet": "yes",
        "svcca": "cannot be tested",
    }


def test_the_literal_svcca_names_no_source_even_outside_its_null():
    by_chance = SIMILARITY[SIMILARITY["measure"] == "svcca"].assign(value=0.35)
    ranks = ranks_of(source_gains(by_chance, *evidence(), DATASETS, 0.05))
    assert set(ranks["first"]) == {"cannot be tested"}


def test_a_lead_within_the_error_is_undecided(gains):
    assert ranks_of(gains, AUROCS | {"hand": 0.69})["first"]["cka_covariance"] == "undecided"


def test_with_one_subset_nothing_is_tested_but_the_figure_is_drawn():
    estimates, one = evidence(subsets=1)
    gains = source_gains(SIMILARITY, estimates, one, DATASETS, 0.05)
    assert set(source_ranks(gains, one, 0.05)["first"]) == {"cannot be tested"}
    draw(gains, {}, dict.fromkeys(AUROCS, "moco")).draw_without_rendering()


def test_a_target_with_one_out_of_domain_source_has_no_ranks():
    assert source_gains(SIMILARITY, *evidence(), {"none": "natural", "spine": "spine"}, 0.05).empty


def test_the_table_shows_the_deepest_layer_and_how_many_layers_agree(gains):
    shallow = SIMILARITY[SIMILARITY["measure"] == "cka_covariance"].assign(layer="CV1")
    shallow["value"] = [0.4, 0.5, 0.9]
    both = source_gains(pd.concat([shallow, SIMILARITY], ignore_index=True), *evidence(), DATASETS, 0.05)
    table = ranks_summary(source_ranks(both, evidence()[1], 0.05), {"spine": "VinDr-SpineXR"})
    row = table[table["Measure"] == "cka covariance"].iloc[0]
    assert row["Target"] == "VinDr-SpineXR, 10% (72)"
    assert row["Most similar source"] == "chest (1 of 2 layers)"
    assert row["Best by AUROC"] == "chest (of 3)"
    assert row["Most similar minus its best rival"].startswith("+0.050 (+0.0")
    said = table.set_index("Measure")["Does it rank first?"]
    assert said["svcca"].iloc[0] == "its rows are not paired: says nothing"


def test_the_figure_draws_each_gain_at_its_similarity(gains):
    figure = draw(gains, {}, dict.fromkeys(AUROCS, "moco"), "Phantom data")
    measures = [measure for measure in LABELS if measure in set(gains["measure"])]
    assert len(figure.axes) == len(measures) == 4
    for ax, measure in zip(figure.axes, measures, strict=True):
        own = gains[gains["measure"] == measure]
        points = [line for line in ax.lines if line.get_marker() != "None"]
        assert all(len(line.get_xdata()) == 1 for line in points)
        assert [line.get_ydata()[0] for line in points] == pytest.approx(list(own["gain"]))
        width = ax.get_xlim()[1]
        x = [line.get_xdata()[0] for line in points]
        np.testing.assert_allclose(x, own["similarity"], atol=0.06 * width)
        hollow = [line.get_markerfacecolor() == "white" for line in points]
        assert hollow == list(~own["outside_null"])
