"""The images of all other parts: phantom radiographs of chests, written as a release, and then indexed, packed and split."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from record import Part, Record
from scale import Files, scale_of

from moco_transfer.checksums import file_sha256
from moco_transfer.config import stages
from moco_transfer.config.datasets import Labels, Phantom, Split, Store
from moco_transfer.data.adapters import index
from moco_transfer.data.index import COLUMNS
from moco_transfer.data.packing import pack
from moco_transfer.data.split import split, subset
from moco_transfer.networks import build_network, save_encoder
from moco_transfer.phantom import phantom

SEED = 1


def run(part: Part, record: Record, work: Path, device: str) -> None:
    """Write the files of ``Files``."""
    start, scale, files = time.perf_counter(), scale_of(device), Files(work)
    workers = len(os.sched_getaffinity(0))
    # The shorter side of a film is about four fifths of the longer one.
    drawn = stages.WritePhantom(
        adapter="mimic_cxr_jpg",
        phantom=Phantom(images=scale.images, size=max(64, scale.stored * 5 // 4)),
        seed=SEED,
    )
    phantom(drawn, release=files.release, workers=workers)
    store = Store(size=scale.stored, fit="center_crop")
    files.store.mkdir()
    table = files.store / "index.parquet"
    index(
        stages.Index(adapter="mimic_cxr_jpg", labeler="chexpert", views=None, table=None, folders=None),
        root=files.release,
        index=table,
        reading=work / "reading.json",
        max_quarantined=0,
    )
    # One shard is the whole array. (Joining shards would record the versions of decoders that may not be here.)
    pack(
        stages.Pack(store=store, shard=1, shards=1),
        index=table,
        root=files.release,
        packed=files.store,
        max_quarantined=0,
        workers=workers,
    )
    manifest = json.dumps({"sha256": {"images.npy": file_sha256(files.images)}})
    (files.store / "manifest.json").write_text(manifest)
    split(
        stages.AssignSplits(
            split=Split(unit="patient", train=0.6, validation=0.2, test=0.2),
            fold=1,
            labels=Labels(uncertain="zero", unlabeled="zero"),
            seed=SEED,
        ),
        index=table,
        splits=files.splits,
        dataset="chest",
        scored="zero",
    )
    subset(
        stages.DrawSubset(uncertain="zero", percent="50", subset=1, sampling="nested", seed=SEED),
        index=table,
        splits=files.splits,
        subset=files.subset,
    )
    files.one_class.mkdir()
    os.link(files.images, files.one_class / "images.npy")
    (files.one_class / "manifest.json").write_text(manifest)
    rows = pd.read_parquet(table)
    one_hot = np.eye(3, dtype=np.float32)[np.arange(len(rows)) % 3]
    rows[list(COLUMNS)].assign(**dict(zip("abc", one_hot.T, strict=True))).to_parquet(
        files.one_class / "index.parquet"
    )
    for size in {scale.checked, scale.crop}:
        save_encoder(build_network(scale.encoder(size), SEED), files.encoder(size))
    part.measure(f"{len(rows)} phantoms of {scale.stored} pixels", seconds=time.perf_counter() - start)
