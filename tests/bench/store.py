"""The store: memory of packing many images, and random batches out of the array from the page cache."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure import Measure, best_seconds
from PIL import Image

from moco_transfer.training import images

FEW, MANY = 300, 3_000
STORED, SIZE, BATCH, BATCHES = 6_000, 256, 64, 50
PACK = """
import sys
import pandas as pd
from moco_transfer.config.datasets import Store
from moco_transfer.data.packing import pack_shard
index, root, out = sys.argv[1:]
pack_shard(pd.read_parquet(index), root, Store(size=256, fit="pad"), out, workers=2)
# Not ru_maxrss, which a process inherits from the one that starts it.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def measure() -> list[Measure]:
    """Return the peak memory of packing many images beside few, and the rate of random batches."""
    with tempfile.TemporaryDirectory() as folder:
        return [_memory(Path(folder)), *_batches(Path(folder))]


def _memory(folder: Path) -> Measure:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 300), dtype=np.uint8))
    image.save(folder / "image0.jpg", quality=80)
    contents = (folder / "image0.jpg").read_bytes()
    names = [f"image{number}" for number in range(MANY)]
    for name in names:
        (folder / f"{name}.jpg").write_bytes(contents)
    index = pd.DataFrame(dict.fromkeys(("image_id", "patient_id", "study_id"), names))
    index = index.assign(path=[f"{name}.jpg" for name in names], official_split=None, view=None, finding=0.0)
    peaks = {}
    for number in (FEW, MANY):
        index.head(number).to_parquet(folder / "index.parquet")
        command = [sys.executable, "-c", PACK, folder / "index.parquet", folder, folder / str(number)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[number] = int(run.stdout) / 1000
    return Measure(
        f"peak memory of packing {MANY:,} images beside {FEW}", peaks[MANY], peaks[FEW], "MB", goal=0.9
    )


def _batches(folder: Path) -> list[Measure]:
    """Return how fast a trainer gets its batches, as it gets them from a store that is too large for memory."""
    path = folder / "images.npy"
    generator = np.random.default_rng(0)
    stored = np.lib.format.open_memmap(path, "w+", np.uint8, (STORED, SIZE, SIZE))
    for start in range(0, STORED, 500):
        stored[start : start + 500] = generator.integers(0, 256, (500, SIZE, SIZE), dtype=np.uint8)
    chosen = [generator.choice(STORED, BATCH, replace=False) for _ in range(BATCHES)]
    images.IN_MEMORY_BYTES = 0
    pool = images.ImagePool([(path, np.arange(STORED))])
    plain = np.load(path, mmap_mode="r")

    def ours() -> None:
        for rows in chosen:
            pool.batch(rows)

    def reference() -> None:
        for rows in chosen:
            plain[rows]

    rates = [
        BATCHES * BATCH * SIZE**2 / seconds / 1e9 for seconds in best_seconds(ours, reference, repeats=10)
    ]
    name = f"random batches of {BATCH} from the page cache"
    return [
        Measure(f"{name}, beside the goal", rates[0], 5.0, "GB/s", goal=1, larger_is_better=True),
        Measure(f"{name}, beside array[rows]", *rates, "GB/s", goal=0.8, larger_is_better=True),
    ]
