"""Escape the text of users for HTML, Markdown, LaTeX, CSV and the scripts of Snakemake's report.

Titles, names of labels and views, and names of folders may hold any character. Wherever such text enters another
language, it goes through one of these functions. Captions of the report (reStructuredText) and strings that Snakemake
formats hold no such text, only names of the configuration, which consist of letters, digits, ``_``, ``+`` and ``-``.
In figures, ``report/lettering.py`` makes it printable, and no text of a figure is math.
"""

from __future__ import annotations

import html as standard_html
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Control characters and separators of lines; characters that turn the direction of the text around them; halves of
# characters; and numbers that Unicode keeps free. XML, and so SVG, allows few of them, and none has a shape.
_FREE = "\ufdd0-\ufdef" + "".join(
    chr(plane * 0x10000 + last) for plane in range(17) for last in (0xFFFE, 0xFFFF)
)
UNPRINTABLE = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff{_FREE}]")
FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")
"""How a cell starts that spreadsheets run as a formula."""
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{character: "\\" + character for character in "&%$#_{}"},
        # after the end of a row, brackets and stars would be arguments
        **{character: f"{{{character}}}" for character in "[]*"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": "--",
    }
)


def printable(text: str) -> str:
    """Return ``text`` in one line: white space becomes blanks, and other characters without a shape become U+FFFD."""
    return UNPRINTABLE.sub(lambda found: " " if found[0].isspace() else "\ufffd", text)


def html(text: str) -> str:
    """Return ``text`` for HTML, also in a quoted attribute."""
    return standard_html.escape(printable(text))


def markdown(text: str) -> str:
    """Return ``text`` for a line or a table cell of Markdown."""
    return standard_html.escape(re.sub(r"([\\|*_`~$\[\]])", r"\\\1", printable(text)), quote=False)


def latex(text: str) -> str:
    """Return ``text`` for LaTeX."""
    return printable(text).translate(LATEX)


def csv_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` with an apostrophe before each text that a spreadsheet would run as a formula.

    Numbers stay, also if they are text.
    """
    texts = frame.select_dtypes(exclude=["number", "bool"]).columns
    return frame.assign(**{name: frame[name].map(_csv_cell) for name in texts}).rename(columns=_csv_cell)


def _csv_cell(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return "'" + text if FORMULA.match(text) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def script_json(value: Any) -> str:
    """Return ``value`` as JSON that cannot end the element ``<script>`` around it.

    The report shows the parameters of jobs in such an element.
    """
    return json.dumps(value).replace("<", r"\u003c")
