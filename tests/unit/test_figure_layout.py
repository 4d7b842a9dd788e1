"""Every figure: nothing overlaps or is cut off, notes are visible, equal figures are equal bytes."""

from __future__ import annotations

import functools
from itertools import combinations
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from made_up_figures import NOTE, TITLES, drawings
from matplotlib.patches import FancyBboxPatch, Rectangle

from moco_transfer.report import style
from moco_transfer.report.lettering import fitted, width

FIGURES = list(drawings())
# Other figures show no title, or are further drawings of one that does.
WITH_TITLES = sorted(
    set(FIGURES)
    - {"networks_of_paths", "data_card_of_one", "data_card_of_many", "figure_coverage", "training_curves"}
    - {"model_card_of_none"}
)
WITHOUT_LEGEND = {
    "figure1",
    "figure1_with_encoders",
    "figure1_of_long_names",
    "data_card",
    "data_card_of_one",
    "data_card_of_many",
    "augmentations",
    "model_card_of_none",
}


@pytest.fixture(scope="module")
def draw():
    """Return a function that draws a figure by its name; figures are cached unless ``afresh``."""
    ways = drawings()
    known = functools.cache(lambda name, note: ways[name](note))
    return lambda name, note=NOTE, afresh=False: ways[name](note) if afresh else known(name, note)


@pytest.mark.parametrize("name", ["figure1", "figure3", "networks", "data_card_of_one"])
def test_equal_figures_are_saved_as_equal_bytes_with_text_as_text(draw, name, tmp_path):
    for attempt in ("one", "two"):
        paths = [tmp_path / f"{attempt}.{kind}" for kind in ("pdf", "svg", "png")]
        style.save(draw(name, afresh=True), *paths)
    for path in paths:
        assert path.read_bytes() == path.with_stem("one").read_bytes()
    svg = (tmp_path / "one.svg").read_text()
    assert NOTE in svg and "<image" not in svg  # no pixels, as no example image was given
    assert b"/Type3" not in (tmp_path / "one.pdf").read_bytes()
    assert len(list(tmp_path.iterdir())) == 6


# The figure of coverage always says that its scores are simulated.
@pytest.mark.parametrize("name", sorted(set(FIGURES) - {"figure_coverage"}))
def test_a_note_is_on_the_figure_only_if_it_is_given(draw, name):
    for note in (NOTE, ""):
        texts = [text.get_text() for text in draw(name, note).findobj(mpl.text.Text)]
        assert (NOTE in texts) == bool(note)


def check_text(figure):
    """Check that all text of ``figure`` is inside it, and that no text overlaps another."""
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_text() and text.get_visible()]
    # Ticks outside the axis limits are objects as well, but are not drawn.
    for ax in figure.axes:
        for axis, low, high in ((ax.xaxis, *ax.get_xlim()), (ax.yaxis, *ax.get_ylim())):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not ax.axison or not low <= tick.get_loc() <= high or not tick.label1.get_visible():
                    texts = [text for text in texts if text is not tick.label1]
    boxes = {text: text.get_window_extent() for text in texts}
    edges = figure.bbox.padded(1)
    for text, box in boxes.items():
        assert edges.x0 <= box.x0 and box.x1 <= edges.x1, text.get_text()
        assert edges.y0 <= box.y0 and box.y1 <= edges.y1, text.get_text()
    for (one, first), (other, second) in combinations(boxes.items(), 2):
        assert not first.padded(-0.5).overlaps(second.padded(-0.5)), (one.get_text(), other.get_text())


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_inside_the_figure_and_does_not_overlap(draw, name):
    figure = draw(name)
    check_text(figure)
    assert figure.get_figheight() < 11  # a page


HOSTILE = "$\\frac$ US$5 a_b^c {x} \x00\x08\n\u202e</text>\ufdd0"
LONG = {
    "one_word": HOSTILE.replace(" ", "") + "W" * 150,
    "many_words": f"of the hospitals of a city, {HOSTILE} " * 5,
}


@pytest.mark.filterwarnings("error:Glyph")  # these texts have no characters that the font lacks
@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
@pytest.mark.parametrize("name", WITH_TITLES)
def test_titles_and_notes_of_any_length_fit_and_are_no_math(name, text, tmp_path):
    titles = {dataset: f"{dataset} {text}" for dataset in TITLES}
    figure = drawings(titles)[name](f"Phantom data in part: the {text} images are generated, not radiographs")
    style.save(figure, tmp_path / "figure.svg")
    check_text(figure)
    drawn = ElementTree.parse(tmp_path / "figure.svg").getroot().itertext()
    assert any("$" in text for text in drawn)


def test_a_title_fits_where_the_labels_of_ticks_make_panels_narrower():
    title = "US$ hospitals of a city and of the"  # as wide as a panel without them
    check_text(drawings(dict.fromkeys(TITLES, title))["components"](""))


@pytest.mark.parametrize(
    "title", ["", "Paediatric chest radiographs (Kermany et al., Guangzhou)", *LONG.values()]
)
@pytest.mark.parametrize("name", [name for name in FIGURES if name.startswith("figure1")])
def test_the_texts_of_figure_1_are_in_their_boxes(name, title):
    figure = drawings({dataset: title or dataset for dataset in TITLES})[name](NOTE)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    boxes = {kind: [] for kind in (FancyBboxPatch, Rectangle)}
    for patch in ax.patches:
        if type(patch) in boxes:
            boxes[type(patch)].append(patch.get_window_extent())
    tiles = 0
    for text in [text for text in ax.texts if text.get_fontsize() < 8]:  # all but the headings of columns
        own = text.get_window_extent()
        cards = [box for box in boxes[FancyBboxPatch] if box.overlaps(own)]
        assert len(cards) == 1 and _holds(cards[0], own), text.get_text()
        for tile in boxes[Rectangle]:
            assert _holds(tile, own) or not tile.overlaps(own), text.get_text()
            tiles += _holds(tile, own)
    assert tiles == len(boxes[Rectangle]) > 0


def _holds(outer, inner):
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


def test_names_are_broken_at_blanks_if_they_fit():
    room = width("MoCo on child-", 8)
    assert fitted("MoCo on child-chest", room, 8) == "MoCo on\nchild-chest"
    assert fitted("MoCo on child-chest-of-a-city", room, 8).splitlines()[1].endswith("-")


@pytest.mark.parametrize("name", sorted(set(FIGURES) - WITHOUT_LEGEND))
def test_legend_is_beside_the_panels(draw, name):
    figure = draw(name)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    for ax in figure.axes:
        assert not legend.get_window_extent().overlaps(ax.get_window_extent())
