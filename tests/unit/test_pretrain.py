"""MoCo's loop: what it writes, what it says, and the numbers it logs against their own few lines."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from moco_transfer import config, moco
from moco_transfer import pretrain as module
from moco_transfer.errors import UserError
from moco_transfer.networks import build_backbone, save_weights
from moco_transfer.training import checkpoint as checkpoint_module
from moco_transfer.training.checkpoint import Checkpoint
from moco_transfer.training.probe import LinearProbe
from moco_transfer.training.ranks import Ranks

MOCO = config.Moco(
    dim=8,
    momentum=0.9,
    temperature=0.2,
    queue=64,
    mask_own_keys=True,
    augment="moco_cxr",
    sgd_momentum=0.9,
    weight_decay=1e-4,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(stores, out, parts=("a", "b"), epochs=2, batch=8, lr=0.03, groups=1, **changes):
    """Pretrain and return the bytes of the encoder and of the metrics."""
    arguments = {
        "model": "densenet_small",
        "input_size": 32,
        "settings": MOCO,
        "schedule": config.Schedule(epochs=epochs, batch=batch, lr=lr, bn_groups=groups),
        "probes": {},
        "epochs_between_probes": 1,
        "precision": "float32",
        "compiled": False,
        "seed": 1,
        "stream_name": ("test",),
        "device": torch.device("cpu"),
        "checkpoint": Checkpoint(out / "checkpoint.pt", {}),
    }
    module.pretrain(
        [(stores / f"{name}.npy", np.arange(len(np.load(stores / f"{name}.npy")))) for name in parts],
        stores / "initial.safetensors",
        out / "encoder.safetensors",
        out / "metrics.csv",
        **arguments | changes,
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
    run(stores, tmp_path, parts=("b",), epochs=1, batch=64)
    assert "12 images: batch 64 -> 12, queue 64 -> 12" in capsys.readouterr().out


def test_colour_images_are_refused_as_a_source(stores, tmp_path):
    with pytest.raises(UserError, match="grey"):
        run(stores, tmp_path, parts=("colour",))
    assert not (tmp_path / "encoder.safetensors").exists()


def test_groups_that_the_ranks_cannot_share_are_refused(stores, tmp_path):
    with pytest.raises(UserError, match=r"4 groups .*bn_groups.* 3 ranks .*pretraining\.ranks"):
        run(stores, tmp_path, groups=4, ranks=Ranks(rank=0, size=3))


def test_a_diverging_pretraining_names_the_step_and_writes_nothing(stores, tmp_path):
    with pytest.raises(UserError, match=r"loss is nan at step \d+"):
        run(stores, tmp_path, parts=("a",), epochs=20, batch=4, lr=1e30)
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
        run(stores, tmp_path, epochs=3)
    assert len(calls) == 3
    assert Checkpoint(tmp_path / "checkpoint.pt", {}).read()["step"] == 2


def test_every_step_has_the_cosines_learning_rate_and_the_last_is_near_zero(stores, tmp_path, monkeypatch):
    rates = []

    class RecordingSGD(module.SGD):
        def step(self, lr):
            rates.append(lr)
            super().step(lr)

    monkeypatch.setattr(module, "SGD", RecordingSGD)
    run(stores, tmp_path, parts=("b",), epochs=10, batch=4, lr=0.002)
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
    run(stores, tmp_path, batch=8, lr=0.002)
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
    run(stores, tmp_path / "sound", epochs=1, lr=0.002)
    assert "collapsed" not in capsys.readouterr().out
    network = build_backbone("densenet_small", 1)
    for parameter in network.parameters():
        parameter.data.zero_()
    save_weights(network, stores / "initial.safetensors")  # all images look the same to it
    run(stores, tmp_path / "blind", epochs=1, lr=0.002)
    said = capsys.readouterr().out
    assert "epoch 1: the queries are nearly all alike (uniformity 0.000)" in said and "has collapsed" in said


def test_probes_are_logged_now_and_then_and_leave_the_training_as_it_is(stores, tmp_path):
    labels = np.tile(np.float32([[0], [1]]), (10, 1))
    probe = LinearProbe(
        stores / "a.npy",
        labels,
        np.arange(12),
        np.arange(12, 20),
        images_each=8,
        size=32,
        seed=1,
        stream_name=("test",),
    )
    plain, _ = run(stores, tmp_path / "plain", epochs=3)
    probed, _ = run(stores, tmp_path / "probed", epochs=3, probes={"bones": probe}, epochs_between_probes=2)
    assert plain == probed
    metrics = pd.read_csv(tmp_path / "probed" / "metrics.csv")
    assert metrics["probe_bones"].isna().tolist() == [True, False, False]
    backbone = build_backbone("densenet_small", 0)
    module.load_weights(backbone, tmp_path / "probed" / "encoder.safetensors")
    assert metrics["probe_bones"][2] == pytest.approx(probe.auroc(backbone, torch.device("cpu")))


def test_bfloat16_rounds_the_steps_and_keeps_weights_and_metrics_float32(stores, tmp_path):
    full, rounded = (
        run(stores, tmp_path / precision, lr=0.002, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    assert full[0] != rounded[0] and len(full[0]) == len(rounded[0])
    losses = [pd.read_csv(tmp_path / name / "metrics.csv")["loss"] for name in ("float32", "bfloat16")]
    np.testing.assert_allclose(*losses, rtol=0.05)
