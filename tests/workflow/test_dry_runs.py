"""What Snakemake plans, without running it: the paper's grid, the demo, and what a user's mistakes answer."""

import pytest
from running import ROOT, planned, snakemake

pytestmark = pytest.mark.workflow


def test_the_papers_configuration_plans_the_papers_grid(empty_releases):
    counts = planned(snakemake("-n", directory=empty_releases).stdout)
    assert counts["linear"] == 84 + 15
    # The networks of one of three labelled subsets are kept.
    assert (counts["end_to_end"], counts["end_to_end_kept"], counts["model"]) == (56, 28, 7)
    assert (counts["pretrain"], counts["pretrain_subset"]) == (3, 15)
    assert (counts["subset"], counts["embed"], counts["embed_subset"]) == (21, 8, 15)
    assert (counts["import_encoder"], counts["index"], counts["join_shards"]) == (1, 3, 3)


def test_without_data_the_plan_says_what_is_missing_and_what_to_do(tmp_path):
    run = snakemake("-n", directory=tmp_path, fails=True)
    for part in (
        "dataset 'spine', VinDr-SpineXR 1.0.0: no annotations/train.csv",
        "dataset 'chest', MIMIC-CXR-JPG",
        "https://physionet.org/content/mimic-cxr-jpg/",
        "snakemake --configfile config/demo.yaml",
    ):
        assert part in run.stdout + run.stderr


def test_the_demo_plans_every_rule(tmp_path):
    counts = planned(snakemake("-n", "--configfile", ROOT / "config/demo.yaml", directory=tmp_path).stdout)
    assert counts["phantom"] == 3 and counts["train_weights"] == 2  # one for each encoder
    # The controls: MoCo on fewer chest images in 4 linear cells, limited MoCo with more steps in 1, longer 'none' in 1.
    assert counts["linear"] == 32 + 4 + 2 * (4 + 1)
    assert (counts["end_to_end"], counts["end_to_end_kept"], counts["model"]) == (18, 16, 4)
    assert (counts["pretrain"], counts["pretrain_subset"], counts["pretrain_sample"]) == (3 * 2, 4 + 2, 2)
    assert (counts["linear_subsets"], counts["controls"], counts["subsets"]) == (5 * 2 * 2, 1, 1)
    # One for each encoder of four sources on two targets, and the subsets of each target in one file.
    assert (counts["linear_recipes"], counts["own_subsets"], counts["recipes"]) == (2 * 4 * 2, 2, 1)
    assert counts["figure_epochs"] == 2 and counts["table_aurocs"] == 2


@pytest.mark.parametrize(
    "target",
    [
        "figures",
        "tables",
        "similarity",
        "models",
        "results/demo/figures/figure2.pdf",
        "results/demo/finetune/spine/chest/replicate1/linear/60pct/fold1/subset1/predictions.parquet",
    ],
)
def test_a_target_plans_what_it_needs_and_no_more(tmp_path, target):
    counts = planned(
        snakemake("-n", target, "--configfile", ROOT / "config/demo.yaml", directory=tmp_path).stdout
    )
    if target.endswith(".parquet"):
        assert (counts["linear"], counts["pretrain"]) == (1, 1) and "end_to_end" not in counts
    if target == "models":
        assert counts["model"] == 4 and "figure2" not in counts
    if target == "similarity":
        assert "linear" not in counts and counts["activations"] == 1


ONE_DATASET = """
uses: [protocol.yaml, size/cpu.yaml]
run: mine
data: mine
datasets:
  hip:
    adapter: folders
    root: .
    folders: {pattern: "{grade}/{name}.png", labels: {worn: {from: grade, at_least: 2}}}
    store: {fit: pad}
    split: {unit: image, train: 0.6, validation: 0.2, test: 0.2}
    labels: {uncertain: zero, unlabeled: drop}
targets: {hip: {percents: ["100"]}}
sources: {hip: [hip]}
"""


def test_one_dataset_has_no_figure_3_and_says_why(tmp_path):
    (tmp_path / "mine.yaml").write_text(ONE_DATASET)
    counts = planned(snakemake("-n", "--configfile", "mine.yaml", directory=tmp_path).stdout)
    assert counts["pretrain"] == counts["networks"] == 1
    assert not {"figure3", "similarity_measures", "activations"} & counts.keys()
    for target in ("similarity", "results/mine/figures/figure3.pdf"):
        run = snakemake("-n", target, "--configfile", "mine.yaml", directory=tmp_path, fails=True)
        assert "compare datasets, and this run has only one" in run.stdout + run.stderr


def test_a_percentage_that_is_not_configured_is_an_error(tmp_path):
    path = "results/demo/finetune/spine/chest/replicate1/linear/77pct/fold1/subset1/predictions.parquet"
    run = snakemake("-n", path, "--configfile", ROOT / "config/demo.yaml", directory=tmp_path, fails=True)
    assert "MissingRuleException" in run.stdout + run.stderr


def test_a_percentage_of_another_target_is_an_error(tmp_path):
    path = "results/demo/finetune/chest/none/replicate1/linear/60pct/fold1/subset1/predictions.parquet"
    run = snakemake("-n", path, "--configfile", ROOT / "config/demo.yaml", directory=tmp_path, fails=True)
    assert "targets.chest.percents are 5, 40, not 60" in run.stdout + run.stderr


def test_a_wrong_key_is_named_without_a_traceback(tmp_path):
    run = snakemake("-n", "--config", "sede=1", directory=tmp_path, fails=True)
    assert "error: config: unknown key 'sede'; did you mean 'seed'?" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
