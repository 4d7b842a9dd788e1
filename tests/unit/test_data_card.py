"""The data card: its numbers are right and reconcile, and it shows nothing that must stay hidden."""

from __future__ import annotations

import re
from collections import Counter

import data_card as script
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text

from moco_transfer.config.listing import Folders, Listing, Table
from moco_transfer.data.adapters.reading import Reading, read_as
from moco_transfer.data.card import NOT_USED, SHOWN_LABELS, DataCard, data_card
from moco_transfer.data.index import build
from moco_transfer.errors import UserError

SETTINGS = {"size": 256, "fit": "center_crop", "colour": False, "max_pixels": 50_000_000}
SPLIT = {"unit": "patient", "train": 0.6, "validation": 0.2, "test": "official", "folds": 1}
LABELS = {"uncertain": "mask", "unlabeled": "drop"}
NOTE = "Phantom data: generated images, not radiographs"


class Tables:
    """Made-up tables of a store with ``count`` images, ``labels`` labels, and one image in eight not used."""

    def __init__(self, count: int = 400, labels: int = 3, quarantined: int = 3) -> None:
        rng = np.random.default_rng(count)
        patient = rng.integers(0, count // 4, count)
        columns = pd.DataFrame(
            {
                "image_id": [f"image-{number}" for number in range(count)],
                "patient_id": [f"patient-{number}" for number in patient],
                # the number of a study is unique within its patient alone
                "study_id": rng.integers(0, 3, count).astype("str"),
                "path": [f"p{number}.png" for number in range(count)],
                "view": np.where(np.arange(count) % 9 == 0, None, rng.choice(["PA", "AP", "LATERAL"], count)),
            }
        )
        values = rng.choice([1, 0, -1, np.nan], (count, labels), p=[0.2, 0.4, 0.1, 0.3])
        self.index = build(
            columns, pd.DataFrame(values, columns=[f"label {k}" for k in range(labels)]), "test"
        )
        side = np.array(["train"] * 5 + ["validation", "test", None], dtype=object)[patient % 8]
        self.splits = pd.DataFrame(
            {"image_id": self.index["image_id"], "split": pd.Series(side, dtype="str")}
        )
        self.sizes = pd.DataFrame({"height": 900 + 100 * (patient % 3), "width": 1000}).astype("int32")
        self.quarantine = pd.DataFrame({"reason": (["damaged"] * quarantined)[1:] + ["file not found"]})
        self.quarantine = self.quarantine.head(quarantined)
        self.manifest = {
            "indexed": count + quarantined,
            "stored": count,
            "quarantined": quarantined,
            "settings": SETTINGS,
        }

    def card(self, **arguments) -> DataCard:
        return data_card(self.index, self.splits, self.sizes, self.quarantine, self.manifest, **arguments)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables()


@pytest.fixture(scope="module")
def card(tables: Tables) -> DataCard:
    return tables.card()


def draw(card: DataCard, examples: list[np.ndarray] | None = None, note: str = "") -> Figure:
    return script.draw(card, "A dataset", examples, note)


def test_counts_are_those_of_a_count_by_hand(tables: Tables, card: DataCard) -> None:
    rows = list(zip(tables.index.itertuples(), tables.splits["split"], strict=True))
    for counted in card.counts.itertuples():
        members = [
            row
            for row, side in rows
            if counted.split == "all" or (NOT_USED if pd.isna(side) else side) == counted.split
        ]
        assert counted.images == len(members)
        assert counted.studies == len({(row.patient_id, row.study_id) for row in members})
        assert counted.patients == len({row.patient_id for row in members})
    assert card.counts["split"].tolist() == ["train", "validation", "test", NOT_USED, "all"]
    assert card.counts["images"].iloc[:-1].sum() == card.stored == 400


def test_labels_are_counted_by_value_and_split(tables: Tables, card: DataCard) -> None:
    for cell in card.labels.itertuples():
        side = tables.splits["split"].fillna(NOT_USED) == cell.split
        values = Counter("blank" if np.isnan(v) else int(v) for v in tables.index.loc[side, cell.label])
        assert (cell.present, cell.uncertain, cell.blank) == (values[1], values[-1], values["blank"])
        assert cell.images == sum(values.values())
        assert cell.prevalence == pytest.approx(values[1] / cell.images)
    assert len(card.labels) == 3 * 4


def test_views_sizes_and_reasons_are_counted(tables: Tables, card: DataCard) -> None:
    views = dict(zip(card.views["view"], card.views["images"], strict=True))
    assert views == {**tables.index["view"].value_counts().to_dict(), "not stated": 45}
    assert card.sizes["images"].sum() == 400 and card.sizes["images"].is_monotonic_decreasing
    assert set(map(tuple, card.sizes[["width", "height"]].to_numpy())) == {
        (1000, 900 + 100 * k) for k in range(3)
    }
    assert card.quarantined.to_numpy().tolist() == [["damaged", 2], ["file not found", 1]]


def test_views_that_might_be_identifiers_are_not_listed() -> None:
    tables = Tables()
    tables.index["view"] = [f"P{number}" for number in range(396)] + [None] * 4
    assert tables.card().views.to_numpy().tolist() == [["others", 396], ["not stated", 4]]


def test_a_view_is_shown_if_several_patients_have_it_and_the_column_has_few_values() -> None:
    tables = Tables()
    patients = tables.index["patient_id"]
    tables.index["view"] = np.where(patients == patients[0], "DOE JOHN", "PA")
    tables.index.loc[patients.isin(patients.unique()[:3]), "patient_id"] = patients[0]
    of_one = int((tables.index["view"] == "DOE JOHN").sum())
    assert of_one >= 2
    assert tables.card().views.to_numpy().tolist() == [["PA", 400 - of_one], ["others", of_one]]
    tables.index["view"] = [f"view {number % 21}" for number in range(400)]
    assert tables.card().views.to_numpy().tolist() == [["others", 400]]


def test_a_view_has_no_name_if_each_image_counts_as_a_patient() -> None:
    tables = Tables()
    tables.index = tables.index.assign(patient_id=tables.index["image_id"], view="DOE JOHN")
    assert tables.card(identified=False).views.to_numpy().tolist() == [["others", 400]]


def test_names_of_folders_are_not_shown() -> None:
    tables = Tables(labels=1)
    folders = np.r_[np.zeros(396), 1, 1, 2, 2].astype(int)
    names = ["DOE 0", "DOE 1", "DOE 2"]
    columns = tables.index.drop(columns="label 0").assign(patient_id=tables.index["image_id"])
    tables.index = columns.join(pd.DataFrame(np.eye(3)[folders], columns=names))
    shown = tables.card(declared=False)
    assert set(shown.labels["label"]) == {"others (3 classes)"}
    assert shown.labels["present"].sum() == 400
    assert shown.warnings and "DOE" not in " ".join(shown.warnings)
    assert set(tables.card().labels["label"]) == set(names)  # a configuration or a release declares them


@pytest.mark.parametrize(
    ("uncertain", "expected"),
    [
        ("zero", ["No positives among the test images: 'label 0'."]),
        ("one", ["No negatives among the test images: 'label 0'."]),
        (
            "mask",
            [
                "No positives among the test images: 'label 0'.",
                "No negatives among the test images: 'label 0'.",
            ],
        ),
    ],
)
def test_a_class_with_one_value_in_a_split_is_a_warning(uncertain: str, expected: list[str]) -> None:
    tables = Tables()
    tables.index.loc[(tables.splits["split"] == "test").to_numpy(), "label 0"] = -1
    tables.index.loc[tables.splits["split"].isna().to_numpy(), "label 1"] = 0  # these images are not used
    card = tables.card(uncertain=uncertain)
    assert card.warnings == expected
    page = script.page(card, "A dataset", "a.svg", SPLIT, LABELS, shareable=False)
    drawn = [text.get_text() for text in draw(card).findobj(Text)]
    for warning in expected:
        assert f"**Warning:** {warning}" in page and any(warning in text for text in drawn)


def test_the_numbers_of_a_cross_validation_are_those_of_its_first_fold() -> None:
    card = Tables().card()
    split = SPLIT | {"test": 0.2, "folds": 5}
    assert "splits of fold 1 of 5" in script.page(card, "A", "a.svg", split, LABELS, shareable=False)
    assert "fold" not in script.page(card, "A", "a.svg", SPLIT, LABELS, shareable=False)
    figures = (script.draw(card, "A", None, folds=folds) for folds in (5, 1))
    texts = [[text.get_text() for text in figure.findobj(Text)] for figure in figures]
    found = [any("Images by split in fold 1 of 5" in text for text in each) for each in texts]
    assert found == [True, False]


def test_labels_that_no_network_learns_need_no_warning() -> None:
    tables = Tables()
    tables.index["label 0"] = np.nan
    assert tables.card().warnings and not tables.card(uncertain=None).warnings


def test_many_classes_with_one_value_are_counted() -> None:
    tables = Tables(labels=30)
    tables.index.loc[(tables.splits["split"] == "validation").to_numpy(), "label 0":] = 0
    (warning,) = tables.card().warnings
    assert warning.startswith("No positives among the validation images: 'label 0'")
    assert warning.endswith("25 more classes.")


def test_repairs_are_listed_only_if_there_are_any() -> None:
    tables = Tables()
    assert "epair" not in script.page(tables.card(), "A", "a.svg", SPLIT, LABELS, shareable=False)
    tables.manifest["repairs"] = {"bytes after the pixels": 3, "decimal comma": 1200}
    card = tables.card()
    page = script.page(card, "A", "a.svg", SPLIT, LABELS, shareable=False)
    assert page.index("| decimal comma | 1,200 |") < page.index("| bytes after the pixels | 3 |")
    assert any("decimal comma: 1,200" in text.get_text() for text in draw(card).findobj(Text))


def test_hostile_names_are_text_on_the_page() -> None:
    tables = Tables(labels=1)
    name = "</b><script>alert(1)</script>|`x`"
    tables.index = tables.index.rename(columns={"label 0": name})
    tables.index["view"] = name
    page = script.page(tables.card(), name, "a.svg", SPLIT, LABELS, shareable=False)
    assert "<" not in page and page.count("&lt;script&gt;") == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.manifest.update(indexed=405), "405 images indexed, but 400 stored and 3 quarantined"),
        (lambda t: t.manifest.update(indexed=402, stored=399), "index.parquet: 400 rows, .* says 399"),
        (lambda t: setattr(t, "sizes", t.sizes[1:]), "sizes.parquet: 399 rows, .* says 400"),
        (lambda t: setattr(t, "quarantine", t.quarantine[1:]), "quarantine.csv: 2 rows, .* says 3"),
        (lambda t: setattr(t, "splits", t.splits[1:]), "the splits: 399 rows, .* says 400"),
        (lambda t: setattr(t, "splits", t.splits[::-1]), "are not in the order of index.parquet"),
    ],
)
def test_counts_that_do_not_reconcile_are_an_error_without_identifiers(change, message: str) -> None:
    tables = Tables()
    change(tables)
    with pytest.raises(UserError, match=message) as caught:
        tables.card()
    assert "\n" not in str(caught.value) and "image-" not in str(caught.value)


def test_the_page_holds_the_numbers_and_no_identifier(card: DataCard) -> None:
    page = script.page(card, "A dataset", "a.svg", SPLIT, LABELS, shareable=False, note=NOTE)
    assert page.startswith(f"# Data card: A dataset\n\n**{NOTE}**")
    assert "403 images indexed = 400 stored + 3 quarantined. No example images" in page
    assert "No patient is in two splits; requested shares: train 0.6, validation 0.2, test official." in page
    assert "-1 counts as 'mask'" in page and "without any label are left out" in page
    assert "![The card as a figure](a.svg)" in page
    train = card.labels[(card.labels["label"] == "label 0") & (card.labels["split"] == "train")].iloc[0]
    assert re.search(
        rf"\| label 0 \| {train.present} \({train.prevalence:.1%}\) \| {train.uncertain} \|", page
    )
    assert not re.search(r"image-\d|patient-\d|p\d+\.png", page)


def test_a_page_without_quarantine_and_with_many_labels() -> None:
    card = Tables(labels=40, quarantined=0).card()
    page = script.page(card, "A dataset", "a.svg", SPLIT, LABELS, shareable=True)
    assert "Quarantined images" not in page and "drawn at random" in page and "**" not in page
    assert page.count("| label ") == SHOWN_LABELS + 1 and f"The {SHOWN_LABELS} most frequent of 40." in page
    present = card.labels.groupby("label")["present"].sum()
    names = re.findall(r"^\| (label \d+) ", page, flags=re.MULTILINE)
    assert present[names].is_monotonic_decreasing and present[names].min() >= present.drop(names).max()


def test_dots_stand_at_the_prevalences(card: DataCard) -> None:
    panel = draw(card).axes[2]
    splits = ["train", "validation", "test", NOT_USED]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == splits
    for split, line in zip(splits, panel.lines, strict=False):
        prevalences = card.labels.loc[card.labels["split"] == split, "prevalence"]
        np.testing.assert_allclose(sorted(line.get_xdata()), sorted(prevalences))
        assert line.get_color() == script.SPLIT_COLORS[split]


def test_only_given_examples_are_shown(card: DataCard) -> None:
    images = [np.full((20, 20), 30 * number, dtype=np.uint8) for number in range(8)]
    shown = [image.get_array() for image in draw(card, images).findobj(AxesImage)]
    assert len(shown) == 8
    np.testing.assert_array_equal(shown, images)
    hidden = draw(card)
    assert not hidden.findobj(AxesImage)
    assert any("not shareable" in text.get_text() for ax in hidden.axes for text in ax.texts)


def test_thousands_of_sizes_become_few_dots() -> None:
    tables = Tables(count=2000)
    rng = np.random.default_rng(0)
    tables.sizes = pd.DataFrame(rng.integers(1500, 3500, (2000, 2)), columns=["height", "width"])
    card = tables.card()
    dots = draw(card).axes[3].collections[0].get_offsets()
    assert len(card.sizes) > 1900 and 100 < len(dots) < 1000
    assert dots.min() > 1450 and dots.max() < 3550


def read_of(tables: Tables, listing: Listing, **texts) -> Reading:
    return read_as(
        listing,
        tables.index,
        pd.DataFrame(texts),
        {"do not match the pattern": 3, "have another view or none": 0},
    )


GRADE = {"label 0": {"from": "grade", "at_least": 2}, "label 1": {"from": "<b>", "positive": ["x", "|"]}}


def graded(tables: Tables, **keys) -> Reading:
    listing = Table(file="my table.csv", path="file", labels=GRADE, **keys)
    return read_of(
        tables, listing, grade=["0", "1", "2", "3"] * 100, **{"<b>": [f"id{n}" for n in range(400)]}
    )


def test_the_card_says_how_a_table_was_read() -> None:
    tables = Tables()
    reading = graded(tables, patient_id="person", view="projection")
    card = tables.card(reading=reading)
    page = script.page(card, "A dataset", "a.svg", SPLIT, LABELS, shareable=False)
    section = page[page.index("## How the table was read") : page.index("## The images")]
    counts = tables.index["patient_id"].value_counts()
    studies = card.counts["studies"].iloc[-1]
    assert (
        f"The file is my table.csv: 400 images, {studies} studies, {len(counts)} patients, {counts.median():g} images each "
        f"(median; at most {counts.max()})"
    ) in section
    for row in ("path | file", "patient | person", "view | projection", "official split | none"):
        assert f"| {row} |" in section
    assert "| study | none (each image counts as a study) |" in section
    values = tables.index["label 0"]
    cells = [(values == 1).sum(), (values == 0).sum(), (values == -1).sum(), values.isna().sum()]
    assert f"| label 0 | grade | at least 2 | {' | '.join(map(str, cells))} |" in section
    assert "| grade | 0: 100; 1: 100; 2: 100; 3: 100 | 0 |" in section
    assert "| &lt;b&gt; | x: 0; \\|: 0; 400 other values | 0 |" in section and "id1" not in section
    # a figure has its own words, and a title says what comes first
    drawn = " ".join(" ".join(text.get_text() for text in draw(card).findobj(Text)).split())
    assert "patient: person" in drawn and "'label 0' is 1 if grade is at least 2" in drawn
    assert page.index("## How") < page.index("![The card as a figure]")


def test_a_table_without_patients_or_positives_is_a_warning() -> None:
    tables = Tables()
    tables.index["patient_id"] = tables.index["image_id"]
    tables.index["label 0"] = np.where(np.arange(400) < 4, 1, 0)
    reading = graded(tables)
    card = tables.card(reading=reading)
    page = script.page(card, "A dataset", "a.svg", SPLIT, LABELS, shareable=False)
    drawn = " ".join(" ".join(text.get_text() for text in draw(card).findobj(Text)).split())
    for warning in (
        "No patient is named: each image counts as a patient.",
        "Fewer than 5 images with the value 1: 'label 0' (4).",
        "The configuration names values that never occur: 'x' (label 'label 1' from <b>), '|' (label 'label 1' from <b>).",
    ):
        assert warning in " ".join(card.warnings) and warning in drawn
    assert "**Warning:** No patient is named" in page
    assert "400 studies, no patients: each image counts as a patient" in page
    assert not [each for each in tables.card(reading=reading, uncertain=None).warnings if "Fewer" in each]


def test_the_card_says_how_folders_were_read() -> None:
    tables = Tables()
    listing = Folders(
        pattern="{kl}/{patient_id}_{n}.png",
        classes={"from": "kl", "values": ["label 0", "label 1", "label 2"]},
    )
    texts = {"kl": ["label 0", "label 1"] * 200, "patient_id": tables.index["patient_id"], "n": ["1"] * 400}
    card = tables.card(reading=read_of(tables, listing, **texts))
    page = script.page(card, "A dataset", "a.svg", SPLIT, LABELS, shareable=False)
    assert "## How the folders were read" in page and "| path | the pattern |" in page
    assert "The pattern is {kl}/{patient\\_id}\\_{n}.png: 400" in page and "| not used | n |" in page
    assert "| kl | label 0: 200; label 1: 200; label 2: 0 | 0 |" in page
    assert "**Images left out:** 3 do not match the pattern.\n" in page


def test_a_release_has_no_section_on_its_reading(card: DataCard) -> None:
    page = script.page(card, "A dataset", "a.svg", SPLIT, LABELS, shareable=False)
    assert "## " not in page
