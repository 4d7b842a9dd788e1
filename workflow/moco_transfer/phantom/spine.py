"""Spine patients: the region and views of a study, what is wrong with the column, and the films.

The lesion types are those of VinDr-SpineXR. Some change the column before it is built (`_deform`: narrow
discs, flat or slipped vertebrae); others add bone or metal to it (`_grow`). An image is labelled with what
its view shows: a slipped vertebra shows from the side, not from the front. Every lesion has a severity from 0
(subtle) to 1 and a marker: solids that are never drawn and only enclose the lesion, so that its box can be
computed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moco_transfer.phantom import organs, skeleton
from moco_transfer.phantom.bodies import cylinders, ellipsoids, posed, tilted, tubes
from moco_transfer.phantom.organs import Body
from moco_transfer.phantom.projection import METAL, POSES, Beam, Display, film, shadow
from moco_transfer.phantom.skeleton import C7, COUNT, L1, L5, T1, T12, Column, Deformity
from moco_transfer.seeds import stream


class _Region(NamedTuple):
    diseased: tuple[int, int]  # the first and the last vertebra that may have lesions
    drawn: tuple[int, int]  # the first and the last vertebra that is drawn
    field: tuple[int, int]  # width and height of the field, mm


_REGIONS = {
    "cervical": _Region((2, C7), (0, T1 + 3), (165, 215)),
    "thoracic": _Region((T1 + 3, T12), (C7, L1 + 1), (235, 350)),
    "lumbar": _Region((L1, L5), (T12 - 2, L5), (235, 330)),
}
_SHARE_ILL = 0.54
# How often an ill spine has each type of lesion, and the smallest number of vertebrae that have it. Types
# found at several vertebrae may affect up to two more. Lesions are more frequent and plainer than in life,
# because the demo's network sees 48 x 48 pixels and trains for seconds.
_RATES = {
    "Osteophytes": (0.72, 4),
    "Disc space narrowing": (0.26, 2),
    "Foraminal stenosis": (0.13, 2),
    "Spondylolysthesis": (0.12, 1),
    "Vertebral collapse": (0.12, 1),
    "Surgical implant": (0.25, 1),
    "Other lesions": (0.16, 1),
}
_SEEN_IN = {
    "Spondylolysthesis": ("LATERAL",),
    "Foraminal stenosis": ("LATERAL", "LEFT OBLIQUE", "RIGHT OBLIQUE"),
}
_DISPLAY = Display(detail=(0.25, 0.55), low=(0.0, 0.02), high=(0.985, 0.999), gamma=(0.85, 1.3), centre=0.7)


class Lesion(NamedTuple):
    """One lesion of a spine."""

    kind: str  # as the release spells it
    level: int  # of the vertebra; 0 is C1
    severity: float
    side: float  # 1 left, -1 right

    def visible(self, view: str) -> bool:
        """Whether this lesion shows in ``view``."""
        return view in _SEEN_IN.get(self.kind, (view,))


class Study(NamedTuple):
    """One visit: the region, the views taken, and the lesions."""

    region: str
    views: tuple[str, ...]
    lesions: list[Lesion]


class Film(NamedTuple):
    """One film and the boxes around its lesions."""

    view: str
    image: np.ndarray  # float32 (rows, columns) from 0 to 1, bone bright
    boxes: list[tuple[str, tuple[int, int, int, int]]]  # (lesion type, box in pixels)


def study(seed: int, number: int) -> Study:
    """Return study ``number``."""
    rng = stream(seed, "phantom", "spine", number)
    region = ["lumbar", "cervical", "thoracic"][rng.choice(3, p=[0.52, 0.36, 0.12])]
    views = ("AP", "LATERAL")
    chance = rng.random()
    if region == "cervical" and chance < 0.22:
        views = ("AP", "LATERAL", "LEFT OBLIQUE", "RIGHT OBLIQUE")
    elif chance > 0.84:
        views = ("LATERAL",) if chance > 0.9 else ("AP",)
    lesions: list[Lesion] = []
    first, last = _REGIONS[region].diseased
    if rng.random() < _SHARE_ILL:
        kinds = [kind for kind, (rate, _) in _RATES.items() if rng.random() < rate] or ["Osteophytes"]
        for kind in kinds:
            least = _RATES[kind][1]
            count = int(rng.integers(least, least + 3)) if least > 1 else 1
            levels = rng.permutation(np.arange(first, last + 1))[:count]
            severity = float(rng.beta(5.0, 1.2))
            for level in sorted(levels.tolist()):
                own = float(np.clip(severity + rng.normal(0, 0.1), 0.0, 1.0))
                lesions.append(Lesion(kind, level, own, float(rng.choice([-1.0, 1.0]))))
    return Study(region, views, lesions)


def films(seed: int, number: int, size: int) -> list[Film]:
    """Return the films of study ``number``; the longer side is about ``size`` pixels."""
    what = study(seed, number)
    tall = _REGIONS[what.region].field[1]
    # One body serves all views; its finest tubes are 0.6 of a typical pixel wide.
    body = anatomy(seed, number, what.region, what.lesions, finest=0.6 * tall / size)
    names = ("phantom", "spine", number, "film")
    return [_film(stream(seed, *names, i), body, what, view, size) for i, view in enumerate(what.views)]


def _film(rng: np.random.Generator, body: Body, what: Study, view: str, size: int) -> Film:
    region = _REGIONS[what.region]
    (first, last), (wide, tall) = region.diseased, region.field
    rows = int(size * rng.uniform(0.92, 1.0))
    zoom = rng.uniform(0.92, 1.12)
    source, gap = rng.uniform(950, 1250), 140.0
    pitch = zoom * tall * (source + gap) / source / rows
    columns = int(min(rows * wide / tall * rng.uniform(0.85, 1.15), size))
    beam = Beam(source, gap, pitch, rows, columns)
    solids = body.solids
    if what.region != "lumbar":
        # For a lateral view the shoulders are pulled down to show the neck, or the arms lifted to show the
        # chest.
        raised = {"cervical": -0.3, "thoracic": 1.0}[what.region] if view == "LATERAL" else 0.0
        solids = np.concatenate([solids, skeleton.shoulder_girdle(body.spine, body.build.breadth, raised)])
    centre = body.spine.centres[first : last + 1].mean(axis=0) + rng.normal(0, 7, 3)
    if what.region == "lumbar" and view == "AP":
        centre[2] -= 12.0
    pose = POSES[view] @ tilted(rng.normal(0, 0.05), rng.normal(0, 0.05), rng.normal(0, 0.07))[0]
    thick = {"AP": 1.0, "LATERAL": 4.0}.get(view, 2.0)
    image = film(
        posed(solids, pose, centre),
        beam,
        rng,
        photons=float(rng.uniform(0.7, 2.0) * 3e4 * thick),
        scatter=float(rng.uniform(0.01, 0.02)) / thick,
        display=_DISPLAY,
    )
    boxes = []
    for lesion, marker in zip(what.lesions, body.markers, strict=True):
        box = _clipped(shadow(posed(marker, pose, centre), beam), beam)
        if lesion.visible(view) and box is not None:
            boxes.append((lesion.kind, box))
    return Film(view, image, boxes)


def _clipped(box: tuple[float, float, float, float], beam: Beam) -> tuple[int, int, int, int] | None:
    """Return the part of ``box`` on the film in whole pixels, or None if it is less than one pixel."""
    left, top = max(int(box[0]), 0), max(int(box[1]), 0)
    right, bottom = min(int(np.ceil(box[2])), beam.columns - 1), min(int(np.ceil(box[3])), beam.rows - 1)
    return (left, top, right, bottom) if right > left and bottom > top else None


def anatomy(seed: int, number: int, region: str, lesions: list[Lesion], *, finest: float) -> Body:
    """Return the body of a patient with ``lesions``; each lesion changes only what it touches.

    ``finest`` is the thinnest tube in mm.
    """
    rng = stream(seed, "phantom", "spine", number, "body")
    deformity = Deformity.none()
    if rng.random() < 0.15:  # scoliosis, which the release does not count as a lesion
        span = np.arange(COUNT) / 3.2 + rng.uniform(0, 6.3)
        deformity.sideways += np.radians(rng.uniform(2, 9)) * np.sin(span)
    _deform(deformity, lesions)
    spine = skeleton.column(rng, deformity)
    build = organs.chest(rng, spine)
    paths = skeleton.rib_paths(spine, build.breadth, build.depth)
    parts = [organs.trunk(build, spine), organs.lungs(build)]
    parts.append(skeleton.vertebrae(spine, *_REGIONS[region].drawn))
    if region == "cervical":
        parts += [skeleton.skull_base(spine), skeleton.ribs(paths[[0, 1, 2, 12, 13, 14]], spine.bone)]
        parts.append(organs.head(rng, spine))
    elif region == "thoracic":
        parts += [skeleton.ribs(paths, spine.bone), organs.mediastinum(rng, build), organs.diaphragm(build)]
        parts += [organs.stomach_bubble(rng, build), organs.vessels(rng, build, finest)]
    else:
        parts += [skeleton.ribs(paths[[9, 10, 11, 21, 22, 23]], spine.bone), skeleton.pelvis(spine)]
        parts += [organs.bowel_gas(rng, int(rng.integers(3, 14))), organs.diaphragm(build)]
    markers = []
    for lesion in lesions:
        own = stream(seed, "phantom", "spine", number, lesion.kind, lesion.level)
        solids, marker = _grow(own, spine, lesion, finest)
        parts.append(solids)
        markers.append(marker)
    return Body(np.concatenate(parts), spine, build, markers)


def _deform(deformity: Deformity, lesions: list[Lesion]) -> None:
    """Add to ``deformity`` what the lesions do to the shape of the column."""
    for kind, level, severity, side in lesions:
        if kind == "Osteophytes":
            # Osteophytes grow around worn discs.
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
            # A sclerotic vertebra, or a lytic one.
            deformity.density[level] *= 1.5 + 1.2 * severity if side > 0 else 0.55 - 0.5 * severity


def _grow(
    rng: np.random.Generator, spine: Column, lesion: Lesion, finest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (the solids that a lesion adds, its marker); ``finest`` is the thinnest tube in mm."""
    level = lesion.level
    at, frame, half, disc = spine.centres[level], spine.frames[level], spine.halves[level], spine.discs[level]
    if lesion.kind in ("Vertebral collapse", "Other lesions"):
        marker = cylinders(at, half * [1.1, 1.1, 1.0], 0.0, axes=frame)
        return marker[:0], marker
    if lesion.kind == "Spondylolysthesis":
        # The slip is between this vertebra and the upper rim of the one below.
        marker = cylinders(at - 0.5 * half[2] * frame[:, 2], half * [1.2, 1.3, 1.6], 0.0, axes=frame)
        return marker[:0], marker
    if lesion.kind == "Osteophytes":
        solids = _osteophytes(rng, spine, lesion)
    elif lesion.kind == "Foraminal stenosis":
        solids = _thick_facets(spine, lesion)
    elif lesion.kind == "Surgical implant":
        solids = _implant(rng, spine, lesion, finest)
    else:
        # The endplates on both sides of a narrowed disc harden.
        gap = at - frame[:, 2] * (half[2] + 0.5 * disc)
        size = [half[0], half[1], 0.5 * disc + 2.5]
        solids = cylinders(gap, size, 0.012 * lesion.severity, axes=frame)
    return solids, solids


def _osteophytes(rng: np.random.Generator, spine: Column, lesion: Lesion) -> np.ndarray:
    """Bony spurs at the rims of the endplates on both sides of a disc, in front and on one or both sides."""
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
    """Overgrown facet joints that narrow the foramina below a vertebra."""
    at, frame, half = spine.centres[lesion.level], spine.frames[lesion.level], spine.halves[lesion.level]
    grown = 0.9 + 1.1 * lesion.severity
    places = [[side * 0.62 * half[0], -1.25 * half[1], -0.75 * half[2]] for side in (-1.0, 1.0)]
    size = np.array([0.22 * half[0] + 1, 0.32 * half[1], 0.38 * half[2]]) * grown
    return ellipsoids(at + np.array(places) @ frame.T, size, 0.030 * spine.bone, axes=frame)


def _implant(rng: np.random.Generator, spine: Column, lesion: Lesion, finest: float) -> np.ndarray:
    """Pedicle screws with two rods; in the neck, a plate with screws in front."""
    count = int(rng.integers(2, 5))
    first = max(min(lesion.level, COUNT - count), 2)
    levels = np.arange(first, first + count)
    at, frames, halves = spine.centres[levels], spine.frames[levels], spine.halves[levels]

    def local(x: float, y: float, z: float = 0.0) -> np.ndarray:
        return at + np.einsum("nij,nj->ni", frames, halves * [x, y, z])

    if first < 7:
        parts = [tubes(local(0.0, 1.12), 2.0, METAL, flatness=0.25, finest=finest)]
        for side in (-0.35, 0.35):
            screws = np.stack([local(side, 1.12), local(side * 0.8, 0.1)], axis=1)
            parts.append(tubes(screws, 1.5, METAL, finest=finest))
        return np.concatenate(parts)
    parts = []
    for side in (-1.0, 1.0):
        heads = local(side * 0.68, -2.2, 0.3)
        tips = local(side * 0.35, 0.45, 0.15)
        parts.append(tubes(np.stack([heads, tips], axis=1), 2.6, METAL, finest=finest))
        parts.append(tubes(heads, 2.8, METAL, finest=finest))
        parts.append(ellipsoids(heads, [5, 5, 5], METAL))
    return np.concatenate(parts)
