"""The documents: the configurations that they show are valid, and their links lead somewhere."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
import yaml

from moco_transfer.config.composition import composed, merge
from moco_transfer.config.encoders import Encoder
from moco_transfer.config.experiment import check

HOME = Path(__file__).parents[2]
DOCUMENTS = [
    *sorted(HOME.glob("*.md")),
    HOME / "config" / "README.md",
    HOME / "results" / "README.md",
    *sorted((HOME / "docs").glob("*.md")),
]
TOP = composed({}) | {"uses": []}


def examples():
    """Return each YAML block of a document as an overlay: entries of encoders alone belong to ``sources``."""
    found = []
    for document in DOCUMENTS:
        for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", document.read_text(), re.M | re.S)):
            overlay = yaml.safe_load(block)
            if not overlay.keys() <= TOP.keys():
                overlay = {"sources": overlay}
            found.append(pytest.param(document.name, overlay, id=f"{document.stem}-{number}"))
    return found


@pytest.mark.parametrize("document, overlay", examples())
def test_configurations_in_documents_are_valid(document, overlay):
    """In ``docs/own-data.md``, what comes later builds on what comes first."""
    bases = []
    if document == "own-data.md":
        bases = own_data(overlay)
    config = check(composed(functools.reduce(merge, [*bases, overlay], {})))
    for name, entry in overlay.get("sources", {}).items():
        assert isinstance(config.sources[name], Encoder) == isinstance(entry, dict)


def own_data(overlay):
    shown = [each.values[1] for each in examples() if each.values[0] == "own-data.md"]
    return shown[: shown.index(overlay)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_to_files_and_headings(document):
    for place, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", document.read_text()):
        target = (document.parent / place).resolve() if place else document
        assert target.exists(), place
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
