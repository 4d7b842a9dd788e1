"""The front page of the report: from made-up tables to the words that a reader sees."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from front_page import duration, heading, settling_numbers
from test_advice import CHEST, NONE, SPINE, THREE, advise, page

from moco_transfer.report.front_page import (
    FrontPage,
    Picture,
    Question,
    all_warnings,
    axis,
    caption_text,
    card_line,
    cases,
    claim_questions,
    control_questions,
    in_short,
    render,
)
from moco_transfer.report.tables import html_page, html_parts

TEMPLATE = Path(__file__).parents[2] / "workflow/report/front_page.html"
ALIKE = {SPINE: [0.71, 0.69], NONE: [0.70, 0.68], CHEST: [0.69, 0.71]}
HOSTILE = "</script><img src=x onerror=alert(1)>\x00\u202e"
PICTURE = Picture("Figure 2", b"<svg/>", "A caption.")


def case_of(ways, **facts):
    (case,) = cases(page(advise(ways), **facts))
    return case


def front_page(found=(), **facts) -> FrontPage:
    known = {
        **{
            "run": "r",
            "note": "",
            "interval": "90% interval",
            "datasets": ["d"],
            "questions": [],
            "warnings": [],
        },
        **{"cards": [], "facts": [], "main_figure": PICTURE},
    }
    return FrontPage(cases=found, **known | facts)


class Seen(HTMLParser):
    """Collects the tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.hidden = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.hidden = tag in ("script", "style")

    def handle_endtag(self, tag):
        self.hidden = False

    def handle_data(self, data):
        self.text += "" if self.hidden else data


def shown(given: FrontPage) -> Seen:
    return Seen(render(given, TEMPLATE.read_text()))


def test_a_clear_choice_is_called_clear():
    case = case_of(THREE)
    assert case.sure == "clear" and case.verdict == "Clearly the best of 3 ways."
    assert (case.chosen.start, case.chosen.layers) == ("MoCo on spine", "only the last layer")
    assert case.chosen.auroc == "0.700 (0.684–0.716)" and case.cheapest == case.chosen
    assert [way.may_be_best for way in case.ways] == ["yes", "no", "no"]


def test_a_choice_that_others_may_beat_is_not_clear():
    case = case_of(ALIKE, settle={("spine", "1"): "To tell it: 300 test patients."})
    assert case.sure == "open" and case.verdict == "None of the other 2 ways can be ruled out."
    assert case.settle == "To tell it: 300 test patients."
    assert "What would settle it" not in dict(case.remarks)


def test_what_is_sure_of_an_unclear_choice_stands_beside_it():
    found = case_of(THREE | {CHEST: [0.69, 0.69]}).verdict
    assert (
        found.startswith("1 of the other 2 ways") and "the best way starts from some kind of MoCo." in found
    )


def test_a_choice_that_may_guess_says_so():
    assert case_of({NONE: [0.5, 0.5], SPINE: [0.505, 0.505]}).sure == "guess"


def test_without_validation_labels_nothing_is_chosen():
    (case,) = cases(page(advise(THREE, validation=dict.fromkeys(THREE, np.nan))))
    assert case.sure == "unknown" and case.chosen is None
    assert "unknown" in shown(front_page([case])).text


def test_an_encoder_that_has_seen_the_test_images_is_not_chosen():
    (case,) = cases(page(advise(THREE, leaks={"spine": "its weights were trained on spine"})))
    assert case.chosen.start == "MoCo on chest"
    assert case.ways[-1].may_be_best == "left out †" and case.ways[-1].start == "MoCo on spine"


def test_bars_share_an_axis_on_which_every_estimate_lies():
    ways = advise(THREE)
    low, high = axis(ways)
    assert (low, high) == pytest.approx((0.6, 0.75))
    bars = [way.bar for way in case_of(THREE).ways]
    assert bars[0].value == pytest.approx((0.7 - low) / (high - low))
    assert bars[0].lower < bars[0].value < bars[0].upper <= 1
    assert bars[2].lower == 0 and bars[2].value == pytest.approx(0)  # its interval begins outside
    assert bars[0].chance is None


@pytest.mark.parametrize(
    "ways, words",
    [
        ([THREE], "In the case below, one way to train is clearly the best"),
        ([THREE, THREE], "In each of the 2 cases below, one way to train is clearly the best"),
        ([THREE, ALIKE], "In 1 of the 2 cases below, one way to train is clearly the best"),
        ([ALIKE], "In the case below no way to train is clearly the best"),
        ([ALIKE, ALIKE], "In none of the 2 cases below is one way to train clearly the best"),
    ],
)
def test_the_answer_in_short(ways, words):
    assert in_short([case_of(each) for each in ways]).startswith(words)


def claims() -> pd.DataFrame:
    rows = [
        ("1", "A beats B", "all", 0.01, -0.02, 0.04, "undecided", np.nan),
        ("1", "A beats B", "spine 1%: a - b", 0.01, -0.02, 0.04, "undecided", np.nan),
        ("2", "More labels help", "all", 0.1, 0.05, 0.15, "supported", "spine"),
        ("3", "Similar", "all", np.nan, np.nan, np.nan, "cannot be tested", "spine"),
    ]
    return pd.DataFrame(
        rows, columns=["claim", "text", "cell", "effect", "lower", "upper", "verdict", "one_encoder"]
    )


def test_claims_are_decided_or_say_what_would_decide_them():
    found = claim_questions(claims(), {"1: A beats B": "300 test patients"})
    assert found == [
        Question("Claim 1: A beats B", "undecided", "+0.010 (-0.020 to +0.040)", "300 test patients"),
        Question("Claim 2: More labels help", "supported, about these encoders", "+0.100 (+0.050 to +0.150)"),
        Question("Claim 3: Similar", "cannot be tested", ""),
    ]
    assert front_page(questions=found).decided == found[1:2]
    assert front_page(questions=found).undecided == [found[0], found[2]]


def test_controls_have_a_row_for_each_answer_and_one_for_what_is_open():
    rows = [
        ("Domain?", "spine", "linear", "1", 0.03, 0.01, 0.05, "yes", np.nan),
        ("Domain?", "spine", "linear", "10", 0.01, -0.01, 0.03, "undecided", np.nan),
        ("Steps?", "spine", "linear", "1", 0.0, -0.01, 0.01, "undecided", np.nan),
    ]
    names = ["question", "target", "mode", "percent", "effect", "lower", "upper", "answer", "one_encoder"]
    found = control_questions(pd.DataFrame(rows, columns=names), {"Steps?": "12 subsets"})
    assert [(each.text, each.answer, each.settle) for each in found] == [
        ("Control: Domain? (spine 1%, training only the last layer)", "yes", ""),
        ("Control: Domain?", "undecided in 1 of 2 comparisons", ""),
        ("Control: Steps?", "undecided", "12 subsets"),
    ]


def test_numbers_that_settle_a_question_are_those_for_the_difference_seen():
    numbers = {"test_patients": 100, "n_subsets": 2, "replicates": 2, "one_encoder": "", "apart": True}
    ways = {
        f"{way}_{name}": pd.NA for way in ("patients", "subsets", "encoders", "together") for name in numbers
    }
    row = {"question": "1: A", "whole": True, "difference": "seen"} | numbers | ways
    enough = {"patients_test_patients": 250, "patients_n_subsets": 2, "patients_replicates": 2}
    rows = [
        row | enough,
        row | enough | {"difference": "of interest", "patients_test_patients": 900},
        row | {"question": "2: B"},
    ]
    assert settling_numbers(pd.DataFrame(rows)) == {
        "1: A": "250 test patients (2.5 times)",
        "2: B": "no number of patients, subsets or encoders suffices",
    }


def test_a_warning_stands_once_with_all_that_it_is_about():
    case = case_of(ALIKE)
    few = "Only 2 labelled subsets were drawn: how much others would differ is hardly known (n_subsets)."
    assert few in case.warnings
    cards = [{"title": "Spines", "warnings": ["no positives"]}]
    assert all_warnings([case], cards)[0] == ("Spines", "no positives")
    assert ("VinDr-SpineXR 1%", few) in all_warnings([case], cards)
    other = case_of(ALIKE | {("limited", "linear"): [0.7, 0.7]})
    assert ("All cases", few) not in all_warnings([case], [])
    assert dict(all_warnings([case, other], []))["All cases"] == few


def test_a_data_card_in_one_line():
    counts = [
        {"split": "train", "images": 1200, "patients": 600},
        {"split": "test", "images": 300, "patients": 100},
        {"split": "all", "images": 1500, "patients": 700},
    ]
    card = {"indexed": 1503, "stored": 1500, "counts": counts, "shareable": False}
    assert card_line(card) == (
        "1,500 images of 700 patients (1,200 train, 300 test); 3 left out as unreadable; not shareable, so its images are not shown"
    )


def test_captions_lose_the_marks_of_restructured_text():
    assert caption_text("Of ``a.b``\n*No MoCo* and **more**.") == "Of a.b No MoCo and more."


def test_names_and_durations():
    assert [heading(name) for name in ("figure2", "table10", "training_curves")] == [
        "Figure 2",
        "Table 10",
        "Training curves",
    ]
    assert [duration(each) for each in (45, 720, 12240)] == ["45 s", "12 min", "3.4 h"]


def test_the_page_loads_nothing_and_text_from_users_is_text():
    found = case_of(ALIKE, settle={("spine", "1"): HOSTILE})
    title, table = html_parts(html_page([(pd.DataFrame({"a": [HOSTILE]}), f"{HOSTILE}. More.")]))
    given = front_page(
        [found],
        run=HOSTILE,
        note=HOSTILE,
        datasets=[HOSTILE],
        questions=[Question(HOSTILE, HOSTILE, HOSTILE, HOSTILE)],
        warnings=[(HOSTILE, HOSTILE)],
        cards=[(HOSTILE, HOSTILE)],
        facts=[(HOSTILE, HOSTILE)],
        figures={"Datasets": [Picture(HOSTILE, b"<svg/>", HOSTILE)]},
        tables=[("Claims", title, table)],
    )
    drawn = shown(given)
    images = [attributes for tag, attributes in drawn.tags if tag == "img"]
    assert len(images) == 2 and all(each["src"].startswith("data:image/svg+xml;base64,") for each in images)
    assert not any("onerror" in attributes for _, attributes in drawn.tags)
    assert not {"link", "iframe", "object"} & {tag for tag, _ in drawn.tags}
    assert not any("src" in attributes for tag, attributes in drawn.tags if tag == "script")
    assert "url(" not in TEMPLATE.read_text() and "@import" not in TEMPLATE.read_text()
    assert (
        drawn.text.count("onerror=alert(1)") > 12 and "\x00" not in drawn.text and "\u202e" not in drawn.text
    )


def test_the_page_says_what_to_start_from_and_that_data_are_phantoms():
    drawn = shown(front_page([case_of(THREE)], note="Phantom data: generated images"))
    text = " ".join(drawn.text.split())
    assert "MoCo on spine, then train only the last layer" in text
    assert "Nothing more is needed." in text
    assert "Phantom data: generated images." in text
    assert len(re.findall("MoCo on chest", text)) == 1  # in the ranking alone
    assert "Phantom" not in shown(front_page([case_of(THREE)])).text
