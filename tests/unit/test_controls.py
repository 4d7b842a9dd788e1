"""The controls' answers against contrasts written out, and the scatter between subsets against SciPy."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from controls import controls_summary, read_pretrainings
from made_up_predictions import independent_aurocs
from scipy import stats
from subsets import subsets_summary

from moco_transfer.config import stages
from moco_transfer.config.analysis import Controls
from moco_transfer.config.training import Schedule
from moco_transfer.data.split import size_sample
from moco_transfer.errors import UserError
from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.controls import (
    Pretrainings,
    Question,
    control_questions,
    controls_table,
    subset_scatter,
)
from moco_transfer.statistics.evidence import EstimateKey, Evidence

CONTROLS = Controls.model_validate(
    {
        "size": {"chest-as-spine": {"dataset": "chest", "as_many_as": "spine"}},
        "steps": {"spine": ["1"]},
        "budget": {"spine": ["1"]},
        "subsets": 20,
    }
)
PERCENTS = {"spine": ["1", "10"]}
ALONE = {"spine": "spine", "chest": "chest"}
SPINES = {"epochs": 500, "batch": 64, "lr": 0.002, "bn_groups": 2}
CHESTS = {"epochs": 100, "batch": 256, "lr": 0.002, "bn_groups": 8}


def questions(controls: Controls = CONTROLS, augmented: bool = True, **schedules: dict) -> list[Question]:
    """Return the questions of the paper's trainings; ``schedules`` differ from these by source."""
    schedules = {"spine": SPINES, "chest": CHESTS, "chest-as-spine": SPINES, **schedules}
    typed = {name: Schedule.model_validate(each) for name, each in schedules.items()}
    pretrainings = Pretrainings({"spine": 5_872, "chest": 225_720}, typed, 24_576)
    return control_questions(controls, PERCENTS, ALONE, pretrainings, augmented)


def asked(control: str, *args, **kwargs) -> list[str]:
    """Return the texts of the questions of one control."""
    texts = [each.question for each in questions(*args, **kwargs) if each.control == control]
    return list(dict.fromkeys(texts))


def answers(values: dict[tuple[str, str, str], list[float]]) -> pd.DataFrame:
    """Return the answers on spine, from (source, mode, percent) -> AUROCs by subset."""
    evidence = independent_aurocs({("spine", *cell): aurocs for cell, aurocs in values.items()}, 1e-6)
    return controls_table(questions(), evidence, 0.05)


def test_every_control_asks_its_questions_of_its_cells():
    assert [(each.control, each.percent, each.a, each.b) for each in questions()] == [
        ("size", "1", "spine", "chest-as-spine"),
        ("size", "10", "spine", "chest-as-spine"),
        ("size", "1", "chest", "chest-as-spine"),
        ("size", "10", "chest", "chest-as-spine"),
        ("steps", "1", "limited-steps", "limited"),
        ("steps", "1", "spine", "limited-steps"),
        ("steps", "1", "chest", "limited-steps"),
        ("budget", "1", "none-longer", "none"),
        ("budget", "1", "spine", "none-longer"),
    ]


def test_a_control_of_size_differs_in_one_thing_and_the_question_names_what_else():
    domain, size = asked("size")
    assert domain == "At equal size and schedule, is the domain of spine better than that of chest-as-spine?"
    # 100 epochs of floor(225,720 / 256) steps; a queue of 91 batches of 64 fits 5,872 images.
    assert size == (
        "Do more images and another schedule together make chest better than chest-as-spine (images 225,720 instead of 5,872, "
        "epochs 100 instead of 500, batch 256 instead of 64 and bn_groups 8 instead of 2, and so steps 88,100 instead of 45,500 "
        "and queue 24,576 instead of 5,824)?"
    )
    domain, size = asked("size", **{"chest-as-spine": CHESTS})
    assert domain.startswith(
        "At equal size, are the domain and the schedule of spine together better than those of chest-as-spine (epochs"
    )
    assert size == (
        "At an equal schedule, do more images make chest better than chest-as-spine (images 225,720 instead of 5,872, and so "
        "steps 88,100 instead of 2,200 and queue 24,576 instead of 5,632)?"
    )


def test_the_steps_control_names_what_few_images_change():
    few, images, other = asked("steps")
    assert few == "On just the labelled images, do more steps help?"
    # 58 and 587 images: a batch of 58, and queues of 58 and 576 keys.
    assert images.endswith("own domain help (they differ in batch and queue as well)?")
    assert other.endswith("in-domain MoCo (they differ in batch, bn_groups, steps and queue as well)?")
    # At 10%, the batch of 64 fits.
    tenth = CONTROLS.model_copy(update={"steps": {"spine": ["10"]}})
    assert asked("steps", tenth)[1].endswith("own domain help (they differ in queue as well)?")
    # One question, and so one family of tests, for all cells.
    both = CONTROLS.model_copy(update={"steps": {"spine": ["1", "10"]}})
    assert asked("steps", both)[1] == images


def test_the_budget_control_says_that_it_may_overfit_unless_it_augments():
    assert all("may overfit" in text for text in asked("budget", augmented=False))
    assert not any("overfit" in text for text in asked("budget", augmented=True))


def test_an_answer_that_rests_on_one_encoder_says_so():
    cells = {("spine", source, "linear", "1"): [0.80, 0.82, 0.83] for source in ("spine", "chest-as-spine")}
    evidence = independent_aurocs(cells, 1e-6)
    one, three = (
        {source: dict(zip((1, 2, 3), met, strict=True)) for source in ALONE} for met in ((1, 1, 1), (1, 2, 3))
    )
    tables = [controls_table(questions(), replace(evidence, encoders=met), 0.05) for met in (one, three)]
    assert [table["one_encoder"].item() for table in tables] == ["spine", ""]
    assert [controls_summary(table)["Answer"].item() for table in tables] == [
        "undecided, about these encoders",
        "undecided",
    ]


def test_images_are_those_that_moco_sees(tmp_path):
    for dataset, train in (("spine", 5), ("chest", 9)):
        frame = pd.DataFrame({"split": ["train"] * train + ["validation"] * 3 + ["test"] * 4 + [None]})
        frame.to_parquet(tmp_path / f"{dataset}.parquet")
    splits = [tmp_path / "spine.parquet", tmp_path / "chest.parquet"]
    params = SimpleNamespace(
        datasets=["spine", "chest"], schedules={"spine": SPINES}, queue=64, pretrained_on=["train"]
    )
    assert read_pretrainings(params, splits).images == {"spine": 5, "chest": 9}
    params.pretrained_on = ["train", "validation"]
    found = read_pretrainings(params, splits)
    assert found.images == {"spine": 8, "chest": 12} and found.schedules["spine"].epochs == 500


def test_answers_are_paired_contrasts_with_holms_correction_within_the_question():
    by_percent = {
        "1": ([0.80, 0.82, 0.83], [0.70, 0.73, 0.72]),
        "10": ([0.84, 0.85, 0.86], [0.84, 0.86, 0.85]),
    }
    values = {}
    for percent, (spine, sample) in by_percent.items():
        values["spine", "linear", percent] = spine
        values["chest-as-spine", "linear", percent] = sample
    table = answers(values)
    assert list(table["percent"]) == ["1", "10"]  # no chest here: the question about size is left out
    difference = np.subtract(*by_percent["1"])
    se = np.sqrt(2e-6 + difference.var(ddof=1) / 3)
    contrast = Contrast(difference.mean(), 2e-6, difference.var(ddof=1) / 3, 2)
    assert contrast.se == pytest.approx(se)
    first = table.iloc[0]
    assert first["effect"] == pytest.approx(difference.mean())
    assert first["p"] == pytest.approx(2 * contrast.p_above(0.0))  # Holm: of two
    assert first["lower"] == pytest.approx(contrast.interval(0.05)[0])
    assert list(table["answer"]) == ["yes", "undecided"]
    assert list(controls_summary(table)["Cell"]) == ["spine 1%, linear", "spine 10%, linear"]


def test_no_means_that_the_opposite_is_shown():
    table = answers(
        {
            ("none-longer", "end_to_end", "1"): [0.60, 0.61, 0.60],
            ("none", "end_to_end", "1"): [0.70, 0.72, 0.71],
        }
    )
    assert list(table["answer"]) == ["no"] and table["effect"].item() < 0


def test_further_subsets_count_for_the_variance_but_not_for_the_average():
    a, b = (EstimateKey("spine", source, "linear", "1", 100) for source in ("spine", "none"))
    frame = pd.DataFrame([a, b], columns=["target", "source", "mode", "percent", "epochs"])
    estimates = frame.assign(auroc=[0.8, 0.7], selected=True, n_subsets=3)
    generator = np.random.default_rng(0)
    many = generator.normal(0.75, 0.03, (2, 20))
    every = pd.concat(
        [frame.assign(subset=s, replicate=1, auroc=many[:, s - 1]) for s in range(1, 21)], ignore_index=True
    )
    own, extra = every[every["subset"] <= 3], every[every["subset"] > 3]
    contrast = Evidence.from_run(estimates, {}, own, extra).contrast({a: 1.0, b: -1.0})
    variance = np.var(many[0] - many[1], ddof=1)
    assert contrast.effect == pytest.approx(0.1)
    assert contrast.se == pytest.approx(np.sqrt(variance / 3))
    assert contrast.subset_df == pytest.approx(19)


def test_scatter_and_its_interval_are_those_of_the_chi_squared_distribution():
    generator = np.random.default_rng(1)
    aurocs = generator.normal(0.7, 0.02, 20)
    cell = {"target": "spine", "percent": "1", "source": "chest", "mode": "linear"}
    frame = pd.DataFrame({"subset": range(1, 21), "auroc": aurocs}).assign(**cell)
    scatter = subset_scatter(frame[:3], frame[3:], 0.05).iloc[0]
    assert (scatter["subsets"], scatter["sd"]) == (20, pytest.approx(aurocs.std(ddof=1)))
    assert scatter["run_sd"] == pytest.approx(aurocs[:3].std(ddof=1))
    ends = scatter["sd"] * np.sqrt(19 / stats.chi2.ppf([0.95, 0.05], 19))
    assert [scatter["lower"], scatter["upper"]] == pytest.approx(list(ends))
    assert "spine 1%" in subsets_summary(pd.DataFrame([scatter]))["Cell"].item()


def test_a_sample_is_of_the_right_images_and_never_more_than_there_are(tmp_path):
    splits = pd.DataFrame(
        {
            "image_id": [f"i{n}" for n in range(50)],
            "split": ["train"] * 30 + ["validation"] * 10 + ["test"] * 10,
        }
    )

    def sample(table, images, name):
        table.to_parquet(tmp_path / "splits.parquet")
        pd.DataFrame({"split": ["train"] * images}).to_parquet(tmp_path / "others.parquet")
        settings = stages.DrawSample(name=name, images="train", seed=1)
        files = {"splits": tmp_path / "splits.parquet", "as_many_as": tmp_path / "others.parquet"}
        size_sample(settings, **files, sample=tmp_path / "sample.parquet")
        return pd.read_parquet(tmp_path / "sample.parquet")["row"]

    rows = sample(splits, 12, "small")
    assert rows.is_unique and len(rows) == 12 and (rows < 30).all()
    assert not rows.equals(sample(splits, 12, "other"))
    # The order of the rows does not matter: an image is drawn by its name.
    turned = splits.iloc[::-1].reset_index(drop=True)
    assert set(49 - sample(turned, 12, "small")) == set(rows)
    with pytest.raises(UserError, match=r"controls\.size\.small: .* 31 images"):
        sample(splits, 31, "small")
