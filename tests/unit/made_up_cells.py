"""Cells of the experiment on random images, and the plain way to train a head: PyTorch's, on its own optimisers."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import torch

from moco_transfer import config
from moco_transfer.finetune.cell import Cell
from moco_transfer.finetune.end_to_end import masked_bce
from moco_transfer.finetune.linear import train_head
from moco_transfer.training.schedule import all_batches, cosine, epoch_order

OPTIMIZERS = {
    "sgd": config.Optimizer(batch=8, lr=0.05, name="sgd", momentum=0.9, weight_decay=1e-2),
    "adam": config.Optimizer(batch=8, lr=0.01, name="adam", momentum=None, weight_decay=1e-2),
}


def made_up_labels(n: int, classes: int, seed: int = 0) -> np.ndarray:
    """Return float32 [n, classes] of 0 and 1; of several classes, a tenth are NaN."""
    random = np.random.default_rng(seed)
    labels = (random.random((n, classes)) < 0.4).astype(np.float32)
    if classes > 1:
        labels[random.random((n, classes)) < 0.1] = np.nan
    return labels


def made_up_cell(train: np.ndarray, validation: np.ndarray, test: np.ndarray, labels: np.ndarray) -> Cell:
    """Return a cell whose images are called by their rows."""
    names = [str(row) for row in range(len(labels))]
    classes = [f"class{number}" for number in range(labels.shape[1])]
    return Cell(train, validation, test, labels, classes, pa.table({"image_id": names, "patient_id": names}))


def torch_head(
    features: Callable[[int, np.ndarray], torch.Tensor],
    labels: np.ndarray,
    width: int,
    optimizer: config.Optimizer,
    *,
    epochs: int,
    seed: int,
    stream_name: tuple[str | int, ...],
) -> torch.nn.Linear:
    """Return a head trained by PyTorch, from the weights and in the order of images that ``train_head`` draws.

    Parameters
    ----------
    features : a function of (epoch from 0, numbers [n] of images) that returns their features [n, width]
    labels : float32 [images, classes]
    """
    start = train_head(
        np.zeros((1, len(labels), width), np.float32),
        labels,
        optimizer=optimizer.model_copy(update={"lr": 1e-30}),
        epochs=1,
        seed=seed,
        stream_name=stream_name,
        after_epoch=lambda *_: None,
    )
    head = torch.nn.Linear(width, labels.shape[1])
    with torch.no_grad():
        head.weight.copy_(torch.tensor(start[1:].T))
        head.bias.copy_(torch.tensor(start[0]))
    settings = {"lr": 1, "weight_decay": optimizer.weight_decay}
    if optimizer.name == "sgd":
        update = torch.optim.SGD(head.parameters(), momentum=optimizer.momentum, **settings)
    else:
        update = torch.optim.Adam(head.parameters(), **settings)
    step, steps = 0, epochs * len(all_batches(np.arange(len(labels)), optimizer.batch))
    for epoch in range(epochs):
        for batch in all_batches(epoch_order(len(labels), seed, *stream_name, epoch), optimizer.batch):
            update.param_groups[0]["lr"] = cosine(optimizer.lr, step, steps)
            update.zero_grad()
            masked_bce(head(features(epoch, batch)), torch.tensor(labels[batch])).backward()
            update.step()
            step += 1
    return head
