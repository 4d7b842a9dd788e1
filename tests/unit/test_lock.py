"""Two processes at one training: the second waits, then goes on or finds it done."""

import subprocess
import sys
import threading
import time

import pytest

from moco_transfer.training.attempt import locked

HOLD = (
    "import sys; from pathlib import Path; from moco_transfer.training.attempt import locked\n"
    "with locked(Path(sys.argv[1]), lambda facts: False) as lock:\n"
    "    print('held', flush=True)\n"
    "    facts = input()\n"
    "    lock.write({'finished': facts}); lock.path.unlink()\n"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "lock"


@pytest.fixture
def holder(path):
    """A process that holds the lock until it is killed, or told what it has finished."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def wait_for_lock(path, caplog, wanted="this"):
    """Start to wait for the lock in a thread; return it and a list that gets what came of it."""
    came = []

    def wait():
        with locked(path, lambda facts: facts.get("finished") == wanted) as lock:
            came.append((lock is not None, path.exists()))

    thread = threading.Thread(target=wait)
    thread.start()
    while not caplog.messages:
        time.sleep(0.005)
    return thread, came


def test_the_second_waits_by_name_and_goes_on_when_the_first_is_killed(path, holder, caplog):
    caplog.set_level("INFO")
    thread, came = wait_for_lock(path, caplog)
    assert f"process {holder.pid} on " in caplog.messages[0] and not came
    holder.kill()
    thread.join()
    assert came == [(True, True)]


def test_the_second_has_nothing_to_do_when_the_first_has_finished(path, holder, caplog):
    caplog.set_level("INFO")
    thread, came = wait_for_lock(path, caplog)
    holder.communicate("this\n")
    thread.join()
    assert came == [(False, False)]


def test_when_the_first_finished_something_else_the_second_locks_a_new_file(path, holder, caplog):
    caplog.set_level("INFO")
    thread, came = wait_for_lock(path, caplog)
    holder.communicate("something else\n")
    thread.join()
    assert came == [(True, True)]


def test_a_lock_ends_with_its_block_whatever_happens_there(path):
    for _ in range(2):
        with pytest.raises(RuntimeError), locked(path, lambda facts: False):
            raise RuntimeError
