"""What diseases and implants do to a spinal column: the lesion types of VinDr-SpineXR, graded by a severity.

Some lesions change the column before it is built (`deform`), some add solids to it afterwards (`grow`); all leave a
marker, solids that are never drawn and only enclose the lesion.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moco_transfer.phantom.bodies import cylinders, ellipsoids, tubes
from moco_transfer.phantom.skeleton import COUNT, L5, Column, Deformity

METAL = 0.25  # attenuation above soft tissue in 1/mm

_ANYWHERE = ("AP", "LATERAL", "LEFT OBLIQUE", "RIGHT OBLIQUE")
_SEEN_IN = {
    "Spondylolysthesis": ("LATERAL",),
    "Foraminal stenosis": ("LATERAL", "LEFT OBLIQUE", "RIGHT OBLIQUE"),
}


class Lesion(NamedTuple):
    """A lesion type as the release spells it, the vertebra (0 is C1), a severity from 0 to 1, a side."""

    kind: str
    level: int
    severity: float
    side: float

    def visible(self, view: str) -> bool:
        """Whether this lesion shows in ``view``."""
        return view in _SEEN_IN.get(self.kind, _ANYWHERE)


def deform(deformity: Deformity, lesions: list[Lesion]) -> None:
    """Write into ``deformity`` what the lesions do to the column's own shape."""
    for kind, level, severity, side in lesions:
        if kind == "Osteophytes":
            # Spurs grow where the disc is worn.
            deformity.disc_loss[level] = max(deformity.disc_loss[level], 0.10 + 0.30 * severity)
        elif kind == "Disc space narrowing":
            deformity.disc_loss[level] = 0.50 + 0.45 * severity
        elif kind == "Vertebral collapse":
            deformity.height_loss[level] = 0.22 + 0.43 * severity
            deformity.wedge[level] += np.radians(4 + 12 * severity)
            deformity.density[level] *= 1.25
        elif kind == "Spondylolysthesis":
            deformity.slip[level] += (4.5 + 11.0 * severity) * (1.0 if level > 6 else 0.6)
        elif kind == "Other lesions":
            # A sclerotic or a lytic vertebra.
            deformity.density[level] *= 1.5 + 1.2 * severity if side > 0 else 0.55 - 0.5 * severity


def grow(
    rng: np.random.Generator, spine: Column, lesion: Lesion, finest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (solids that the lesion adds, its marker); ``finest`` is the thinnest tube in mm."""
    level = lesion.level
    at, frame, half = spine.centres[level], spine.frames[level], spine.halves[level]
    body = cylinders(at, half * [1.1, 1.1, 1.0], 0.0, axes=frame)
    if lesion.kind == "Osteophytes":
        spurs = _osteophytes(rng, spine, lesion)
        return spurs, spurs
    if lesion.kind == "Disc space narrowing":
        gap = at - frame[:, 2] * (half[2] + 0.5 * spine.discs[level])
        size = [half[0], half[1], 0.5 * spine.discs[level] + 2.5]
        # The endplates on either side of a worn disc harden.
        return cylinders(gap, size, 0.012 * lesion.severity, axes=frame), cylinders(
            gap, size, 0.0, axes=frame
        )
    if lesion.kind == "Foraminal stenosis":
        facets = _thick_facets(spine, lesion)
        return facets, facets
    if lesion.kind == "Surgical implant":
        metal = _implant(rng, spine, lesion, finest)
        return metal, metal
    if lesion.kind == "Spondylolysthesis":
        # What slips apart is this vertebra and the upper rim of the one below.
        return body[:0], cylinders(at - 0.5 * half[2] * frame[:, 2], half * [1.2, 1.3, 1.6], 0.0, axes=frame)
    return body[:0], body


def _osteophytes(rng: np.random.Generator, spine: Column, lesion: Lesion) -> np.ndarray:
    """Beaks at the rims of the endplates that face one disc, in front and on one side or both."""
    scale = 0.6 + 0.4 * (lesion.level - 2) / (L5 - 2)
    length = scale * (4.0 + 15.0 * lesion.severity)
    parts = []
    pairs = [(lesion.level, -1.0)] + ([(lesion.level + 1, 1.0)] if lesion.level < COUNT - 1 else [])
    for level, end in pairs:
        at, frame, half = spine.centres[level], spine.frames[level], spine.halves[level]
        for out in ((0.0, 1.0), (lesion.side, 0.15), (-lesion.side, 0.15)):
            if out[0] == -lesion.side and rng.random() < 0.5:
                continue
            reach = length * rng.uniform(0.7, 1.2)
            rim = np.array([out[0] * half[0] * 0.9, out[1] * half[1] * 0.9, end * (half[2] - 1.5)])
            tip = rim + np.array([out[0] * reach, out[1] * reach, end * 0.45 * reach])
            path = at + np.stack([rim, 0.5 * (rim + tip) - [0, 0, end], tip]) @ frame.T
            parts.append(tubes(path, scale * np.array([4.8, 3.0]), 0.038 * spine.bone, flatness=0.55))
    return np.concatenate(parts)


def _thick_facets(spine: Column, lesion: Lesion) -> np.ndarray:
    """Overgrown facet joints and bony spurs that close the foramen below a vertebra."""
    at, frame, half = spine.centres[lesion.level], spine.frames[lesion.level], spine.halves[lesion.level]
    grown = 0.9 + 1.1 * lesion.severity
    places = [[side * 0.62 * half[0], -1.25 * half[1], -0.75 * half[2]] for side in (-1.0, 1.0)]
    size = np.array([0.22 * half[0] + 1, 0.32 * half[1], 0.38 * half[2]]) * grown
    return ellipsoids(at + np.array(places) @ frame.T, size, 0.030 * spine.bone, axes=frame)


def _implant(rng: np.random.Generator, spine: Column, lesion: Lesion, finest: float) -> np.ndarray:
    """Pedicle screws with two rods, or in the neck a plate and screws in front."""
    count = int(rng.integers(2, 5))
    first = max(min(lesion.level, COUNT - count), 2)
    levels = np.arange(first, first + count)
    at, frames, halves = spine.centres[levels], spine.frames[levels], spine.halves[levels]

    def local(x: float, y: float, z: float = 0.0) -> np.ndarray:
        return at + np.einsum("nij,nj->ni", frames, halves * [x, y, z])

    if first < 7:
        plate = local(0.0, 1.12)
        parts = [tubes(plate, 2.0, METAL, flatness=0.25, finest=finest)]
        for side in (-0.35, 0.35):
            parts.append(
                tubes(
                    np.stack([local(side, 1.12), local(side * 0.8, 0.1)], axis=1), 1.5, METAL, finest=finest
                )
            )
        return np.concatenate(parts)
    parts = []
    for side in (-1.0, 1.0):
        heads = local(side * 0.68, -2.2, 0.3)
        tips = local(side * 0.35, 0.45, 0.15)
        parts.append(tubes(np.stack([heads, tips], axis=1), 2.6, METAL, finest=finest))
        parts.append(tubes(heads, 2.8, METAL, finest=finest))
        parts.append(ellipsoids(heads, [5, 5, 5], METAL))
    return np.concatenate(parts)
