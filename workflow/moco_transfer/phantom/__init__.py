"""Generated radiographs and pictures, written in the layouts of the real releases.

The demo runs the whole pipeline on these images, so their labels must match what they show. A radiograph is a
projection: `bodies` defines solids in millimetres, `skeleton` and `organs` build a patient from them, and `projection`
sends X-rays through the patient and develops the film. `chest` and `spine` decide what a patient has; diseases and
implants are solids too, graded from subtle to plain. Natural pictures (`natural`) share no code with the radiographs.
`releases` writes the radiographs in the layouts of MIMIC-CXR-JPG and VinDr-SpineXR.
"""

from __future__ import annotations

from moco_transfer.phantom.natural import write_natural_release
from moco_transfer.phantom.releases import write_chest_release, write_spine_release

__all__ = ["write_chest_release", "write_natural_release", "write_spine_release"]
