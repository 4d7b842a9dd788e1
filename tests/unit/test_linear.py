"""The NumPy head against PyTorch: loss, gradient, both optimisers step by step, and the frozen network."""

import numpy as np
import pandas as pd
import pytest
import torch

from moco_transfer import config
from moco_transfer.errors import UserError
from moco_transfer.finetune.cell import Cell
from moco_transfer.finetune.end_to_end import masked_bce
from moco_transfer.finetune.linear import apply_head, bce_with_logits, finetune_linear, train_head
from moco_transfer.models import build_backbone
from moco_transfer.training.images import ImagePool, centre_crop, normalise, predict
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.schedule import all_batches, cosine, epoch_order

OPTIMIZERS = {
    "sgd": config.Optimizer(batch=8, lr=0.05, name="sgd", momentum=0.9, weight_decay=1e-2),
    "adam": config.Optimizer(batch=8, lr=0.01, name="adam", momentum=None, weight_decay=1e-2),
}


def data(n=43, width=12, classes=3, seed=0):
    random = np.random.default_rng(seed)
    labels = (random.random((n, classes)) < 0.4).astype(np.float32)
    labels[random.random((n, classes)) < 0.1] = np.nan
    return random.normal(size=(n, width)).astype(np.float32), labels


def ignore(*_):
    pass


def test_loss_and_gradient_equal_pytorchs():
    features, labels = data()
    logits = torch.tensor(10 * features[:, :3], requires_grad=True)
    expected = masked_bce(logits, torch.tensor(labels))
    expected.backward()
    loss, gradient = bce_with_logits(10 * features[:, :3], labels)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, logits.grad.numpy(), atol=1e-7)


def test_masked_loss_is_the_plain_mean_where_nothing_is_masked():
    logits, labels = torch.randn(5, 2), torch.tensor([[0.0, 1.0]] * 5)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(masked_bce(logits, labels), expected)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_training_equals_a_torch_head_step_by_step(name):
    features, labels = data()
    settings, epochs = OPTIMIZERS[name], 4
    start = train_head(
        features,
        labels,
        optimizer=settings.model_copy(update={"lr": 1e-30}),
        epochs=1,
        seed=1,
        stream_name=("a",),
        after_epoch=ignore,
    )
    trained = train_head(
        features, labels, optimizer=settings, epochs=epochs, seed=1, stream_name=("a",), after_epoch=ignore
    )

    head = torch.nn.Linear(12, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(start[1:].T))
        head.bias.copy_(torch.tensor(start[0]))
    if name == "sgd":
        update = torch.optim.SGD(head.parameters(), lr=1, momentum=0.9, weight_decay=1e-2)
    else:
        update = torch.optim.Adam(head.parameters(), lr=1, weight_decay=1e-2)
    step, steps = 0, epochs * len(all_batches(np.arange(43), 8))
    for epoch in range(epochs):
        for batch in all_batches(epoch_order(43, 1, "a", epoch), 8):
            update.param_groups[0]["lr"] = cosine(settings.lr, step, steps)
            update.zero_grad()
            masked_bce(head(torch.tensor(features[batch])), torch.tensor(labels[batch])).backward()
            update.step()
            step += 1
    np.testing.assert_allclose(trained[1:].T, head.weight.detach().numpy(), atol=2e-5)
    np.testing.assert_allclose(trained[0], head.bias.detach().numpy(), atol=2e-5)


def test_cached_features_give_what_the_frozen_network_gives_image_by_image(tmp_path):
    """Linear finetuning on a cache equals a torch head on top of the frozen network, forward pass by forward pass."""
    random = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", random.integers(0, 256, (30, 36, 36), dtype=np.uint8))
    labels = (random.random((30, 1)) < 0.5).astype(np.float32)
    network = build_backbone("densenet_small", 3)
    ids = pd.DataFrame({"image_id": [str(i) for i in range(30)], "patient_id": [str(i) for i in range(30)]})
    cell = Cell(np.array([4, 9, 2, 20, 11]), np.arange(22, 26), np.arange(26, 30), labels, ["y"], ids)
    needed = np.unique(np.concatenate([cell.train, cell.scored]))
    np.save(tmp_path / "rows.npy", needed)
    np.save(
        tmp_path / "features.npy",
        predict(network, ImagePool([(tmp_path / "images.npy", needed)]), 32, torch.device("cpu")),
    )
    settings = config.Optimizer(batch=2, lr=0.1, name="sgd", momentum=0.9, weight_decay=0)
    run = {"optimizer": settings, "epochs": 3, "seed": 5, "stream_name": ("b",)}
    logits = finetune_linear(
        cell, tmp_path / "features.npy", tmp_path / "rows.npy", score=None, log=MetricsLog("t", 3), **run
    )

    head = torch.nn.Linear(network.width, 1)
    start = train_head(
        np.zeros((5, network.width), np.float32),
        labels[cell.train],
        optimizer=settings.model_copy(update={"lr": 1e-30}),
        epochs=1,
        seed=5,
        stream_name=("b",),
        after_epoch=ignore,
    )
    with torch.no_grad():
        head.weight.copy_(torch.tensor(start[1:].T))
        head.bias.copy_(torch.tensor(start[0]))
    images = torch.from_numpy(np.load(tmp_path / "images.npy")).unsqueeze(1)
    update = torch.optim.SGD(head.parameters(), lr=1, momentum=0.9)
    step = 0
    for epoch in range(3):
        for batch in all_batches(epoch_order(5, 5, "b", epoch), 2):
            update.param_groups[0]["lr"] = cosine(0.1, step, 3 * len(all_batches(np.arange(5), 2)))
            rows = cell.train[batch]
            with torch.no_grad():
                features = torch.cat(
                    [network(normalise(centre_crop(images[row : row + 1], 32))) for row in rows]
                )
            update.zero_grad()
            masked_bce(head(features), torch.tensor(labels[rows])).backward()
            update.step()
            step += 1
    with torch.no_grad():
        expected = head(
            torch.cat([network(normalise(centre_crop(images[row : row + 1], 32))) for row in cell.scored])
        )
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)


def test_the_best_epoch_predicts_where_that_is_asked_for(tmp_path):
    features, labels = data(40, 4, 1)
    np.save(tmp_path / "f.npy", features)
    np.save(tmp_path / "r.npy", np.arange(40))
    ids = pd.DataFrame({"image_id": list(map(str, range(40))), "patient_id": list(map(str, range(40)))})
    cell = Cell(np.arange(20), np.arange(20, 30), np.arange(30, 40), labels, ["y"], ids)
    seen = []

    def score(_, logits):
        seen.append(logits)
        return [0.1, 0.9, 0.3][len(seen) - 1]

    logits = finetune_linear(
        cell,
        tmp_path / "f.npy",
        tmp_path / "r.npy",
        optimizer=OPTIMIZERS["sgd"],
        epochs=3,
        score=score,
        seed=1,
        stream_name=("c",),
        log=MetricsLog("t", 3),
    )
    np.testing.assert_array_equal(logits[:10], seen[1])


def test_a_diverging_head_is_said():
    features, labels = data()
    settings = OPTIMIZERS["sgd"].model_copy(update={"lr": 1e30})
    with pytest.raises(UserError, match=r"loss is .* in epoch .*lower"), np.errstate(all="ignore"):
        train_head(
            features, labels, optimizer=settings, epochs=50, seed=1, stream_name=("d",), after_epoch=ignore
        )


def test_apply_head_is_the_affine_map():
    weights = np.array([[1.0], [2.0], [3.0]], np.float32)
    np.testing.assert_allclose(apply_head(np.array([[1.0, 1.0]], np.float32), weights), [[6.0]])
