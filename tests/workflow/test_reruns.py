"""What runs again after a change, and where a release may lie: only what depends on a value, and anywhere."""

import shutil

import pandas as pd
import pytest
import yaml
from running import TINY, planned, snakemake

pytestmark = pytest.mark.workflow
CHANGES = [
    'datasets={"chest": {"store": {"shards": 2}, "labels": {"uncertain": "one"}}}',
    'evaluation={"margin": 0.03}',
    'pretraining={"probe": {"every": 3}}',
]
# An own table, as docs/own-data.md describes it, in place of the demo's chest phantoms.
OWN = {
    "adapter": "table",
    "table": {"file": "images.csv", "path": "file", "labels": ["sick"]},
    "split": {"unit": "image", "train": 0.6, "validation": 0.2, "test": 0.2},
}


def test_only_what_depends_on_a_value_runs_again(finished):
    counts = planned(snakemake("-n", *TINY, "--config", *CHANGES, directory=finished).stdout)
    # What -1 counts as changes the labels of chest, and so what is learnt from them.
    assert (counts["linear"], counts["end_to_end_kept"], counts["evaluate"]) == (13, 5, 1)
    assert (counts["claims"], counts["model"]) == (1, 3)
    others = {"index", "pack", "join_shards", "split", "subset", "size_sample", "embed", "embed_subset"}
    others |= {"pretrain", "pretrain_subset", "pretrain_sample", "activations", "train_weights"}
    assert not others & counts.keys()


def test_what_is_said_of_an_encoder_trains_nothing_again(finished):
    said = 'model={"initial_weights": {"trained_on": ["chest"], "taps": {"CV1": "features.conv0"}}}'
    counts = planned(snakemake("-n", *TINY, "--config", said, directory=finished).stdout)
    assert (counts["activations"], counts["compare_networks"], counts["advice"]) == (1, 1, 1)
    trained = {"import_encoder", "train_weights", "pretrain", "embed", "linear", "end_to_end_kept"}
    assert not (trained | {"evaluate"}) & counts.keys()


@pytest.mark.parametrize("models, kept", [("none", set()), ("all", {"model_of_way"})])
def test_which_models_are_kept_trains_nothing_again(finished, models, kept):
    counts = planned(snakemake("-n", *TINY, "--config", f"models={models}", directory=finished).stdout)
    assert counts.keys() - {"all", "total"} == kept | {"front_page"}


def test_what_an_encoder_depends_on_trains_it_again(finished):
    counts = planned(snakemake("-n", *TINY, "--config", 'moco={"queue": 512}', directory=finished).stdout)
    assert (counts["pretrain"], counts["pretrain_subset"], counts["pretrain_sample"]) == (3, 3, 1)
    assert not {"index", "pack", "activations", "train_weights"} & counts.keys()


def test_a_release_may_have_any_name_and_move(tmp_path):
    root = tmp_path / "a {x} <run> <no> '\"# %$HOME\u00e9"
    root.mkdir()
    pd.DataFrame({"file": ["a.png"], "sick": [1]}).to_csv(root / "images.csv", index=False)
    (root / "a.png").touch()
    index = "results/data/tiny/chest/index.parquet"

    def run(folder, *options):
        mine = tmp_path / "mine.yaml"
        mine.write_text(yaml.safe_dump({"datasets": {"chest": OWN | {"root": str(folder)}}}))
        return snakemake(*options, index, *TINY, mine, directory=tmp_path).stdout

    run(root)
    assert pd.read_parquet(tmp_path / index)["path"].tolist() == ["a.png"]
    moved = shutil.copytree(root, tmp_path / "moved", copy_function=shutil.copy)
    assert "Nothing to be done" in run(moved, "-n")
    (moved / "images.csv").write_text("file,sick\na.png,0\n")
    assert planned(run(moved, "-n"))["index"] == 1


def test_without_a_gpu_nothing_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    target = "results/tiny/encoders/initial/replicate1/encoder.safetensors"
    run = snakemake(target, *TINY, "--config", "device=cuda", directory=tmp_path, fails=True)
    assert "error: config: device is 'cuda' and PyTorch finds no GPU here" in run.stderr
    assert not (tmp_path / "results/data").exists() and "Traceback" not in run.stderr
    snakemake("--touch", target, *TINY, "--config", "device=cuda", directory=tmp_path)


def test_a_dry_run_knows_what_the_configuration_tells(tmp_path):
    few = 'targets={"chest": {"percents": ["0.5"], "end_to_end": ["0.5"], "limited": []}}'
    run = snakemake("-n", *TINY, "--config", few, directory=tmp_path, fails=True)
    assert "0.5% of 90 training images is fewer" in run.stderr
