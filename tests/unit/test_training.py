"""Supervised training: pools of images, the optimisers and the schedule compared with PyTorch's, and the stages."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_settings import COMPUTING, END_TO_END, NETWORK, OPTIMIZERS, changed
from made_up_stores import write_store

from moco_transfer.config import stages
from moco_transfer.config.encoders import Encoder
from moco_transfer.encoders import train_weights
from moco_transfer.errors import UserError
from moco_transfer.finetune import end_to_end as module
from moco_transfer.finetune.data import read_finetuning_data, write_predictions
from moco_transfer.networks import load_encoder
from moco_transfer.training import images as images_module
from moco_transfer.training.images import ImagePool, View, centre_crop
from moco_transfer.training.loop import SGD, Adam, Recipe, SupervisedTraining
from moco_transfer.training.schedule import all_batches, cosine, epoch_order, full_batches

# Images


@pytest.mark.parametrize("limit", [2**31, 0], ids=["in memory", "mapped"])
def test_a_pool_numbers_the_rows_of_its_stores(stores, monkeypatch, limit):
    monkeypatch.setattr(images_module, "IN_MEMORY_BYTES", limit)
    paths = [stores / name / "images.npy" for name in ("a", "b")]
    a, b = map(np.load, paths)
    pool = ImagePool([(paths[0], np.array([3, 7])), (paths[1], np.array([11, 0, 5]))])
    assert len(pool) == 5
    np.testing.assert_array_equal(
        pool.batch(np.array([4, 0, 2, 1])).squeeze(1), np.stack([b[5], a[3], b[11], a[7]])
    )


def test_centre_crop_is_the_middle():
    image = torch.arange(36).view(1, 1, 6, 6)
    assert centre_crop(image, 2).flatten().tolist() == [14, 15, 20, 21]


# Optimisers and schedule


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_steps_equal_those_of_torch_optim(name):
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    if name == "sgd":
        one = SGD(ours.parameters(), 0.9, 0.01)
        other = torch.optim.SGD(theirs.parameters(), 1, momentum=0.9, weight_decay=0.01)
    else:
        one, other = (
            Adam(ours.parameters(), 0.01),
            torch.optim.Adam(theirs.parameters(), 1, weight_decay=0.01),
        )
    for rate in (0.1, 0.05, 0.01, 0.001):
        x = torch.randn(4, 5)
        ours(x).pow(2).sum().backward()
        one.step(rate)
        theirs(x).pow(2).sum().backward()
        other.param_groups[0]["lr"] = rate
        other.step()
        other.zero_grad()
        assert all(parameter.grad is None for parameter in ours.parameters())
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_training_does_not_import_the_compiler():
    code = (
        "import sys, torch; from moco_transfer.training.loop import SGD; "
        "p = torch.ones(2, requires_grad=True); p.sum().backward(); SGD([p], 0.9, 0.0).step(0.1); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cosine_equals_pytorchs_at_every_step_and_ends_near_zero():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.002)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=500)
    for step in range(500):
        assert cosine(0.002, step, 500) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        optimizer.step()
        scheduler.step()
    assert cosine(0.002, 499, 500) < 1e-5 * 0.002 * 2


def test_every_epoch_has_an_order_of_its_own():
    first, second = epoch_order(50, 1, "moco", "spine", 0), epoch_order(50, 1, "moco", "spine", 1)
    assert sorted(first) == list(range(50)) and not np.array_equal(first, second)
    np.testing.assert_array_equal(first, epoch_order(50, 1, "moco", "spine", 0))


def test_full_batches_drop_the_rest_and_all_batches_keep_it():
    order = np.arange(10)
    assert [list(b) for b in full_batches(order, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [list(b) for b in all_batches(order, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_last_batch_of_one_joins_the_one_before():
    assert [len(b) for b in all_batches(np.arange(9), 4)] == [4, 5]
    assert [len(b) for b in all_batches(np.arange(1), 4)] == [1]


# Finetuning


@pytest.fixture
def data(stores):
    """The data of a job on the store a."""
    store = stores / "a"
    paths = (store / "index.parquet", store / "splits.parquet", stores / "subset.parquet")
    return read_finetuning_data(*paths, "zero")


def test_a_job_has_rows_by_role_and_labels_of_all(data):
    assert data.train.tolist() == [3, 0, 9]
    assert data.scored.tolist() == list(range(10, 20))
    assert data.classes == ["one", "two"]
    assert data.labels[:4, 1].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("missing", ["validation", "test"])
def test_a_job_without_validation_or_test_images_is_refused(stores, missing):
    splits = stores / "a" / "splits.parquet"
    pd.read_parquet(splits).replace({"split": {missing: "train"}}).to_parquet(splits)
    with pytest.raises(UserError, match=rf"splits\.parquet: no image is in the {missing} split"):
        read_finetuning_data(stores / "a" / "index.parquet", splits, stores / "subset.parquet", "zero")


def test_predictions_name_every_image_budget_and_class(data, tmp_path):
    logits = [(5, np.zeros((10, 2))), (9, np.ones((10, 2)))]
    write_predictions(tmp_path / "p.parquet", data, logits)
    table = pd.read_parquet(tmp_path / "p.parquet")
    labels, scores = ["label_one", "label_two"], ["logit_one", "logit_two"]
    assert list(table) == ["split", "epochs", "image_id", "patient_id", *labels, *scores]
    assert table["epochs"].tolist() == [5] * 10 + [9] * 10
    assert table["image_id"].tolist() == [f"i{i}" for i in range(10, 20)] * 2
    assert table["split"].tolist() == (["validation"] * 4 + ["test"] * 6) * 2
    np.testing.assert_array_equal(table[labels], np.tile(data.labels[10:], (2, 1)))
    assert (table["logit_two"] == [0] * 10 + [1] * 10).all()


def test_logits_that_are_not_finite_are_not_written(data, tmp_path):
    logits = np.zeros((10, 2), np.float32)
    logits[4, 1] = np.inf
    with pytest.raises(UserError, match=r"predictions\.parquet: .*1 of 10 images .*25 epochs"):
        write_predictions(tmp_path / "predictions.parquet", data, [(25, logits)])
    assert not list(tmp_path.glob("*predictions*"))


def finetune(stores, out, **changes):
    """Run the stage on the store a; return the logits by budget, and the metrics."""
    module.end_to_end(
        changed(END_TO_END, optimizer__batch=2, optimizer__lr=0.01, **changes),
        encoder=stores / "initial.safetensors",
        store=stores / "a",
        splits=stores / "a" / "splits.parquet",
        subset=stores / "subset.parquet",
        predictions=out / "predictions.parquet",
        metrics=out / "metrics.csv",
        device="cpu",
    )
    table = pd.read_parquet(out / "predictions.parquet")
    logits = {epochs: rows.filter(like="logit_") for epochs, rows in table.groupby("epochs")}
    return {epochs: rows.to_numpy() for epochs, rows in logits.items()}, pd.read_csv(out / "metrics.csv")


def test_every_budget_is_a_training_of_its_own(stores, tmp_path):
    both, metrics = finetune(stores, tmp_path / "both", budgets=[1, 3])
    alone, _ = finetune(stores, tmp_path / "alone", budgets=[3])
    assert metrics[["budget", "epoch"]].to_numpy().tolist() == [[1, 1], [3, 1], [3, 2], [3, 3]]
    np.testing.assert_array_equal(both[3], alone[3])
    assert both[1].shape == (10, 2) and not np.array_equal(both[1], both[3])


def test_the_best_epoch_predicts_where_that_is_asked_for(stores, tmp_path, monkeypatch):
    last, _ = finetune(stores, tmp_path / "last", budgets=[3])
    seen = []

    def score(labels, logits):
        seen.append(logits)
        return [0.1, 0.9, 0.2][len(seen) - 1]

    monkeypatch.setattr(module, "validation_score", lambda settings: score)
    best, _ = finetune(stores, tmp_path / "best", budgets=[3])
    np.testing.assert_allclose(best[3][:4], seen[1], rtol=1e-4, atol=1e-6)
    assert not np.array_equal(best[3], last[3])


def test_in_bfloat16_the_steps_are_rounded_and_the_predictions_are_float32(stores, tmp_path):
    full, _ = finetune(stores, tmp_path / "full", budgets=[3])
    rounded, _ = finetune(stores, tmp_path / "rounded", budgets=[3], computing__precision="bfloat16")
    assert rounded[3].dtype == np.float32 and not np.array_equal(rounded[3], full[3])
    np.testing.assert_allclose(rounded[3], full[3], atol=0.3)


def test_a_longer_training_shows_as_many_more_images_as_moco_does(stores, tmp_path):
    """MoCo shows 14 images twice; with three labelled images that is 10 epochs, after the largest budget."""
    longer = {"epochs": 2, "images": "train+validation"}
    logits, metrics = finetune(stores, tmp_path, budgets=[1, 2], longer_by=longer)
    assert list(logits) == [2 + 10] and len(metrics) == 12


class NoImages:
    """A pool as far as ``SupervisedTraining`` asks when it is made."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return self.images


@pytest.mark.parametrize(
    "images, batch, normalised, cure",
    [
        (1, 4, True, "raise the percentage"),
        (3, 1, True, r"raise finetune\.optimizers\.\*\.batch"),
        (0, 4, False, "raise the percentage"),
        (1, 4, False, None),
        (5, 4, True, None),  # the last image joins the step before
        (2, 1, True, None),
    ],
)
def test_a_step_of_one_image_is_refused_if_the_network_normalises_batches(images, batch, normalised, cure):
    layer = torch.nn.BatchNorm1d(3) if normalised else torch.nn.Linear(3, 3)
    recipe = Recipe(
        optimizer=OPTIMIZERS["sgd"].model_copy(update={"batch": batch}),
        section="finetune.optimizers.*",
        epochs=1,
        operations=[],
        view=View(32, NETWORK),
        computing=COMPUTING,
        seed=1,
        stream=("test",),
    )

    def build():
        SupervisedTraining(layer, NoImages(images), np.zeros(images), None, recipe, torch.device("cpu"))

    if cure is None:
        build()
    else:
        with pytest.raises(UserError, match=rf"images in all: {images}\); {cure}"):
            build()


# Initial weights


def test_a_stand_in_for_published_weights_learns_the_classes_of_a_dataset(tmp_path):
    classes = np.arange(24) % 2
    store = write_store(tmp_path / "store", (24, 36, 36), {"cat": classes, "dog": 1 - classes}, (20, 2, 2))
    images = np.load(store / "images.npy")
    np.save(store / "images.npy", images // 4 + np.uint8(150) * classes[:, None, None].astype(np.uint8))

    def train():
        train_weights(
            stages.TrainWeights(
                encoder=Encoder(
                    encoder="densenet_small",
                    weights={"classes_of": "natural", "epochs": 5, "batch": 4, "lr": 0.05},
                ),
                crop=32,
                computing=COMPUTING,
                seed=1,
                stream=["initial"],
            ),
            store=store,
            splits=store / "splits.parquet",
            encoder=tmp_path / "out" / "encoder.safetensors",
            metrics=tmp_path / "out" / "metrics.csv",
            device="cpu",
        )

    train()
    losses = pd.read_csv(tmp_path / "out" / "metrics.csv")["loss"]
    assert len(losses) == 5 and losses.min() < losses[0] / 2
    assert load_encoder(tmp_path / "out" / "encoder.safetensors").network == NETWORK
    index = pd.read_parquet(store / "index.parquet")
    index.assign(dog=np.float32(1)).to_parquet(store / "index.parquet")
    with pytest.raises(
        UserError,
        match=r"index\.parquet: 10 of 20 images .* exactly one class: 10 with several \(first: row 2\)",
    ):
        train()
