"""The workflow on a real Slurm: what jobs ask for and get, and that nothing which happens to them changes a byte."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

from conftest import TARGETS, finish, snakemake, submitted
from slurm_node import output, run, wait_for, wait_for_steps

# Rules that train or run a network, in the run of dozen.yaml.
ON_GPU = {"train_weights", "pretrain", "embed", "end_to_end_kept"}
PRETRAINING = "rule_pretrain_wildcards_chest_1_1"  # the comment of its job
LOG = "results/dozen/logs/pretrain/chest/replicate1/fold1.log"
ENCODER = "results/dozen/pretrain/chest/replicate1/fold1/encoder.safetensors"


def sbatch_lines(folder: Path) -> dict[str, str]:
    """Return the options of sbatch by what was submitted; what differs between two equal calls is masked."""
    lines = re.findall(r"^sbatch call: (sbatch .*?) --wrap=", (folder / "snakemake.log").read_text(), re.M)
    assert lines
    masked = (re.sub(r"--job-name \S+", "", line).replace(str(folder), "FOLDER") for line in lines)
    return {re.search(r"--comment (\S+)", line)[1]: line for line in masked}


def rule_of(comment: str) -> str:
    return re.sub(r"^rule_|_wildcards_.*", "", comment)


def test_everything_is_made_and_nothing_is_left_in_the_queue(undisturbed):
    assert all((undisturbed / target).stat().st_size for target in TARGETS)
    assert not output("squeue", "--noheader")


def test_jobs_ask_for_what_their_rules_say(undisturbed):
    lines = sbatch_lines(undisturbed)
    assert {rule_of(comment) for comment in lines} >= ON_GPU
    for comment, line in lines.items():
        on_gpu = rule_of(comment) in ON_GPU
        assert ("--gpus=1" in line and "--cpus-per-gpu=1" in line and "-p gpu" in line) == on_gpu, line
        assert ("--gpus" not in line and "-p cpu" in line) != on_gpu, line
        assert ("--nodes=1" in line) == on_gpu, line
        assert "--requeue" in line and "--signal=TERM@120" in line and re.search(r" -t \d+ --mem \d+ ", line)
    # Tables and figures are made where Snakemake runs.
    assert not any("table" in comment for comment in lines)
    # Two heads, one after the other in one job.
    heads = [line for comment, line in lines.items() if "linear" in comment]
    assert len(heads) == 1 and "group_linear" in heads[0] and "--cpus-per-task=1" in heads[0]


def test_jobs_get_the_gpus_that_they_ask_for_and_others_get_none(undisturbed, cluster):
    seen = cluster.assigned_gpus()
    assert len(seen) == len(sbatch_lines(undisturbed))
    for comment, gpus in seen.items():
        assert (gpus in ("0", "1")) == (rule_of(comment) in ON_GPU), (comment, gpus)
        assert gpus in ("0", "1", ""), (comment, gpus)


def pretraining(state: str = "RUNNING") -> str:
    """Return the id of the pretraining's job that is in ``state``, once there is one."""
    found: list[str] = []

    def is_there() -> bool:
        jobs = output("squeue", "--noheader", "--states=all", "--format=%i|%k|%T").splitlines()
        found[:] = [job.split("|")[0] for job in jobs if job.endswith(f"|{PRETRAINING}|{state}")]
        return bool(found)

    wait_for(is_there, f"a pretraining that is {state}", 300)
    return found[-1]


def in_its_midst(folder: Path, attempt: int) -> str:
    """Return the job of the pretraining once it trains, at its ``attempt``: each goes on from the state of the last."""
    words = "MoCo: epoch" if attempt == 1 else f"attempt {attempt} resumes"
    wait_for(lambda: words in log_of(folder), f"'{words}' in its log", 300)
    time.sleep(3)
    return pretraining()


def log_of(folder: Path) -> str:
    """Return the trainer's log, which every attempt begins anew."""
    try:
        return (folder / LOG).read_text()
    except FileNotFoundError:
        return ""


def stand_still() -> None:
    """Stop the pretraining, lest it be done before something else has happened."""
    run("pkill", "-STOP", "-f", "python -m moco_transfer pretrain")


def go_on() -> None:
    run("pkill", "-CONT", "-f", "python -m moco_transfer pretrain")


def soon(job: str) -> None:
    """Start the requeued ``job``, which would wait two minutes, shortly after the node has done with it."""
    wait_for(
        lambda: f"{job}|PENDING" in output("squeue", "--noheader", "--format=%i|%T"), "the requeued job", 90
    )
    wait_for_steps()
    run("scontrol", "update", f"JobId={job}", "StartTime=now+5")


def files(folder: Path) -> dict[str, bytes]:
    """Return what the run in ``folder`` has made, but for logs, times and its schedule."""
    kept = (path for path in (folder / "results").rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)): path for path in kept}
    left_out = re.compile(r"results/slurm/|/logs/|/benchmarks/|/tensorboard/|/release/")
    return {name: path.read_bytes() for name, path in names.items() if not left_out.search(name)}


def test_whatever_happens_to_a_pretraining_its_bytes_are_the_same(undisturbed, cluster, tmp_path):
    first = submitted(tmp_path)

    job = in_its_midst(tmp_path, attempt=1)
    # A limit that is near: Slurm's early warning comes at once, the trainer saves and Snakemake tries again.
    run("scontrol", "update", f"JobId={job}", "TimeLimit=2")
    wait_for(
        lambda: "SIGTERM: the state is saved" in log_of(tmp_path), "the warning in the trainer's log", 90
    )
    assert pretraining("FAILED") == job

    job = in_its_midst(tmp_path, attempt=2)
    run("scancel", job)
    assert pretraining("CANCELLED") == job

    job = in_its_midst(tmp_path, attempt=3)
    run("scontrol", "requeue", job)
    soon(job)

    assert in_its_midst(tmp_path, attempt=4) == job
    cluster.fail()
    soon(job)

    assert in_its_midst(tmp_path, attempt=5) == job
    first.kill()
    first.wait()
    assert pretraining() == job, "the job goes on without the Snakemake that submitted it"
    stand_still()
    unlock = snakemake(tmp_path, "--unlock")
    assert unlock.wait(60) == 0
    second = submitted(tmp_path)
    wait_for(lambda: "already running this training" in log_of(tmp_path), "one that waits for the other", 300)
    go_on()
    finish(second, tmp_path)
    assert "nothing to do" in log_of(tmp_path)

    assert files(tmp_path) == files(undisturbed)
    # The same is submitted, apart from what grows from attempt to attempt.
    one, other = sbatch_lines(undisturbed), sbatch_lines(tmp_path)
    del one[PRETRAINING], other[PRETRAINING]
    assert one == other


def test_what_a_training_made_outlives_a_second_job_that_starts_when_it_has_ended(undisturbed, tmp_path):
    folder = tmp_path / "late"
    shutil.copytree(undisturbed, folder)
    (folder / LOG).unlink()
    short = 'pretraining={"schedules": {"chest": {"epochs": 200}}}'
    run_again = {"targets": [ENCODER]}
    first = submitted(folder, "--config", short, **run_again)
    orphan = in_its_midst(folder, attempt=1)
    stand_still()
    first.kill()
    first.wait()
    assert snakemake(folder, "--unlock").wait(60) == 0
    # The second job waits in the queue until the first has ended, as with a limit on the number of GPUs.
    run("scontrol", "update", "PartitionName=gpu", "State=DOWN")
    try:
        second = submitted(folder, "--config", short, **run_again)
        assert int(pretraining("PENDING")) > int(orphan)
        go_on()
        wait_for(
            lambda: f"{orphan}|COMPLETED" in output("squeue", "--states=all", "--format=%i|%T"),
            "its end",
            300,
        )
        made = (folder / ENCODER).read_bytes()
    finally:
        run("scontrol", "update", "PartitionName=gpu", "State=UP")
    finish(second, folder)
    assert "its files are put back" in log_of(folder)
    assert (folder / ENCODER).read_bytes() == made


def test_a_training_on_two_gpus_is_started_once_on_one_node(undisturbed, cluster, tmp_path):
    folder = tmp_path / "two"
    shutil.copytree(undisturbed, folder)
    (folder / "snakemake.log").unlink()
    short = 'pretraining={"ranks": 2, "schedules": {"chest": {"epochs": 3}}}'
    finish(submitted(folder, "--config", short, targets=[ENCODER]), folder)
    (line,) = sbatch_lines(folder).values()
    assert (
        "--gpus=2" in line and "--nodes=1" in line and "--cpus-per-gpu=1" in line and "--ntasks" not in line
    )
    # Its one task was given both, and started two ranks that share each batch of 16.
    assert cluster.assigned_gpus()[PRETRAINING] == "0,1"
    assert log_of(folder).count("batch 16") == 1 and "epoch 3/3" in log_of(folder)


def test_no_process_is_left(cluster):
    left = subprocess.run(
        ["pgrep", "-fa", "moco_transfer"], capture_output=True, text=True, check=False
    ).stdout
    assert not [line for line in left.splitlines() if "-m moco_transfer" in line]
