"""Does the most similar source rank first? The answers for people, at the deepest layer, which linear heads read."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from moco_transfer.tables.claims import effect_text


def ranks_summary(ranks: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Return the frame of ``source_ranking.source_ranks`` as text, one row for each target, percentage and measure.

    Its layers come in the order of the network: the last one is shown, with how many of all name the same source.
    """
    rows = []
    for _, layers in ranks.groupby(["target", "percent", "measure"], sort=False):
        last = layers.iloc[-1]
        agree = int((layers["most_similar"] == last["most_similar"]).sum())
        title = titles.get(last["target"], last["target"])
        rows.append(
            {
                "Target": f"{title}, {last['percent']}% ({last['n_labeled']:,})",
                "Measure": last["measure"].replace("_", " "),
                "Most similar source": f"{last['most_similar']} ({agree} of {len(layers)} layers)",
                "Best by AUROC": f"{last['best']} (of {last['sources']})",
                "Most similar less its best rival": effect_text(*last[["effect", "lower", "upper"]]),
                "Does it rank first?": _answer(last),
            }
        )
    return pd.DataFrame(rows)


def _answer(last: pd.Series) -> str:
    if last["measure"] == "svcca":  # whatever its null says (decision 18)
        return "its rows are not paired: says nothing"
    return last["first"] if last["outside_null"] else "inside its null: says nothing"
