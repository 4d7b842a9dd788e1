"""The test AUROC of every class, with the weighted and the macro average of the same cells below them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from moco_transfer.report.tables import MODES, auroc_text, mode_columns, source_title
from moco_transfer.statistics.auroc import Average

CELL = ["target", "source", "mode", "percent", "epochs"]


def class_table(
    classes: pd.DataFrame, estimates: pd.DataFrame, titles: Mapping[str, str], average: Average
) -> pd.DataFrame:
    """Return the table for people: "AUROC (lower–upper)" of every class and average, of the selected budgets.

    ``classes`` and ``estimates`` are frames of ``evaluation.evaluate_target``, of all targets; ``titles`` name these,
    ``average`` is the one that the estimates are of. Targets of one class are left out, because tables 2 and 3 say all of
    them, unless there is no other. Columns have two levels, mode over source. The estimates' average has the percentiles
    of the bootstrap for its interval, the macro average beside it none.
    """
    several = classes.groupby("target")["class"].nunique() > 1
    chosen = estimates[estimates["selected"] & (estimates["target"].map(several) | ~several.any())]
    averages = [chosen.assign(**{"class": f"{average} average"})]
    if average == "weighted":
        of_macro = {"class": "macro average", "auroc": chosen["macro"], "lower": np.nan, "upper": np.nan}
        averages.append(chosen.assign(**of_macro))
    of_classes = classes.merge(chosen[[*CELL, "n_labeled"]], on=CELL)
    every = pd.concat([of_classes, *averages], ignore_index=True)
    every["percent order"] = every["percent"].astype(float)
    every = every.sort_values(["target", "percent order"], kind="stable").rename(columns={"class": "name"})
    columns = mode_columns(every)
    rows = []
    for (target, _, name), row in every.groupby(["target", "percent order", "name"], sort=False):
        shown = {
            (cell.mode, cell.source): auroc_text(cell.auroc, cell.lower, cell.upper)
            for cell in row.itertuples()
        }
        first = row.iloc[0]
        positives = "" if np.isnan(first["positives"]) else f"{first['positives']:.0f}"
        label = f"{first['percent']}% ({first['n_labeled']})"
        rows.append([titles[target], label, name, positives, *(shown.get(column, "") for column in columns)])
    head = [("", name) for name in ("Target", "Lab. % (#)", "Class", "Positives")]
    names = [*head, *((MODES[mode], source_title(source)) for mode, source in columns)]
    return pd.DataFrame(rows, columns=pd.MultiIndex.from_tuples(names))


def class_records(classes: pd.DataFrame, estimates: pd.DataFrame) -> pd.DataFrame:
    """Return the AUROC of every class, of all targets and budgets, as records for machines."""
    facts = estimates[[*CELL, "n_labeled", "selected"]]
    return classes.merge(facts, on=CELL, how="left", validate="many_to_one")
