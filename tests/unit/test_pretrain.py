"""MoCo's loop: what it writes, what it says, and the numbers it logs against their own few lines."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_settings import NETWORK, PRETRAIN, changed
from made_up_stores import write_manifest, write_subset

from moco_transfer import moco
from moco_transfer import pretrain as module
from moco_transfer.data.labels import read_targets
from moco_transfer.errors import UserError
from moco_transfer.networks import build_network, load_encoder, save_encoder
from moco_transfer.training import checkpoint as checkpoint_module
from moco_transfer.training.images import ImagePool, View
from moco_transfer.training.probe import LinearProbe
from moco_transfer.training.ranks import Ranks

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def run(stores, out, datasets=("a", "b"), **changes):
    """Pretrain and return the bytes of the encoder and of the metrics."""
    module.pretrain(
        changed(PRETRAIN, datasets=[{"name": name, "uncertain": "zero"} for name in datasets], **changes),
        initial=stores / "initial.safetensors",
        stores=[stores / name for name in datasets],
        splits=[stores / name / "splits.parquet" for name in datasets],
        encoder=out / "encoder.safetensors",
        metrics=out / "metrics.csv",
        device="cpu",
    )
    return (out / "encoder.safetensors").read_bytes(), (out / "metrics.csv").read_bytes()


def test_the_same_pretraining_gives_the_same_bytes_and_another_seed_others(stores, tmp_path):
    outs = [tmp_path / name for name in "xyz"]
    first, again, other = (run(stores, out, seed=seed) for out, seed in zip(outs, (1, 1, 2), strict=True))
    assert first == again and first[0] != other[0]
    metrics = pd.read_csv(outs[0] / "metrics.csv")
    assert list(metrics) == ["epoch", "loss", "lr", "contrast_accuracy", "alignment", "uniformity"]
    assert metrics["epoch"].tolist() == [1, 2] and metrics["loss"].between(0, 10).all()


def test_few_images_clamp_the_batch_and_say_so(stores, tmp_path, capsys):
    run(stores, tmp_path, ("b",), schedule__epochs=1, schedule__batch=64)
    assert "12 images: batch 64 -> 12, queue 64 -> 12" in capsys.readouterr().out


@pytest.mark.parametrize("datasets", [("colour",), ("a", "colour")], ids=["colour", "grey and colour"])
def test_colour_images_are_seen_in_colour(stores, tmp_path, datasets):
    path = stores / "colour" / "images.npy"
    probe = {"probe": {"every": 1, "images": 8}} if "a" in datasets else {}
    first, again = (
        run(stores, tmp_path / name, datasets, moco__augment="moco_v2", **probe) for name in ("one", "again")
    )
    assert first == again
    assert ("probe_a" in pd.read_csv(tmp_path / "one" / "metrics.csv")) == ("a" in datasets)
    np.save(path, np.load(path)[..., [2, 0, 1]])
    write_manifest(path.parent)
    assert run(stores, tmp_path / "other", datasets, moco__augment="moco_v2")[0] != first[0]
    grey = np.load(path)[..., :1]
    np.save(path, np.repeat(grey, 3, axis=3))
    in_three = run(stores, tmp_path / "three", ("colour",))
    np.save(path, grey[..., 0])
    in_one = run(stores, tmp_path / "grey", ("colour",))
    assert in_three == in_one  # the geometry draws the same for both


def test_groups_that_the_ranks_cannot_share_are_refused(stores):
    settings = changed(PRETRAIN, schedule__bn_groups=4)
    pool = ImagePool([(stores / "a" / "images.npy", np.arange(20))])
    with pytest.raises(UserError, match=r"4 groups .*bn_groups.* 3 ranks .*pretraining\.ranks"):
        module.train_moco(settings, build_network(NETWORK, 1), pool, {}, CPU, None, None, Ranks(0, 3))


def test_a_diverging_pretraining_names_the_step_and_writes_nothing(stores, tmp_path):
    with pytest.raises(UserError, match=r"loss is nan at step \d+"):
        run(stores, tmp_path, ("a",), schedule__epochs=20, schedule__batch=4, schedule__lr=1e30)
    assert not (tmp_path / "encoder.safetensors").exists()


def test_no_state_is_saved_once_a_loss_was_not_finite(stores, tmp_path, monkeypatch):
    """The third step's loss is not finite, but its gradient is: nothing later would show it but the loss."""
    forward, calls = moco.MoCo.forward, []

    def broken(self, *views):
        out = forward(self, *views)
        calls.append(len(calls))
        return out | ({"loss": out["loss"] + math.inf} if len(calls) == 3 else {})

    monkeypatch.setattr(moco.MoCo, "forward", broken)
    monkeypatch.setattr(checkpoint_module, "SECONDS_BETWEEN_SAVES", 0)
    with pytest.raises(UserError, match="loss is inf at step 2;"):
        run(stores, tmp_path, schedule__epochs=3)
    assert len(calls) == 3
    saved = torch.load(tmp_path / "state" / "checkpoint.pt", weights_only=True)
    assert saved["state"]["step"] == 2


def test_every_step_has_the_cosines_learning_rate_and_the_last_is_near_zero(stores, tmp_path, monkeypatch):
    rates = []

    class RecordingSGD(module.SGD):
        def step(self, lr):
            rates.append(lr)
            super().step(lr)

    monkeypatch.setattr(module, "SGD", RecordingSGD)
    run(stores, tmp_path, ("b",), schedule__epochs=10, schedule__batch=4, schedule__lr=0.002)
    expected = [0.001 + 0.001 * math.cos(math.pi * step / 30) for step in range(30)]
    assert rates == pytest.approx(expected)
    assert rates[-1] < 0.003 * rates[0]
    logged = pd.read_csv(tmp_path / "metrics.csv")["lr"]
    assert logged.tolist() == pytest.approx(rates[2::3])


def test_logged_metrics_are_the_epochs_means_of_each_steps(stores, tmp_path, monkeypatch):
    seen = []

    def recording(self, *views):
        out = forward(self, *views)
        seen.append({name: value.detach().double().numpy() for name, value in out.items()})
        return out

    forward = moco.MoCo.forward
    monkeypatch.setattr(moco.MoCo, "forward", recording)
    run(stores, tmp_path, schedule__lr=0.002)
    steps = pd.DataFrame(
        {
            "loss": out["loss"].item(),
            "contrast_accuracy": np.mean([row.argmax() == 0 for row in out["logits"]]),
            "alignment": np.mean(((out["queries"] - out["keys"]) ** 2).sum(1)),
            "uniformity": math.log(
                np.mean(
                    [
                        math.exp(-2 * ((out["queries"][i] - out["queries"][j]) ** 2).sum())
                        for i in range(8)
                        for j in range(i)
                    ]
                )
            ),
        }
        for out in seen
    )
    metrics = pd.read_csv(tmp_path / "metrics.csv")[list(steps)]
    np.testing.assert_allclose(metrics, steps.groupby(steps.index // 4).mean(), rtol=1e-5)


def test_a_collapsed_encoder_is_said_and_another_is_not(stores, tmp_path, capsys):
    run(stores, tmp_path / "sound", schedule__epochs=1, schedule__lr=0.002)
    assert "collapsed" not in capsys.readouterr().out
    network = build_network(NETWORK, 1)
    for parameter in network.parameters():
        parameter.data.zero_()
    save_encoder(network, stores / "initial.safetensors")  # all images look the same to it
    run(stores, tmp_path / "blind", schedule__epochs=1, schedule__lr=0.002)
    said = capsys.readouterr().out
    assert "epoch 1: the queries are nearly identical (uniformity 0.000)" in said and "has collapsed" in said


def test_probes_of_labelled_datasets_are_logged_now_and_then_and_leave_the_training_as_it_is(
    stores, tmp_path
):
    plain, _ = run(stores, tmp_path / "plain", schedule__epochs=3)
    probed, _ = run(stores, tmp_path / "probed", schedule__epochs=3, probe={"every": 2, "images": 8})
    assert plain == probed
    metrics = pd.read_csv(tmp_path / "probed" / "metrics.csv")
    assert "probe_b" not in metrics and metrics["probe_a"].isna().tolist() == [True, False, False]
    probe = LinearProbe(
        stores / "a" / "images.npy",
        read_targets(stores / "a" / "index.parquet", "zero")[1],
        np.arange(10),
        np.arange(10, 14),
        images_each=8,
        view=View(32, NETWORK),
        seed=1,
        stream_name=("moco", "test"),
    )
    backbone = load_encoder(tmp_path / "probed" / "encoder.safetensors")
    assert metrics["probe_a"][2] == pytest.approx(probe.auroc(backbone, CPU))


@pytest.mark.parametrize(("match", "epochs"), [("epochs", 2), ("steps", 10)])
def test_a_subset_is_trained_for_as_many_epochs_or_as_many_steps_as_the_whole(
    stores, tmp_path, match, epochs
):
    """The whole has 20 images, five steps per epoch; the subset has five images, one step per epoch."""
    settings = changed(PRETRAIN, datasets=PRETRAIN.datasets[:1], match=match, schedule__batch=4)
    write_subset(tmp_path / "subset.parquet", [3, 0, 9, 1, 2])
    module.pretrain(
        settings,
        initial=stores / "initial.safetensors",
        stores=[stores / "a"],
        splits=[stores / "a" / "splits.parquet"],
        subset=tmp_path / "subset.parquet",
        encoder=tmp_path / "encoder.safetensors",
        metrics=tmp_path / "metrics.csv",
        device="cpu",
    )
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == epochs


def test_bfloat16_rounds_the_steps_and_keeps_weights_and_metrics_float32(stores, tmp_path):
    full, rounded = (
        run(stores, tmp_path / precision, schedule__lr=0.002, computing__precision=precision)
        for precision in ("float32", "bfloat16")
    )
    assert full[0] != rounded[0] and len(full[0]) == len(rounded[0])
    losses = [pd.read_csv(tmp_path / name / "metrics.csv")["loss"] for name in ("float32", "bfloat16")]
    np.testing.assert_allclose(*losses, rtol=0.1)
