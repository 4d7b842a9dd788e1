"""The typed configuration: every key with its type, its bounds and its meaning.

``config/config.yaml`` holds the values, and these models hold the rules. ``check`` turns the merged mapping from Snakemake
into a ``Config``, or stops with one line that names the key. ``python -m moco_transfer.config.reference`` generates
``config/README.md`` from the descriptions of the keys; a test checks that the file is up to date.
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
