"""The configuration, typed: every key with its type, its bounds and what it means.

``config/config.yaml`` holds the values, these models hold the rules. ``check`` turns the merged mapping that Snakemake
hands over into a ``Config`` or stops with one line that names the key; ``config/README.md`` is generated from the
descriptions of the keys (``python -m moco_transfer.config.reference``), and a test keeps it in step.
"""

from moco_transfer.config.datasets import Labels, Split, Store
from moco_transfer.config.experiment import Config, Evaluation, Similarity, check
from moco_transfer.config.section import Section
from moco_transfer.config.training import Moco, Optimizer, Schedule

__all__ = [
    "Config",
    "Evaluation",
    "Labels",
    "Moco",
    "Optimizer",
    "Schedule",
    "Section",
    "Similarity",
    "Split",
    "Store",
    "check",
]
