"""What a run has found so far, as one JSON file and one Markdown file, both written again after every row.

Only the standard library is used: the file that runs the parts imports this before it knows whether there is anything else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "gpu"
RESULT = {True: "yes", False: "**no**"}


class Record:
    """The results in ``folder``: ``gpu.json`` and ``gpu.md``.

    A part adds checks (a value with its limit), measures (a row of named values) and notes. One process at a time writes:
    the part that runs, or the one that runs the parts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / f"{NAME}.json"
        self.found: dict[str, Any] = (
            json.loads(path.read_text()) if path.exists() else {"about": {}, "parts": {}}
        )

    def about(self, **values: Any) -> None:
        """Record what the run was made with."""
        self.found["about"] |= values
        self.write()

    def part(self, name: str) -> dict[str, Any]:
        """Return the entry of the part ``name``, to be changed."""
        empty = {"status": "stopped", "seconds": None, "checks": [], "measures": [], "notes": []}
        return self.found["parts"].setdefault(name, empty)

    def write(self) -> None:
        """Write both files, each whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in (("json", json.dumps(self.found, indent=1) + "\n"), ("md", self.markdown())):
            temporary = self.folder / f".{NAME}.{suffix}"
            temporary.write_text(text)
            temporary.replace(self.folder / f"{NAME}.{suffix}")

    def failures(self) -> list[str]:
        """Return what went wrong: parts that did not end well, and checks that were not met."""
        parts = self.found["parts"]
        ended = [
            f"{name}: {part['status']}"
            for name, part in parts.items()
            if part["status"] not in ("done", "left out")
        ]
        checks = [
            f"{name}: {check['what']}: {_shown(check['value'])}, limit {_shown(check['limit'])}"
            for name, part in parts.items()
            for check in part["checks"]
            if not check["met"]
        ]
        return ended + checks

    def markdown(self) -> str:
        """Return all results as Markdown: the machine, then one section per part."""
        about = ", ".join(f"{name} {value}" for name, value in self.found["about"].items())
        lines = [f"Measured with: {about}.", ""]
        for name, part in self.found["parts"].items():
            seconds = "" if part["seconds"] is None else f", {part['seconds']:.0f} s"
            lines += [f"### {name} ({part['status']}{seconds})", ""]
            columns = list(dict.fromkeys(key for row in part["measures"] for key in row))
            lines += _table(columns, [[row.get(key) for key in columns] for row in part["measures"]])
            checks = [[row["what"], row["value"], row["limit"], RESULT[row["met"]]] for row in part["checks"]]
            lines += _table(["check", "value", "at most", "met"], checks)
            lines += [f"- {note}" for note in part["notes"]] + [""] * bool(part["notes"])
        return "\n".join(lines).rstrip() + "\n"


class Part:
    """Where one part writes what it finds."""

    def __init__(self, record: Record, name: str) -> None:
        self._record, self._entry = record, record.part(name)

    def check(self, what: str, value: float, limit: float) -> None:
        """Record ``value``, which must be at most ``limit``; a value that is not a number never is."""
        met = bool(value <= limit)
        self._entry["checks"].append({"what": what, "value": float(value), "limit": float(limit), "met": met})
        self._say(f"{what}: {_shown(value)}, at most {_shown(limit)}: {'met' if met else 'NOT MET'}")

    def measure(self, what: str, **values: float | None) -> None:
        """Record named ``values``; None is a value that could not be measured."""
        self._entry["measures"].append({"what": what, **values})
        self._say(f"{what}: " + ", ".join(f"{name} {_shown(value)}" for name, value in values.items()))

    def note(self, text: str) -> None:
        """Record a remark."""
        self._entry["notes"].append(text)
        self._say(text)

    def _say(self, text: str) -> None:
        self._record.write()
        print(text, flush=True)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(columns: list[str], rows: list[list[Any]]) -> list[str]:
    if not rows:
        return []
    lines = [columns, ["---"] * len(columns), *([_shown(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]
