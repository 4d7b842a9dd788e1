"""What is in a folder: its images by kind, whether they are grey, their sizes, what DICOM headers say, and other files."""

from __future__ import annotations

import logging
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from moco_transfer.data.decode import decode
from moco_transfer.data.image_file import SUFFIXES, open_image
from moco_transfer.data.image_list import list_files
from moco_transfer.errors import UnreadableImage, UserError
from moco_transfer.escape import UNPRINTABLE

SAMPLE = 50
# Sides beyond this are decoded too slowly only to look at.
MOST_PIXELS = 50_000_000
# Mean difference between channels, in grey levels: JPEG leaves about 1 in a grey image that was saved in colour.
COLOUR = 3
OTHER_IMAGES = (".tif", ".tiff", ".bmp", ".gif", ".webp", ".heic", ".nii", ".nii.gz", ".mha", ".svs", ".jp2")
TAGS = ("PatientID", "StudyInstanceUID", "ViewPosition", "Modality", "NumberOfFrames")
# Files beside an image that show it again, smaller, or what was drawn on it.
DRAWN = re.compile(r"(?i)mask|segmentation|thumb")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
# Modalities whose files are slices of a volume.
SLICES = ("CT", "MR", "PT")


log = logging.getLogger(__name__)


@dataclass
class Notes:
    """What is told to the user: ``found`` is certain; of ``check``, somebody should look at it."""

    found: list[str] = field(default_factory=list)
    check: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Folder:
    """A folder's ``images`` and ``others`` (sorted paths relative to ``root``), and what a sample of the images shows."""

    root: Path
    images: list[str]
    left_out: list[str]  # masks, thumbnails and copies
    others: list[str]
    colour: bool

    @property
    def dicoms(self) -> list[str]:
        return [name for name in self.images if kind(name) == "DICOM"]


def count(number: int, what: str) -> str:
    """Return ``number`` of ``what``, as one says it: '1 image', '2,000 images'."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def kind(name: str) -> str:
    suffix = name.lower().rpartition(".")[2]
    return {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG"}.get(suffix, "DICOM")


def stem(name: str) -> str:
    """Return a file's name without the suffix of an image: '1.2.840.5' has none."""
    lower = name.lower()
    return next((name[: -len(suffix)] for suffix in SUFFIXES if lower.endswith(suffix)), name)


def look(root: Path, notes: Notes) -> Folder:
    """Return what is in the folder ``root``; raises UserError if it has no images or may not be read."""
    try:
        if not root.is_dir():
            what = "not a folder" if root.exists() else "no such folder"
            raise UserError(f"{root}: {what}; give the folder of the images")
        images, others = list_files(root)
        unnamed = sum(bool(UNPRINTABLE.search(name)) for name in images)
        if unnamed:
            raise UserError(
                f"{root}: the names of {unnamed} images have characters that are not UTF-8 or cannot be printed; rename them"
            )
        if not images:
            unread = sum(name.lower().endswith(OTHER_IMAGES) for name in others)
            packed = sum(name.lower().endswith(ARCHIVES) for name in others)
            linked = sum(path.is_symlink() and path.is_dir() for path in root.iterdir())
            what = (
                f"{count(unread, 'image')} in formats that are not read (such as TIFF); convert them to PNG"
                if unread
                else f"{count(packed, 'archive')}; unpack first"
                if packed
                else f"{count(linked, 'link')} to folders, which are not followed; give the folder that has the images"
                if linked
                else count(len(others), "other file")
            )
            raise UserError(
                f"{root}: no image in it or below; expected DICOM, JPEG or PNG files; found {what}"
            )
        images, left_out = _without_copies(images, notes)
        sample = random.Random(0).sample(images, min(SAMPLE, len(images)))
        shown = [_shown(root / name) for name in sample]
    except OSError as error:
        raise UserError(
            f"{error.filename or root}: cannot be read ({error.strerror}); check its permissions"
        ) from None
    readable = [each for each in shown if each]
    colours = sum(colour for colour, _ in readable)
    if not readable:
        raise UserError(
            f"{root}: none of a sample of {count(len(shown), 'image')} can be read; check what is in the files"
        )
    sides = [side for _, side in readable]
    kinds = Counter(map(kind, images))
    counted = " and ".join(f"{number:,} {name}" for name, number in kinds.most_common())
    colour = colours > len(readable) / 20
    images_of = "image" if len(images) == 1 else "images"
    notes.found.append(f"{counted} {images_of} in {root}; {count(len(others), 'other file')}")
    look_of = f"{colours} of a sample of {len(readable)} are in colour" if colours else "they are grey"
    pixels = f"{min(sides)} to {max(sides)}" if min(sides) < max(sides) else f"{max(sides)}"
    notes.found.append(f"{look_of}; their shorter side has {pixels} pixels")
    if len(readable) < len(shown):
        notes.check.append(
            f"{len(shown) - len(readable)} of a sample of {len(shown)} images cannot be read; the run leaves out up to "
            "store.max_quarantined of them and stops if there are more"
        )
    if 0 < colours <= len(readable) * 0.95:
        notes.check.append(
            f"images in grey and in colour are mixed; store.colour is {str(colour).lower()}, for all of them"
        )
    unread = Counter(Path(name).suffix.lower() for name in others if name.lower().endswith(OTHER_IMAGES))
    for suffix, number in unread.items():
        notes.check.append(
            f"files *{suffix} are not read; convert them to PNG if they belong to the dataset: {number:,}"
        )
    folder = Folder(root, images, left_out, others, colour)
    if folder.dicoms:
        _note_modality(read_headers(root, [name for name in sample if kind(name) == "DICOM"]), notes)
    return folder


def _without_copies(images: list[str], notes: Notes) -> tuple[list[str], list[str]]:
    """Return the images, and those that show others of them again: masks, thumbnails, and copies of DICOMs."""
    drawn = {name for name in images if DRAWN.search(name)}
    if len(drawn) < len(images):
        if drawn:
            notes.check.append(
                f"left out, because they or their folder are called mask, segmentation or thumbnail: {count(len(drawn), 'file')}"
            )
    else:
        drawn = set()
    dicoms = {stem(name.rpartition("/")[2]) for name in images if name not in drawn and kind(name) == "DICOM"}
    copies = {
        name for name in images if kind(name) != "DICOM" and stem(name.rpartition("/")[2]) in dicoms
    } - drawn
    if copies:
        notes.check.append(
            f"left out as copies, because a DICOM has the same name: {count(len(copies), 'JPEG or PNG file')}"
        )
    left_out = drawn | copies
    return [name for name in images if name not in left_out], sorted(left_out)


def _shown(path: Path) -> tuple[bool, int] | None:
    """Return whether an image is in colour, and its shorter side; None if it cannot be read."""
    try:
        image = decode(path, MOST_PIXELS, 128)
    except UnreadableImage:
        return None
    colour = False
    if image.pixels.ndim == 3:
        thinned = image.pixels[::4, ::4].astype(np.int16)
        colour = bool((thinned.max(axis=2) - thinned.min(axis=2)).mean() > COLOUR)
    return colour, min(image.height, image.width)


def _note_modality(headers: pd.DataFrame, notes: Notes) -> None:
    modalities = Counter(headers["Modality"].dropna())
    if modalities:
        notes.found.append("DICOM modality: " + ", ".join(name for name, _ in modalities.most_common(5)))
    if any(name in SLICES for name in modalities):
        notes.check.append(
            "these are slices of volumes (CT, MR or PET); each slice counts as an image, and a patient's slices must stay together"
        )
    if (pd.to_numeric(headers["NumberOfFrames"], errors="coerce") > 1).any():
        notes.check.append(
            "some DICOMs have several frames; only single images are read, so they will be left out"
        )


def read_headers(root: Path, names: list[str]) -> pd.DataFrame:
    """Return the ``TAGS`` of the DICOMs ``names``, one row per file; what a file does not say, or cannot be read, is null."""
    from pydicom import dcmread  # takes 1.5 s, and most datasets contain no DICOM

    if len(names) > SAMPLE:
        log.info("reading the headers of %d DICOMs", len(names))
    rows = []
    for name in names:
        found = dict.fromkeys(TAGS)
        try:
            with open_image(root / name) as file:
                header = dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
                found = {tag: str(header.get(tag) or "").strip() or None for tag in TAGS}
        except (
            Exception
        ):  # pydicom raises all kinds; such a file tells nothing, and packing will say what is wrong with it
            pass
        rows.append(found)
    return pd.DataFrame(rows, columns=list(TAGS), dtype=object)
