"""Two processes that share every batch, over gloo: the result of one process, stopped and started again at will."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shared_trainings
import torch
from shared_trainings import CASES, STEPS
from small_trainings import RUN, small_trainings

from moco_transfer.errors import UserError
from moco_transfer.training.ranks import Ranks, open_ranks

SHARED = Path(shared_trainings.__file__)


def start(arguments, ranks=2, errors=subprocess.PIPE):
    """Start ``python *arguments`` as ranks of one job, in the environment that torchrun gives them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
        "OMP_NUM_THREADS": "1",
    }
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=os.environ | common | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        for rank in range(ranks)
    ]


def finish(processes):
    """Wait for the ranks and return their exit statuses and what each said on standard error."""
    said = [process.communicate()[1] for process in processes]
    return [process.returncode for process in processes], said


@pytest.mark.parametrize("n, groups", [(16, 4), (58, 4), (59, 4), (61, 4), (15, 2), (11, 4)])
@pytest.mark.parametrize("size", [1, 2])
def test_shares_are_cut_where_the_groups_are(n, groups, size):
    size *= groups // 2  # 1 and 2 ranks for two groups, 2 and 4 for four
    rows = torch.arange(n)
    shares = Ranks(0, size).shares(n, groups)
    cut = [part for start, stop in shares for part in rows[start:stop].tensor_split(groups // size)]
    assert [part.tolist() for part in cut] == [part.tolist() for part in rows.tensor_split(groups)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    shared_trainings.write_inputs(folder)
    statuses, said = finish(start([SHARED, folder]))
    assert statuses == [0, 0], said
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_end_where_one_process_does(shared, case):
    with shared_trainings.in_float64():
        alone = shared_trainings.train(shared, case)
    first, second = (torch.load(shared / f"{case} rank {rank}.pt", weights_only=True) for rank in range(2))
    assert alone["step"] == first["step"] >= STEPS
    for part in ("network", "optimizer"):
        # Ranks hold the same numbers; one process adds up in another order, which groups of four images magnify.
        torch.testing.assert_close(first[part], second[part], rtol=0, atol=0)
        torch.testing.assert_close(alone[part], first[part], rtol=1e-6, atol=1e-7)
    metrics = [pd.DataFrame(state["log"]["rows"]) for state in (alone, first)]
    assert list(metrics[0]) == list(metrics[1])
    np.testing.assert_allclose(*metrics, rtol=1e-6)  # measured in float32
    assert second["log"] is None


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return small_trainings(tmp_path_factory.mktemp("inputs"), 3)["pretrain"]


def test_a_signal_to_torchrun_stops_all_ranks_and_a_restart_ends_in_the_same_bytes(job, tmp_path):
    statuses, said = finish(start(["-c", RUN, *job.arguments(_made(tmp_path / "undisturbed"))]))
    assert statuses == [0, 0], said
    undisturbed = job.written(tmp_path / "undisturbed")

    out, program = _made(tmp_path / "stopped"), tmp_path / "run.py"
    program.write_text(RUN)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    process = subprocess.Popen(
        [sys.executable, *torchrun, *job.arguments(out)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while not (out / "state" / "checkpoint.pt").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    words = process.communicate()[1]
    assert process.returncode != 0 and words.count("SIGTERM: the state is saved") == 1
    assert not any((out / name).exists() for name in job.outputs)

    statuses, said = finish(start(["-c", RUN, *job.arguments(out)]))
    assert statuses == [0, 0] and "attempt 2" in said[0] and "attempt" not in said[1], said
    assert job.written(out) == undisturbed


def test_what_is_wrong_on_another_rank_names_it(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in {"is_torchelastic_launched": True, "get_rank": 1, "get_world_size": 2}.items():
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    with pytest.raises(UserError, match="rank 1: no GPU here"), open_ranks() as ranks:
        assert ranks == Ranks(1, 2)
        raise UserError("no GPU here")


def test_without_torchrun_a_process_is_alone():
    with open_ranks() as ranks:
        assert ranks == Ranks(0, 1) and not torch.distributed.is_initialized()


def _made(folder):
    folder.mkdir()
    return folder
