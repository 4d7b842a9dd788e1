"""The packages that a machine with PyTorch may lack, as wheels in a folder that can be carried to it.

    python tests/gpu/wheels.py FOLDER [PYTHON]

downloads them for Linux on x86-64 and for the Python of that machine, such as 3.12 (else: of this one), in the versions of
requirements.txt. ``run.py --wheels FOLDER`` unpacks them beside its work and puts them on the path; nothing is installed.
The machine must have PyTorch, torchvision, numba, pyarrow, safetensors and scikit-learn, with what these need.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

# What the stages with a GPU import, and what these import, without what the machine has.
PACKAGES = (
    *("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions"),
    *("pandas", "python-dateutil", "pyyaml", "tqdm", "timm"),
    *("tensorboard", "protobuf", "absl-py"),
)
REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"
GLIBC = (17, 28, 27, 24, 12, 5)  # pip takes only wheels of the platforms that it is told


def locked_versions() -> dict[str, list[str]]:
    """Return the versions of every package in requirements.txt by name; there are several if it depends on the Python."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", REQUIREMENTS.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(version)
    return found


def download(folder: Path, python: str) -> None:
    """Download the wheels of ``PACKAGES`` into ``folder``."""
    locked = locked_versions()
    platforms = [f"--platform=manylinux_2_{number}_x86_64" for number in GLIBC]
    wanted = [f"{name}=={locked[name][-1]}" for name in PACKAGES]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    choice = [
        "--implementation=cp",
        f"--python-version={python}",
        "--platform=manylinux2014_x86_64",
        *platforms,
    ]
    subprocess.run([*pip, *choice, f"--dest={folder}", *wanted], check=True)
    size = sum(path.stat().st_size for path in folder.glob("*.whl"))
    print(f"{len(wanted)} wheels, {size / 1e6:.0f} MB, in {folder}")


def unpack(folder: Path, site: Path) -> None:
    """Unpack the wheels in ``folder`` into ``site``, a folder for PYTHONPATH."""
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise SystemExit(f"--wheels {folder}: no wheels there; make gpu-wheels fetches them")
    for path in found:
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(site)


if __name__ == "__main__":
    download(
        Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else f"{sys.version_info[0]}.{sys.version_info[1]}"
    )
