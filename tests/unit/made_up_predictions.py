"""Made-up predictions of a small target, quick to write, and made-up AUROCs as evidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.statistics.evidence import EstimateKey, Evidence
from moco_transfer.statistics.predictions import PredictionsFile

SOURCES = {"none": 0.4, "spine": 1.0, "chest": 0.7, "spine+chest": 0.7, "limited": 0.5}
CLASSES = ["effusion", "edema"]
IMAGES = 120  # of each split


def write_predictions(
    folder: Path,
    percents: tuple[str, ...] = ("1", "10"),
    sources: tuple[str, ...] = tuple(SOURCES),
    n_subsets: int = 3,
    budgets: tuple[int, ...] = (25, 50),
) -> list[PredictionsFile]:
    """Write predictions with the signal strengths ``SOURCES``, and return the files."""
    generator = np.random.default_rng(0)
    labels = (generator.random((2 * IMAGES, 2)) < [0.3, 0.5]).astype(np.float32)
    shared = generator.normal(size=labels.shape)
    labels[::17, 0] = np.nan
    files = []
    for mode in ("linear", "end_to_end"):
        for percent in percents:
            for source in sources:
                if (source, mode) == ("limited", "end_to_end"):
                    continue
                for subset in range(1, n_subsets + 1):
                    parts = []
                    for epochs in budgets if mode == "end_to_end" else (100,):
                        noise = shared + 0.5 * generator.normal(size=labels.shape)
                        logits = np.nan_to_num(labels) * SOURCES[source] + noise
                        parts.append(_frame(epochs, labels, logits))
                    path = folder / mode / percent / source / f"subset{subset}.parquet"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    pd.concat(parts).to_parquet(path, index=False)
                    files.append(PredictionsFile(source, mode, percent, subset, 1, 1, path))
    return files


def published_predictions(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return bool labels [n, 14], 0.5 to 40% of them true, and float32 scores [n, 14] of three decimals."""
    generator = np.random.default_rng(14)
    labels = generator.random((n, 14)) < np.geomspace(0.005, 0.4, 14)
    logits = generator.normal(size=labels.shape) + labels * np.linspace(0.2, 2, 14) - 2
    return labels, np.round(1 / (1 + np.exp(-logits)), 3).astype(np.float32)


def independent_aurocs(aurocs: dict[tuple, list[float]], variance: float) -> Evidence:
    """Return AUROCs by subset of each (target, source, mode, percent) as evidence with independent errors."""
    cells = {EstimateKey(*names): by_subset for names, by_subset in aurocs.items()}
    return Evidence(
        {cell: float(np.mean(by_subset)) for cell, by_subset in cells.items()},
        {(cell, cell): variance for cell in cells},
        {cell: dict(enumerate(by_subset, 1)) for cell, by_subset in cells.items()},
    )


def rewrite(path: Path, change) -> None:
    """Replace the frame in ``path`` by ``change(frame)``."""
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def _frame(epochs: int, labels: np.ndarray, logits: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame({"split": np.repeat(["validation", "test"], IMAGES), "epochs": epochs})
    frame["image_id"] = [f"i{k:04d}" for k in range(2 * IMAGES)]
    frame["patient_id"] = [f"p{k // 3:04d}" for k in range(2 * IMAGES)]
    for k, name in enumerate(CLASSES):
        frame[f"label_{name}"] = labels[:, k]
        frame[f"logit_{name}"] = logits[:, k].astype(np.float32)
    return frame
