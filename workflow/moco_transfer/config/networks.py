"""The valid names of networks, read without importing PyTorch, so that a misspelt name stops a run at once."""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# (growth rate, layers in each dense block, channels of the first convolution); Huang et al. 2017, table 1
DENSENETS = {
    "densenet_small": (8, (2, 3, 4, 3), 16),
    "densenet121": (32, (6, 12, 24, 16), 64),
    "densenet169": (32, (6, 12, 32, 32), 64),
    "densenet201": (32, (6, 12, 48, 32), 64),
    "densenet161": (48, (6, 12, 36, 24), 96),
}


@cache
def torchvision_names() -> tuple[str, ...]:
    """Return the sorted names of torchvision's classification models, or nothing if torchvision is not installed.

    They are read from the text of its modules, because importing torchvision would take seconds at every start of Snakemake.
    """
    package = find_spec("torchvision")
    if package is None or not package.submodule_search_locations:
        return ()
    modules = Path(package.submodule_search_locations[0], "models").glob("*.py")
    registered = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
    return tuple(
        sorted(name for module in modules for name in registered.findall(module.read_text(encoding="utf-8")))
    )


def unknown_network(name: str) -> str:
    """Return one line that suggests valid names similar to ``name``."""
    names = [*DENSENETS, *torchvision_names()]
    near = list(dict.fromkeys(difflib.get_close_matches(name, names, n=3)))
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(dict.fromkeys(names))}"
    return f"neither a DenseNet of this package nor a classification model of torchvision; {hint}"
