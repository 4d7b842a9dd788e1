"""A dataset with ``shareable: false`` leaves neither identifiers nor pixels in what a run shows: the tiny run's chest."""

import base64
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TINY
from running import snakemake

pytestmark = pytest.mark.workflow
SHOWN = ("figures", "tables", "cards", "models", "logs", "benchmarks")
PICTURES = (
    "results/tiny/figures/figure1.svg",
    "results/tiny/figures/augmentations.svg",
    *(f"results/tiny/cards/{n}.svg" for n in ("chest", "spine")),
)
EMBEDDED = re.compile(rb"data:[\w/+.-]*(?:;[\w=-]+)*;base64,([A-Za-z0-9+/=\s]+)")
PDF_STREAM = re.compile(rb"stream\r?\n(.*?)endstream", flags=re.DOTALL)


@pytest.fixture(scope="module")
def hidden(finished):
    """The identifiers of the chest dataset: words, and numbers."""
    index = pd.read_parquet(finished / "results/data/tiny/chest/store/index.parquet")
    numbers = set(index["patient_id"]) | set(index["study_id"])
    assert all(number.isdigit() and len(number) >= 8 for number in numbers)
    return set(index["image_id"]) | {Path(path).stem for path in index["path"]}, numbers


def unpacked(content):
    """Return ``content`` with what it embeds decoded: files in data URIs, and the streams of a PDF."""
    inner = [base64.b64decode(match) for match in EMBEDDED.findall(content)]
    if content.startswith(b"%PDF"):
        for stream in PDF_STREAM.findall(content):
            try:
                inner.append(zlib.decompress(stream))
            except zlib.error:
                inner.append(stream)
    return b"\n".join([EMBEDDED.sub(b"", content), *(unpacked(each) for each in inner)])


def leaks(content, hidden):
    """Return which of the hidden words and numbers occur in ``content``; digits after a decimal point are none."""
    words, numbers = hidden
    text = unpacked(content).decode("latin-1")
    found = set(re.findall(r"(?<![\d.])\d{8,}(?!\.?\d)", text)) & numbers
    return found | {word for word in words if word in text}


def test_a_leak_would_be_found(hidden):
    word, number = min(hidden[0]), min(hidden[1])
    image = f'<image href="data:image/svg+xml;base64,{base64.b64encode(word.encode()).decode()}"/>'
    stream = b"%PDF\nstream\n" + zlib.compress(number.encode()) + b"\nendstream"
    assert leaks(image.encode(), hidden) == {word}
    assert leaks(stream, hidden) == {number}
    assert leaks(f"files/p10/p{number}/s1".encode(), hidden) == {number}
    assert leaks(f'<path d="M 3.{number} 4.{number}"/>'.encode(), hidden) == set()


def test_no_figure_table_card_or_log_holds_an_identifier(finished, hidden):
    files = [
        path for kind in SHOWN for path in (finished / "results/tiny" / kind).rglob("*") if path.is_file()
    ]
    assert {path.relative_to(finished / "results/tiny").parts[0] for path in files} == set(SHOWN)
    leaking = [str(path.relative_to(finished)) for path in files if leaks(path.read_bytes(), hidden)]
    assert not leaking


def test_the_reports_hold_no_identifier(finished, report, hidden):
    for path in (report, finished / "results/tiny/report.html"):
        content = path.read_bytes()
        assert b"Data" in content and len(unpacked(content)) > 100_000
        assert not leaks(content, hidden)


def test_only_figures_and_cards_of_what_may_be_shown_hold_pictures(finished):
    with_pictures = {
        f"{path.parent.name}/{path.name}"
        for path in (finished / "results/tiny").rglob("*.svg")
        if "<image" in path.read_text()
    }
    assert with_pictures == {
        "figures/figure1.svg",
        "figures/augmentations.svg",
        "cards/spine.svg",
        "cards/natural.svg",
    }


def pictures_with_other_pixels(finished, dataset, folder):
    """Make the pictures of a finished run again from a store of other pixels; return the bytes of all their files."""
    shutil.copytree(finished, folder, symlinks=True)
    images = folder / f"results/data/tiny/{dataset}/store/images.npy"
    packed = np.load(images)
    with images.open("wb") as handle:
        np.save(handle, np.ascontiguousarray(255 - packed[::-1]))
    # as old as before: nothing but the pictures is made again
    shutil.copystat(finished / images.relative_to(folder), images)
    made = [path for name in PICTURES for path in (folder / name).parent.glob(f"{Path(name).stem}.*")]
    for path in made:
        path.unlink()
    snakemake(*PICTURES, *TINY, directory=folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in made}


def test_pictures_do_not_depend_on_pixels_that_must_stay_hidden(finished, tmp_path):
    hidden = pictures_with_other_pixels(finished, "chest", tmp_path / "chest")
    assert len(hidden) == 4 * 3 + 2 * 2  # and the page and the numbers of each card
    assert all((finished / name).read_bytes() == content for name, content in hidden.items())


def test_pictures_do_depend_on_pixels_that_may_be_shown(finished, tmp_path):
    shown = pictures_with_other_pixels(finished, "spine", tmp_path / "spine")
    changed = {name for name, content in shown.items() if (finished / name).read_bytes() != content}
    assert changed == {
        f"results/tiny/{name}.{kind}"
        for name in ("figures/figure1", "figures/augmentations", "cards/spine")
        for kind in ("pdf", "svg", "png")
    }
