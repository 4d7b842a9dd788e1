"""The tables of the controls, for people: answers to their questions, and the scatter between labelled subsets."""

from __future__ import annotations

import numpy as np
import pandas as pd

from moco_transfer.tables.claims import effect_text, p_value_text


def controls_summary(controls: pd.DataFrame) -> pd.DataFrame:
    """Return the frame of ``controls.controls_table`` as text, one row a cell."""
    columns = ["Control", "Question", "Cell", "Difference in AUROC", "Effect", "p", "p against", "Answer"]
    if controls.empty:
        return pd.DataFrame(columns=columns)
    modes = controls["mode"].str.replace("_", " ")
    effects = controls[["effect", "lower", "upper"]].to_numpy(dtype=float)
    return pd.DataFrame(
        {
            "Control": controls["control"],
            "Question": controls["question"],
            "Cell": controls["target"] + " " + controls["percent"] + "%, " + modes,
            "Difference in AUROC": controls["a"] + " less " + controls["b"],
            "Effect": [effect_text(*values) for values in effects],
            "p": controls["p"].map(p_value_text),
            "p against": controls["p_against"].map(p_value_text),
            "Answer": controls["answer"],
        }
    )[columns]


def subsets_summary(scatter: pd.DataFrame) -> pd.DataFrame:
    """Return the frame of ``controls.subset_scatter`` as text, one row a cell."""
    return pd.DataFrame(
        {
            "Cell": scatter["target"] + " " + scatter["percent"] + "%",
            "Source": scatter["source"],
            "Subsets": scatter["subsets"],
            "Standard deviation": [
                f"{row.sd:.4f} ({row.lower:.4f}–{row.upper:.4f})" for row in scatter.itertuples()
            ],
            "Of the run's own": scatter["run_sd"].map(lambda sd: "" if np.isnan(sd) else f"{sd:.4f}"),
        }
    )
