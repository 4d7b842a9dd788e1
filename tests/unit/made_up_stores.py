"""Stores of random images with their splits and labelled subsets, as the stages read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.checksums import file_sha256


def write_store(
    folder: Path,
    shape: tuple[int, ...],
    labels: Mapping[str, Sequence[float]] | None = None,
    splits: tuple[int, int, int] | None = None,
    seed: int = 0,
) -> Path:
    """Write a store of random images of ``shape`` and return its folder.

    Parameters
    ----------
    labels : values by class
    splits : numbers of images that train, validate and test, in the order of rows, for ``splits.parquet`` beside the
        images; by default all train
    """
    folder.mkdir(parents=True)
    n = shape[0]
    images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    np.save(folder / "images.npy", images)
    write_manifest(folder)
    names = [f"i{row}" for row in range(n)]
    nothing = pd.Series([None] * n, dtype="str")
    index = pd.DataFrame({"image_id": names, "patient_id": names, "study_id": names, "path": names})
    index = index.assign(official_split=nothing, view=nothing)
    for name, values in (labels or {}).items():
        index[name] = np.asarray(values, np.float32)
    index.to_parquet(folder / "index.parquet")
    roles = np.repeat(["train", "validation", "test"], splits or (n, 0, 0))
    pd.DataFrame({"image_id": names, "patient_id": names, "split": roles}).to_parquet(
        folder / "splits.parquet"
    )
    return folder


def write_manifest(folder: Path) -> None:
    """Write the part of a store's manifest that trainings read."""
    manifest = {"sha256": {"images.npy": file_sha256(folder / "images.npy")}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def write_subset(path: Path, rows: Sequence[int]) -> Path:
    """Write a labelled subset and return its path."""
    pd.DataFrame({"image_id": [f"i{row}" for row in rows], "row": np.asarray(rows)}).to_parquet(path)
    return path


def made_up_labels(n: int, classes: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return float32 [n] of 0 and 1 by class; of several classes, a tenth are uncertain (-1)."""
    random = np.random.default_rng(seed)
    labels = (random.random((n, classes)) < 0.4).astype(np.float32)
    if classes > 1:
        labels[random.random((n, classes)) < 0.1] = -1
    return {f"class{number}": values for number, values in enumerate(labels.T)}
