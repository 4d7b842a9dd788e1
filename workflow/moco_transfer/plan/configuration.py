"""The configuration as a run would have it: the files merged by Snakemake's own functions, then checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config
from snakemake_interface_common.exceptions import WorkflowError

from moco_transfer.config import Config, check
from moco_transfer.errors import UserError


def read_config(files: Sequence[Path]) -> Config:
    """Return the configuration of ``files``: the Snakefile's own first, then overlays in the order of --configfile.

    Raises UserError where a file is missing or no YAML, or the configuration is not right.
    """
    overlays: dict[str, Any] = {}
    base, *others = files
    # Snakemake merges the overlays first and the result into the Snakefile's configuration.
    for file in others:
        update_config(overlays, _read(file))
    config = dict(_read(base))
    update_config(config, overlays)
    return check(config)


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UserError(f"{file}: no such file; name in CONFIG the files that --configfile would be given")
    try:
        return load_configfile(file)
    except (WorkflowError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{file}: keys and values in YAML were expected, found none ({reason}); mend the file"
        ) from None
