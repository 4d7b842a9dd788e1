"""How long the networks will compute: passes of images over passes a second, given by the user or measured in this run.

A backward pass costs two forward ones, so that an image trained counts three passes and one embedded counts one.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moco_transfer.config import Config
from moco_transfer.errors import UserError
from moco_transfer.plan.jobs import Job

PASSES_OF_TRAINING = 3


@dataclass(frozen=True)
class Speed:
    """Passes a second on one device, in words where they come from; ``by_rule`` where that is known."""

    overall: float
    by_rule: Mapping[str, float]
    basis: str

    def hours(self, job: Job) -> float:
        """Return the hours that one device needs for ``job``."""
        return passes(job) / self.by_rule.get(job.rule, self.overall) / 3600


def passes(job: Job) -> int:
    """Return the forward passes that cost as much as the images of ``job``."""
    return PASSES_OF_TRAINING * job.trained + job.forward


def given_speed(images_per_second: float) -> Speed:
    """Return the speed of so many images trained a second; raises UserError for none or fewer."""
    if not images_per_second > 0:
        raise UserError(f"IMAGES_PER_SECOND: a number above 0 was expected, found {images_per_second:g}")
    return Speed(PASSES_OF_TRAINING * images_per_second, {}, f"{images_per_second:g} images/s, as given")


def measured_speed(config: Config, jobs: Sequence[Job]) -> Speed | None:
    """Return the speed of this run's finished jobs by their benchmarks, start-up included, or None without any.

    Left out are jobs that went on after an interruption: their benchmark times the last attempt alone. Raises UserError
    for a benchmark that cannot be read.
    """
    run = Path("results", config.run)
    work: dict[str, list[float]] = {}
    files = 0
    for job in jobs:
        benchmark = run / "benchmarks" / f"{job.benchmark}.tsv"
        if not job.benchmark or not passes(job) or not benchmark.is_file():
            continue
        if _tells_no_speed(run / "logs" / f"{job.benchmark}.log"):
            continue
        seconds = _seconds(benchmark) * devices(config, job)
        done = work.setdefault(job.rule, [0.0, 0.0])
        done[0], done[1] = done[0] + passes(job), done[1] + seconds
        files += 1
    if not files:
        return None
    by_rule = {rule: done / seconds for rule, (done, seconds) in work.items()}
    overall = sum(done for done, _ in work.values()) / sum(seconds for _, seconds in work.values())
    where = f"{files} benchmark{'s' if files > 1 else ''} of finished jobs in {run}/benchmarks"
    return Speed(overall, by_rule, f"{overall / PASSES_OF_TRAINING:.3g} images/s, by {where}")


def devices(config: Config, job: Job) -> int:
    """Return how many devices compute one job."""
    return config.pretraining.ranks if job.rule.startswith("pretrain") else 1


def _tells_no_speed(log: Path) -> bool:
    """Return whether its job trained a part alone, or nothing: it went on from a state, or another had trained for it."""
    if not log.is_file():
        return False
    words = log.read_text(encoding="utf-8", errors="replace")
    return "(attempt " in words or "nothing to do" in words


def _seconds(benchmark: Path) -> float:
    try:
        with benchmark.open(newline="", encoding="utf-8") as file:
            seconds = float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except (StopIteration, KeyError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise UserError(f"{benchmark}: its seconds in column 's' cannot be read; delete it and plan again")
    return seconds
