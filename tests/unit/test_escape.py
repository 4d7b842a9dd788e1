"""Text from users reaches other languages, and pictures, only as text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from moco_transfer import escape
from moco_transfer.config import Text
from moco_transfer.files import write_csv
from moco_transfer.report import lettering
from moco_transfer.report.tables import html_page, latex, markdown

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "{x}",
    "a|b\n\n# c `d` $e$ _f_",
    "[g](javascript:h)",
    "\\input{i}",
]


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1-2", "-cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "＝1"]
)
def test_no_text_of_a_csv_file_is_a_formula(cell, tmp_path):
    write_csv(pd.DataFrame({"a": [cell, "b"]}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[1].lstrip('"').startswith("'")


@pytest.mark.parametrize(
    "column", [[-1.5, 2], ["-1.5", "+2"], ["-1e-5", "-inf"], ["a-b", "c = d"], [True, None]]
)
def test_numbers_and_harmless_text_stay_as_they_are(column, tmp_path):
    frame = pd.DataFrame({"a": column})
    write_csv(frame, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == frame.to_csv(index=False)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_in_every_format(text):
    frame = pd.DataFrame({text: [text], "n": [1]})
    rows = markdown(frame, text, text).splitlines()
    assert len(rows) == 7 and len({len(re.sub(r"\\.", "", row).split("|")) for row in rows[4:]}) == 1
    assert not re.search(r"(?<!\\)[`$_]|<", "".join(rows))
    page = html_page([(frame, text), (frame, text)], text)
    assert "<img" not in page and "</script" not in page
    assert "\\input" not in latex(frame, text, text) and "\n\n" not in latex(frame, text, text)


def test_a_script_holds_the_text_and_cannot_be_ended_by_it():
    text = escape.script_json({"title": HOSTILE})
    assert "<" not in text and json.loads(text) == {"title": HOSTILE}


@pytest.mark.parametrize("character", "\0\x08\n\x7f\x85\u2028\u202e\u2066\uffff\ufdd0\U0001fffe\ud800")
def test_a_title_without_a_shape_is_refused_and_never_drawn(character):
    with pytest.raises(ValidationError, match=f"character 4 is U\\+{ord(character):04X}"):
        TypeAdapter(Text).validate_python(f"hip{character}")
    assert re.fullmatch("hip[ \ufffd]s", escape.printable(f"hip{character}s"))


@pytest.mark.parametrize("title", ["Hips, US$$ clinic", "胸部", "ירך", "Åß", "👩‍⚕️", "a\u3000b", "<18 {y}"])
def test_other_titles_are_accepted(title):
    assert TypeAdapter(Text).validate_python(title) == escape.printable(title) == title


@pytest.mark.filterwarnings("ignore:Glyph")  # the width of a box will do
@pytest.mark.parametrize("text", ["W" * 200, "many words " * 30, "脊椎" * 60, "short", "", "一 word"])
@pytest.mark.parametrize(("inches", "most_lines"), [(2.0, 4), (0.3, 1), (0.01, 2)])
def test_lines_fit_and_are_few(text, inches, most_lines):
    lines = lettering.fitted(text, inches, 8, most_lines=most_lines).split("\n")
    assert len(lines) <= most_lines
    assert all(lettering.width(line, 8) <= inches or len(line) == 1 for line in lines)
    if lettering.width(text, 8) <= inches:
        assert lines == [text]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("text", ["W" * 200, "many words " * 30, "脊椎" * 60])
def test_as_little_as_possible_is_left_out(text):
    shown = lettering.fitted(text, 2, 8)
    kept = len(shown.replace("…", "").replace("\n", " "))
    half = (kept + 3) // 2
    more = f"{text[:half]}…{text[-half:]}"
    assert lettering.fitted(more, 2, 8) != more.replace("\n", " ") and "…" in shown


def test_the_ends_of_a_text_that_is_too_long_remain():
    assert re.fullmatch("begin.*….*end", lettering.fitted("begin" + "m" * 200 + "end", 2, 8, most_lines=1))


def test_an_installed_font_with_the_characters_is_used_and_only_where_it_is_needed(monkeypatch, caplog):
    other = str(Path(matplotlib.get_data_path()) / "fonts/ttf/STIXGeneral.ttf")
    monkeypatch.setattr(lettering, "_installed", lambda: {"STIXGeneral": other})
    assert lettering.families(["ᶁ title"]) == [lettering.FONT, "STIXGeneral"]
    assert lettering.families(["a title"]) == [lettering.FONT]
    assert not caplog.records


@pytest.mark.parametrize(
    ("text", "advice"),
    [("胸部", "CJK"), ("コ", "CJK"), ("한", "CJK"), ("ไ", "Thai"), ("ी", "Devanagari"), ("🦴", "Symbola")],
)
def test_one_line_says_which_font_to_install(text, advice, monkeypatch, caplog):
    monkeypatch.setattr(lettering, "_installed", dict)
    assert lettering.families([text, text, "a title"]) == [lettering.FONT]
    (record,) = caplog.records
    assert advice in record.getMessage() and text[0] in record.getMessage()


def test_titles_in_the_usual_font_need_no_other(monkeypatch, caplog):
    monkeypatch.setattr(lettering, "_installed", None)
    assert lettering.families(["Åß $ ירך שלום α ≥ …"]) == [lettering.FONT]
    assert not caplog.records
