"""Find the table that describes the images, read it however a program wrote it, and match its rows with the images."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa

from moco_transfer.config.listing import MISSING
from moco_transfer.data.adapters.tables import SPLIT_NAMES, header, read_content, read_table, stripped
from moco_transfer.errors import UserError
from moco_transfer.new import words
from moco_transfer.new.look import Folder, Notes, stem
from moco_transfer.new.words import plain

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".csv.gz", ".tsv.gz", ".parquet")
WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
EXPORT = "open it in Excel, choose File, Save As, 'CSV UTF-8 (comma delimited)', and give that file as TABLE"
PATH_NAMES = re.compile(r"path|file|image|img|bild|datei|archiv|imagen|fichier|uid")
# A column of paths names at least this share of the images, or of its own rows, whichever are fewer.
LEAST_MATCHED = 0.5
# Column that is added when tables called train and test are joined.
SPLIT = "split of the table"
MOST_TABLES = 20  # that are read in one place
# If none of so many values names an image, the others are not looked up.
TRIED = 1000


@dataclass
class Table:
    """A table as text: blanks are null. ``direct`` says whether the adapter ``table`` can read the file as it is."""

    file: Path
    rows: pd.DataFrame
    direct: bool
    why_not: str = ""


@dataclass
class Match:
    """Which column names the images: ``paths`` has, for each row, the images' paths in the folder."""

    column: str
    paths: pd.Series  # of lists
    how: str
    direct: bool  # whether the values are the images' paths as they are
    root: Path


def find_table(folder: Folder, own: Path, notes: Notes) -> tuple[Table, Match] | None:
    """Return the table whose paths match most images; None if there is none.

    It is looked for in the folder, in the folders in it, one level up, and in the current folder. ``own`` is the copy that an
    earlier ``make new`` may have written, which does not count. Tables called train and test are joined.

    Raises UserError if two tables match the images equally well.
    """
    top = [folder.root / name for name in folder.others if "/" not in name]
    deeper = [folder.root / name for name in folder.others if "/" in name]
    beside = [*folder.root.absolute().parent.glob("*"), *Path.cwd().glob("*")]
    finder = _Finder(folder.images)
    for place, is_beside in ((top, False), (deeper, False), (sorted(beside), True)):
        candidates = []
        for path in _tables(place, own):
            try:
                table = read_any(path)
                match = match_images(table, folder, finder)
            except UserError:
                continue
            except OSError:  # tables of other people
                if is_beside:
                    continue
                raise
            # Beside the folder, there may be tables of other images.
            enough = match.direct and _covered(match)[0] >= LEAST_MATCHED * len(folder.images)
            if enough or not is_beside:
                candidates.append((table, match))
        if not candidates:
            continue
        if joined := _joined_splits(candidates, folder):
            names = ", ".join(table.file.name for table, _ in candidates)
            notes.found.append(f"the tables {names} are joined; column '{SPLIT}' says which is which")
            return joined
        counts = [_covered(match) for _, match in candidates]
        best = [each for each, count in zip(candidates, counts, strict=True) if count == max(counts)]
        if len(best) > 1:
            names = ", ".join(table.file.name for table, _ in best)
            raise UserError(
                f"{folder.root}: several tables describe these images: {names}; name one: TABLE=FILE"
            )
        table = best[0][0]
        notes.found.append(f"the table {table.file} is used: it describes the most images")
        others = ", ".join(other.file.name for other, _ in candidates if other is not table)
        if others:
            notes.check.append(f"other tables that name these images are not used: {others}")
        return best[0]
    return None


def _tables(paths: list[Path], own: Path) -> list[Path]:
    """Return those of ``paths`` that may be tables and that no ``make new`` wrote; if there are many, without texts of single images."""
    found = [
        path
        for path in dict.fromkeys(paths)
        if path.name.lower().endswith(SUFFIXES)
        and os.path.isfile(path)  # noqa: PTH113 (False where it may not be asked)
        and path != own.absolute()
        and not (path.parent == Path.cwd() and path.with_suffix(".yaml").exists())
    ]
    return sorted(found, key=lambda path: path.name.lower().endswith(".txt"))[:MOST_TABLES]


def _covered(match: Match) -> tuple[int, int]:
    """Return how many images a table describes, and in how many rows."""
    return match.paths.explode().nunique(), match.paths.map(bool).sum()


def _joined_splits(candidates: list[tuple[Table, Match]], folder: Folder) -> tuple[Table, Match] | None:
    """Return tables with the same columns and other images as one, if the names of their files are those of splits."""
    sides = [
        next((word for word in words.words_of(table.file.name) if word in SPLIT_NAMES), None)
        for table, _ in candidates
    ]
    columns = [list(table.rows.columns) for table, _ in candidates]
    named = pd.concat([match.paths.explode().dropna().drop_duplicates() for _, match in candidates])
    if (
        None in sides
        or len({*sides}) < 2
        or any(each != columns[0] for each in columns)
        or named.duplicated().any()
    ):
        return None
    parts = [table.rows.assign(**{SPLIT: side}) for (table, _), side in zip(candidates, sides, strict=True)]
    why = f"it consists of {len(parts)} tables"
    table = Table(candidates[0][0].file, pd.concat(parts, ignore_index=True), False, why)
    return table, match_images(table, folder)


def read_any(path: Path) -> Table:
    """Return the table at ``path``: Parquet, or text with any usual separator and encoding.

    Raises UserError if it cannot be read, is a workbook, or has no rows.
    """
    if path.name.lower().endswith(WORKBOOKS):
        raise UserError(f"{path}: an Excel workbook; {EXPORT}")
    content = read_content(path)
    if content.startswith(b"PAR1"):
        return Table(path, _parquet(path), direct=True)
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UserError(f"{path}: an Excel workbook or a zip archive; unpack it, or {EXPORT}")
    text, usual = _decoded(content)
    if "\0" in text:
        raise UserError(f"{path}: not a table of text; expected CSV or Parquet")
    first, _, rest = text.partition("\n")
    told = re.fullmatch(r'"?sep=(.)"?', first.strip())  # a line that Excel writes
    separator = told[1] if told else _separator(text)
    try:
        records = [
            record
            for record in csv.reader(io.StringIO(rest if told else text, newline=""), delimiter=separator)
            if "".join(record).strip()
        ]
    except csv.Error as error:
        raise UserError(f"{path}: not a readable table ({error}); save it again as CSV") from None
    if len(records) < 2:
        raise UserError(f"{path}: the table has no rows")
    names = [name.strip() for name in records[0]]
    width = len(names)
    unnamed = [number for number, name in enumerate(names) if not name]
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    columns = _unique(names)
    rows = pd.DataFrame([(record + [""] * width)[:width] for record in records[1:]], columns=columns)
    rows = rows.apply(_stripped)
    why = (
        f"its fields are separated by {SEPARATORS.get(separator, 'another character')}"
        if separator != "," or told
        else "it is in UTF-16"
        if not usual
        else "two of its columns have the same name"
        if twice
        else "some lines have another number of fields than the header"
        if any(len(record) < width - len(unnamed) or "".join(record[width:]).strip() for record in records)
        else ""
    )
    return Table(path, rows.astype(object).where(rows.notna(), None), not why, why)


def _stripped(column: pd.Series) -> pd.Series:
    """Return a column of text with blanks as null; among other words, 'none' is a word."""
    text = pa.chunked_array([pa.array(column, pa.string())])
    values = stripped(text, [word for word in MISSING if word != "none"]).to_pandas()
    others = {plain(value) for value in values.dropna().unique()} - {"none"}
    are_words = 1 <= len(others) <= 20 and not any(re.search(r"\d", other) for other in others)
    return values if are_words else values.where(values.str.lower() != "none")


def _parquet(path: Path) -> pd.DataFrame:
    columns = {}
    for name in dict.fromkeys(header(path)):
        try:
            columns[name] = read_table(path, [name])[name]
        except UserError:  # a type that is neither text nor number, such as a date
            continue
    if not columns:
        raise UserError(f"{path}: no column of text or numbers")
    rows = pd.DataFrame(columns).reset_index(drop=True).astype(object)
    return rows.where(rows.notna(), None)


def _decoded(content: bytes) -> tuple[str, bool]:
    """Return the text of a table, and whether the adapter reads this encoding."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace"), False
    try:
        return content.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        return content.decode("latin-1"), True


def _separator(text: str) -> str:
    """Return the separator that gives the most fields in the header, among those that give as many in other lines."""
    lines = [line for line in text[:200_000].splitlines() if line.strip()][:30]

    def fields(separator: str) -> tuple[bool, int]:
        counts = [len(record) for record in csv.reader(lines, delimiter=separator)]
        if not counts:
            return False, 0
        return sum(count == counts[0] for count in counts) > len(counts) / 2, counts[0]

    return max(SEPARATORS, key=fields)


def _unique(names: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    unique = []
    for number, name in enumerate(names, 1):
        name = name or f"column {number}"
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def match_images(table: Table, folder: Folder, finder: _Finder | None = None) -> Match:
    """Return how the rows of ``table`` name the images of ``folder``; raises UserError if no column does."""
    rows, images = table.rows, folder.images
    exact = set(images)
    finder = finder or _Finder(images)
    needed = LEAST_MATCHED * min(len(rows), len(images))
    best: tuple[tuple, Match] | None = None
    for column in rows.columns:
        values = rows[column].dropna()
        distinct = values.unique()
        if len(distinct) < 2 and len(images) > 1:
            continue
        direct = _direct_root(distinct, exact, folder)
        if not direct and len(distinct) < len(values) and not _may_identify(column, distinct, values):
            continue
        root, start = direct or (folder.root, "")
        if direct:
            found = {value: [value[len(start) :]] for value in distinct if value.startswith(start)}
            found = {value: names for value, names in found.items() if names[0] in exact}
        elif len(images) >= len(rows) and not any(map(finder.find, distinct[:: len(distinct) // TRIED + 1])):
            continue  # half of the rows would have to name an image
        else:
            found = {value: finder.find(value) for value in distinct}
        paths = rows[column].map(lambda value, found=found: found.get(value, []))
        matched = paths.map(bool).sum()
        several = any(len(each) > 1 for each in found.values())
        covered = len({image for names in found.values() for image in names})
        if matched < max(1, needed):
            continue
        how = "paths" if direct else "folders or first parts of file names" if several else "file names"
        match = Match(column, paths, how, bool(direct), root)
        rank = (not several, covered, matched, bool(direct), bool(PATH_NAMES.search(plain(column))))
        if best is None or rank > best[0]:
            best = rank, match
    if best is None:
        names = ", ".join(rows.columns)
        raise UserError(
            f"{table.file}: no column names the {len(images):,} images in {folder.root}; its columns are {names[:300]}; "
            "check the folder, or add a column with the file name of each image"
        )
    return _narrowed(rows, best[1])


def _may_identify(column: str, distinct: np.ndarray, values: pd.Series) -> bool:
    """Return whether a column whose values repeat may name images or patients: grades and ages are names of folders, too."""
    if words.is_patient(column) or PATH_NAMES.search(plain(column)):
        return True
    described = (words.is_metadata, words.is_class, words.is_grade, words.is_split, words.is_view)
    return len(distinct) > min(20, len(values) / 2) and not any(tells(column) for tells in described)


def _narrowed(rows: pd.DataFrame, match: Match) -> Match:
    """Return ``match`` with fewer images in each row, if a row describes one study or view of a patient and other columns name it."""
    paths = match.paths
    for column in rows.columns:
        if column == match.column or not paths.explode().dropna().duplicated().any():
            continue
        narrowed = pd.Series(
            [
                [name for name in names if isinstance(value, str) and value.casefold() in _parts(name)]
                for names, value in zip(paths, rows[column], strict=True)
            ],
            paths.index,
        )
        if narrowed.map(bool).equals(paths.map(bool)):
            paths = narrowed
    return replace(match, paths=paths)


def _parts(image: str) -> list[str]:
    *folders, name = unicodedata.normalize("NFC", image).casefold().split("/")
    return [*folders, stem(name), *re.split(r"[_\-. ]", stem(name))]


def _direct_root(values: list[str], exact: set[str], folder: Folder) -> tuple[Path, str] | None:
    """Return the root to which ``values`` are the images' paths, and their start that leads to the folder; None if there is none.

    The root is the folder itself, or one of the three folders above it.
    """
    place = PurePosixPath(folder.root.absolute().as_posix())
    for up in range(4):
        if up > len(place.parts) - 2:
            break
        start = "/".join(place.parts[len(place.parts) - up :])
        start += "/" if start else ""
        fits = sum(value.startswith(start) and value[len(start) :] in exact for value in values)
        if fits and fits >= LEAST_MATCHED * min(len(values), len(exact)):
            root = folder.root if up == 0 else Path(*place.parts[: len(place.parts) - up])
            return root, start
    return None


class _Finder:
    """Finds images by what tables write instead of their paths: other folders, no suffix or another one, other capitals."""

    def __init__(self, images: list[str]) -> None:
        self.exact = set(images)
        self.by_stem = defaultdict(list)
        self.by_part = defaultdict(list)
        for image in images:
            parts = [part.casefold() for part in unicodedata.normalize("NFC", image).split("/")]
            name = stem(parts[-1])
            self.by_stem[name].append((image, parts))
            keys = {*parts[:-1], re.split(r"[_\-. ]", name)[0]} - {name}
            for key in keys:
                self.by_part[key].append(image)

    def find(self, value: str) -> list[str]:
        """Return the image that ``value`` names, or the images in a folder of that name; none if it is ambiguous."""
        if value in self.exact:
            return [value]
        slashed = unicodedata.normalize("NFC", value).replace("\\", "/").casefold()
        parts = [part for part in slashed.split("/") if part not in ("", ".")]
        if not parts:
            return []
        same = self.by_stem.get(stem(parts[-1]), [])
        if not same:
            return self.by_part.get(parts[0], []) if len(parts) == 1 else []

        def alike(other: list[str]) -> tuple[int, bool]:
            """Return how many folders agree, from the file on, and whether the suffix does."""
            agree = 0
            for mine, theirs in zip(reversed(parts[:-1]), reversed(other[:-1]), strict=False):
                if mine != theirs:
                    break
                agree += 1
            return agree, parts[-1] == other[-1]

        ranked = sorted(((alike(other), image) for image, other in same), reverse=True)
        return [ranked[0][1]] if len(ranked) == 1 or ranked[0][0] > ranked[1][0] else []
