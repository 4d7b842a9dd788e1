"""Choose what a run does with the images that were found: splits, percentages, size and epochs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moco_transfer.config.composition import composed
from moco_transfer.config.datasets import Labels, Split
from moco_transfer.config.experiment import Config, check
from moco_transfer.costs import TRAINING_PASSES
from moco_transfer.data.counts import subset_size
from moco_transfer.data.labels import SPLITS, label_columns
from moco_transfer.data.split import UNIT_COLUMNS, assign_splits, check_classes
from moco_transfer.errors import UserError
from moco_transfer.image_counts import Images
from moco_transfer.new.look import Notes
from moco_transfer.new.understand import Understanding
from moco_transfer.plan import planned_jobs

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
LEAST_LABELLED, LEAST_LIMITED = 8, 30
PERCENTS = ("0.01", "0.1", "1", "10", "100")
# With fewer than three of those, these are tried.
OTHER_PERCENTS = ("30", "50")
# Images that one core trains on per second: EfficientNet-Lite0 at 96 pixels, from config/size/cpu.yaml.
SPEED = 65
MEMORY_MB = 3000  # of a training, from the same file
SECONDS_PER_JOB = 8  # to start Python and read the data
MOST_HOURS = 3
# Epochs of MoCo and budgets of end-to-end training, from thorough to quick, for a run on CPUs. With a dozen labelled images, an epoch is
# one step, so few epochs say nothing of end-to-end training.
EFFORTS = (
    (100, [10, 30, 100]), (100, [10, 30]), (40, [10, 30]), (20, [5, 15]), (10, [5, 10]), (5, [3, 6]), (3, [2, 4]), (2, [1, 2]), (1, [1]),
)  # fmt: skip
GPU_FOR_PAPER, IMAGES_FOR_PAPER = 16_000, 2_000
LEAST_IMAGES, LEAST_POSITIVES = 40, 5
# With fewer patients (or images) for testing, each is tested in one of the folds, if there is time for this many epochs of MoCo in each.
LEAST_TESTED, FOLDS, LEAST_EPOCHS = 100, 5, 10
# Where Linux says how much of the machine a container may use (version 2 and 1 of control groups).
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Machine:
    """``cores`` this process may use, and memory in MB; ``gpu_mb`` is that of the largest GPU, 0 if there is none."""

    cores: int
    memory_mb: int
    gpu_mb: int = 0


@dataclass(frozen=True)
class Choice:
    """What was chosen; ``sides`` is the split of each image, and ``labelled`` the images at each percentage, in fold 1.

    ``epochs`` and ``budgets`` are null if those of the size are used, and so is ``hours``, because nobody knows the GPU's speed.
    """

    size: str
    split: dict[str, Any]
    split_reason: str
    sides: pd.Series
    percents: list[str]
    limited: list[str]
    labelled: dict[str, int]
    several: bool  # images per patient
    shards: int
    threads: int
    epochs: int | None = None
    budgets: list[int] | None = None
    hours: float | None = None
    n_subsets: int = 3
    folds: int = 1


def choose(
    index: pd.DataFrame, understood: Understanding, machine: Machine, seed: int, notes: Notes
) -> Choice:
    """Return the choices for the images in ``index``. What is not enough to learn from is noted, not refused.

    Raises UserError if there are too few images or patients for three splits.
    """
    several = bool(index["patient_id"].duplicated().any())
    split, reason, sides = _split(index, understood, several, seed, notes)
    train = int((sides == "train").sum())
    percents = _percents(index, sides, understood.multiclass)
    labelled = {percent: subset_size(percent, train) for percent in percents}
    folds = _folds(index, understood, split, sides, seed)
    _warn_of_few(index, (sides.notna() if folds > 1 else sides == "test").to_numpy(), understood, notes)
    size = "cpu"
    if machine.gpu_mb:
        large = machine.gpu_mb >= GPU_FOR_PAPER and len(index) >= IMAGES_FOR_PAPER
        size = "paper" if large else "small-gpu"
    return Choice(
        size,
        split,
        reason,
        sides,
        percents,
        [each for each in percents if each != "100" and labelled[each] >= LEAST_LIMITED],
        labelled,
        several,
        max(1, min(64, -(-len(index) // 5000))),
        _threads(machine),
        folds=folds,
    )


def _threads(machine: Machine) -> int:
    """Return the threads of a training, so that two run side by side if the memory allows it."""
    side_by_side = max(1, min(2, machine.memory_mb // MEMORY_MB))
    return max(1, min(8, machine.cores // side_by_side))


def _split(
    index: pd.DataFrame, understood: Understanding, several: bool, seed: int, notes: Notes
) -> tuple[dict[str, Any], str, pd.Series]:
    """Return the section ``split``, its reason, and the split of each image that it gives."""
    labels = _labels(understood)
    unit = "patient" if understood.has_patients else "image"
    shared = {"unit": unit, **SHARES}
    who = "no patient is in two of them" if understood.has_patients else "nobody knows the patients"
    options = [(shared, f"shares of the {unit}s; {who}")]
    official = set(index["official_split"].dropna())
    if {"train", "test"} <= official and index["official_split"].notna().all():
        own = {"train": 1.0, "validation": "official", "test": "official"}
        if "validation" not in official:
            own = {"train": 0.8, "validation": 0.2, "test": "official"}
        reason = (
            "the data's own splits"
            if "validation" in official
            else "the data's own test images; shares of the others"
        )
        options.insert(0, ({"unit": unit, **own}, reason))
    for number, (split, reason) in enumerate(options):
        try:
            sides = assign_splits(index, Split(**split), labels, seed)["split"]
            if understood.has_labels:
                check_classes("config", index, sides, "zero")
            return split, reason, sides
        except UserError as error:
            if number < len(options) - 1:
                notes.check.append(
                    f"the data's own splits are not used: {_reason(error).partition(', so ')[0]}"
                )
                continue
            sides = assign_splits(index, Split(**split), labels, seed)[
                "split"
            ]  # raises if there are too few units
            notes.check.append(f"this cannot run yet: {_reason(error)}")
            return split, reason, sides
    raise AssertionError


def _labels(understood: Understanding) -> Labels:
    return Labels(uncertain="zero", unlabeled=understood.unlabeled if understood.has_labels else "zero")


def _folds(
    index: pd.DataFrame, understood: Understanding, split: dict[str, Any], sides: pd.Series, seed: int
) -> int:
    """Return how many folds test every image: one if the split tests enough, or if folds are impossible."""
    tested = index.loc[(sides == "test").to_numpy(), UNIT_COLUMNS[split["unit"]]].nunique()
    if split["test"] == "official" or tested >= LEAST_TESTED:
        return 1
    folded = Split(**split, folds=FOLDS)
    try:
        for fold in range(1, FOLDS + 1):
            each = assign_splits(index, folded, _labels(understood), seed, fold)["split"]
            if understood.has_labels:
                check_classes("config", index, each, "zero")
    except UserError:
        return 1
    return FOLDS


def _reason(error: UserError) -> str:
    return str(error).removeprefix("config: ")


def _percents(index: pd.DataFrame, sides: pd.Series, multiclass: bool) -> list[str]:
    """Return up to three percentages that label at least 8 images, and on average two of each class."""
    train = index[(sides == "train").to_numpy()]
    values = train[label_columns(train.columns)].to_numpy() == 1
    positive = values.mean(axis=0) if len(train) else np.zeros(1)
    rarer = np.minimum(positive, 1 - positive)
    # One of many: the rarest class. Several labels: the most balanced one, since a rare finding may need thousands.
    share = (positive.min() if multiclass else rarer.max()) or 1
    needed = max(LEAST_LABELLED, min(2 / share, len(train) / 4))
    fitting = [each for each in PERCENTS if float(each) / 100 * len(train) >= needed][-3:] or ["100"]
    others = [each for each in OTHER_PERCENTS if float(each) / 100 * len(train) >= needed][: 3 - len(fitting)]
    return sorted({*fitting, *others}, key=float)


def _warn_of_few(index: pd.DataFrame, tested: np.ndarray, understood: Understanding, notes: Notes) -> None:
    """Note what cannot be learned or measured with so few images; ``tested`` says which are test images, in any fold."""
    if len(index) < LEAST_IMAGES:
        notes.check.append(
            f"{len(index)} images are too few: differences between networks will be noise; expect to need hundreds"
        )
    if not understood.has_labels:
        return
    test = index[tested]
    names = label_columns(index.columns)
    few = [name for name in names if min((test[name] == 1).sum(), (test[name] == 0).sum()) < LEAST_POSITIVES]
    if few:
        notes.check.append(
            f"labels with fewer than {LEAST_POSITIVES} positive or negative test images, whose AUROC says little: {len(few)} of "
            f"{len(names)} ({', '.join(few[:5])}{', ...' if len(few) > 5 else ''})"
        )


def that_fits(
    choice: Choice, raw_of: Callable[[Choice], dict[str, Any]], name: str, machine: Machine
) -> Choice:
    """Return ``choice`` with the epochs that this machine has time for, and without folds if those would be too few."""
    fitted = with_effort(raw_of(choice), name, choice, machine)
    if choice.folds == 1 or fitted.epochs is None or fitted.epochs >= LEAST_EPOCHS:
        return fitted
    reason = f"{choice.split_reason}; folds: {choice.folds} would test every image, but takes too long here"
    once = replace(choice, folds=1, split_reason=reason)
    return with_effort(raw_of(once), name, once, machine)


def with_effort(raw: dict[str, Any], name: str, choice: Choice, machine: Machine) -> Choice:
    """Return ``choice`` with the epochs that a run on this machine's CPUs has time for; ``raw`` is the configuration without them."""
    if choice.size != "cpu":
        return choice
    for n_subsets in (3, 2):
        for epochs, budgets in EFFORTS:
            trial = replace(choice, epochs=epochs, budgets=budgets, n_subsets=n_subsets)
            hours = _hours(check(composed(raw | effort(raw, trial))), name, trial, machine)
            if hours <= MOST_HOURS:
                return replace(trial, hours=hours)
    return replace(trial, hours=hours)


def effort(raw: dict[str, Any], choice: Choice) -> dict[str, Any]:
    """Return the sections that say how long is trained; empty if those of the size are used."""
    if choice.epochs is None:
        return {}
    return {
        "n_subsets": choice.n_subsets,
        "pretraining": {"schedules": {"default": {"epochs": choice.epochs}}},
        "finetune": raw["finetune"] | {"end_to_end": {"budgets": choice.budgets}},
        "resources": {"threads": choice.threads},
    }


def _hours(config: Config, name: str, choice: Choice, machine: Machine) -> float:
    images = {
        name: Images(Counter({side: int((choice.sides == side).sum()) for side in SPLITS}), "the table")
    }
    jobs = planned_jobs(config, images)
    trained = sum(job.trained + job.forward / TRAINING_PASSES for job in jobs)
    side_by_side = max(1, machine.cores // choice.threads)
    longest = max(job.trained + job.forward / TRAINING_PASSES for job in jobs) / (SPEED * choice.threads)
    started = len(jobs) * SECONDS_PER_JOB / side_by_side
    return max(trained / (SPEED * machine.cores) + started, longest) / 3600


def this_machine() -> Machine:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = CPU_LIMIT.read_text().split()
        cores = max(1, min(cores, int(quota) // int(period)))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in MEMORY_LIMITS:
        with suppress(OSError, ValueError):
            memory = min(memory, int(limit.read_text()))
    return Machine(cores, memory // 2**20, _gpu_memory())


def _gpu_memory() -> int:
    """Return the memory of the largest NVIDIA GPU in MB, or 0."""
    if not shutil.which("nvidia-smi"):
        return 0
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return max((int(line) for line in told.split() if line.isdigit()), default=0)
