"""Spine patients: which region and views a study has, what is wrong with the column, and the films themselves.

Degeneration changes the column itself (narrow discs, flat or slipped vertebrae), or adds bone (osteophytes, thick
facets) or metal to it. An image is labelled with what can be seen in its view: a slipped vertebra shows from the
side, not from the front. Every finding has a severity from subtle to plain and a marker from which its box is drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moco_transfer.phantom import organs, skeleton
from moco_transfer.phantom.bodies import posed, tilted
from moco_transfer.phantom.projection import Beam, attenuation, displayed, exposed, shadow
from moco_transfer.phantom.skeleton import C7, COUNT, L1, L5, T1, T12, Deformity
from moco_transfer.phantom.spine_findings import Lesion, deform, grow
from moco_transfer.seeds import stream

# Per region: the vertebrae that may be diseased, those that are drawn, the width and height of the field in mm.
_REGIONS = {
    "cervical": ((2, C7), (0, T1 + 3), (165, 215)),
    "thoracic": ((T1 + 3, T12), (C7, L1 + 1), (235, 350)),
    "lumbar": ((L1, L5), (T12 - 2, L5), (235, 330)),
}
_LATERAL = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
_VIEWS = {
    "AP": np.diag([1.0, -1.0, 1.0]),
    "LATERAL": _LATERAL,
    "LEFT OBLIQUE": np.diag([1.0, -1.0, 1.0]) @ tilted(0.0, 0.0, np.pi / 4)[0],
    "RIGHT OBLIQUE": np.diag([1.0, -1.0, 1.0]) @ tilted(0.0, 0.0, -np.pi / 4)[0],
}


class Study(NamedTuple):
    """One visit: the region, the views taken, and the findings as (lesion type, vertebra, severity, side)."""

    region: str
    views: tuple[str, ...]
    lesions: list[Lesion]


class Film(NamedTuple):
    """One film, float32 (rows, columns) from 0 to 1 with bone bright, and its boxes (lesion type, box in pixels)."""

    view: str
    image: np.ndarray
    boxes: list[tuple[str, tuple[int, int, int, int]]]


# How often an ill spine has each kind of lesion, and at how many vertebrae: of those found at several, up to two more.
# Lesions are more and plainer than in life, for a network that sees 64 pixels and trains for seconds.
_RATES = {
    "Osteophytes": (0.72, 4),
    "Disc space narrowing": (0.26, 2),
    "Foraminal stenosis": (0.13, 2),
    "Spondylolysthesis": (0.12, 1),
    "Vertebral collapse": (0.12, 1),
    "Surgical implant": (0.25, 1),
    "Other lesions": (0.16, 1),
}
_SHARE_ILL = 0.54


def study(seed: int, number: int) -> Study:
    """Return study ``number``: its region, views and lesions."""
    rng = stream(seed, "phantom", "spine", number)
    region = ["lumbar", "cervical", "thoracic"][rng.choice(3, p=[0.52, 0.36, 0.12])]
    views = ("AP", "LATERAL")
    chance = rng.random()
    if region == "cervical" and chance < 0.22:
        views = ("AP", "LATERAL", "LEFT OBLIQUE", "RIGHT OBLIQUE")
    elif chance > 0.84:
        views = ("LATERAL",) if chance > 0.9 else ("AP",)
    lesions: list[Lesion] = []
    (first, last), _, _ = _REGIONS[region]
    if rng.random() < _SHARE_ILL:
        kinds = [kind for kind, (rate, _) in _RATES.items() if rng.random() < rate] or ["Osteophytes"]
        for kind in kinds:
            most = _RATES[kind][1]
            count = int(rng.integers(most, most + 3)) if most > 1 else 1
            levels = rng.permutation(np.arange(first, last + 1))[:count]
            severity = float(rng.beta(5.0, 1.2))
            for level in sorted(levels.tolist()):
                own = float(np.clip(severity + rng.normal(0, 0.1), 0.0, 1.0))
                lesions.append(Lesion(kind, level, own, float(rng.choice([-1.0, 1.0]))))
    return Study(region, views, lesions)


class Body(NamedTuple):
    """A patient's solids, without the arms, the marker solids of each lesion, and what they are hung on."""

    solids: np.ndarray
    markers: list[tuple[Lesion, np.ndarray]]
    spine: skeleton.Column
    build: organs.Chest


def films(seed: int, number: int, size: int) -> list[Film]:
    """Return the films of study ``number``, the longer side some ``size`` pixels."""
    what = study(seed, number)
    _, _, (_, tall) = _REGIONS[what.region]
    # One body serves all views; its finest tubes are as wide as 0.6 of a usual pixel.
    body = anatomy(seed, number, what.region, what.lesions, finest=0.6 * tall / size)
    names = ("phantom", "spine", number, "film")
    return [
        _film(stream(seed, *names, i), body, what.region, view, size) for i, view in enumerate(what.views)
    ]


def anatomy(seed: int, number: int, region: str, lesions: list[Lesion], *, finest: float) -> Body:
    """Return the body of a patient with ``lesions``; it depends on them only where they touch it.

    ``finest`` is the thinnest tube in mm.
    """
    rng = stream(seed, "phantom", "spine", number, "body")
    deformity = Deformity.none()
    if rng.random() < 0.15:  # scoliosis, which the release does not count as a lesion
        span = np.arange(COUNT) / 3.2 + rng.uniform(0, 6.3)
        deformity.sideways += np.radians(rng.uniform(2, 9)) * np.sin(span)
    deform(deformity, lesions)
    spine = skeleton.column(rng, deformity)
    build = organs.chest(rng, spine)
    _, (first, last), _ = _REGIONS[region]
    paths = skeleton.rib_paths(spine, build.breadth, build.depth)
    parts = [skeleton.vertebrae(spine, first, last)]
    if region == "cervical":
        parts += [skeleton.skull_base(spine), skeleton.ribs(paths[[0, 1, 2, 12, 13, 14]], spine.bone)]
        parts += [organs.head(rng, spine), organs.trunk(build, spine), organs.lungs(build)]
    elif region == "thoracic":
        parts += [skeleton.ribs(paths, spine.bone), organs.trunk(build, spine), organs.lungs(build)]
        parts += [organs.mediastinum(rng, build), organs.diaphragm(build), organs.stomach_bubble(rng, build)]
        parts += [organs.vessels(rng, build, finest)]
    else:
        parts += [
            skeleton.ribs(paths[[9, 10, 11, 21, 22, 23]], spine.bone),
            organs.trunk(build, spine),
            skeleton.pelvis(spine),
        ]
        parts += [
            organs.bowel_gas(rng, int(rng.integers(3, 14))),
            organs.lungs(build),
            organs.diaphragm(build),
        ]
    grown = [
        (
            lesion,
            *grow(stream(seed, "phantom", "spine", number, lesion.kind, lesion.level), spine, lesion, finest),
        )
        for lesion in lesions
    ]
    parts += [solids for _, solids, _ in grown]
    return Body(np.concatenate(parts), [(lesion, marker) for lesion, _, marker in grown], spine, build)


def _film(rng: np.random.Generator, body: Body, region: str, view: str, size: int) -> Film:
    (first, last), _, (wide, tall) = _REGIONS[region]
    rows = int(size * rng.uniform(0.92, 1.0))
    zoom = rng.uniform(0.92, 1.12)
    source, gap = rng.uniform(950, 1250), 140.0
    pitch = zoom * tall * (source + gap) / source / rows
    columns = int(min(rows * wide / tall * rng.uniform(0.85, 1.15), size))
    beam = Beam(source, gap, pitch, rows, columns)
    solids = body.solids
    if region != "lumbar":
        # From the side, the shoulders are pulled down to show the neck, or the arms lifted to show the chest.
        raised = {"cervical": -0.3, "thoracic": 1.0}[region] if view == "LATERAL" else 0.0
        solids = np.concatenate([solids, skeleton.shoulder_girdle(body.spine, body.build.breadth, raised)])
    middle = body.spine.centres[first : last + 1].mean(axis=0) + rng.normal(0, 7, 3)
    if region == "lumbar" and view == "AP":
        middle[2] -= 12.0
    pose = _VIEWS[view] @ tilted(rng.normal(0, 0.05), rng.normal(0, 0.05), rng.normal(0, 0.07))[0]

    def placed(these: np.ndarray) -> np.ndarray:
        return posed(these, pose, -pose @ middle)

    thick = {"AP": 1.0, "LATERAL": 4.0}.get(view, 2.0)
    signal = exposed(
        attenuation(placed(solids), beam),
        rng,
        photons=float(rng.uniform(0.7, 2.0) * 3e4 * thick),
        scatter=float(rng.uniform(0.01, 0.02)) / thick,
        blur=float(rng.uniform(0.4, 0.8)),
    )
    image = displayed(
        signal,
        detail=float(rng.uniform(0.25, 0.55)),
        centre=0.7,
        low=float(rng.uniform(0.0, 0.02)),
        high=float(rng.uniform(0.985, 0.999)),
        gamma=float(rng.uniform(0.85, 1.3)),
    )
    boxes = []
    for lesion, marker in body.markers:
        if lesion.visible(view):
            box = _clipped(shadow(placed(marker), beam), beam)
            if box is not None:
                boxes.append((lesion.kind, box))
    return Film(view, image, boxes)


def _clipped(box: tuple[float, float, float, float], beam: Beam) -> tuple[int, int, int, int] | None:
    """The whole pixels of ``box`` on the film, or None where less than a pixel of it is there."""
    left, top = max(int(box[0]), 0), max(int(box[1]), 0)
    right, bottom = min(int(np.ceil(box[2])), beam.columns - 1), min(int(np.ceil(box[3])), beam.rows - 1)
    return (left, top, right, bottom) if right > left and bottom > top else None
