"""Twenty times kill -9 at random moments of a pretraining and of a finetuning (``make test-survival``).

A moment is a random number of saved states after the start and a random while after the last of them, so that
kills hit the start-up, the steps and the writing of a state on machines of any speed. Every attempt starts as
Snakemake starts one: what the rule declares is deleted. The last attempt's bytes must be those of an
undisturbed training.
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from small_trainings import small_trainings

from moco_transfer.seeds import stream

KILLS = 20
# So many states that none of the killed attempts reaches the end: at most five each, and those of the last
# moment.
EPOCHS = 80
SEED = 4


def states_written(process: subprocess.Popen, state: Path, count: int) -> None:
    """Wait until ``process`` has replaced the file ``state`` about ``count`` times."""
    seen = state.stat().st_mtime_ns if state.exists() else 0
    while count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.001)
        now = state.stat().st_mtime_ns if state.exists() else 0
        count, seen = count - (now != seen), now


@pytest.mark.parametrize("stage", ["pretrain", "end-to-end"])
def test_twenty_kills_change_no_byte(tmp_path: Path, stage: str) -> None:
    job = small_trainings(tmp_path, EPOCHS)[stage]
    started = time.monotonic()
    undisturbed = job.finish(tmp_path / "undisturbed")
    whole = time.monotonic() - started
    out = tmp_path / "killed"
    for attempt in range(KILLS):
        random = stream(SEED, "survival", stage, attempt)
        process = job.start(out)
        states = int(random.integers(0, 5))
        states_written(process, out / "state" / "checkpoint.pt", states)
        # Without a state: somewhere in the start-up. After one: within the next step or two.
        time.sleep(random.uniform(0, 4.0 if states == 0 else 0.1))
        assert process.poll() is None, process.communicate()[1]
        process.kill()
        process.communicate()
    process = job.start(out)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert job.written(out) == undisturbed
    attempts = int(re.search(r"attempt (\d+) resumes", errors).group(1))
    print(f"{stage}: {KILLS} kills, {attempts} attempts found a state; undisturbed {whole:.0f} s")
    assert attempts > KILLS // 2
