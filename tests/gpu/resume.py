"""A training that is killed and resumed ends in the same bytes as one that is not, on a GPU too.

MoCo and end to end run as Snakemake starts them, in both precisions, with a state after every step: once undisturbed; and once killed
(kill -9) after some states, stopped by SIGTERM after some more, and then run to the end. All their outputs must be equal.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from record import Part, Record
from scale import PRECISIONS, Files, Scale, end_to_end_settings, moco_settings, scale_of

from moco_transfer.config import Section

BATCH, EPOCHS = 16, 4
KILLED_AFTER, STOPPED_AFTER = 3, 3  # states
STAGE = """
import sys
from moco_transfer.cli import main
from moco_transfer.training import checkpoint
checkpoint.SECONDS_BETWEEN_SAVES = 0
sys.exit(main())
"""


class Job(NamedTuple):
    """One training: its stage, settings, inputs, and the names of its outputs."""

    stage: str
    settings: Section
    inputs: dict[str, Path]
    outputs: tuple[str, ...]

    def start(self, folder: Path, device: str) -> subprocess.Popen:
        """Start the training in a process of its own, as Snakemake does: what it declares is deleted first."""
        folder.mkdir(parents=True, exist_ok=True)
        files = dict(self.inputs)
        for name in self.outputs:
            (folder / name).unlink(missing_ok=True)
            files[name.split(".")[0]] = folder / name
        arguments = ["--settings", self.settings.model_dump_json(), "--device", device]
        arguments += [text for name, path in files.items() for text in (f"--{name}", str(path))]
        return subprocess.Popen(
            [sys.executable, "-c", STAGE, self.stage, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, folder: Path, device: str) -> dict[str, bytes]:
        """Run the training to its end, and return the bytes of its outputs."""
        process = self.start(folder, device)
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{self.stage}: exit status {process.returncode}: {errors[-500:]}")
        return {name: (folder / name).read_bytes() for name in self.outputs}

    def stop(self, folder: Path, device: str, how: signal.Signals, states: int) -> None:
        """Start the training, and send it the signal ``how`` after it has written ``states`` states."""
        process, state = self.start(folder, device), folder / "state" / "checkpoint.pt"
        seen = _written(state)
        while states and process.poll() is None:
            time.sleep(0.005)
            states, seen = states - (_written(state) != seen), _written(state)
        process.send_signal(how)
        _, errors = process.communicate()
        if process.returncode not in (-how, 128 + how):
            raise RuntimeError(f"{self.stage}: ended before it was stopped: {errors[-500:]}")


def run(part: Part, record: Record, work: Path, device: str) -> None:
    """Compare the undisturbed and the disturbed trainings; two processes are under way, one of which holds the GPU."""
    jobs = _jobs(scale_of(device), Files(work))
    with ThreadPoolExecutor(2) as runners:
        found = {}
        for number, job in enumerate(jobs.values()):
            folder = work / "resume" / str(number)
            found[number] = (
                runners.submit(job.finish, folder / "whole", device),
                runners.submit(_disturbed, job, folder / "disturbed", device),
            )
        for number, name in enumerate(jobs):
            whole, disturbed = (each.result() for each in found[number])
            unequal = [output for output in whole if whole[output] != disturbed[output]]
            part.check(f"{name}: outputs that differ after kill -9, SIGTERM and resuming", len(unequal), 0)
            if unequal:
                part.note(f"{name}: these differ: {', '.join(unequal)}")


def _disturbed(job: Job, folder: Path, device: str) -> dict[str, bytes]:
    job.stop(folder, device, signal.SIGKILL, KILLED_AFTER)
    job.stop(folder, device, signal.SIGTERM, STOPPED_AFTER)
    return job.finish(folder, device)


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _jobs(scale: Scale, files: Files) -> dict[str, Job]:
    encoder, jobs = files.encoder(scale.checked), {}
    for precision in reversed(PRECISIONS):
        jobs[f"MoCo, {precision}"] = Job(
            "pretrain",
            moco_settings(scale, BATCH, precision, EPOCHS, scale.checked),
            {"initial": encoder, "stores": files.store, "splits": files.splits},
            ("encoder.safetensors", "metrics.csv"),
        )
        jobs[f"end to end, {precision}"] = Job(
            "end-to-end",
            end_to_end_settings(scale, precision, EPOCHS),
            {"encoder": encoder, "store": files.store, "splits": files.splits, "subset": files.subset},
            ("predictions.parquet", "metrics.csv", "networks.safetensors"),
        )
    return jobs
