"""The learning rate of every step, the order of images in every epoch, and how many steps, epochs and keys there are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from moco_transfer.seeds import stream


def cosine(initial: float, step: int, steps: int) -> float:
    """Return the learning rate of ``step`` (0 to steps - 1): half a cosine from ``initial`` to nearly zero.

    Loshchilov and Hutter 2017 (SGDR), equation 5, per step, without restarts and with a minimum of zero.
    """
    return initial * 0.5 * (1 + math.cos(math.pi * step / steps))


def epochs_for_steps(epochs: int, batch: int, images: int, fewer: int) -> int:
    """Return how many epochs of ``fewer`` images have at least as many steps as ``epochs`` of ``images``.

    >>> epochs_for_steps(500, 64, 5872, 58)  # 500 epochs of 91 steps, or 45,500 of one
    45500
    """
    return math.ceil(epochs * full_steps(images, batch) / full_steps(fewer, batch))


def longer_budget(budgets: Sequence[int], epochs: int, images: int, labelled: int) -> int:
    """Return the largest of ``budgets`` plus the epochs of ``labelled`` images that show as many as ``epochs`` of ``images``.

    >>> longer_budget([25, 200], 500, 5872, 58)
    50821
    """
    return max(budgets) + math.ceil(epochs * images / labelled)


def full_steps(images: int, batch: int) -> int:
    """Return the steps of an epoch of full batches, which are no larger than the data.

    >>> full_steps(5872, 64)
    91
    """
    return images // min(batch, images)


def clamp(images: int, batch: int, queue: int) -> tuple[int, int]:
    """Return (batch, queue) that fit ``images`` images (#9).

    The batch is no larger than the data. The queue is the largest multiple of the batch that exceeds neither its
    configured length nor the data, and at least one batch.
    """
    batch = min(batch, images)
    return batch, max(batch, min(queue, images) // batch * batch)


def epoch_order(images: int, root: int, *names: str | int) -> np.ndarray:
    """Return the order of ``images`` images, int [images], in the epoch that ``names`` identify."""
    return stream(root, *names, "order").permutation(images)


def full_batches(order: np.ndarray, batch: int) -> list[np.ndarray]:
    """Cut ``order`` into batches of exactly ``batch``; the rest is dropped, as in MoCo."""
    return [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]


def all_batches(order: np.ndarray, batch: int) -> list[np.ndarray]:
    """Cut ``order`` into batches of ``batch``, the last one smaller.

    Batch normalisation needs more than one image, so a last batch of one image joins the batch before it.
    """
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches
