"""The budgets table: do few validation labels choose other numbers of epochs, with other test AUROCs?"""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from moco_transfer.errors import in_one_line
from moco_transfer.experiment import Kind
from moco_transfer.report.names import MARK, seen_note, source_title
from moco_transfer.report.tables import auroc_text, labeled_text, with_seen, write_table
from moco_transfer.statistics.budgets import VALIDATION_IMAGES, read_budgets
from moco_transfer.statistics.evidence import read_all

CELL = ["target", "percent", "source"]
HEADINGS = {"full": "Full validation", "matched": "Matched validation"}


def main(inputs, outputs, params) -> None:
    budgets = pd.concat(
        read_budgets(path).assign(target=target)
        for target, path in zip(params.targets, inputs.budgets, strict=True)
    )
    records = budget_records(budgets, read_all(inputs.estimates), list(params.sources))
    records = with_seen(records, params.seen)
    write_table(
        budget_summary(records, json.loads(params.titles), params.sources),
        outputs,
        "Budgets. The number of epochs of end-to-end finetuning that is chosen by all validation images "
        "(full), and by only as many of them as there are labelled training images (matched), with the "
        f"resulting test AUROC (mean over labelled subsets). This run uses the {params.validation} images. "
        "The last row covers only those choices for which there are fewer matched than full images: how "
        "many change, and the mean and largest difference." + seen_note(params.seen, params.targets),
        params.note,
        records,
    )


def budget_records(budgets: pd.DataFrame, estimates: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """Return the choices on full and on matched validation images, one row per target, percentage and source.

    ``budgets`` joins the frames of ``best_budgets``, with a column target; ``estimates`` joins those of
    ``evaluate_target``. Only ``sources`` are kept. The columns images, epochs and auroc (of the test set)
    have the suffixes _full and _matched; difference is the matched AUROC minus the full one. Epochs and AUROC
    are missing if no choice was possible.
    """
    tested = estimates.loc[estimates["mode"] == "end_to_end", [*CELL, "epochs", "n_labeled", "auroc"]]
    shown = budgets[budgets["source"].isin(sources)]
    tried = shown.merge(tested, on=[*CELL, "epochs"], how="left", validate="one_to_one").set_index(CELL)
    cells = tried.groupby(CELL, sort=False)
    records = cells[["n_labeled"]].first()
    for name in VALIDATION_IMAGES:
        chosen = tried[tried[f"selected_{name}"]]
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


def budget_summary(
    records: pd.DataFrame, titles: Mapping[str, str], sources: Mapping[str, Kind]
) -> pd.DataFrame:
    """Return ``budget_records``, with may_have_seen, as text; a last row says how much the choices differ."""
    names = [source_title(source, sources[source]) for source in records["source"]]
    marks = ["" if pd.isna(reason) else f" {MARK}" for reason in records["may_have_seen"]]
    columns = {
        ("", "Target"): records["target"].map(titles),
        ("", "Lab. % (#)"): labeled_text(records),
        ("", "Source"): [name + mark for name, mark in zip(names, marks, strict=True)],
    }
    for name, heading in HEADINGS.items():
        columns[heading, "Images"] = records[f"images_{name}"].astype(str)
        columns[heading, "Epochs"] = records[f"epochs_{name}"].astype("string").fillna("no choice")
        columns[heading, "Test AUROC"] = records[f"auroc_{name}"].map(auroc_text)
    columns["Matched minus full", "Test AUROC"] = records["difference"].map(_difference_text)
    last = dict.fromkeys(columns, "") | {("", "Target"): "Total"} | _total(records)
    return pd.concat([pd.DataFrame(columns), pd.DataFrame([last])], ignore_index=True)


def _total(records: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return the last row's cells, about the rows that have fewer matched than full images.

    Rows without a choice on the matched images are counted separately.
    """
    fewer = records[records["images_matched"] < records["images_full"]]
    chosen = fewer.dropna(subset=["epochs_full", "epochs_matched"])
    changed = int((chosen["epochs_full"] != chosen["epochs_matched"]).sum())
    without = len(fewer) - len(chosen)
    count = f"{changed} of {len(chosen)} change" + (f", {without} without a choice" if without else "")
    differences = chosen["difference"].dropna().to_numpy()
    size = ""
    if len(differences):
        largest = differences[np.abs(differences).argmax()]
        size = f"mean {_difference_text(differences.mean())}, largest {_difference_text(largest)}"
    return {(HEADINGS["matched"], "Epochs"): count, ("Matched minus full", "Test AUROC"): size}


def _difference_text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:+.4f}"


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
