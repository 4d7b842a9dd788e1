"""The classes table: the test AUROC of every class, with the weighted and the macro average."""

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd

from moco_transfer.errors import in_one_line
from moco_transfer.experiment import Kind
from moco_transfer.report.names import interval_name, one_vs_rest_note, seen_note
from moco_transfer.report.tables import auroc_grid, labeled_text, with_seen, write_table
from moco_transfer.statistics.auroc import Average
from moco_transfer.statistics.evidence import read_all

CELL = ["target", "source", "mode", "percent", "epochs"]


def main(inputs, outputs, params) -> None:
    classes, estimates = (
        with_seen(frame[frame["source"].isin(list(params.sources))], params.seen)
        for frame in map(read_all, (inputs.classes, inputs.estimates))
    )
    lower, upper = params.percentiles
    titles, shown = json.loads(params.titles), shown_targets(classes)
    write_table(
        class_summary(classes, estimates, titles, params.average, params.sources),
        outputs,
        "Classes. The test AUROC of each class (mean over labelled subsets) with its logit interval "
        f"({upper - lower:g}%, clustered by patient), and the averages over classes on the test set itself. "
        f"The interval of the {params.average} average is that of tables 2 and 3 "
        f"({interval_name(params.percentiles)}, resampled by {params.unit}). Intervals hold only the test "
        "set's variance, not that between labelled subsets and encoders."
        + one_vs_rest_note(params.multiclass, shown, titles)
        + seen_note(params.seen, shown),
        params.note,
        class_records(classes, estimates),
    )


def class_records(classes: pd.DataFrame, estimates: pd.DataFrame) -> pd.DataFrame:
    """Return ``classes`` with the number of labels and whether the budget is selected."""
    facts = estimates[[*CELL, "n_labeled", "selected"]]
    return classes.merge(facts, on=CELL, how="left", validate="many_to_one")


def shown_targets(classes: pd.DataFrame) -> list[str]:
    """Return the targets with several classes: of the others, tables 2 and 3 say everything. If none has several, all."""
    count = classes.groupby("target", sort=False)["class"].nunique()
    return list(count.index[count > 1]) or list(count.index)


def class_summary(
    classes: pd.DataFrame,
    estimates: pd.DataFrame,
    titles: Mapping[str, str],
    average: Average,
    sources: Mapping[str, Kind],
) -> pd.DataFrame:
    """Return the AUROC of every class and average at the selected budgets as text.

    ``classes`` and ``estimates`` join the frames of ``evaluate_target``, each with may_have_seen; ``average`` is the average of
    ``estimates``. The estimates' average has its bootstrap interval; the macro average beside it has none.
    """
    chosen = estimates[estimates["selected"] & estimates["target"].isin(shown_targets(classes))]
    parts = [classes.merge(chosen[[*CELL, "n_labeled"]], on=CELL)]
    parts.append(chosen.assign(**{"class": f"{average} average"}))
    if average == "weighted":
        macro = {"class": "macro average", "auroc": chosen["macro"], "lower": np.nan, "upper": np.nan}
        parts.append(chosen.assign(**macro))
    cells = pd.concat(parts, ignore_index=True).rename(columns={"target": "Target", "class": "Class"})
    cells["Lab. % (#)"] = labeled_text(cells)
    cells["Positives"] = cells["positives"].map(lambda n: "" if np.isnan(n) else f"{n:.0f}")
    cells["ascending"] = cells["percent"].astype(float)
    cells = cells.sort_values(["Target", "ascending"], kind="stable")
    table = auroc_grid(cells, ["Target", "Lab. % (#)", "Class", "Positives"], sources)
    table["", "Target"] = table["", "Target"].map(titles)
    return table


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
