"""The command ``moco-transfer new``: look, read, choose, check, write, and tell."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from moco_transfer.config import expanded, stages
from moco_transfer.config.composition import composed, merge, read_config
from moco_transfer.config.experiment import BUILT_IN_SOURCES, check
from moco_transfer.data import adapters
from moco_transfer.data.labels import SPLITS, label_columns
from moco_transfer.errors import UserError
from moco_transfer.escape import printable
from moco_transfer.files import replacing
from moco_transfer.new.choose import Choice, choose, effort, that_fits, this_machine
from moco_transfer.new.look import Folder, Notes, count, look
from moco_transfer.new.tables import EXPORT, WORKBOOKS, find_table, match_images, read_any
from moco_transfer.new.understand import (
    Understanding,
    understand_folders,
    understand_release,
    understand_table,
)
from moco_transfer.new.write import config_text, duration, raw_config

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
SEED = 2023  # of config/protocol.yaml
# Names that stand for something else in a configuration or among the results.
TAKEN = {*BUILT_IN_SOURCES, "none", "default", "data", "demo", "chest"}


def new(folder: Path, *, table: Path | None = None, run: str | None = None, force: bool = False) -> str:
    """Write the configuration of an experiment with the images of a folder, after looking at them.

    It finds the DICOM, JPEG and PNG images in the folder and below, and the table that describes them, guesses what the
    columns mean, and chooses splits, percentages, and a size for this machine. NAME.yaml has every choice with its reason.
    Your files are only read. If the table must be cleaned, or if there is none, NAME.csv is written too.

    Parameters
    ----------
    folder : the folder of the images
    table : a CSV or Parquet file with a row per image; if not given, one is looked for in the folder and below, one level up,
        and in the current folder, and then the names of folders are used
    run : the name of the run, NAME; if not given, it is made of the folder's name
    force : replace NAME.yaml and NAME.csv
    """
    root = Path(os.path.abspath(_path(folder)))  # noqa: PTH100 (links stay as they are)
    name = _name(run, root)
    notes = Notes()
    config, copy = Path(f"{name}.yaml"), Path(f"{name}.csv")
    _require_free(config, force)
    found = look(root, notes)
    understood = _understand(found, table, name, notes)
    understood.colour = found.colour
    if understood.copy is not None:
        # What somebody has filled in is not replaced.
        _require_free(copy, force and understood.has_labels, table)
    machine, title = this_machine(), root.name or name
    index = _index(name, title, understood)
    try:
        choice = choose(index, understood, machine, SEED, notes)
    except UserError as error:
        raise UserError(f"{root}: {error}") from None
    choice = that_fits(choice, lambda each: raw_config(name, title, understood, each), name, machine)
    raw = raw_config(name, title, understood, choice)
    text = config_text(name, raw, understood, choice, machine, notes)
    if understood.copy is not None:
        with replacing(copy) as temporary:
            understood.copy.to_csv(temporary, index=False)
    with replacing(config) as temporary:
        temporary.write_text(text, encoding="utf-8")
    written = read_config([config])
    if written != check(composed(merge(raw, effort(raw, choice)))):
        raise UserError(
            f"{config}: it does not mean what was chosen; this is a fault of make new, please report it"
        )
    return _told(name, understood, choice, index, notes)


def _path(folder: Path) -> str:
    try:
        return expanded(str(folder))
    except ValueError as error:
        raise UserError(f"FOLDER: {error}") from None


def _name(run: str | None, root: Path) -> str:
    if run is not None:
        if not NAME.fullmatch(run) or run in TAKEN:
            reason = (
                "it stands for something else"
                if run in TAKEN
                else "only a-z, 0-9, _ and -, and a letter or digit first"
            )
            raise UserError(f"RUN {printable(run)}: not a name for a run: {reason}; give another")
        return run
    letters = (
        unicodedata.normalize("NFKD", root.name.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
    )
    name = re.sub(r"[^a-z0-9_-]+", "-", letters).strip("-_")[:50] or "images"
    return f"{name}-images" if name in TAKEN else name


def _understand(found: Folder, table: Path | None, name: str, notes: Notes) -> Understanding:
    """Return what is understood of the folder: by the given table, as a known release, by a table that is found, or by names."""
    if table is not None:
        given = read_any(Path(_path(table)))
        return understand_table(found, given, match_images(given, found), name, notes)
    if release := understand_release(found, notes):
        return release
    if pair := find_table(found, Path(f"{name}.csv"), notes):
        return understand_table(found, *pair, name, notes)
    understood = understand_folders(found, name, notes)
    books = [each for each in found.others if "/" not in each and each.lower().endswith(WORKBOOKS)]
    if books and not understood.has_labels:
        raise UserError(
            f"{found.root}: {count(len(books), 'Excel workbook')} in it, and nothing else that tells labels; {EXPORT}"
        )
    described = sum(each.lower().endswith((".json", ".xml")) for each in found.others)
    if described and not understood.has_labels:
        notes.check.append(
            f"{count(described, 'JSON or XML file')} cannot be read as a table (COCO or VOC, perhaps); make a CSV of image and label"
        )
    return understood


def _require_free(file: Path, force: bool, table: Path | None = None) -> None:
    """Raise UserError before anything is written if ``file`` is there already, or its folder may not be written to."""
    if table is not None and file.exists() and file.samefile(table):
        raise UserError(
            f"{file}: this is the given table, which is never replaced; give another name: RUN=NAME"
        )
    if file.exists() and not force:
        cure = "give another name (RUN=NAME), or replace it (FORCE=1)"
        if file.suffix == ".csv":
            cure = f"if it is filled in, give it as TABLE={file}; else remove it, or give another name (RUN=NAME)"
        raise UserError(f"{file}: it is there already; {cure}")
    if not os.access(".", os.W_OK):
        raise UserError(f"{Path.cwd()}: this folder may not be written to; run in another")


def _index(name: str, title: str, understood: Understanding) -> pd.DataFrame:
    """Return the index of the images, read by the adapter that the run uses."""
    dataset: dict[str, Any] = {"split": {"unit": "image", "train": 0.6, "validation": 0.2, "test": 0.2}}
    with tempfile.TemporaryDirectory() as temporary:
        section = dict(understood.section)
        file = f"{temporary}/{name}.csv"
        if understood.copy is not None:
            understood.copy.to_csv(file, index=False)
            section["table"] = section["table"] | {"file": file}
        dataset |= {"title": title, **section, "store": {"size": 16, "fit": "pad"}}
        dataset["labels"] = {"uncertain": "zero", "unlabeled": "zero"}
        raw = {"uses": ["protocol.yaml", "size/cpu.yaml"], "run": name, "data": name, "sources": {"none": []}}
        raw["datasets"] = {name: dataset | {"store": {"fit": "pad"}}}
        raw["targets"] = {name: {"percents": ["100"], "limited": []}}
        checked = check(composed(raw)).datasets[name]
        settings = stages.Index(**{key: getattr(checked, key) for key in stages.Index.model_fields})
        try:
            return adapters.read_release(settings, Path(checked.root), checked.store.max_quarantined)[0]
        except UserError as error:
            where = f"the cleaned copy of the table, {name}.csv"
            raise UserError(f"nothing was written: {str(error).replace(file, where)}") from None


def _told(name: str, understood: Understanding, choice: Choice, index: pd.DataFrame, notes: Notes) -> str:
    """Return what is printed at the end: what was found and chosen, what to check, and the next commands."""
    lines = ["Found", *(f"  {printable(text)}" for text in notes.found)]
    lines += ["", *_preview(understood, choice, index)]
    if notes.check:
        lines += ["", "Please check", *(f"  - {printable(text)}" for text in notes.check)]
    snakemake = Path(sys.executable).with_name("snakemake")
    if snakemake.is_relative_to(Path.cwd()):
        snakemake = snakemake.relative_to(Path.cwd())
    rules = Path(__file__).resolve().parents[3] / "Snakefile"
    where = (
        "" if Path("Snakefile").exists() and rules.samefile("Snakefile") else f" -s {shlex.quote(str(rules))}"
    )
    command = f"{shlex.quote(str(snakemake))}{where}"
    lines += ["", f"Written: {name}.yaml" + (f" and {name}.csv" if understood.copy is not None else "")]
    if not understood.has_labels:
        lines.append(
            f"No labels were found: first fill in column 'label' of {name}.csv with 1 (present) or 0 (absent)."
        )
    hours = f", in about {duration(choice.hours)}" if choice.hours else ""
    lines += [  # targets come before --configfile, which takes every name that follows it
        f"First make the data card, results/{name}/cards/{name}.md, and see whether the data was understood:",
        f"  {command} cards --configfile {name}.yaml",
        f"Then run everything{hours}:",
        f"  {command} --configfile {name}.yaml",
    ]
    return "\n".join(lines)


def _preview(understood: Understanding, choice: Choice, index: pd.DataFrame) -> list[str]:
    names = label_columns(index.columns)
    patients = f" of {index['patient_id'].nunique():,} patients" if understood.has_patients else ""
    lines = [f"The data as the run reads it: {count(len(index), 'image')}{patients}"]
    counts = Counter(choice.sides.dropna())
    sides = ", ".join(f"{counts[side]:,} {side}" for side in SPLITS)
    folds = f" in fold 1 of {choice.folds}; each image is tested in one fold" if choice.folds > 1 else ""
    lines.append(f"  {sides}{folds} ({choice.split_reason})")
    if left := int(choice.sides.isna().sum()):
        lines.append(f"  left out, without any label: {count(left, 'image')}")
    if understood.has_labels:
        width = max(map(len, names[:30]))
        lines.append(f"  {'positive images':{width}}" + "".join(f"{side:>12}" for side in SPLITS))
        for label in names[:30]:
            positive = [
                int(((choice.sides == side).to_numpy() & (index[label] == 1)).sum()) for side in SPLITS
            ]
            lines.append(f"  {printable(label):{width}}" + "".join(f"{count:>12,}" for count in positive))
        if len(names) > 30:
            lines.append(f"  and {len(names) - 30} more labels")
    lines.append(
        "  labelled training images: "
        + ", ".join(f"{count:,} at {percent}%" for percent, count in choice.labelled.items())
    )
    return lines
