"""The recipes table: would linear heads that are trained in another way rank the sources in another order?"""

import pandas as pd

from moco_transfer.errors import in_one_line
from moco_transfer.experiment import Kind
from moco_transfer.report.names import MARK, Seen, seen_note, source_title
from moco_transfer.report.tables import with_seen, write_table
from moco_transfer.statistics.evidence import read_all

CELL = ["target", "percent"]
NAMES = {
    "paper": "The paper's recipe",
    "standardised": "Standardised features",
    "logistic": "Logistic regression",
}


def main(inputs, outputs, params) -> None:
    records = recipe_records(read_all(inputs), params.recipe, params.seen)
    write_table(
        recipe_summary(records, params.recipe, params.sources),
        outputs,
        "Other recipes of linear finetuning may rank the sources in another order. The test AUROC of heads that are trained on the "
        "same features, as a mean over the run's labelled subsets, with the rank of the source. Kendall's tau compares the order of "
        f"the sources with that of the run's own recipe ({NAMES[params.recipe].lower()}): 1 is the same order, -1 the reverse. "
        f"{changes(records, params.recipe)} Close AUROCs may change their order by chance; the other tables have intervals. Sources "
        "with one encoder per labelled subset are left out."
        + seen_note(params.seen, records["target"].unique()),
        params.note,
        records,
    )


def recipe_records(aurocs: pd.DataFrame, own: str, seen: Seen) -> pd.DataFrame:
    """Return one row per target, percentage, source and recipe, with the run's ``own`` recipe first.

    ``aurocs`` has a row per subset and fold: target, percent, source, recipe, subset, auroc. The columns auroc (the mean), rank (of
    the source among those that cannot have seen test images; 1 is the best), tau (Kendall's tau-b of the sources' AUROCs with
    those of ``own``; missing for fewer than two sources) and same_best (whether the best source is that of ``own``) follow.
    """
    from scipy.stats import kendalltau

    cell = [*CELL, "source", "recipe"]
    by_subset = aurocs.groupby([*cell, "subset"], sort=False, as_index=False)["auroc"].mean()
    means = by_subset.groupby(cell, sort=False, as_index=False).agg(
        subsets=("subset", "nunique"), auroc=("auroc", "mean")
    )
    means = with_seen(means, seen)
    ranked = means[means["may_have_seen"].isna()]
    ranks = ranked.groupby([*CELL, "recipe"])["auroc"].rank(method="min", ascending=False)
    means = means.assign(rank=ranks.astype("Int64"))
    agreement = []
    for key, of_cell in ranked.groupby(CELL, sort=False):
        table = of_cell.pivot(index="source", columns="recipe", values="auroc")
        for recipe in table:
            tau = kendalltau(table[own], table[recipe]).statistic if len(table) > 1 else None
            best = table[recipe].idxmax() == table[own].idxmax()
            agreement.append((*key, recipe, tau, best))
    agreed = pd.DataFrame(agreement, columns=[*CELL, "recipe", "tau", "same_best"])
    return means.merge(agreed, on=[*CELL, "recipe"], how="left")


def recipe_summary(records: pd.DataFrame, own: str, sources: dict[str, Kind]) -> pd.DataFrame:
    """Return ``recipe_records`` as text: per target and percentage a row for each source, and one on the order of the sources."""
    rows = []
    for (target, percent), of_cell in records.groupby(CELL, sort=False):
        where = f"{target} {percent}%"
        for source, of_source in of_cell.groupby("source", sort=False):
            texts = {NAMES[row.recipe]: _auroc_text(row) for row in of_source.itertuples()}
            rows.append({"Cell": where, "Source": source_title(source, sources[source]), **texts})
        order = of_cell.dropna(subset="tau").drop_duplicates("recipe")
        texts = {
            NAMES[row.recipe]: f"tau {row.tau:.2f}, {'the same' if row.same_best else 'another'} best"
            for row in order.itertuples()
            if row.recipe != own
        }
        if texts:
            rows.append({"Cell": where, "Source": "the order of the sources", **texts})
    return pd.DataFrame(rows).fillna("")


def _auroc_text(row) -> str:
    return f"{row.auroc:.3f} {MARK}" if pd.isna(row.rank) else f"{row.auroc:.3f} ({row.rank})"


def changes(records: pd.DataFrame, own: str) -> str:
    """Return in how many cells each other recipe has another best source than ``own``."""
    others = records[records["recipe"] != own].dropna(subset="tau").drop_duplicates([*CELL, "recipe"])
    parts = []
    for recipe, of_recipe in others.groupby("recipe", sort=False):
        cells, changed = len(of_recipe), int((~of_recipe["same_best"].astype(bool)).sum())
        parts.append(
            f"With {NAMES[recipe].lower()}, the best source is another one in {changed} of {cells} cells, and tau is "
            f"{of_recipe['tau'].mean():.2f} on average."
        )
    return " ".join(parts)


if "snakemake" in globals():
    with in_one_line():
        main(snakemake.input, snakemake.output, snakemake.params)
