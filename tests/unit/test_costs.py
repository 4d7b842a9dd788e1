"""The cost of a way to train, against the plan's own jobs and numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from advice import images_trained

from moco_transfer.config.composition import read_config
from moco_transfer.costs import encoder_cost, encoder_trainings, finetuning_cost
from moco_transfer.image_counts import count_images
from moco_transfer.plan import planned_jobs

CONFIG = Path(__file__).parents[2] / "config"
LABELLED = 66  # 10% of the demo's training images of spine


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The demo and its images, which nothing but the configuration tells."""
    monkeypatch.chdir(tmp_path)
    config = read_config([CONFIG / "demo.yaml"])
    return config, count_images(config)


def cost(demo, source: str, target: str = "spine") -> float:
    config, images = demo
    counts = {name: found.sides for name, found in images.items()}
    return encoder_cost(encoder_trainings(config, target, source), counts, LABELLED)


def planned(demo, rule: str) -> list[float]:
    """Return the images that each job of a rule trains on, and a third of those that it passes forward."""
    return [job.trained + job.forward / 3 for job in planned_jobs(*demo) if job.rule == rule]


def test_an_encoder_costs_what_the_plan_says_of_its_trainings(demo):
    (initial,) = set(planned(demo, "train_weights"))
    assert initial == 640 * 10 and cost(demo, "none") == initial
    moco = [cost(demo, source) - initial for source in ("spine", "chest", "spine+chest")]
    assert sorted(set(planned(demo, "pretrain"))) == pytest.approx(sorted(moco))
    # 18 epochs of 10 steps of 64 images, and a key of each.
    assert moco[0] == pytest.approx(18 * 10 * 64 * 4 / 3)
    assert cost(demo, "limited") - initial == pytest.approx(18 * 64 * 4 / 3)
    assert cost(demo, "limited") - initial in [
        pytest.approx(each) for each in planned(demo, "pretrain_subset")
    ]


def test_published_weights_cost_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lite0.yaml").write_text("sources: {lite0: {encoder: resnet18, weights: random}}")
    config = read_config([tmp_path / "lite0.yaml"])
    for source in ("none", "lite0"):
        assert encoder_trainings(config, "spine", source) == []
    spine = encoder_trainings(config, "chest", "spine+chest")
    assert encoder_cost(spine, {"spine": {"train": 60}, "chest": {"train": 70}}, 5) == pytest.approx(
        100 * 130 * 4 / 3
    )


def test_a_finetuning_costs_its_epochs_or_its_features():
    assert finetuning_cost("end_to_end", epochs=50, labelled=60, views=4) == 3000
    assert finetuning_cost("linear", epochs=50, labelled=60, views=4) == 80


def test_ways_with_one_encoder_differ_by_their_finetuning(demo):
    config, images = demo
    rows = [("spine", "spine", "end_to_end", 4, 66), ("spine", "spine", "linear", 100, 66)]
    frame = pd.DataFrame(rows, columns=["target", "source", "mode", "epochs", "n_labeled"])
    trainings = {"spine": {"spine": [each._asdict() for each in encoder_trainings(config, "spine", "spine")]}}
    counts = {name: found.sides for name, found in images.items()}
    end_to_end, linear = images_trained(frame, trainings, counts, views=1)
    assert end_to_end - linear == 4 * 66 - 66 / 3 and linear == round(cost(demo, "spine") + 22)
