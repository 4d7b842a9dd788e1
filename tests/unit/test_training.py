"""Pools of images, the supervised loop and the predictions file."""

import numpy as np
import pandas as pd
import pytest
import torch

from moco_transfer import config
from moco_transfer.errors import UserError
from moco_transfer.finetune.cell import read_cell, write_predictions
from moco_transfer.finetune.end_to_end import finetune_budgets
from moco_transfer.training import images as images_module
from moco_transfer.training.checkpoint import Checkpoint
from moco_transfer.training.device import open_device
from moco_transfer.training.images import DEVIATION, MEAN, ImagePool, centre_crop, normalise
from moco_transfer.training.log import MetricsLog

CPU = torch.device("cpu")


@pytest.mark.parametrize("limit", [2**31, 0], ids=["in memory", "mapped"])
def test_a_pool_numbers_the_rows_of_its_stores(stores, monkeypatch, limit):
    monkeypatch.setattr(images_module, "IN_MEMORY_BYTES", limit)
    a, b = np.load(stores / "a.npy"), np.load(stores / "b.npy")
    pool = ImagePool([(stores / "a.npy", np.array([3, 7])), (stores / "b.npy", np.array([11, 0, 5]))])
    assert len(pool) == 5
    np.testing.assert_array_equal(
        pool.batch(np.array([4, 0, 2, 1])).squeeze(1), np.stack([b[5], a[3], b[11], a[7]])
    )


def test_colour_images_keep_their_channels(stores):
    pool = ImagePool([(stores / "colour.npy", np.arange(6))])
    expected = np.load(stores / "colour.npy")[2]
    np.testing.assert_array_equal(pool.batch(np.array([2]))[0].permute(1, 2, 0), expected)


def test_stores_of_different_shapes_are_refused(stores):
    with pytest.raises(UserError, match=r"one shape.*36.*store.size"):
        ImagePool([(stores / "a.npy", np.arange(2)), (stores / "colour.npy", np.arange(2))])


def test_normalised_grey_is_imagenets_in_three_channels():
    out = normalise(torch.full((1, 1, 2, 2), 51, dtype=torch.uint8))
    expected = [(0.2 - m) / d for m, d in zip(MEAN, DEVIATION, strict=True)]
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor(expected))


def test_centre_crop_is_the_middle():
    image = torch.arange(36).view(1, 1, 6, 6)
    assert centre_crop(image, 2).flatten().tolist() == [14, 15, 20, 21]


@pytest.fixture
def cell(stores):
    index = pd.DataFrame(
        {
            "image_id": [f"i{i}" for i in range(20)],
            "patient_id": [f"p{i // 2}" for i in range(20)],
            "study_id": [f"s{i}" for i in range(20)],
            "path": [f"{i}.png" for i in range(20)],
            "official_split": pd.Series([None] * 20, dtype="str"),
            "view": pd.Series([None] * 20, dtype="str"),
            "one": np.tile([0.0, 1.0], 10).astype(np.float32),
            "two": np.tile([1.0, -1.0, 0.0, np.nan], 5).astype(np.float32),
        }
    )
    index.to_parquet(stores / "index.parquet")
    split = ["train"] * 10 + ["validation"] * 4 + ["test"] * 6
    pd.DataFrame(
        {"image_id": index["image_id"], "patient_id": index["patient_id"], "split": split}
    ).to_parquet(stores / "splits.parquet")
    pd.DataFrame({"image_id": ["i3", "i0", "i9"], "row": [3, 0, 9]}).to_parquet(stores / "subset.parquet")
    return read_cell(stores / "index.parquet", stores / "splits.parquet", stores / "subset.parquet", "zero")


def test_a_cell_holds_rows_by_role(cell):
    assert cell.train.tolist() == [3, 0, 9]
    assert cell.scored.tolist() == list(range(10, 20))
    assert cell.classes == ["one", "two"]
    assert cell.labels[:4, 1].tolist() == [1, 0, 0, 0]


def test_predictions_name_every_image_budget_and_class(cell, tmp_path):
    logits = [(5, np.zeros((10, 2))), (9, np.ones((10, 2)))]
    write_predictions(tmp_path / "p.parquet", cell, logits)
    table = pd.read_parquet(tmp_path / "p.parquet")
    assert list(table) == [
        "split",
        "epochs",
        "image_id",
        "patient_id",
        "label_one",
        "label_two",
        "logit_one",
        "logit_two",
    ]
    assert table["epochs"].tolist() == [5] * 10 + [9] * 10
    assert table["image_id"].tolist() == [f"i{i}" for i in range(10, 20)] * 2
    assert table["split"].tolist() == (["validation"] * 4 + ["test"] * 6) * 2
    assert (table["logit_two"] == [0] * 10 + [1] * 10).all()


def test_every_budget_is_a_training_of_its_own(cell, stores):
    def run(budgets, score=None, precision="float32"):
        log = MetricsLog("t", sum(budgets), len(cell.train))
        return finetune_budgets(
            cell,
            stores / "a.npy",
            stores / "initial.safetensors",
            model="densenet_small",
            input_size=32,
            optimizer=config.Optimizer(batch=2, lr=0.01, name="sgd", momentum=0.9, weight_decay=0),
            budgets=budgets,
            augmentation="none",
            score=score,
            precision=precision,
            compiled=False,
            seed=1,
            stream_name=("t",),
            device=CPU,
            log=log,
            checkpoint=Checkpoint(stores / "checkpoint.pt", {}),
        ), log.rows

    both, rows = run([1, 3])
    alone, _ = run([3])
    assert [epochs for epochs, _ in both] == [1, 3]
    assert [(row["budget"], row["epoch"]) for row in rows] == [(1, 1), (3, 1), (3, 2), (3, 3)]
    np.testing.assert_array_equal(both[1][1], alone[0][1])
    assert both[0][1].shape == (10, 2) and not np.array_equal(both[0][1], both[1][1])

    calls = iter([0.9, 0.1, 0.2])
    best, _ = run([3], lambda labels, logits: next(calls))
    assert not np.array_equal(best[0][1], alone[0][1])

    rounded, _ = run([3], precision="bfloat16")  # the steps are, the predictions are float32
    assert rounded[0][1].dtype == np.float32 and not np.array_equal(rounded[0][1], alone[0][1])
    np.testing.assert_allclose(rounded[0][1], alone[0][1], atol=0.3)


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no GPU"):
        open_device("cuda")


def test_metrics_lines_come_now_and_then_but_always_at_the_end(capsys):
    log = MetricsLog("MoCo", 100, 10)
    for epoch in range(100):
        log.epoch(epoch=epoch + 1, loss=1.0)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 3 and "epoch 100/100" in lines[-1] and "0 s left" in lines[-1]
