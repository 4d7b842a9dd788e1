"""What every job of the workflow inherits, so that it finds this package whichever environment runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path


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
