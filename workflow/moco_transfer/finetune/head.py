"""A logistic head, trained in NumPy by PyTorch's SGD and Adam, step by step; a test holds them against PyTorch's own.

The head's weights are a small matrix, for which NumPy takes a fraction of the time that PyTorch needs for its
bookkeeping. Importing PyTorch alone would take longer than training most of these heads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moco_transfer import config
from moco_transfer.errors import UserError
from moco_transfer.seeds import stream
from moco_transfer.training.schedule import all_batches, cosine, epoch_order

Step = Callable[[np.ndarray, np.ndarray, float], None]


def train_head(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    optimizer: config.Optimizer,
    epochs: int,
    seed: int,
    stream_name: tuple[str | int, ...],
    after_epoch: Callable[[int, float, float, np.ndarray], None],
) -> np.ndarray:
    """Return the head's weights after the last epoch, float32 [1 + width, classes], the bias in row 0.

    Parameters
    ----------
    features : float32 [views, n, width]; the epochs take the views in turn, the first epoch view 0
    labels : float32 [n, classes]; 0, 1 or NaN (left out of the loss)
    optimizer : kind, batch size, initial learning rate (cosine to nearly zero), momentum, weight decay
    stream_name : names the initial weights and the order of images
    after_epoch : called with (epoch counted from 1, mean loss, learning rate, weights)

    Raises UserError where the loss is no longer finite.
    """
    views, n, width = features.shape
    inputs = np.concatenate([np.ones((views, n, 1), np.float32), features], axis=2)
    bound = 1 / np.sqrt(width)  # torch.nn.Linear's initial weights
    random = stream(seed, *stream_name, "head")
    weights = random.uniform(-bound, bound, (1 + width, labels.shape[1])).astype(np.float32)
    step_weights = {"sgd": _sgd, "adam": _adam}[optimizer.name](weights, optimizer)

    batches_an_epoch = len(all_batches(np.arange(n), optimizer.batch))
    step, steps = 0, epochs * batches_an_epoch
    for epoch in range(epochs):
        total, view = 0.0, inputs[epoch % views]
        # A head that diverges is said below, once, and not by warnings of NumPy.
        with np.errstate(over="ignore", invalid="ignore"):
            for batch in all_batches(epoch_order(n, seed, *stream_name, epoch), optimizer.batch):
                x, y = view[batch], labels[batch]
                loss, gradient = bce_with_logits(x @ weights, y)
                rate = cosine(optimizer.lr, step, steps)
                step_weights(weights, x.T @ gradient, rate)
                total += loss
                step += 1
        if not np.isfinite(total):
            raise UserError(
                f"linear head: the loss is {total} in epoch {epoch + 1}; try a lower finetune.optimizers.*.lr"
            )
        after_epoch(epoch + 1, total / batches_an_epoch, rate, weights)
    return weights


def apply_head(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the logits, float32 [n, classes], of ``features`` [n, width]."""
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


def _sgd(weights: np.ndarray, settings: config.Optimizer) -> Step:
    """PyTorch's SGD: weight decay into the gradient, then the momentum buffer, which starts as the first gradient."""
    buffer = np.zeros_like(weights)
    momentum, decay = np.float32(settings.momentum or 0), np.float32(settings.weight_decay)

    def step(weights: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        nonlocal buffer
        buffer = momentum * buffer + gradient + decay * weights
        weights -= np.float32(rate) * buffer

    return step


def _adam(weights: np.ndarray, settings: config.Optimizer) -> Step:
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
