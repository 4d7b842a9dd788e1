"""The plan as text: the datasets, the work by stage, the disk, and what each number rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moco_transfer.config import Config
from moco_transfer.plan.hours import Speed
from moco_transfer.plan.images import Images
from moco_transfer.plan.jobs import RESULTS, Job

STAGES = {
    "phantom releases": ("phantom",),
    "index": ("index",),
    "pack": ("pack_shard", "pack"),
    "splits and subsets": ("split", "subset", "size_sample", "extra_subsets"),
    "initial weights": ("fetch_weights", "train_weights"),
    "pretraining": ("pretrain", "pretrain_size"),
    "pretraining on the labelled images": ("pretrain_limited",),
    "embedding": ("embed", "embed_limited"),
    "linear heads": ("linear", "linear_subsets"),
    "end to end": ("end_to_end",),
    "evaluation": ("select_budgets", "evaluate"),
    "similarity": ("activations", "compare_datasets", "compare_networks"),
    "figures, tables, cards": (RESULTS,),
}
DISK = {
    "images": "packed images",
    "shards": "shards, until joined",
    "features": "features",
    "encoders": "encoders",
    "predictions": "predictions, about",
}


def plan_text(
    config: Config,
    images: Mapping[str, Images],
    jobs: Sequence[Job],
    disk: Mapping[str, int | None],
    speed: Speed | None,
) -> str:
    """Return the whole plan; '~' marks counts that the splits and subsets will change a little."""
    parts = [
        f"Plan of results/{config.run}/, from nothing: what is done already is counted too.",
        _datasets(images),
        _work(config, jobs, speed),
        _disk(config, disk),
    ]
    return "\n\n".join(parts) + "\n"


def _datasets(images: Mapping[str, Images]) -> str:
    rows = [["dataset", "images", "train", "validation", "test", "counted from"]]
    for name, found in images.items():
        mark = "" if found.exact else "~"
        sides = [f"{mark}{found.sides[side]:,}" for side in ("train", "validation", "test")]
        rows.append([name, f"{found.stored:,}", *sides, found.basis])
    return _aligned(rows, numbers=range(1, 5))


def _work(config: Config, jobs: Sequence[Job], speed: Speed | None) -> str:
    unit = "GPU-hours" if config.device == "cuda" else "hours"
    rows = [["stage", "jobs", "steps", "images trained", "forward only", unit]]
    for stage, rules in STAGES.items():
        found = [job for job in jobs if job.rule in rules]
        if found:
            rows.append([stage, *_sums(found, speed)])
    rows.append(["total", *_sums(jobs, speed)])
    notes = [
        "Trained: forward and backward. Forward only: keys of MoCo, probes, predictions, features. Heads train on features.",
        f"Speed: {_basis(config, speed)}",
    ]
    return "\n".join([_aligned(rows, numbers=range(1, 6)), *notes])


def _sums(jobs: Sequence[Job], speed: Speed | None) -> list[str]:
    sums = [sum(getattr(job, kind) for job in jobs) for kind in ("steps", "trained", "forward")]
    hours = sum(speed.hours(job) for job in jobs) if speed else 0.0
    return [
        f"{len(jobs):,}",
        *(f"{value:,}" if value else "" for value in sums),
        f"{hours:,.2f}" if hours else "",
    ]


def _basis(config: Config, speed: Speed | None) -> str:
    if speed is None:
        return (
            f"not known, as results/{config.run}/benchmarks has no finished training. Give what the log of "
            "an end-to-end training says: make plan IMAGES_PER_SECOND=..."
        )
    return f"{speed.basis}; an image trained costs three passes, one that only passes forward one."


def _disk(config: Config, disk: Mapping[str, int | None]) -> str:
    known = {DISK[name]: size for name, size in disk.items() if size is not None}
    known["total, at most"] = sum(known.values())
    unit, size_of_one = ("GB", 1e9) if known["total, at most"] >= 1e9 else ("MB", 1e6)
    rows = [["disk", unit], *([name, f"{size / size_of_one:,.2f}"] for name, size in known.items())]
    notes = ["Releases, states of unfinished trainings, logs, figures and tables come on top."]
    left_out = " and ".join(DISK[name] for name, size in disk.items() if size is None)
    if left_out:
        notes.insert(0, f"Not known before {config.model.name} is built, and not counted: {left_out}.")
    return "\n".join([_aligned(rows, numbers=[1]), *notes])


def _aligned(rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    """Return ``rows`` as lines of columns, those in ``numbers`` set to the right, with a rule under the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
