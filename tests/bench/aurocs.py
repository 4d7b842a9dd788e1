"""The bootstrap of a chest test set: 500 resamples of 75,000 images with 14 labels, against scikit-learn in a loop.

The reference scores a resample as one would by hand: the drawn rows of labels and scores, handed to ``roc_auc_score`` with
weighted average. It takes minutes, and every replicate costs it the same, so that two replicates are timed and multiplied.
Ours is timed in full, the drawing of the resamples included, and must give the reference's values. Its memory is that of a
process of its own, with the imports it needs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from measure import Measure, best_seconds
from sklearn.metrics import roc_auc_score

from moco_transfer.seeds import stream
from moco_transfer.statistics.bootstrap import bootstrap_auroc, resample_counts

IMAGES, CLASSES, REPLICATES, TIMED = 75_000, 14, 500, 2
# Not ru_maxrss, which a process inherits from the one that starts it.
ALONE = """
import aurocs
aurocs.bootstrap(*aurocs.test_set())
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def measure() -> list[Measure]:
    """Return seconds of both ways, and gigabytes beside their limit."""
    images, labels, scores = test_set()
    counts = resample_counts(images, REPLICATES, 0, "bench")

    def reference() -> list[float]:
        rows = (np.repeat(np.arange(IMAGES), drawn) for drawn in counts.T[:TIMED])
        return [roc_auc_score(labels[drawn], scores[drawn], average="weighted") for drawn in rows]

    # Compiles as well, before anything is timed.
    ours = bootstrap(images, labels, scores)
    if not np.allclose(ours[:TIMED], reference(), rtol=1e-10, atol=0):
        raise RuntimeError("the two ways give different AUROCs")
    seconds, of_timed = best_seconds(lambda: bootstrap(images, labels, scores), reference, repeats=3)
    name = f"bootstrap {REPLICATES} x {IMAGES:,} images x {CLASSES} labels"
    return [
        Measure(
            f"{name} ({TIMED} of the reference's, scaled)", seconds, of_timed * REPLICATES / TIMED, "s", 80
        ),
        Measure(f"{name}, peak memory", _peak_gigabytes(), 1.5, "GB", 1),
    ]


def test_set() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return made-up image ids [n], labels [n, 14] of 1 to 35% positives, and scores [n, 14] of AUROCs about 0.76."""
    draw = stream(0, "bench", "aurocs")
    images = np.array([f"{number:08x}" for number in range(IMAGES)])
    labels = (draw.random((IMAGES, CLASSES)) < np.linspace(0.01, 0.35, CLASSES)).astype(np.float32)
    return images, labels, (draw.normal(size=labels.shape) + labels).astype(np.float32)


def bootstrap(images: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the replicates: [500]."""
    counts = resample_counts(images, REPLICATES, 0, "bench")
    return bootstrap_auroc(labels, scores[None], counts, "weighted")


def _peak_gigabytes() -> float:
    run = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(run.stdout) * 1024 / 1e9
