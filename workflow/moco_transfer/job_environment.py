"""What every job of the workflow inherits: where this package is, whichever environment runs it, and how memory is kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The GNU C library gives large blocks back to the system at once and has each page of the next one filled with zeros anew; a
# training frees and takes the same ones at every step. Kept, a CPU step is a tenth to a fifth faster, with equal bytes. Huge
# pages (glibc 2.35 or newer, others ignore it) make what is above the largest threshold that glibc takes, 32 MiB, cheaper.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def keep_freed_memory() -> None:
    """Let jobs keep the memory they free, unless the user has set the allocator's variables."""
    for variable, value in MALLOC.items():
        os.environ.setdefault(variable, value)


def export_package(source: Path) -> None:
    """Put ``source``, the folder that holds this package, and this Python's folder on the paths that jobs inherit.

    With them ``python -m moco_transfer`` works in a conda environment or a container, which has the dependencies but
    not the package, and where `snakemake` was called by its path from an environment that is not activated.
    """
    folders = {"PYTHONPATH": source, "PATH": Path(sys.executable).parent}
    for variable, folder in folders.items():
        known = os.environ.get(variable, "").split(os.pathsep)
        if str(folder) not in known:
            os.environ[variable] = os.pathsep.join([str(folder), *filter(None, known)])
