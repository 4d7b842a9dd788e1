"""Linear finetuning: a logistic head (with one-of-many classes, a softmax head) on the features of a frozen network.

There are three recipes. ``paper`` trains the head in epochs, as in end-to-end finetuning. ``standardised`` does so on features
that have one scale, and ``logistic`` fits the head until it converges (``logistic``). Whatever the recipe, the head that is kept
acts on the features themselves.

The network is in evaluation mode, so the features of a view of an image never change, and ``embed`` computes them once per
encoder and target. The head is a small matrix and is trained in NumPy, because importing PyTorch alone would take longer
than training most heads. A test compares the steps with PyTorch's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from moco_transfer.config import stages
from moco_transfer.config.training import Optimizer
from moco_transfer.errors import UserError
from moco_transfer.files import read_array, read_parquet, write_parquet
from moco_transfer.finetune.data import (
    BestEpoch,
    FinetuningData,
    read_finetuning_data,
    validation_score,
    versions_of,
    write_predictions,
)
from moco_transfer.finetune.logistic import Scale, logistic_head
from moco_transfer.finetune.logits import class_logits
from moco_transfer.seeds import stream
from moco_transfer.tensors import write_tensors
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.schedule import all_batches, cosine, epoch_order

Step = Callable[[np.ndarray, np.ndarray, float], None]


def linear(
    settings: stages.Linear,
    *,
    features: Path,
    rows: Path,
    index: Path,
    splits: Path,
    subset: Path,
    predictions: Path,
    metrics: Path,
    head: Path,
) -> None:
    """Train a linear head on the features of one labelled subset, and predict validation and test."""
    data = read_finetuning_data(index, splits, subset, settings.uncertain, settings.task)
    log = MetricsLog("linear", _rounds(settings), len(data.train))
    outputs, weights = finetune_linear(settings, data, FeatureCache(features, rows), log)
    log.write(metrics)
    # As torch.nn.Linear names and shapes them.
    write_tensors(
        head,
        {"weight": weights[1:].T, "bias": weights[0]},
        {
            "classes": data.classes,
            "versions": versions_of(["numpy", *(["scikit-learn"] if settings.recipe == "logistic" else [])]),
        },
    )
    write_predictions(predictions, data, [(settings.epochs, outputs)])


def linear_subsets(
    settings: stages.LinearSubsets,
    *,
    features: Path,
    rows: Path,
    index: Path,
    splits: Path,
    subsets: Path,
    aurocs: Path,
) -> None:
    """Train a linear head by each recipe on each of many labelled subsets of a target, and score the test images."""
    import pandas as pd

    from moco_transfer.statistics.auroc import average_auroc

    data = read_finetuning_data(index, splits, subsets, settings.uncertain, settings.task)
    cache, labels = FeatureCache(features, rows), data.labels[data.test]
    found = []
    drawn = read_parquet(subsets)
    drawn = drawn[drawn["subset"].isin(settings.subsets)]
    for (percent, number), subset in drawn.groupby(["percent", "subset"], sort=False):
        for recipe in (settings.recipe, *settings.compared):
            own = settings.model_copy(
                update={"recipe": recipe, "stream": [*settings.stream, percent, int(number)]}
            )
            outputs, _ = finetune_linear(
                own,
                dataclasses.replace(data, train=subset["row"].to_numpy()),
                cache,
                MetricsLog(f"{percent}%, subset {number}, {recipe}", _rounds(own), len(subset)),
            )
            logits = class_logits(outputs[len(data.validation) :], settings.task)
            value = average_auroc(labels, logits, settings.average)
            found.append({"percent": percent, "subset": int(number), "recipe": recipe, "auroc": value})
    names = {"target": settings.target, "source": settings.source, "mode": "linear"}
    names |= {"replicate": settings.replicate, "fold": settings.fold}
    write_parquet(pd.DataFrame(found).assign(**names, epochs=settings.epochs), aurocs)


def _rounds(settings: stages.Linear) -> int:
    """Return the number of rows in the metrics of a head."""
    return 1 if settings.recipe == "logistic" else settings.epochs


def finetune_linear(
    settings: stages.Linear, data: FinetuningData, cache: FeatureCache, log: MetricsLog
) -> tuple[np.ndarray, np.ndarray]:
    """Return the head's outputs for ``data.scored``, float32 [validation + test, classes], and its weights as ``train_head`` does.

    If the cache holds several views of the labelled images, epochs use them in turn, and a logistic regression uses all of them.
    Raises UserError if the cache lacks a row, or if the loss is not finite.
    """
    views = np.stack([cache.of(data.train, view) for view in range(cache.views)])
    if settings.recipe == "paper":
        weights = _trained_head(settings, data, views, cache.of(data.validation), log)
    else:
        scale = Scale.of(np.concatenate(views))
        if settings.recipe == "logistic":
            weights = scale.folded(_fitted_head(settings, data, scale.standardised(views), log))
        else:
            inputs = (views, cache.of(data.validation))
            same_scale = (scale.standardised(each).astype(np.float32) for each in inputs)
            weights = scale.folded(_trained_head(settings, data, *same_scale, log))
    return apply_head(cache.of(data.scored), weights), weights


def _trained_head(
    settings: stages.Linear, data: FinetuningData, views: np.ndarray, validation: np.ndarray, log: MetricsLog
) -> np.ndarray:
    """Return the weights after the last epoch, or after the best on the ``validation`` features [m, width]."""
    score = validation_score(settings)
    if score is not None:
        best = BestEpoch(score, data.labels[data.validation])

    def after_epoch(epoch: int, loss: float, lr: float, weights: np.ndarray) -> None:
        log.epoch(epoch=epoch, loss=loss, lr=lr)
        if score is not None:
            best.offer(epoch, apply_head(validation, weights), weights.copy)

    last = train_head(views, data.labels[data.train], settings, after_epoch)
    return last if score is None else best.state


def _fitted_head(
    settings: stages.Linear, data: FinetuningData, views: np.ndarray, log: MetricsLog
) -> np.ndarray:
    """Return the weights of a logistic regression on all ``views`` [views, n, width]; the log says its loss and prior variances."""
    labels = np.tile(data.labels[data.train], (len(views), 1))
    patients = np.tile(data.patients(data.train), len(views))
    inputs = np.concatenate(views)
    names = (settings.seed, *settings.stream)
    weights, variances = logistic_head(inputs, labels, patients, settings.task, names)
    loss, _ = LOSSES[settings.task](apply_head(inputs, weights), labels)
    log.epoch(epoch=1, loss=loss, **{f"variance{number}": each for number, each in enumerate(variances, 1)})
    return weights


def train_head(
    features: np.ndarray,
    labels: np.ndarray,
    settings: stages.Linear,
    after_epoch: Callable[[int, float, float, np.ndarray], None],
) -> np.ndarray:
    """Return the head's weights after the last epoch, float32 [1 + width, classes], the bias in row 0.

    Parameters
    ----------
    features : float32 [views, n, width]; epochs use the views in turn, starting with view 0
    labels : float32 [n, classes]; 0, 1 or NaN (left out of the loss); of a multiclass target exactly one 1 per image
    after_epoch : called with (epoch counted from 1, mean loss, learning rate, weights)

    Raises UserError if the loss is not finite.
    """
    views, n, width = features.shape
    inputs = np.concatenate([np.ones((views, n, 1), np.float32), features], axis=2)
    bound = 1 / np.sqrt(width)  # torch.nn.Linear's initial weights
    names = (settings.seed, *settings.stream)
    random = stream(*names, "head")
    weights = random.uniform(-bound, bound, (1 + width, labels.shape[1])).astype(np.float32)
    loss_of = LOSSES[settings.task]
    optimizer = settings.optimizer
    move = {"sgd": _sgd, "adam": _adam}[optimizer.name](weights, optimizer)
    epoch_steps = len(all_batches(np.arange(n), optimizer.batch))
    step, steps = 0, settings.epochs * epoch_steps
    for epoch in range(settings.epochs):
        total, view = 0.0, inputs[epoch % views]
        # If the head diverges, the error below says so; NumPy's warnings would only repeat it.
        with np.errstate(over="ignore", invalid="ignore"):
            for batch in all_batches(epoch_order(n, *names, epoch), optimizer.batch):
                x, y = view[batch], labels[batch]
                loss, gradient = loss_of(x @ weights, y)
                rate = cosine(optimizer.lr, step, steps)
                move(weights, x.T @ gradient, rate)
                total += loss
                step += 1
        if not np.isfinite(total):
            raise UserError(
                f"linear head: the loss is {total} in epoch {epoch + 1}; try a lower finetune.optimizers.*.lr"
            )
        after_epoch(epoch + 1, total / epoch_steps, rate, weights)
    return weights


def apply_head(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the head's outputs for ``features`` [n, width], float32 [n, classes]."""
    return features @ weights[1:] + weights[0]


def bce_with_logits(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean binary cross entropy over labels that are not NaN, and its gradient [n, classes]."""
    known = ~np.isnan(labels)
    targets = np.where(known, labels, 0)
    count = max(int(known.sum()), 1)
    # max(z, 0) - z y + log(1 + exp(-|z|)) does not overflow.
    terms = np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))
    sigmoid = 0.5 * (1 + np.tanh(0.5 * logits))
    gradient = np.where(known, sigmoid - targets, 0) / np.float32(count)
    return float(np.sum(terms, where=known) / count), gradient.astype(np.float32)


def cross_entropy(outputs: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean cross entropy of the softmax of ``outputs`` [n, classes], and its gradient [n, classes].

    ``labels`` [n, classes] are 0 and 1, with one 1 per image.
    """
    # Without the largest output, exp does not overflow.
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = (np.exp(log_softmax) - labels) / np.float32(len(labels))
    return float(-(log_softmax * labels).sum() / len(labels)), gradient.astype(np.float32)


LOSSES = {"multilabel": bce_with_logits, "multiclass": cross_entropy}


def _sgd(weights: np.ndarray, settings: Optimizer) -> Step:
    """PyTorch's SGD: weight decay joins the gradient, then the momentum buffer, which starts as the first gradient."""
    buffer = np.zeros_like(weights)
    momentum, decay = np.float32(settings.momentum or 0), np.float32(settings.weight_decay)

    def step(weights: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        nonlocal buffer
        buffer = momentum * buffer + gradient + decay * weights
        weights -= np.float32(rate) * buffer

    return step


def _adam(weights: np.ndarray, settings: Optimizer) -> Step:
    """Adam (Kingma and Ba 2015, algorithm 1) with PyTorch's defaults: betas 0.9 and 0.999, epsilon 1e-8."""
    mean, square, t = np.zeros_like(weights), np.zeros_like(weights), 0
    decay = np.float32(settings.weight_decay)

    def step(weights: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        nonlocal mean, square, t
        t += 1
        gradient = gradient + decay * weights
        mean = np.float32(0.9) * mean + np.float32(0.1) * gradient
        square = np.float32(0.999) * square + np.float32(0.001) * gradient * gradient
        denominator = np.sqrt(square) / np.float32(np.sqrt(1 - 0.999**t)) + np.float32(1e-8)
        weights -= np.float32(rate / (1 - 0.9**t)) * mean / denominator

    return step


class FeatureCache:
    """The features of a frozen network in a pair of files, read on demand.

    ``features.npy`` is float32 [m, width]. ``rows.npy`` is int64 [m, 2]: the row of the store, and the view of that image.
    View 0 is the image itself. The other views are augmented, and only labelled images have them. Both files are ordered
    by view, then by row. ``views`` is the number of views of labelled images.
    """

    def __init__(self, features: Path, rows: Path) -> None:
        self.path = features
        self._features = read_array(features)
        stored, views = read_array(rows).T
        self.views, self._span = int(views.max()) + 1, int(stored.max()) + 1
        # One number per pair of view and row, ascending, so that bisection finds a pair.
        self._keys = views * self._span + stored

    def of(self, rows: np.ndarray, view: int = 0) -> np.ndarray:
        """Return the features of one view of the store's ``rows`` [n], float32 [n, width].

        Raises UserError if the files lack one of them.
        """
        wanted = view * self._span + rows
        at = np.searchsorted(self._keys, wanted).clip(max=len(self._keys) - 1)
        if (rows >= self._span).any() or not np.array_equal(self._keys[at], wanted):
            raise UserError(f"{self.path}: lacks features of images of this job; delete it and run again")
        return self._features[at]
