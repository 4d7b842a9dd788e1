"""Patterns of paths in Snakemake's wildcard style: ``{split}/{patient_id,[0-9]+}{side,[LR]}.png``.

As in Snakemake, a wildcard that occurs twice must match the same text, and only its first place may have a regular expression.
In contrast to Snakemake, a wildcard without one matches no slash, so that it stands for one folder or a part of a name.
Importing Snakemake takes longer than most stages, so its few lines are written again here.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

from moco_transfer.data.image_list import files_below

WILDCARD = re.compile(r"\{\s*(?P<name>\w+)\s*(?:,(?P<regex>(?:[^{}]|\{\d+(?:,\d*)?\})+))?\}")


def wildcard_names(pattern: str) -> list[str]:
    """Return the names of the wildcards of ``pattern``, each once, in the order of their first places."""
    return list(dict.fromkeys(match["name"] for match in WILDCARD.finditer(pattern)))


def path_regex(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of ``pattern`` with a named group for each wildcard, for ``fullmatch`` on relative paths in NFC.

    Raises ValueError that says what is wrong with the pattern.
    """
    if pattern.startswith(("/", "./", "../")):
        raise ValueError("pattern: give it relative to the root, without '/', './' or '../' in front")
    parts, last, seen = [], 0, set()
    for match in WILDCARD.finditer(pattern):
        parts.append(_literal(pattern[last : match.start()]))
        name, regex = match["name"], match["regex"]
        if name in seen and regex:
            raise ValueError(
                f"pattern: wildcard '{name}' occurs twice; write its regular expression only at the first place"
            )
        parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{(regex or '[^/]+').strip()})")
        seen.add(name)
        last = match.end()
    parts.append(_literal(pattern[last:]))
    try:
        return re.compile("".join(parts))
    except re.error as error:
        raise ValueError(f"pattern: it is not a regular expression ({error.msg}); correct it") from None


def names_digest(root: str | Path, pattern: str) -> str:
    """Return a hash of the paths below ``root`` that match ``pattern``, wherever ``root`` is; other files do not count."""
    regex = path_regex(pattern)
    paths = [path for path in files_below(root)[0] if regex.fullmatch(unicodedata.normalize("NFC", path))]
    return hashlib.sha256("\0".join(paths).encode("utf-8", "surrogateescape")).hexdigest()


def _literal(text: str) -> str:
    if brace := re.search(r"[{}]", text):
        raise ValueError(f"pattern: a '{brace[0]}' belongs to no wildcard; write wildcards as {{name}}")
    return re.escape(unicodedata.normalize("NFC", text))
