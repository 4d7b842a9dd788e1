"""MoCo-Transfer: out-of-distribution contrastive learning for limited-data domains, reproduced.

``from moco_transfer import load_model`` loads a finetuned model (``transform``).
"""

import importlib
from typing import Any

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    # Importing PyTorch takes seconds, so it waits for the first use. It is no import statement, because every trainer would
    # depend on what it names (``training.code``).
    if name == "load_model":
        return importlib.import_module("moco_transfer.transform").load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
