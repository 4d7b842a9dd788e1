"""The bootstrap of 500 resamples of 75,000 images with 14 labels, against scikit-learn in a loop.

The reference passes the drawn rows of labels and scores to ``roc_auc_score`` with weighted average. That
takes minutes, and each replicate takes equally long, so two replicates are timed and the time is multiplied.
Ours is timed in full, including the drawing of the resamples, and must give the reference's values. Its
memory is measured in a process of its own, imports included.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from measure import Measure, best_seconds, peak_of
from sklearn.metrics import roc_auc_score

from moco_transfer.seeds import stream
from moco_transfer.statistics.bootstrap import bootstrap_auroc, resample_counts

IMAGES, CLASSES, REPLICATES, TIMED = 75_000, 14, 500, 2


def measure() -> list[Measure]:
    """Return the seconds of both ways, and our gigabytes with their limit."""
    images, labels, scores = test_set()
    counts = resample_counts(images, REPLICATES, 0, "bench")

    def reference() -> list[float]:
        rows = (np.repeat(np.arange(IMAGES), drawn) for drawn in counts.T[:TIMED])
        return [roc_auc_score(labels[drawn], scores[drawn], average="weighted") for drawn in rows]

    # This also compiles, before anything is timed.
    ours = bootstrap(images, labels, scores)
    if not np.allclose(ours[:TIMED], reference(), rtol=1e-10, atol=0):
        raise RuntimeError("the two ways give different AUROCs")
    seconds, of_timed = best_seconds(lambda: bootstrap(images, labels, scores), reference, repeats=3)
    name = f"bootstrap {REPLICATES} x {IMAGES:,} images x {CLASSES} labels"
    whole = of_timed * REPLICATES / TIMED
    peak = peak_of("import aurocs; aurocs.bootstrap(*aurocs.test_set())", cwd=Path(__file__).parent)
    return [
        Measure(f"{name} ({TIMED} of the reference's, scaled)", seconds, whole, "s", 80),
        Measure(f"{name}, peak memory", peak / 1e9, 1.5, "GB", 1),
    ]


def test_set() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image ids [n], labels [n, 14] with 1 to 35% positives, and scores [n, 14] of AUROC 0.76."""
    draw = stream(0, "bench", "aurocs")
    images = np.array([f"{number:08x}" for number in range(IMAGES)])
    labels = (draw.random((IMAGES, CLASSES)) < np.linspace(0.01, 0.35, CLASSES)).astype(np.float32)
    return images, labels, (draw.normal(size=labels.shape) + labels).astype(np.float32)


def bootstrap(images: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the replicates: [500]."""
    counts = resample_counts(images, REPLICATES, 0, "bench")
    return bootstrap_auroc(labels, scores[None], counts, "weighted")
