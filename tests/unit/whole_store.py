"""A store in one call: what the workflow does in a job for each shard and one that joins them."""

import shutil
from pathlib import Path

import pandas as pd

from moco_transfer.config import Store
from moco_transfer.data.packing import pack_shard
from moco_transfer.data.store import join


def pack(index: pd.DataFrame, root: Path, settings: Store, out: Path, workers: int = 1) -> None:
    """Pack all shards of ``index`` one after another and join them in ``out``; ``out``/shards goes when all is well."""
    folders = [out / "shards" / str(shard) for shard in range(1, settings.shards + 1)]
    for shard, folder in enumerate(folders, start=1):
        pack_shard(index, root, settings, folder, shard, settings.shards, workers)
    join(index, folders, settings, out)
    shutil.rmtree(out / "shards")
