"""Everything that must be seen on a GPU, in one command of eight minutes: ``make gpu``.

    python tests/gpu/run.py --out FOLDER [--wheels FOLDER] [--device cpu]

Each part is a process of its own with a time limit, so that a part that fails or hangs does not stop the others. After every
row, FOLDER/gpu.json and FOLDER/gpu.md are written again, and the most important parts come first: a machine that is taken
away halfway leaves useful results. The exit status is 1 if a part failed or a check was not met.

With ``--device cpu``, all parts run small, in a few minutes and without a GPU: a test of the parts themselves.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from record import Part, Record
from wheels import unpack

# By part: its limit in seconds.
PARTS = {
    "machine": 40,
    "images": 90,
    "steps": 75,
    "speed": 130,
    "hours": 20,
    "stages": 90,
    "resume": 100,
    "trainings": 60,
    "suspects": 80,
    "compiled": 150,
}
NEEDED = ("machine", "images")  # by the others
MINUTES = 8
ON_CPU = 4  # times as long, because other programs may share the processor
FEWEST_SECONDS = 10  # a part that would have less is left out
FOLDER = Path(__file__).parent


def main() -> int:
    """Run the parts, or with ``--part`` one of them in this process, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.json and gpu.md")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: all parts run small")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this machine's Python lacks")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="only these parts, and what they need")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"limit of all parts together ({MINUTES})"
    )
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        record = Record(options.out)
        importlib.import_module(options.part).run(
            Part(record, options.part), record, options.work, options.device
        )
        return 0
    if options.parts is None:  # compiling takes minutes on a CPU
        options.parts = [name for name in PARTS if options.device == "cuda" or name != "compiled"]
    for old in options.out.glob("gpu.*"):
        old.unlink()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="gpu-") as work:
        return _run_parts(options, Path(work))


def _run_parts(options: argparse.Namespace, work: Path) -> int:
    paths = [FOLDER, FOLDER.parents[1] / "workflow"]
    if options.wheels:
        unpack(options.wheels, work / "site")
        paths.insert(0, work / "site")
    paths += [path for path in (os.environ.get("PYTHONPATH"),) if path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1"}
    if options.device == "cpu":
        environment |= {"OMP_NUM_THREADS": "1"}  # small networks are faster so, also beside other programs
    times = ON_CPU if options.device == "cpu" else 1
    ends = time.monotonic() + 60 * options.minutes * times
    for name, limit in PARTS.items():
        if name in options.parts or name in NEEDED:
            _run_part(name, min(times * limit, ends - time.monotonic()), options, work, environment)
    failures = Record(options.out).failures()
    print(
        "\n"
        + "\n".join(
            [*(f"FAILED: {text}" for text in failures), f"written to {options.out}/gpu.json and gpu.md"]
        )
    )
    return 1 if failures else 0


def _run_part(
    name: str, limit: float, options: argparse.Namespace, work: Path, environment: dict[str, str]
) -> None:
    """Run one part in a process group of its own, and record how it ended."""
    start = time.monotonic()
    status, log = "left out", work / f"{name}.log"
    if limit >= FEWEST_SECONDS:
        print(f"\n== {name} (at most {limit:.0f} s)", flush=True)
        arguments = ["--out", options.out, "--work", work, "--device", options.device, "--part", name]
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, __file__, *map(str, arguments)],
                env=environment,
                stderr=errors,
                start_new_session=True,
            )
            try:
                code = process.wait(limit)
                status = "done" if code == 0 else f"failed, exit status {code}"
            except subprocess.TimeoutExpired:
                status = f"stopped after its limit of {limit:.0f} s"
            finally:  # what a part has started must not slow down the next one, nor go on after a signal
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    record = Record(options.out)
    entry = record.part(name)
    entry["status"], entry["seconds"] = status, round(time.monotonic() - start, 1)
    if status.startswith("failed"):
        last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-12:]
        print("\n".join(last), flush=True)
        entry["notes"].append(f"the last lines of its log: {' / '.join(last[-2:])[:600]}")
    record.write()


if __name__ == "__main__":
    sys.exit(main())
