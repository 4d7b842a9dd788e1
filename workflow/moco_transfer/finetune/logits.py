"""What is written and scored of a head's outputs: for each class, the log-odds of its probability, log(p / (1 - p)).

If every class is there or not by itself (``multilabel``), an output is that number already. If an image has exactly one class
(``multiclass``), the probabilities are the softmax of the outputs. Written in this way, the sigmoid of a logit is the
probability in both cases, and all that reads predictions (AUROCs of each class against the others, thresholds, calibration)
needs no second way. ``model.LogOdds`` is the same function in PyTorch, as a layer of the models that are kept.
"""

from __future__ import annotations

import numpy as np

from moco_transfer.config import Task


def class_logits(outputs: np.ndarray, task: Task) -> np.ndarray:
    """Return the logits of the classes, [n, classes] as the ``outputs`` of the head."""
    return log_odds(outputs) if task == "multiclass" else outputs


def log_odds(outputs: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of the softmax probabilities p: z_c - log sum exp(z_k) over the other classes k, float32.

    ``outputs`` z are [n, classes >= 2]. For the largest z, the sum has only the others. Every other class has the largest in
    its sum, which is 1 after it is taken out, so that subtracting the class's own part from the sum of all loses no digits.
    """
    z = outputs.astype(np.float64)
    top = np.arange(z.shape[1]) == z.argmax(axis=1)[:, None]
    shifted = z - z.max(axis=1, keepdims=True)
    rest = np.where(top, -np.inf, shifted)
    second = rest.max(axis=1, keepdims=True)
    of_top = -second - np.log(np.exp(rest - second).sum(axis=1, keepdims=True))
    parts = np.exp(shifted)
    others = np.where(top, 1, parts.sum(axis=1, keepdims=True) - parts)
    return np.where(top, of_top, shifted - np.log(others)).astype(np.float32)
