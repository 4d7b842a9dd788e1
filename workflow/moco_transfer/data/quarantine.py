"""The images of a dataset that cannot be used: listed with their reasons, and too many of them stop packing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from moco_transfer.atomic import write_csv
from moco_transfer.errors import UserError


def quarantine_of(index: pd.DataFrame, unreadable: dict[int, str]) -> pd.DataFrame:
    """Return image_id, path and reason of the images ``unreadable`` (row number in ``index``: reason)."""
    listed = index.iloc[list(unreadable)][["image_id", "path"]]
    return listed.assign(reason=list(unreadable.values()))


def stop_if_too_many(
    quarantine: pd.DataFrame, read: int, indexed: int, max_quarantined: float, folder: Path, remedy: str
) -> None:
    """Raise UserError if ``quarantine`` is more than the share ``max_quarantined`` of all ``indexed`` images.

    ``read`` is how many were tried so far, ``remedy`` what to do once the files are there. The list is left in
    ``folder``/unreadable.csv, a name that no rule declares and Snakemake therefore does not delete.
    """
    if len(quarantine) <= max_quarantined * indexed:
        return
    path = folder / "unreadable.csv"
    write_csv(quarantine, path)
    reasons = ", ".join(
        f"{reason} ({count})" for reason, count in Counter(quarantine["reason"]).most_common(3)
    )
    raise UserError(
        f"{len(quarantine)} of the {read} images read so far (of {indexed}) cannot be read, more than "
        f"store.max_quarantined = {max_quarantined:g} allows: {reasons}; listed in {path}. Complete the download or "
        f"correct the dataset's root, and {remedy}; or raise max_quarantined"
    )
