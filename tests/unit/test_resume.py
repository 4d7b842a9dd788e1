"""Trainings that are stopped at some step, killed, or made anew: they end in the bytes of an undisturbed one."""

import signal
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_trainings import small_trainings

from moco_transfer import cli
from moco_transfer.model import Classifier
from moco_transfer.networks import build_network, read_network
from moco_transfer.tensors import read_tensors
from moco_transfer.training import checkpoint as module
from moco_transfer.training.checkpoint import Checkpoint
from moco_transfer.training.images import ImagePool, View, predict

EPOCHS = 3


class Killed(BaseException):
    """Stands for a kill: nothing that a program does on an error or a signal happens."""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return small_trainings(tmp_path_factory.mktemp("inputs"), EPOCHS)


def run(job, out, **settings):
    out.mkdir(exist_ok=True)
    assert cli.main(job.arguments(out, **settings)) == 0
    return job.written(out)


@pytest.fixture(scope="module")
def undisturbed(one_thread, jobs, tmp_path_factory):
    """The bytes that each stage writes when nothing happens to it."""
    return {stage: run(job, tmp_path_factory.mktemp(stage)) for stage, job in jobs.items()}


def killed_after(monkeypatch, saves, job, out, **settings):
    """Run the job, saving every step, until it has saved ``saves`` times."""
    left = [saves]

    def after_step(self, state):
        original(self, state)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    original = Checkpoint.after_step
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, "SECONDS_BETWEEN_SAVES", 0)
        patch.setattr(Checkpoint, "after_step", after_step)
        out.mkdir(exist_ok=True)
        cli.main(job.arguments(out, **settings))


# Pretraining has 9 steps, 3 an epoch; end to end has 2 for its first budget and 6 for its second, 2 an epoch.
@pytest.mark.parametrize(
    "stage, kills",
    [("pretrain", [1, 3, 5]), ("end-to-end", [1, 3, 3]), ("end-to-end", [2, 6])],
)
def test_a_training_killed_at_any_step_ends_in_the_same_bytes(
    jobs, undisturbed, tmp_path, monkeypatch, stage, kills
):
    for saves in kills:
        killed_after(monkeypatch, saves, jobs[stage], tmp_path / "killed")
    assert run(jobs[stage], tmp_path / "killed") == undisturbed[stage]


@pytest.mark.parametrize(("stage", "kills"), [("pretrain", [2, 4]), ("end-to-end", [1, 4])])
def test_trainings_on_colour_images_resume_as_well(tmp_path, monkeypatch, stage, kills):
    job = small_trainings(tmp_path / "inputs", EPOCHS, colour=True)[stage]
    undisturbed = run(job, tmp_path / "undisturbed")
    for saves in kills:
        killed_after(monkeypatch, saves, job, tmp_path / "killed")
    assert run(job, tmp_path / "killed") == undisturbed


def test_sgd_and_the_last_epoch_resume_as_well(jobs, tmp_path, monkeypatch):
    optimizer = {"batch": 8, "lr": 0.05, "name": "sgd", "momentum": 0.9, "weight_decay": 1e-4}
    settings = {"optimizer": optimizer, "checkpoint": "last", "budgets": [2]}
    undisturbed = run(jobs["end-to-end"], tmp_path / "undisturbed", **settings)
    killed_after(monkeypatch, 3, jobs["end-to-end"], tmp_path / "killed", **settings)
    assert run(jobs["end-to-end"], tmp_path / "killed", **settings) == undisturbed


def test_a_training_that_kept_no_networks_starts_anew_if_they_are_to_be_kept(
    jobs, undisturbed, tmp_path, monkeypatch, caplog
):
    job = jobs["end-to-end"]
    killed_after(monkeypatch, 4, replace(job, outputs=job.outputs[:2]), tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))
    with caplog.at_level("INFO"):
        assert run(job, tmp_path) == undisturbed["end-to-end"]
    assert any(message.endswith("changed since then: networks") for message in caplog.messages)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"half")])
def test_a_training_starts_anew_if_the_network_of_a_finished_budget_is_lost(
    jobs, undisturbed, tmp_path, monkeypatch, damage
):
    killed_after(monkeypatch, 4, jobs["end-to-end"], tmp_path)
    damage(tmp_path / "state/network1.safetensors")
    assert run(jobs["end-to-end"], tmp_path) == undisturbed["end-to-end"]


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_kept_networks_give_the_logits_of_their_budgets(jobs, tmp_path, checkpoint):
    job = jobs["end-to-end"]
    run(job, tmp_path, checkpoint=checkpoint)
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    pool = ImagePool([(job.inputs["store"] / "images.npy", np.arange(32, 64))])  # validation, then test
    for budget in (1, EPOCHS):
        tensors, about = read_tensors(tmp_path / "networks.safetensors", f"{budget}/")
        network = read_network(about, tmp_path)
        classifier = Classifier(build_network(network, 0), len(about["classes"]))
        classifier.load_state_dict({name: torch.from_numpy(values) for name, values in tensors.items()})
        found = predict(classifier, pool, View(job.settings.crop, network), torch.device("cpu"))
        expected = predictions.loc[predictions["epochs"] == budget, ["logit_abnormal"]]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)  # of another memory format


def test_other_settings_start_anew(jobs, tmp_path, monkeypatch, caplog):
    undisturbed = run(jobs["pretrain"], tmp_path / "undisturbed", schedule__lr=0.01)
    killed_after(monkeypatch, 5, jobs["pretrain"], tmp_path / "out")
    with caplog.at_level("INFO"):
        assert run(jobs["pretrain"], tmp_path / "out", schedule__lr=0.01) == undisturbed
    assert any(message.endswith("changed since then: schedule.lr") for message in caplog.messages)


@pytest.mark.parametrize("stage", ["pretrain", "end-to-end"])
def test_a_loss_that_is_not_finite_names_its_step_and_keeps_the_state_before(
    jobs, tmp_path, monkeypatch, capsys, stage
):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 0)
    job = jobs[stage]
    settings = {"schedule__lr" if stage == "pretrain" else "optimizer__lr": 1e30}
    messages = []
    for _ in range(2):  # the second attempt goes on from the state and meets the same end
        assert cli.main(job.arguments(tmp_path, **settings)) == 1
        messages.append([line for line in capsys.readouterr().err.splitlines() if "error" in line])
        saved = torch.load(tmp_path / "state" / "checkpoint.pt", weights_only=True)["state"]
        step = (saved if stage == "pretrain" else saved["training"])["step"]
        assert f"the loss is nan at step {step};" in messages[-1][0]
    assert messages[0] == messages[1]
    assert not any((tmp_path / name).exists() for name in job.outputs)


def test_real_signals(jobs, undisturbed, tmp_path):
    job, state = jobs["pretrain"], tmp_path / "state" / "checkpoint.pt"
    for number, status in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        before = state.read_bytes() if state.exists() else None
        process = job.start(tmp_path)
        while not state.exists() or state.read_bytes() == before:
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(number)
        process.communicate()
        assert process.returncode == status and not (tmp_path / "encoder.safetensors").exists()
    assert run(job, tmp_path) == undisturbed["pretrain"]
