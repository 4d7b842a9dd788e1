"""The stage before all others: what a run will cost."""

from __future__ import annotations

from pathlib import Path


def plan(*, config: list[Path], images_per_second: float | None = None) -> None:
    """Print jobs, steps, images, disk and hours of a run before anything is computed."""
    from moco_transfer.plan.configuration import read_config
    from moco_transfer.plan.disk import disk_bytes
    from moco_transfer.plan.hours import given_speed, measured_speed
    from moco_transfer.plan.images import count_images
    from moco_transfer.plan.jobs import planned_jobs
    from moco_transfer.plan.report import plan_text

    settings = read_config(config)
    images = count_images(settings)
    jobs = planned_jobs(settings, images)
    given = None if images_per_second is None else given_speed(images_per_second)
    speed = given or measured_speed(settings, jobs)
    print(plan_text(settings, images, jobs, disk_bytes(settings, images, jobs), speed), end="")
