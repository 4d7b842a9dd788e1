"""Generated radiographs and pictures, written in the layouts of the real releases.

The demo runs the whole pipeline on these images, so their labels must match what they show. A radiograph is a
projection: `bodies` defines solids in millimetres, `skeleton` and `organs` build a patient from them, and
`projection` sends X-rays through the patient and develops the film. `chest` and `spine` decide what a patient
has; diseases and implants are solids too, graded from subtle to plain. Natural pictures (`natural`) share no
code with the radiographs. `releases` writes the radiographs in the layouts of MIMIC-CXR-JPG and
VinDr-SpineXR.
"""

from __future__ import annotations

from pathlib import Path

from moco_transfer.config import stages
from moco_transfer.phantom.natural import write_natural_release
from moco_transfer.phantom.releases import write_chest_release, write_spine_release

__all__ = ["write_chest_release", "write_natural_release", "write_spine_release"]


def phantom(settings: stages.WritePhantom, *, release: Path, workers: int) -> None:
    """Generate a phantom release in the layout of the real one."""
    write = {
        "vindr_spinexr": write_spine_release,
        "mimic_cxr_jpg": write_chest_release,
        "image_folder": write_natural_release,
    }[settings.adapter]
    write(
        release,
        images=settings.phantom.images,
        size=settings.phantom.size,
        seed=settings.seed,
        workers=workers,
    )
