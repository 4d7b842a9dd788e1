"""What the machine is: processor, GPU, driver and versions, and which versions differ from requirements.txt."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from record import Part, Record
from wheels import locked_versions

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "numba",
    "pyarrow",
    "pandas",
    "pydantic",
    "safetensors",
    "triton",
)


def run(part: Part, record: Record, work: Path, device: str) -> None:
    """Record the machine. Raises RuntimeError if the device is a GPU and PyTorch finds none."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    about = {"Python": platform.python_version(), **found, "cores": len(os.sched_getaffinity(0))}
    if commit := _output("git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"):
        about["commit"] = commit
    if device == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError("PyTorch finds no GPU; check nvidia-smi, or give --device cpu")
        properties = torch.cuda.get_device_properties(0)
        about |= {
            "GPU": properties.name,
            "GiB": round(properties.total_memory / 2**30),
            "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"),
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }
    else:
        about["device"] = "CPU, small: these numbers say nothing about a GPU"
    record.about(**about)
    locked = locked_versions()
    others = [
        f"{name} {found[name]} (locked: {', '.join(locked[name])})"
        for name in PACKAGES
        if name in locked and found[name].split("+")[0] not in locked[name]
    ]
    part.note(
        f"not the versions of requirements.txt: {', '.join(others)}"
        if others
        else "all versions are the locked ones"
    )


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
