"""Synthetic radiographs and pictures, written in the layouts of the true releases.

The demo runs the whole pipeline on these, so they must mean something. A radiograph here is a projection: analytic
solids in millimetres (`bodies`) make up a skeleton and organs (`skeleton`, `organs`), which chest and spine films share;
`projection` sends X-rays through them and `film` turns what arrives into an image. Findings are solids too, graded from
subtle to plain. Natural pictures (`dead_leaves`) share no code with the radiographs. The three `release_*` modules write
VinDr-SpineXR, MIMIC-CXR-JPG and class folders.
"""

from __future__ import annotations

from moco_transfer.phantom.releases import write_chest_release, write_natural_release, write_spine_release

__all__ = ["write_chest_release", "write_natural_release", "write_spine_release"]
