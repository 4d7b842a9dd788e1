"""The filter on views: which projections (PA, AP, LATERAL, ...) of a dataset are kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pandas as pd

from moco_transfer.errors import UserError

# A column with more values than this is no column of views, and its values may be identifiers: they are not shown.
MOST_VIEWS = 40

log = logging.getLogger(__name__)


def keep_views(index: pd.DataFrame, views: Sequence[str], where: str) -> pd.DataFrame:
    """Return the rows of ``index`` whose view is one of ``views``, under the row labels they had; the rest is counted.

    ``where`` names the dataset in messages. Raises UserError if the release names no views, or one of ``views`` never
    occurs; the message then says which do.
    """
    counts = index["view"].value_counts()
    if counts.empty:
        raise UserError(f"{where}: it names no views, so 'views' cannot choose among them; set views to null")
    unknown = [view for view in views if view not in counts]
    if unknown or not views:
        occurring = f"{len(counts)} different values, too many for views"
        if len(counts) <= MOST_VIEWS:
            occurring = ", ".join(f"{view} ({count})" for view, count in counts.items())
        asked = (
            f"view {' and '.join(map(repr, unknown))} never occurs" if unknown else "views is an empty list"
        )
        raise UserError(f"{where}: {asked}; found {occurring}")
    kept = index["view"].isin(list(views))
    blank = int(index["view"].isna().sum())
    log.info(
        "views %s: %d of %d images kept, %d left out (%d of them name no view)",
        ", ".join(views),
        kept.sum(),
        len(index),
        (~kept).sum(),
        blank,
    )
    return index[kept]
