"""The stage before all others: what a run will cost."""

from __future__ import annotations

from pathlib import Path


def plan(*, config: list[Path], images_per_second: float | None = None) -> None:
    """Print jobs, steps, images, disk and hours of a run before anything is computed."""
    from moco_transfer import plan as planning

    planning.plan(config=config, images_per_second=images_per_second)
