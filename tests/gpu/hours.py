"""How many GPU-hours the paper's whole grid takes at the speed of the part ``speed``.

The jobs and their steps are those of ``make plan``. A step costs what a step of the next larger measured batch costs, so small
batches are overestimated; predictions and features cost what predictions cost. Left out are start-ups, the probes during MoCo,
and waiting for the disk.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from record import Part, Record
from scale import paper, scale_of

from moco_transfer.image_counts import count_images
from moco_transfer.plan import Job, planned_jobs

GOAL = 40.0
KINDS = {
    "pretrain": "MoCo",
    "pretrain_subset": "MoCo",
    "end_to_end": "end to end",
    "end_to_end_kept": "end to end",
}
NAME = re.compile(r"(.*), batch (\d+), (\w+)")


def run(part: Part, record: Record, work: Path, device: str) -> None:
    """Add up the hours. Raises RuntimeError if the part ``speed`` has not measured enough."""
    seconds, forward = _measured(record.part("speed")["measures"], scale_of(device).precisions[0])
    config = paper()
    hours: dict[str, float] = defaultdict(float)
    steps: dict[str, int] = defaultdict(int)
    for job in planned_jobs(config, count_images(config)):
        if job.rule in KINDS or job.forward:
            hours[job.rule] += _seconds(job, seconds, forward) / 3600
            steps[job.rule] += job.steps
    for rule, spent in hours.items():
        part.measure(rule, steps=steps[rule], hours=spent)
    total = sum(hours.values())
    part.measure("the paper's grid", steps=sum(steps.values()), hours=total)
    if device == "cuda":
        part.check("GPU-hours of the paper's grid", total, GOAL)


def _measured(rows: list[dict[str, Any]], precision: str) -> tuple[dict[tuple[str, int], float], float]:
    """Return seconds per step by kind and batch, and predicted images per second."""
    seconds, forward = {}, None
    for row in rows:
        found = NAME.fullmatch(row["what"])
        if found and found.group(3) == precision:
            seconds[found.group(1), int(found.group(2))] = row["ms"] / 1000
        if row["what"].startswith("predictions"):
            forward = row["images/s"]
    if forward is None or not {kind for kind, _ in seconds} >= set(KINDS.values()):
        raise RuntimeError("the part 'speed' has not measured MoCo, end to end and predictions")
    return seconds, forward


def _seconds(job: Job, seconds: dict[tuple[str, int], float], forward: float) -> float:
    kind = KINDS.get(job.rule)
    if kind is None:
        return job.forward / forward
    batch = -(-job.trained // job.steps)
    batches = sorted(measured for of, measured in seconds if of == kind)
    step = seconds[kind, next((each for each in batches if each >= batch), batches[-1])]
    # The keys of MoCo, which only pass forward, are in its steps.
    return job.steps * step + (0 if kind == "MoCo" else job.forward / forward)
