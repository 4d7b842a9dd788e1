"""Text in figures: fonts that have its characters, and lines that fit their space."""

from __future__ import annotations

import contextlib
import logging
import textwrap
import unicodedata
import warnings
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from matplotlib.textpath import text_to_path

from moco_transfer.escape import printable

FONT = "DejaVu Sans"
MOST_LINES = 4
SPACING = 1.2
"""The height of a line as a multiple of the size of its font."""
CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "FULLWIDTH", "BOPOMOFO")

log = logging.getLogger(__name__)
# These say of each character, or of each table of a font, what one line of ``families`` says.
warnings.filterwarnings("ignore", message="Glyph .* missing from font")
for name in ("matplotlib.font_manager", "fontTools"):
    logging.getLogger(name).setLevel(logging.ERROR)


def families(texts: Iterable[str]) -> list[str]:
    """Return the fonts of a figure with ``texts``: DejaVu Sans and, for characters that it lacks, installed fonts.

    If no font has some of the characters, one warning says which to install.
    """
    wanted = {character for text in texts for character in printable(text) if _has_shape(character)}
    missing = _lacking(font_manager.findfont(FONT), wanted)
    chosen = [FONT]
    if missing:
        lacking = {name: _lacking(path, missing) for name, path in _installed().items()}
        region = _region(missing)
        while missing and lacking:
            best = min(
                lacking, key=lambda name: (len(lacking[name]), "Sans" not in name, region not in name, name)
            )
            if lacking[best] == missing:
                break
            chosen.append(best)
            missing = lacking[best]
            lacking = {name: left & missing for name, left in lacking.items()}
    if missing:
        log.warning(
            "warning: no installed font has %s: drawn as boxes. Install %s, delete the figure and run again",
            " ".join(sorted(missing)[:8]),
            " and ".join(sorted({_advised(character) for character in missing})[:3]),
        )
    return chosen


def fitted(
    text: str, inches: float, size: float, weight: str = "normal", most_lines: int = MOST_LINES
) -> str:
    """Return ``text`` in lines of at most that many ``inches``, at that ``size`` in points.

    Words that are longer than a line are broken, at hyphens if they have some. If there would be more than ``most_lines`` lines, an ellipsis
    replaces the middle of the text.
    """
    text = printable(text)

    def lines(left_out: int) -> list[str]:
        begin = (len(text) - left_out + 1) // 2
        shown = f"{text[:begin]}…{text[begin + left_out :]}" if left_out else text
        return _lines(shown, inches, size, weight)

    def fits(left_out: int) -> bool:
        return len(lines(left_out)) <= most_lines

    return "\n".join(lines(0 if fits(0) else bisect_left(range(len(text)), True, lo=1, key=fits)))


def _lines(text: str, inches: float, size: float, weight: str) -> list[str]:
    characters = max(len(text), 1)
    # Names such as child-chest stay whole if they can.
    hyphens = any(width(word, size, weight) > inches for word in text.split())
    while True:
        lines = textwrap.wrap(text, characters, break_on_hyphens=hyphens)
        widest = max((width(line, size, weight) for line in lines), default=0)
        if widest <= inches or characters == 1:
            return lines
        characters = max(1, min(characters - 1, int(characters * inches / widest)))


def width(line: str, size: float, weight: str = "normal") -> float:
    """Return the width in inches of one line of text, in the fonts of the present figure."""
    font = font_manager.FontProperties(family=mpl.rcParams["font.family"], size=size, weight=weight)
    # Renderers round each letter's place, so a line may become a little wider.
    return 1.03 * text_to_path.get_text_width_height_descent(line, font, False)[0] / 72


def _has_shape(character: str) -> bool:
    """Return whether fonts need the character: not joiners, selectors of variants, or blanks."""
    return unicodedata.category(character) not in ("Cf", "Mn", "Zs", "Cn")


def _lacking(path: str, characters: set[str]) -> set[str]:
    font = FT2Font(path)
    return {character for character in characters if not font.get_char_index(ord(character))}


def _installed() -> dict[str, str]:
    """Return the installed fonts, name to path; those that Matplotlib brings are for math."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    # Matplotlib's list of fonts is a cache: a font that was installed later is missing there.
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        # Matplotlib cannot draw every font, whatever is wrong with it.
        with contextlib.suppress(Exception):
            font_manager.fontManager.addfont(path)
    return {
        entry.name: entry.fname
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and not Path(entry.fname).is_relative_to(mpl.get_data_path())
    }


def _script(character: str) -> str:
    return unicodedata.name(character, "UNKNOWN").split()[0].split("-")[0]


def _region(characters: set[str]) -> str:
    """Return the region whose shapes of Chinese characters fit the other characters."""
    scripts = set(map(_script, characters))
    return "JP" if scripts & {"HIRAGANA", "KATAKANA"} else "KR" if "HANGUL" in scripts else "SC"


def _advised(character: str) -> str:
    script = _script(character)
    if script in CJK:
        return "Noto Sans CJK (Debian: fonts-noto-cjk)"
    if unicodedata.category(character)[0] in "LMN":
        return f"Noto Sans {script.title()} (Debian: fonts-noto-core)"
    return "Symbola (Debian: fonts-symbola)"
