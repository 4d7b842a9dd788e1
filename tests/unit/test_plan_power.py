"""What a plan says will stay undecided: the assumed variances, and those of an earlier run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_runs import Design, true_contrast

from moco_transfer.config.composition import read_config
from moco_transfer.image_counts import count_images
from moco_transfer.plan import plan_text
from moco_transfer.plan_power import assumed_contrast, auroc_variance, undecided_lines
from moco_transfer.statistics.auroc import auroc_by_class
from moco_transfer.statistics.power import BETTER, Numbers, power

CONFIG = Path(__file__).parents[2] / "config"
LINE = re.compile(
    r"  (\w+), ([\w ]+): with ([\d,]+) labels?, (\d+) subsets?, (\d+) encoders?: differences below ([\d.]+) will stay undecided"
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def config_of(text: str = "", *names: str):
    path = Path("mine.yaml")
    path.write_text(text)
    return read_config([*(CONFIG / f"{name}.yaml" for name in names), path])


def undecided(text: str = "", *names: str) -> dict[tuple[str, str, str], float]:
    """Return the differences by target, mode and number of labels."""
    config = config_of(text, *names)
    found = map(LINE.fullmatch, undecided_lines(config, count_images(config)))
    return {match.group(1, 2, 3): float(match[6]) for match in found if match}


def test_the_variance_of_an_auroc_is_that_of_exponential_scores():
    draw, positives, negatives = np.random.default_rng(2), 30, 70
    labels = np.arange(positives + negatives)[:, None] < positives
    # Scores with an AUROC of 0.75: positives are three times as large.
    scores = [draw.exponential(np.where(labels, 3.0, 1.0)) for _ in range(4000)]
    aurocs = [float(auroc_by_class(labels, each)[0]) for each in scores]
    assert np.mean(aurocs) == pytest.approx(0.75, abs=0.005)
    assert auroc_variance(0.75, positives, negatives) == pytest.approx(np.var(aurocs), rel=0.08)


def test_the_assumed_contrast_has_the_assumed_variances():
    patients = auroc_variance(0.75, 300, 700)
    design = Design(patients, 0.25 / np.sqrt(2 * 100), 0.012, 4, averaged=6, scattered=12, encoders=3)
    assert assumed_contrast(1000, 100, Numbers(1.0, 6, 3), 12, 4) == true_contrast(design)
    own = design._replace(averaged=3, scattered=3)
    assert assumed_contrast(1000, 100, Numbers(1.0, 3, 3), 3, 4) == true_contrast(own)
    given = design._replace(encoder_sd=0.0)
    assert assumed_contrast(1000, 100, Numbers(1.0, 6, 1), 12, 4) == true_contrast(given)


def test_the_papers_plan_says_which_differences_stay_undecided():
    text = plan_text(config_of())
    assert "From assumed variances: AUROC 0.75, 30% positives" in text
    assert "  spine, linear: with 58 labels, 3 subsets, 1 encoder: differences below 0.080 will stay" in text
    assert (
        "  chest, end to end: with 22,626 labels, 3 subsets, 1 encoder: differences below 0.006 will" in text
    )
    assert "about these encoders" in text and "about these encoders" not in plan_text(config_of("", "demo"))
    # 2,077 test images; noncentral t with two degrees of freedom would need more, the normal distribution less.
    patients = auroc_variance(0.75, 0.3 * 2077, 0.7 * 2077)
    contrast = assumed_contrast(2077, 58, Numbers(1.0, 3, 1), 3, 3)
    assert (contrast.patients, contrast.subsets) == pytest.approx((patients, 0.25**2 / 58 / 3))
    assert power(contrast, BETTER, 0.080, 0.05) == pytest.approx(0.8, abs=0.01)
    student = stats.nct.sf(stats.t.isf(0.05, 2), 2, 0.080 / contrast.se)
    normal = stats.norm.sf(stats.norm.isf(0.05) - 0.080 / contrast.se)
    assert student < 0.8 < normal


def test_more_of_everything_leaves_less_undecided():
    now = undecided()
    assert len(now) == 2 * (3 + 4)
    for more in ("n_subsets: 6", "controls: {subsets: 20}", "evaluation: {level: 0.1}"):
        then = undecided(more)
        assert then.keys() == now.keys() and all(then[cell] <= now[cell] for cell in now)
        assert then["spine", "linear", "58"] < now["spine", "linear", "58"]
    # Extra subsets have linear heads only.
    extra = undecided("controls: {subsets: 20}")
    assert extra["spine", "end to end", "58"] == now["spine", "end to end", "58"]
    replicated = [undecided(f"n_subsets: 6\npretraining: {{replicates: {r}}}") for r in (2, 3)]
    assert all(replicated[1][cell] < replicated[0][cell] for cell in now)


def test_one_subset_decides_nothing():
    assert not undecided("n_subsets: 1")
    text = plan_text(config_of("n_subsets: 1"))
    assert "with 58 labels, 1 subset, 1 encoder: all will stay undecided" in text
    linear_only = undecided("n_subsets: 1\ncontrols: {subsets: 10}")
    assert {mode for _, mode, _ in linear_only} == {"linear"}


def earlier_run(replicates: int, subset_sd: float) -> None:
    """Write the results of a run of demo.yaml whose sources have independent AUROCs with a variance of 1e-4."""
    draw, config = np.random.default_rng(4), config_of("", "demo")
    for target, chosen in config.targets.items():
        cells = [
            {"source": source, "mode": mode, "percent": percent, "epochs": 100}
            for source in config.sources
            for mode in ("linear", "end_to_end")
            for percent in chosen.percents
        ]
        frame = pd.DataFrame(cells)
        estimates = frame.assign(target=target, auroc=0.7, n_subsets=2, n_labeled=66, selected=True)
        pairs = frame.merge(frame, how="cross", suffixes=("_a", "_b"))
        same = (
            pairs[[f"{name}_a" for name in frame]].to_numpy()
            == pairs[[f"{name}_b" for name in frame]].to_numpy()
        )
        own = [
            frame.assign(target=target, subset=subset, replicate=(subset - 1) % replicates + 1)
            for subset in range(1, 7)
        ]
        subsets = pd.concat(own, ignore_index=True)
        subsets = subsets.assign(auroc=0.7 + draw.normal(0, subset_sd, len(subsets)), macro=0.7)
        folder = Path("results/demo/evaluate", target)
        folder.mkdir(parents=True, exist_ok=True)
        estimates.to_parquet(folder / "estimates.parquet")
        pairs.assign(covariance=1e-4 * same.all(axis=1)).to_parquet(folder / "covariance.parquet")
        subsets.to_parquet(folder / "subsets.parquet")


def test_an_earlier_run_replaces_what_is_assumed():
    now = undecided("", "demo")
    earlier_run(2, subset_sd=1e-5)
    found = undecided("", "demo")
    # Only the test patients count: a difference has the variance 2e-4.
    expected = (stats.norm.isf(0.05) + stats.norm.isf(0.2)) * np.sqrt(2e-4)
    assert found.keys() == now.keys() and list(found.values()) == pytest.approx(
        [expected] * len(now), abs=6e-4
    )
    text = plan_text(config_of("", "demo"))
    assert "From the variances in results/demo/evaluate" in text and "assumed" not in text
    earlier_run(2, subset_sd=0.05)
    assert all(value > expected + 0.02 for value in undecided("", "demo").values())


def test_what_an_earlier_run_cannot_tell_is_assumed():
    assumed = undecided("n_subsets: 6\npretraining: {replicates: 3}", "demo")
    earlier_run(1, subset_sd=1e-5)
    # One encoder of each source does not tell how much more of them would differ.
    assert undecided("n_subsets: 6\npretraining: {replicates: 3}", "demo") == assumed


def test_files_that_a_run_with_other_encoders_left_behind_do_not_count():
    earlier_run(1, subset_sd=0.01)
    one_encoder = "pretraining: {replicates: 1}"
    alone = undecided(one_encoder, "demo")
    for path in Path("results/demo/evaluate").glob("*/subsets.parquet"):
        left = pd.read_parquet(path).query("mode == 'linear' and subset in (4, 6)")
        for source, rows in left.groupby("source"):
            folder = Path("results/demo/controls/linear", path.parent.name, source, "replicate2")
            folder.mkdir(parents=True)
            rows.assign(replicate=2, fold=1).to_parquet(folder / "fold1.parquet")
    assert undecided(one_encoder, "demo") == alone
