"""The decide table.

Which comparisons are undecided, at which level each is tested, what they need, and what it costs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from decide import additional_work, decide_records, decide_summary, patients_of
from made_up_predictions import independent_aurocs
from test_advice import advise

from moco_transfer.config.composition import read_config
from moco_transfer.image_counts import count_images
from moco_transfer.plan import planned_jobs
from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.controls import Question
from moco_transfer.statistics.design import PAPER
from moco_transfer.statistics.evidence import Evidence
from moco_transfer.statistics.power import BETTER, Numbers, Statement, needed, power, resized
from moco_transfer.statistics.undecided import (
    Undecided,
    undecided_advice,
    undecided_claims,
    undecided_controls,
)

LEVEL, MARGIN = 0.05, 0.02
CONFIG = Path(__file__).parents[2] / "config"
NEAR = {"none": [0.70, 0.72, 0.71], "spine": [0.71, 0.72, 0.72], "chest": [0.72, 0.70, 0.71]}


def evidence_of(aurocs: dict[str, list[float]], percents: tuple[str, ...] = ("1",)) -> Evidence:
    """Return linear AUROCs on spine by source and subset, the same at all ``percents``."""
    cells = {
        ("spine", source, "linear", percent): own for percent in percents for source, own in aurocs.items()
    }
    return independent_aurocs(cells, 1e-4)


def test_an_undecided_claim_is_represented_by_the_comparison_that_decides_it():
    found = [
        each
        for each in undecided_claims(evidence_of(NEAR), PAPER, MARGIN, LEVEL)
        if each.question[:2] == "1:"
    ]
    whole, *single = found
    # In-domain MoCo beats every other source: all must be supported, so the weakest decides, at the level itself.
    assert whole.whole and whole.level == LEVEL and whole.statement == BETTER
    # Both differences are the same on average; that from chest scatters more between subsets.
    assert whole.cell == "spine 1%: spine - chest" and whole.contrast.effect == pytest.approx(0.02 / 3)
    assert not any(each.whole for each in single)
    assert {each.cell: each.level for each in single} == {
        "spine 1%: spine - none": LEVEL / 2,
        "spine 1%: spine - chest": LEVEL / 2,
    }


def test_a_claim_that_points_the_other_way_is_contradicted_by_one_of_its_comparisons():
    worse = NEAR | {"spine": [0.69, 0.71, 0.70]}
    whole = next(undecided_claims(evidence_of(worse), PAPER, MARGIN, LEVEL))
    assert whole.question.startswith("1:") and whole.contrast.effect < 0
    assert whole.level == LEVEL / 2


def test_decided_claims_and_untestable_ones_are_left_out():
    clear = NEAR | {"spine": [0.90, 0.91, 0.92]}
    asked = {
        each.question.split(":")[0] for each in undecided_claims(evidence_of(clear), PAPER, MARGIN, LEVEL)
    }
    assert "1" not in asked and "2" in asked
    assert not list(undecided_claims(evidence_of({s: [0.7] for s in NEAR}), PAPER, MARGIN, LEVEL))


def test_claims_of_equivalence_and_non_inferiority_keep_their_margins():
    aurocs = NEAR | {"spine+chest": [0.71, 0.72, 0.70], "limited": [0.71, 0.70, 0.72]}
    statements = {
        each.question.split(":")[0]: each.statement
        for each in undecided_claims(evidence_of(aurocs), PAPER, MARGIN, LEVEL)
    }
    assert statements["3"] == Statement(-MARGIN) and statements["4"] == Statement(-MARGIN, MARGIN)


def test_undecided_controls_are_tested_at_the_level_by_the_cells_of_their_question():
    evidence = evidence_of(NEAR | {"limited": [0.5, 0.5, 0.5]}, ("1", "10"))
    near = [Question("size", "Near?", "spine", "linear", p, "spine", "chest") for p in ("1", "10")]
    clear = Question("steps", "Clear?", "spine", "linear", "1", "spine", "limited")
    unknown = Question("steps", "Unknown?", "spine", "linear", "1", "spine", "nothing")
    found = list(undecided_controls([*near, clear, unknown], evidence, LEVEL))
    assert [(each.question, each.cell, each.level) for each in found] == [
        ("Near?", f"spine {percent}% linear: spine - chest", LEVEL / 2) for percent in ("1", "10")
    ]


def test_the_advice_is_undecided_between_the_first_way_and_the_best_rival():
    ways = {
        ("spine", "linear"): [0.70, 0.71],
        ("chest", "linear"): [0.69, 0.71],
        ("none", "end_to_end"): [0.5, 0.5],
    }
    cells = {("spine", *way, "1"): aurocs for way, aurocs in ways.items()}
    evidence = independent_aurocs(cells, 1e-4)
    (found,) = undecided_advice(advise(ways), evidence, LEVEL)
    assert found.cell == "spine 1%: spine linear - chest linear" and found.level == LEVEL / 2
    assert found.contrast.effect == pytest.approx(0.005)
    contradicted = advise(ways, validation={("none", "end_to_end"): 0.9})
    assert not list(undecided_advice(contradicted, evidence, LEVEL))
    del ways["chest", "linear"]
    assert not list(undecided_advice(advise(ways), evidence, LEVEL))


CONTRAST = Contrast(0.03, 1e-4, 2e-4, 2, n_subsets=3)
OPEN = Undecided("claim", "1: spine is best", "spine 1%", True, "spine", CONTRAST, BETTER, LEVEL)


def work(numbers: Numbers) -> tuple[int, int]:
    return 1000 * (numbers.subsets - 3) + 100_000 * (numbers.encoders - 1), 300 * (numbers.subsets - 3)


def table(contrast: Contrast, **changes) -> pd.DataFrame:
    asked = OPEN._replace(contrast=contrast, **changes)
    return decide_records([asked], {"spine": 200}, work, MARGIN, LEVEL)


def test_records_give_the_numbers_that_suffice():
    seen, of_interest = table(CONTRAST).to_dict("records")
    assert (seen["difference"], seen["true_effect"]) == ("seen", 0.03)
    assert (of_interest["difference"], of_interest["true_effect"]) == ("of interest", MARGIN)
    assert seen["power"] == power(CONTRAST, BETTER, 0.03, LEVEL) > of_interest["power"]
    assert (seen["test_patients"], seen["n_subsets"], seen["replicates"]) == (200, 3, 1)
    subsets = int(seen["subsets_n_subsets"])
    assert power(resized(CONTRAST, Numbers(1.0, subsets, 1)), BETTER, 0.03, LEVEL) >= 0.8
    assert (seen["subsets_trained"], seen["subsets_forward"]) == work(Numbers(1.0, subsets, 1))
    assert pd.isna(seen["patients_test_patients"]) and pd.isna(of_interest["subsets_n_subsets"])
    both = needed(CONTRAST, BETTER, MARGIN, LEVEL).together
    assert of_interest["together_test_patients"] == np.ceil(200 * both.patients)
    assert of_interest["together_n_subsets"] == both.subsets


def test_the_summary_says_what_a_user_can_set_and_how_long_it_takes():
    records = table(CONTRAST)
    seen, of_interest = decide_summary(records, 50.0, "cpu").to_dict("records")
    subsets = int(records["subsets_n_subsets"].iloc[0])
    assert seen["Undecided"] == "Claim 1: spine is best" and seen["If the true one is"] == "+0.030, as seen"
    assert seen["More labelled subsets"] == f"{subsets} subsets" and seen["All together"] == ""
    assert seen["More test patients"] == "no number suffices" and seen["More encoders"] == "does not apply"
    images = 1100 * (subsets - 3)
    assert float(seen["Images added"].replace(",", "")) == pytest.approx(images, rel=0.05)
    amount, unit = seen["Time (measured speed)"].split(" ")
    assert unit == "CPU-minutes" and float(amount) == pytest.approx(images / 50 / 60, rel=0.05)
    assert " times), " in of_interest["All together"]
    assert set(decide_summary(records, None, "cpu")["Time (measured speed)"]) == {""}
    slow = decide_summary(records, 0.1, "cuda")["Time (measured speed)"].iloc[0].split(" ")
    assert slow[1] == "GPU-hours" and float(slow[0]) == pytest.approx(images / 0.1 / 3600, rel=0.05)


def test_a_single_encoder_is_said_to_tell_nothing_of_more():
    one = Contrast(0.03, 1e-4, 2e-4, 2, n_subsets=3, one_encoder=("spine",))
    assert set(decide_summary(table(one), None, "cpu")["More encoders"]) == {"unknown: one encoder"}
    own = Contrast(0.03, 1e-4, 2e-4, 2, n_subsets=3, n_encoders=3)
    summary = decide_summary(table(own), None, "cpu")
    assert set(summary["More encoders"]) == {"one for each subset"}
    assert " encoders" in summary["More labelled subsets"].iloc[0]


def test_single_comparisons_of_claims_are_only_in_the_records():
    records = table(CONTRAST, whole=False)
    assert len(records) == 2 and decide_summary(records, None, "cpu").empty
    assert list(decide_summary(decide_records([], {}, work, MARGIN, LEVEL), None, "cpu").columns)


def test_additional_work_is_that_of_the_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = read_config([CONFIG / "demo.yaml"])
    more = read_config(
        [CONFIG / "demo.yaml", _written(tmp_path, "n_subsets: 5\npretraining: {replicates: 4}")]
    )

    def total(config) -> tuple[int, int]:
        jobs = planned_jobs(config, count_images(config))
        return sum(job.trained for job in jobs), sum(job.forward for job in jobs)

    trained, forward = additional_work(config)(Numbers(1.0, 5, 4))
    expected = np.subtract(total(more), total(config))
    assert trained == expected[0] and forward == pytest.approx(expected[1], rel=0.1)
    # Given encoders leave the number of replicates as it is.
    assert additional_work(config)(Numbers(3.0, 2, 1)) == (0, 0)


def test_test_patients_of_all_folds_are_counted_once(tmp_path):
    for target, fold, patients in (("spine", 1, "aab"), ("spine", 2, "bc"), ("chest", 1, "xyz")):
        path = tmp_path / target / f"fold{fold}.parquet"
        path.parent.mkdir(exist_ok=True)
        split = ["test"] * len(patients) + ["train"]
        pd.DataFrame({"patient_id": [*patients, "d"], "split": split}).to_parquet(path)
    assert patients_of(sorted(tmp_path.glob("*/*.parquet"))) == {"chest": 3, "spine": 3}


def _written(folder: Path, text: str) -> Path:
    path = folder / "more.yaml"
    path.write_text(text)
    return path
