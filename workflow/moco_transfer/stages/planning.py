"""The stage before all others: what a run will cost."""

from __future__ import annotations

from pathlib import Path


def plan(*, config: list[Path], images_per_second: float | None = None) -> None:
    """Print jobs, steps, images, disk and hours of a run before anything is computed."""
    from moco_transfer.plan import (
        count_images,
        disk_bytes,
        given_speed,
        measured_speed,
        plan_text,
        planned_jobs,
        read_config,
    )

    settings = read_config(config)
    images = count_images(settings)
    jobs = planned_jobs(settings, images)
    given = None if images_per_second is None else given_speed(images_per_second)
    speed = given or measured_speed(settings, jobs)
    print(plan_text(settings, images, jobs, disk_bytes(settings, images, jobs), speed), end="")
