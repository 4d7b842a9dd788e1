"""Features of a frozen network on file: computed once, read by every linear job of a source and target.

``features.npy`` is float32 [m, width]; ``rows.npy`` is int64 [m, 2] and says whose features they are: the row of the
store, and the view of that image. View 0 is the image as it is, and all that validation and test images have; views
above it are augmented, and only labelled images have them. Both files are ordered by view, then by row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moco_transfer.errors import UserError


class FeatureCache:
    """The features in a pair of files, read as they are asked for.

    Attributes
    ----------
    views : number of views that labelled images have, at least 1

    Raises UserError where the files do not belong together.
    """

    def __init__(self, features: Path, rows: Path) -> None:
        self.path = features
        self._features, index = np.load(features, mmap_mode="r"), np.load(rows)
        if index.ndim != 2 or self._features.ndim != 2 or len(index) != len(self._features):
            raise UserError(f"{features} and {rows} do not belong together; delete both and run again")
        self.views = int(index[:, 1].max(initial=0)) + 1
        # One ascending number for each pair of view and row, so that a pair is found by bisection.
        self._span = int(index[:, 0].max(initial=0)) + 1
        self._keys = index[:, 1] * self._span + index[:, 0]

    def of(self, rows: np.ndarray, view: int = 0) -> np.ndarray:
        """Return the features of one view of the store's ``rows`` [n], float32 [n, width].

        Raises UserError where the files lack one of them, or hold values that are not finite.
        """
        wanted = view * self._span + rows
        at = np.searchsorted(self._keys, wanted)
        at[at == len(self._keys)] = 0
        if len(self._keys) == 0 or (rows >= self._span).any() or not np.array_equal(self._keys[at], wanted):
            raise UserError(f"{self.path}: lacks features of images of this cell; delete it and run again")
        found = self._features[at]
        broken = ~np.isfinite(found).all(axis=1)
        if broken.any():
            raise UserError(
                f"{self.path}: features are not finite in {broken.sum()} of {len(rows)} images, first in row "
                f"{at[broken.argmax()]}; delete the file and run again"
            )
        return found
