"""Chest patients: their health, what their studies show, what the reports say, and the films.

A patient has a fixed body, a lasting state of health, and one or several studies; the findings of each study
have their own severities. Labels follow the findings as a report would: the report sometimes misses or hedges
a subtle finding, and mentions few absences. Every study and every finding has its own random stream, so one
more finding changes nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moco_transfer.phantom import chest_findings, organs, skeleton
from moco_transfer.phantom.bodies import posed, tilted
from moco_transfer.phantom.organs import Body
from moco_transfer.phantom.projection import POSES, Beam, Display, film
from moco_transfer.seeds import stream


class _Frequency(NamedTuple):
    """How often there is a finding, and what reports say about it, in percent."""

    well: float  # of the healthy patients who have it
    ill: float  # of the ill
    failing: float  # of the ill patients whose heart fails
    hedged: float  # of all reports that hedge it (-1)
    denied: float = 0.5  # of reports that mention its absence, if it is absent


# Together with the shares below, these give about the frequencies of MIMIC-CXR.
_FREQUENCIES = {
    "Atelectasis": _Frequency(0, 30, 30, 4.5),
    "Cardiomegaly": _Frequency(0, 15, 72, 2.6, 7.0),
    "Consolidation": _Frequency(0, 8, 6, 1.9, 3.5),
    "Edema": _Frequency(0, 6, 58, 5.8, 11.3),
    "Enlarged Cardiomediastinum": _Frequency(0, 5, 5, 4.1, 2.3),
    "Fracture": _Frequency(0, 3.2, 3, 0.2),
    "Lung Lesion": _Frequency(0, 5, 3, 0.5),
    "Lung Opacity": _Frequency(0, 26, 24, 1.7, 1.3),
    "Pleural Effusion": _Frequency(0, 29, 62, 2.5, 11.9),
    "Pleural Other": _Frequency(0, 1.8, 1.5, 0.3),
    "Pneumonia": _Frequency(0, 12, 10, 8.0, 10.7),
    "Pneumothorax": _Frequency(0, 8, 4, 0.5, 18.6),
    "Support Devices": _Frequency(9, 38, 50, 0.1),
}
_SHARE_ILL, _SHARE_FAILING = 0.66, 0.25
LABELS = sorted([*_FREQUENCIES, "No Finding"])

_SOLIDS = {
    "Atelectasis": chest_findings.atelectasis,
    "Consolidation": chest_findings.consolidation,
    "Edema": chest_findings.oedema,
    "Lung Lesion": chest_findings.lesion,
    "Lung Opacity": chest_findings.opacity,
    "Pleural Effusion": chest_findings.effusion,
    "Pleural Other": chest_findings.pleural_thickening,
    "Pneumonia": chest_findings.pneumonia,
    "Pneumothorax": chest_findings.pneumothorax,
}
_DISPLAY = Display(detail=(0.15, 0.5), low=(0.005, 0.04), high=(0.985, 0.998), gamma=(0.8, 1.35), centre=1.0)


class Finding(NamedTuple):
    """How plain a finding is (0 to 1), and on which side it is: -1 right, 1 left, 0 both sides."""

    severity: float
    side: float


class Study(NamedTuple):
    """One visit: the views taken, and the findings by label."""

    views: tuple[str, ...]
    findings: dict[str, Finding]


def studies(seed: int, patient: int) -> list[Study]:
    """Return the studies of patient number ``patient``; most findings persist from one study to the next."""
    rng = stream(seed, "phantom", "chest", patient)
    ill, failing = rng.random() < _SHARE_ILL, rng.random() < _SHARE_FAILING
    count = min(int(rng.geometric(0.32)), 12)
    return [_study(stream(seed, "phantom", "chest", patient, "study", i), ill, failing) for i in range(count)]


def _study(rng: np.random.Generator, ill: bool, failing: bool) -> Study:
    if rng.random() < 0.15:
        ill = rng.random() < _SHARE_ILL
    group = (2 if failing else 1) if ill else 0
    findings = {}
    for label, frequency in _FREQUENCIES.items():
        there = rng.random() < frequency[group] / 100
        severity, side = rng.beta(5.0, 1.2), rng.choice([-1.0, 1.0])
        if there:
            both = label == "Edema" or (label == "Pleural Effusion" and rng.random() < 0.35)
            findings[label] = Finding(float(severity), 0.0 if both else float(side))
    if ill and not findings.keys() - {"Support Devices"}:
        # Every ill patient has at least one of the common findings.
        label = str(rng.choice(["Atelectasis", "Lung Opacity", "Pleural Effusion"]))
        findings[label] = Finding(float(rng.beta(5.0, 1.2)), float(rng.choice([-1.0, 1.0])))
    portable = rng.random() < (0.65 if ill else 0.3)
    if portable:
        views = [("AP",), ("AP", "AP"), ("AP", "LATERAL")][rng.choice(3, p=[0.76, 0.14, 0.10])]
    else:
        views = [("PA", "LATERAL"), ("PA", "LL"), ("PA",)][rng.choice(3, p=[0.62, 0.22, 0.16])]
    return Study(views, findings)


def report(rng: np.random.Generator, findings: dict[str, Finding]) -> dict[str, float]:
    """Return the 14 labels of a report on ``findings``: 1, 0, -1, or NaN if not mentioned."""
    labels = dict.fromkeys(LABELS, float("nan"))
    for label, frequency in _FREQUENCIES.items():
        chance, hedge, deny = rng.random(3)
        if label in findings:
            seen = chance < 0.86 + 0.13 * min(3 * findings[label].severity, 1.0)
            # A fifth of all hedging is about findings that are there.
            doubted = hedge < 0.2 * frequency.hedged / 100 / _prevalence(frequency)
            labels[label] = (-1.0 if doubted else 1.0) if seen else float("nan")
        elif findings and hedge < 0.8 * frequency.hedged / 100 / _SHARE_ILL:
            labels[label] = -1.0
        elif deny < frequency.denied / 100:
            labels[label] = 0.0
    if {"Pneumonia", "Consolidation", "Lung Lesion"} & findings.keys() and rng.random() < 0.25:
        labels["Lung Opacity"] = 1.0
    if not findings.keys() - {"Support Devices"} and rng.random() < 0.93:
        labels["No Finding"] = 1.0
    if rng.random() < 0.008:  # a report from which the labeller extracts nothing
        labels = dict.fromkeys(LABELS, float("nan"))
    return labels


def _prevalence(frequency: _Frequency) -> float:
    sick = (1 - _SHARE_FAILING) * frequency.ill + _SHARE_FAILING * frequency.failing
    return ((1 - _SHARE_ILL) * frequency.well + _SHARE_ILL * sick) / 100


def films(seed: int, patient: int, number: int, study: Study, size: int) -> list[np.ndarray]:
    """Return the films of study ``number``, uint8 (rows, columns), bone white, about ``size`` pixels long."""
    lying = "AP" in study.views
    # One body serves all views; its finest tubes are 0.6 of a typical pixel wide.
    body = anatomy(seed, patient, number, study.findings, breath=-16.0 * lying, finest=0.6 * 400.0 / size)
    names = ("phantom", "chest", patient, "study", number, "film")
    return [_film(stream(seed, *names, index), body, view, size) for index, view in enumerate(study.views)]


def _film(rng: np.random.Generator, body: Body, view: str, size: int) -> np.ndarray:
    lateral, portable, build = view in ("LATERAL", "LL"), view == "AP", body.build
    rows = int(size * rng.uniform(0.92, 1.0))
    if lateral:
        aspect = rng.uniform(0.80, 0.86)
    else:
        aspect = rng.choice([rng.uniform(0.82, 0.98), 1.2 if portable else 0.85])
    rows, columns = (rows, int(rows * aspect)) if aspect <= 1 else (int(rows / aspect), rows)
    source, gap = (rng.uniform(950, 1150), 130.0) if portable else (1680.0, 150.0)
    field = rng.uniform(345, 405) * (0.94 if aspect > 1 else 1.0)  # height in mm
    beam = Beam(source, gap, (source + gap) / source * field / rows, rows, columns)

    arms = skeleton.shoulder_girdle(body.spine, build.breadth, raised=float(lateral))
    turn = rng.normal(0, np.radians(6.0 if portable else 3.0))
    lean = rng.normal(0, np.radians(3.0 if portable else 1.2))
    pose = POSES[view] @ tilted(lean, rng.normal(0, 0.05), turn)[0]
    centre = np.array([0.0, 0.0, 0.5 * (build.apex + build.floor)]) + rng.normal(0, [9, 3, 12])
    image = film(
        posed(np.concatenate([body.solids, arms]), pose, centre),
        beam,
        rng,
        photons=float(rng.uniform(0.6, 2.0) * 1e4 * (3 if lateral else 1)),
        scatter=float(rng.uniform(0.25, 0.55) + (0.5 if lateral else 0.25 * portable)) * 0.04,
        display=_DISPLAY,
    )
    return (255.0 * image + 0.5).astype(np.uint8)


def anatomy(
    seed: int, patient: int, number: int, findings: dict[str, Finding], *, breath: float, finest: float
) -> Body:
    """Return the body of a patient at study ``number`` with ``findings``.

    Without findings it is the same in all studies of a patient. ``breath`` lowers the diaphragm, in mm;
    ``finest`` is the thinnest tube in mm.
    """
    rng = stream(seed, "phantom", "chest", patient, "body")
    spine = skeleton.column(rng, skeleton.Deformity.none())
    build = organs.chest(rng, spine, breath)

    def size(label: str, normal: float, least: float, more: float) -> float:
        return least + more * findings[label].severity if label in findings else normal

    heart = size("Cardiomegaly", 1.0, 1.08, 0.36)
    wide = size("Enlarged Cardiomediastinum", 1.0, 1.35, 0.9)
    congestion = size("Edema", 0.0, 0.3, 0.7)
    lift = size("Atelectasis", 0.0, 6.0, 18.0)
    lifted = (lift, 0.0) if lift and findings["Atelectasis"].side > 0 else (0.0, lift)
    paths = skeleton.rib_paths(spine, build.breadth, build.depth)
    parts = [
        organs.trunk(build, spine),
        organs.lungs(build),
        organs.mediastinum(rng, build, heart, wide),
        organs.diaphragm(build, lifted),
        organs.stomach_bubble(rng, build),
        organs.vessels(rng, build, finest, congestion),
        skeleton.vertebrae(spine, skeleton.C7 - 1, skeleton.L1 + 1),
    ]
    for label, finding in findings.items():
        own = stream(seed, "phantom", "chest", patient, "study", number, label)
        if label in _SOLIDS:
            sides = (finding.side,) if finding.side or label == "Edema" else (-1.0, 1.0)
            parts.extend(_SOLIDS[label](own, build, side, finding.severity) for side in sides)
        elif label == "Support Devices":
            parts.append(chest_findings.support_devices(own, build, finding.side, finding.severity, finest))
        elif label == "Fracture":
            paths, callus = chest_findings.broken_ribs(own, paths, finding.side, finding.severity)
            parts.append(callus)
    parts.append(skeleton.ribs(paths, spine.bone))
    return Body(np.concatenate(parts), spine, build, [])
