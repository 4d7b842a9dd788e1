"""The code that a stage runs, as hashes: a training must not resume from the state of other code."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import moco_transfer

PACKAGE = moco_transfer.__name__
FOLDER = Path(moco_transfer.__path__[0])


def code_hashes(stage: str) -> dict[str, str]:
    """Return a hash of the syntax tree of every module of this package that the module ``stage`` uses, by name, sorted.

    The modules are those that it imports, and that these import, also inside functions. Comments, docstrings and the layout
    of a source file are not in its syntax tree.
    """
    found: dict[str, str] = {}
    waiting = _with_packages(stage)
    while waiting:
        module = waiting.pop()
        if module not in found and (source := _source(module)) is not None:
            tree = ast.parse(source.read_bytes())
            waiting.extend(_imported(tree))
            found[module] = hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest()
    return {module.removeprefix(f"{PACKAGE}."): found[module] for module in sorted(found)}


def _source(module: str) -> Path | None:
    """Return the source file of ``module``, or None for what is no module of this package."""
    first, *parts = module.split(".")
    if first != PACKAGE:
        return None
    path = FOLDER.joinpath(*parts)
    return next(filter(Path.is_file, (path.with_suffix(".py"), path / "__init__.py")), None)


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield the names that ``tree`` imports, with their packages."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield from _with_packages(name)


def _with_packages(name: str) -> list[str]:
    """Return ``name`` and the packages that it is in: a, a.b and a.b.c of a.b.c."""
    return list(accumulate(name.split("."), "{}.{}".format))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return tree
