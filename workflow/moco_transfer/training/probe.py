"""A linear probe: how well a linear classifier on a backbone's frozen features tells a dataset's labels apart.

Contrast accuracy alone proves nothing of a pretraining: without a slow key encoder it is high and the features are worse.
The classifier is ridge regression in closed form, so a probe costs one pass over a few images, and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from moco_transfer.seeds import stream
from moco_transfer.statistics.auroc import auroc_by_class, average, positives_by_class
from moco_transfer.training.images import ImagePool, predict


class LinearProbe:
    """Labelled training images and validation images, chosen once; ``auroc`` scores any backbone on them.

    Parameters
    ----------
    images : the store's images.npy
    labels : float32 [rows of the store, classes], 0, 1 or NaN (masked)
    train, validation : rows of the store to choose from; those without any label are passed over
    images_each : at most as many training images, and as many validation images
    size : side of the network's input, a centre crop, in pixels
    seed, stream_name : name the streams that choose
    """

    def __init__(
        self,
        images: Path,
        labels: np.ndarray,
        train: np.ndarray,
        validation: np.ndarray,
        *,
        images_each: int,
        size: int,
        seed: int,
        stream_name: Sequence[str | int],
    ) -> None:
        self.size = size
        self.rows = {}
        for role, rows in (("train", train), ("validation", validation)):
            labelled = rows[~np.isnan(labels[rows]).all(axis=1)]
            random = stream(seed, *stream_name, "probe", role)
            chosen = random.choice(labelled, min(images_each, len(labelled)), replace=False)
            self.rows[role] = np.sort(chosen)
        self._labels = {role: labels[rows] for role, rows in self.rows.items()}
        self._pools = {role: ImagePool([(images, rows)]) for role, rows in self.rows.items()}

    def auroc(self, backbone: torch.nn.Module, device: torch.device) -> float:
        """Return the validation AUROC, averaged over classes by their positives, of a probe on ``backbone``'s features.

        The backbone computes in evaluation mode and comes back as it was. Classes that have but one value among the
        training images or among the validation images are left out; where none is left, or a feature is not finite, the
        AUROC is NaN.
        """
        if not all(len(pool) for pool in self._pools.values()):
            return float("nan")
        with _modes_kept(backbone):
            features = {
                role: predict(backbone, pool, self.size, device) for role, pool in self._pools.items()
            }
        if not all(np.isfinite(values).all() for values in features.values()):
            return float("nan")
        scores = ridge_scores(features["train"], self._labels["train"], features["validation"])
        labels = np.where(np.isnan(scores), np.nan, self._labels["validation"])
        aurocs = auroc_by_class(labels, np.nan_to_num(scores))
        return float(average(aurocs, positives_by_class(labels), "weighted"))


def ridge_scores(features: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the scores of ``others`` [m, width] by a ridge regression for each class, float64 [m, classes].

    Each column of ``labels`` [n, classes] (0, 1 or NaN) is regressed on ``features`` [n, width], standardised over all
    n: w = (X'X + p I)^-1 X'y (Hoerl and Kennard 1970; as a classifier Rifkin, Yeo and Poggio 2003), X [p, width] and y
    [p] being centred over the p images that the class is known of. So the penalty is the mean variance of a direction,
    1: what varies less is shrunk. The intercept, which ranks nobody, is left out. A class with one value is NaN.
    """
    features, others = features.astype(np.float64), others.astype(np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation[(features == features[:1]).all(axis=0)] = 1.0  # rounding may leave a constant some deviation
    features, others = (features - mean) / deviation, (others - mean) / deviation
    scores = np.full((len(others), labels.shape[1]), np.nan)
    known = ~np.isnan(labels)
    # Classes known of the same images share one matrix.
    patterns, pattern_of = np.unique(known, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        images = patterns[:, number]
        classes = np.flatnonzero(pattern_of.reshape(-1) == number)
        answers = labels[np.ix_(images, classes)].astype(np.float64)
        varied = (answers != answers[:1]).any(axis=0)
        if not varied.any():
            continue
        x = features[images] - features[images].mean(axis=0)
        y = answers[:, varied] - answers[:, varied].mean(axis=0)
        weights = np.linalg.solve(x.T @ x + len(x) * np.eye(x.shape[1]), x.T @ y)
        scores[:, classes[varied]] = others @ weights
    return scores


@contextmanager
def _modes_kept(network: torch.nn.Module) -> Iterator[None]:
    """Put each module of ``network`` back into the mode (training or evaluation) it had before the block."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
