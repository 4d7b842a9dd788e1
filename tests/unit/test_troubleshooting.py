"""docs/troubleshooting.md and the sources say the same messages: none lacks an entry, no entry outlives its message.

A message is known by its runs of constant words, between what is filled in. The document quotes messages as code in the
first column of the tables whose first column is headed 'Message'; tables with another heading hold the words of other
programs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "troubleshooting.md"

SHORTEST = 12  # characters of a run by which a message can be told from others
SAYS = {"UserError", "WorkflowError", "UnreadableImage", "refuse", "_refuse", "_differs"}
SAYS |= {"sys.exit", "log.info", "log.warning", "print"}
# Words in capitals that messages have of themselves; any other in the document stands for what differs.
OWN = "CONFIG|CSV|CUDA_VISIBLE_DEVICES|DATA|DICOM|DIR|GPU|IMAGES_PER_SECOND|JPEG|JSON|LS|LUT|MB|NUL|PNG|PYTHON|README"
OWN += "|SHA|UTF|YAML"
HOLE = re.compile(rf"^\.\.\.|\b(?!(?:{OWN})\b)[A-Z][A-Z0-9_]*\b")


def normal(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def runs(node: ast.AST) -> list[str]:
    """The runs of constant words in ``node``, if it is a string; what logging fills in ends a run."""
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return []
    return [normal(part) for part in re.split(r"%[sd]", node.value)]


def constants(node: ast.AST) -> list[str]:
    """The runs of constant words in ``node``, but for arguments of the calls in it and for alternatives."""
    inner = [] if isinstance(node, (ast.Call, ast.IfExp, ast.BoolOp)) else ast.iter_child_nodes(node)
    return runs(node) + [run for child in inner for run in constants(child)]


def telling(nodes: list[ast.AST]) -> tuple[str, ...]:
    """The runs of constant words that are long enough to tell a message by."""
    told = [run.strip() for node in nodes for run in constants(node)]
    return tuple(run for run in told if len(run) >= SHORTEST and " " in run)


def messages_of(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The line and the telling runs of each message in a Python file.

    Words may also be put together in a variable or by another function of the file: they count as messages themselves.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    says = SAYS | ({"ValueError"} if path.parent.name == "config" else set())
    made: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            made[node.name] = [n for n in ast.walk(node) if isinstance(n, ast.Return)]
        elif isinstance(node, ast.Assign):
            made.setdefault(ast.unparse(node.targets[0]), []).append(node.value)
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and says & {name := ast.unparse(call.func), name.rpartition(".")[2]}:
            named = {n.id for arg in call.args for n in ast.walk(arg) if isinstance(n, ast.Name)}
            parts = [part for name in named for part in made.get(name, [])]
            for line, told in [(call.lineno, telling(call.args)), *((p.lineno, telling([p])) for p in parts)]:
                if told:
                    yield line, told


def python_files() -> list[Path]:
    """The package, the scripts, and those files of rules that hold functions only."""
    rules = [ROOT / "workflow" / "rules" / name for name in ("common.smk", "files.smk")]
    return [*sorted((ROOT / "workflow").rglob("*.py")), *rules]


def makefile_messages() -> list[str]:
    """The runs of constant words in strings of those lines of the Makefile that end it."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    said = [string for line in lines if "exit" in line for string in re.findall(r'"([^"]*)"', line)]
    return [run for string in said for run in re.split(r"\$\([^)]*\)", string)]


def quoted(text: str) -> list[tuple[int, str]]:
    """The line and the words of each message that the document quotes as one of ours."""
    found, ours = [], False
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith("|"):
            ours = False
            continue
        first = line.split("|")[1].strip()
        ours = ours or first == "Message"
        if ours:
            found += [(number, normal(message)) for message in re.findall(r"`([^`]+)`", first)]
    return found


@pytest.fixture(scope="module")
def entries() -> list[tuple[int, str]]:
    return quoted(DOCUMENT.read_text(encoding="utf-8"))


def test_every_message_has_an_entry(entries: list[tuple[int, str]]) -> None:
    said = [
        (f"{path.relative_to(ROOT)}:{line}", told)
        for path in python_files()
        for line, told in messages_of(path)
    ]
    said += [("Makefile", (run,)) for run in makefile_messages() if len(run) >= SHORTEST]
    assert len(said) > 150
    lacking = [
        f"{where}: {' ... '.join(told)}"
        for where, told in said
        if not any(all(run in words for run in told) for _, words in entries)
    ]
    assert not lacking, "no entry in docs/troubleshooting.md for\n" + "\n".join(lacking)


def test_every_entry_is_still_said(entries: list[tuple[int, str]]) -> None:
    """Strings of the sources make up each quoted message: taken out, longest first, they leave no word of three letters."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in python_files()]
    strings = {run for tree in trees for node in ast.walk(tree) for run in runs(node)}
    strings = {run for run in strings | set(makefile_messages()) if len(run) >= 4 and re.search("[ .]", run)}
    gone = []
    for line, message in entries:
        rest = HOLE.sub("\0", message)
        assert re.search("[a-z]{4}", rest), f"docs/troubleshooting.md:{line}: too few words: {message}"
        for run in sorted(strings, key=len, reverse=True):
            rest = rest.replace(run, "\0")
        if re.search("[A-Za-z]{3}", rest):
            gone.append(f"docs/troubleshooting.md:{line}: {rest.replace(chr(0), ' _ ')}")
    assert not gone, "quoted as a message, and nothing says it:\n" + "\n".join(gone)


def test_rules_hold_no_message() -> None:
    """Messages stand in the files of functions, where the test above finds them."""
    rules = [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    for path in set(rules) - set(python_files()):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(WorkflowError|UserError|sys\.exit)\(", text), path.name


def test_a_message_without_an_entry_is_noticed(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "def f(path, found):\n"
        "    if found:\n"
        '        raise UserError(f"{path}: {found} apples "\n'
        '            f"were expected to be pears; peel {len(found)}")\n'
        "    raise UserError(_words(path))\n"
        "def _words(path):\n"
        '    return f"{path}: neither an apple nor a pear"\n'
        "def g(log):\n"
        '    log.info("%s: waiting for the fruit", 1)\n'
    )
    assert sorted(messages_of(module)) == [
        (3, ("apples were expected to be pears; peel",)),
        (7, (": neither an apple nor a pear",)),
        (9, (": waiting for the fruit",)),
    ]
    document = "| Message | Cure |\n| --- | --- |\n| `FILE: waiting for the fruit` | `wait` |\n\n| Slurm says | |\n| `x` | |\n"
    assert quoted(document) == [(3, "FILE: waiting for the fruit")]
