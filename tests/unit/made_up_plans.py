"""Plans of configurations that a test writes itself, in a folder of its own."""

from __future__ import annotations

from pathlib import Path

from moco_transfer.plan import Job, count_images, planned_jobs, read_config

CONFIG = Path(__file__).parents[2] / "config"
PAPER = CONFIG / "config.yaml"


def written(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def paper_plan(*overlays: Path) -> tuple:
    config = read_config([PAPER, *overlays])
    images = count_images(config)
    return config, images, planned_jobs(config, images)


def job(jobs: list[Job], benchmark: str) -> Job:
    (found,) = [each for each in jobs if each.benchmark == benchmark]
    return found
