"""The table of budgets: how far few validation labels change the choice of epochs, and the test AUROC with it (#14a)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from moco_transfer.report.tables import auroc_text, source_title
from moco_transfer.statistics.budgets import VALIDATION_IMAGES

CELL = ["target", "percent", "source"]
HEADINGS = {"full": "Full validation", "matched": "Matched validation"}


def budget_records(budgets: pd.DataFrame, estimates: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """Return what full and what matched validation images choose, a row for each (target, percent, source).

    ``budgets`` are frames of ``selection.select_budgets`` with a column target, ``estimates`` those of
    ``evaluation.evaluate_target``; other sources than ``sources`` are left out. Columns are target, percent, n_labeled and
    source; images, epochs and auroc (of the test set), of each choice, as columns that end in _full and _matched; and
    difference, the test AUROC of the matched choice less that of the full one. Where the matched images choose nothing,
    epochs and AUROC are missing.
    """
    tested = estimates.loc[estimates["mode"] == "end_to_end", [*CELL, "epochs", "n_labeled", "auroc"]]
    shown = budgets[budgets["source"].isin(sources)]
    every = shown.merge(tested, on=[*CELL, "epochs"], how="left", validate="one_to_one").set_index(CELL)
    cells = every.groupby(CELL, sort=False)
    records = cells[["n_labeled"]].first()
    for name in VALIDATION_IMAGES:
        chosen = every[every[f"selected_{name}"]]
        records[f"images_{name}"] = cells[f"images_{name}"].first()
        records[f"epochs_{name}"] = chosen["epochs"].astype("Int64")
        records[f"auroc_{name}"] = chosen["auroc"]
    records["difference"] = records["auroc_matched"] - records["auroc_full"]
    order = {
        "target": list(dict.fromkeys(budgets["target"])).index,
        "percent": float,
        "source": list(sources).index,
    }
    records = records.reset_index().sort_values(CELL, key=lambda column: column.map(order[column.name]))
    return records.set_index(["target", "percent", "n_labeled", "source"]).reset_index()


def budget_table(records: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Return the table for people of ``budget_records``; its last line says how much the choices differ.

    ``titles`` name the targets. Columns have two levels, the validation images over what they choose.
    """
    columns = {
        ("", "Target"): records["target"].map(titles),
        ("", "Lab. % (#)"): records["percent"] + "% (" + records["n_labeled"].astype(str) + ")",
        ("", "Source"): records["source"].map(source_title),
    }
    for name, heading in HEADINGS.items():
        columns[heading, "Images"] = records[f"images_{name}"].astype(str)
        columns[heading, "Epochs"] = records[f"epochs_{name}"].astype("string").fillna("no choice")
        columns[heading, "Test AUROC"] = records[f"auroc_{name}"].map(_auroc)
    columns["Matched less full", "Test AUROC"] = records["difference"].map(_difference)
    table = pd.DataFrame(columns)
    last = dict.fromkeys(columns, "") | {("", "Target"): "In sum"} | _summary(records)
    return pd.concat([table, pd.DataFrame([last])], ignore_index=True)


def _summary(records: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return the last line's cells: of the cells whose matched images are the fewer, how many choices change, how much.

    A cell whose matched images choose nothing is counted apart.
    """
    fewer = records[records["images_matched"] < records["images_full"]]
    both = fewer.dropna(subset=["epochs_full", "epochs_matched"])
    changed = int((both["epochs_full"] != both["epochs_matched"]).sum())
    undefined = len(fewer) - len(both)
    count = f"{changed} of {len(both)} change" + (f", {undefined} without a choice" if undefined else "")
    differences = both["difference"].dropna().to_numpy()
    size = ""
    if len(differences):
        largest = differences[np.abs(differences).argmax()]
        size = f"mean {_difference(differences.mean())}, largest {_difference(largest)}"
    return {(HEADINGS["matched"], "Epochs"): count, ("Matched less full", "Test AUROC"): size}


def _auroc(value: float) -> str:
    return auroc_text(value, np.nan, np.nan)


def _difference(value: float) -> str:
    return "" if np.isnan(value) else f"{value:+.4f}"
