"""A linear probe: how well a linear classifier on an encoder's frozen features predicts a dataset's labels.

Contrast accuracy alone does not show that a pretraining works: without a slow key encoder it is high although the features
are worse. Therefore some labelled images are embedded every few epochs, and one logistic regression per class scores them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from moco_transfer.seeds import stream
from moco_transfer.statistics.auroc import average_auroc
from moco_transfer.training.images import ImagePool, View, predict

# Inverse strengths of the L2 penalty; cross-validation chooses one per class. Features are standardised.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
FOLDS = 3


class LinearProbe:
    """Labelled training and validation images, drawn once; ``auroc`` scores an encoder on them.

    Parameters
    ----------
    images : the store's images.npy
    labels : float32 [rows of the store, classes], 0, 1 or NaN (masked)
    train, validation : rows of the store to draw from; rows without any label are skipped
    images_each : the largest number of training images, and of validation images
    view : how images become network input
    seed, stream_name : first parts of the names of the streams
    """

    def __init__(
        self,
        images: Path,
        labels: np.ndarray,
        train: np.ndarray,
        validation: np.ndarray,
        *,
        images_each: int,
        view: View,
        seed: int,
        stream_name: Sequence[str | int],
    ) -> None:
        self.view = view
        self.rows = {}
        for role, rows in (("train", train), ("validation", validation)):
            labelled = rows[~np.isnan(labels[rows]).all(axis=1)]
            random = stream(seed, *stream_name, "probe", role)
            chosen = random.choice(labelled, min(images_each, len(labelled)), replace=False)
            self.rows[role] = np.sort(chosen)
        self._labels = {role: labels[rows] for role, rows in self.rows.items()}
        self._pools = {role: ImagePool([(images, rows)]) for role, rows in self.rows.items()}

    def auroc(self, encoder: torch.nn.Module, device: torch.device) -> float:
        """Return the validation AUROC of a probe on ``encoder``'s features, averaged over classes by their positives.

        The encoder computes in evaluation mode, and its modes are restored afterwards. A class is left out if it has fewer
        than two positive or two negative training images, or if all validation images have the same label. The AUROC is
        NaN if no class is left, or if a feature is not finite.
        """
        if not all(len(pool) for pool in self._pools.values()):
            return float("nan")
        modes = {module: module.training for module in encoder.modules()}
        try:
            features = {role: predict(encoder, pool, self.view, device) for role, pool in self._pools.items()}
        finally:
            for module, training in modes.items():
                module.training = training
        if not all(np.isfinite(values).all() for values in features.values()):
            return float("nan")
        scores = np.full(self._labels["validation"].shape, np.nan)
        for number, answers in enumerate(self._labels["train"].T):
            known = ~np.isnan(answers)
            if min((answers == 0).sum(), (answers == 1).sum()) >= 2:
                scores[:, number] = _scores(features["train"][known], answers[known], features["validation"])
        labels = np.where(np.isnan(scores), np.nan, self._labels["validation"])
        return average_auroc(labels, scores, "weighted")


def _scores(features: np.ndarray, answers: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the scores of ``others`` [m, width] by a classifier fitted to ``answers`` [n], which have each value twice."""
    # Imported here, because it takes a second and most trainings have no probe.
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegressionCV(
        Cs=PENALTIES,
        cv=min(FOLDS, int((answers == 0).sum()), int((answers == 1).sum())),
        scoring="neg_log_loss",
        max_iter=1000,
        l1_ratios=(0.0,),
        use_legacy_attributes=False,
    )
    classifier = make_pipeline(StandardScaler(), regression).fit(features.astype(np.float64), answers)
    return classifier.decision_function(others.astype(np.float64))
