"""Chest patients: who they are, what their studies show, what the reports say, and the films themselves.

A patient has a fixed body and a lasting state of health, several studies, and in each study findings with severities of
their own. Labels follow the findings as a report would: subtle ones are sometimes missed or hedged, few absences are
mentioned. Every study draws from its own random stream.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moco_transfer.phantom import chest_findings, organs, skeleton
from moco_transfer.phantom.bodies import posed, tilted
from moco_transfer.phantom.projection import Beam, attenuation, displayed, exposed
from moco_transfer.seeds import stream

LABELS = [
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
]

# How often a finding is there, in percent: in the well, in the ill, and in the ill whose heart fails. Together with
# the shares of these groups they give about the frequencies of MIMIC-CXR.
_RATES = {
    "Atelectasis": (0, 30, 30),
    "Cardiomegaly": (0, 15, 72),
    "Consolidation": (0, 8, 6),
    "Edema": (0, 6, 58),
    "Enlarged Cardiomediastinum": (0, 5, 5),
    "Fracture": (0, 3.2, 3),
    "Lung Lesion": (0, 5, 3),
    "Lung Opacity": (0, 26, 24),
    "Pleural Effusion": (0, 29, 62),
    "Pleural Other": (0, 1.8, 1.5),
    "Pneumonia": (0, 12, 10),
    "Pneumothorax": (0, 8, 4),
    "Support Devices": (9, 38, 50),
}
_SHARE_ILL, _SHARE_FAILING = 0.66, 0.25
# How often a report hedges (-1), in percent of all studies.
_HEDGED = {
    "Atelectasis": 4.5,
    "Cardiomegaly": 2.6,
    "Consolidation": 1.9,
    "Edema": 5.8,
    "Enlarged Cardiomediastinum": 4.1,
}
_HEDGED |= {
    "Fracture": 0.2,
    "Lung Lesion": 0.5,
    "Lung Opacity": 1.7,
    "Pleural Effusion": 2.5,
    "Pleural Other": 0.3,
}
_HEDGED |= {"Pneumonia": 8.0, "Pneumothorax": 0.5, "Support Devices": 0.1}
# How often a report denies what is not there, in percent.
_DENIED = {
    "Pneumothorax": 18.6,
    "Pleural Effusion": 11.9,
    "Edema": 11.3,
    "Pneumonia": 10.7,
    "Cardiomegaly": 7.0,
}
_DENIED |= {"Consolidation": 3.5, "Enlarged Cardiomediastinum": 2.3, "Lung Opacity": 1.3}

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
# Patient axes as seen in each view: columns of the image, towards the detector, up.
_POSES = {
    "PA": np.diag([1.0, 1.0, 1.0]),
    "AP": np.diag([1.0, -1.0, 1.0]),
    "LATERAL": np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
}
_POSES["LL"] = _POSES["LATERAL"] * [1.0, -1.0, 1.0]


class Finding(NamedTuple):
    """How plain a finding is (0 to 1) and where: -1 right, 1 left, 0 both sides."""

    severity: float
    side: float


class Study(NamedTuple):
    """One visit: the views taken and the findings there, by label."""

    views: tuple[str, ...]
    findings: dict[str, Finding]


def studies(seed: int, patient: int) -> list[Study]:
    """Return the studies of patient number ``patient``; health lasts from one to the next, more or less."""
    rng = stream(seed, "phantom", "chest", patient)
    ill, failing = rng.random() < _SHARE_ILL, rng.random() < _SHARE_FAILING
    count = min(int(rng.geometric(0.32)), 12)
    return [_study(stream(seed, "phantom", "chest", patient, "study", i), ill, failing) for i in range(count)]


def _study(rng: np.random.Generator, ill: bool, failing: bool) -> Study:
    if rng.random() < 0.15:
        ill = rng.random() < _SHARE_ILL
    group = (2 if failing else 1) if ill else 0
    findings = {}
    for label, rates in _RATES.items():
        there, severity, side = rng.random() < rates[group] / 100, rng.beta(5.0, 1.2), rng.choice([-1.0, 1.0])
        if there:
            both = label == "Edema" or (label == "Pleural Effusion" and rng.random() < 0.35)
            findings[label] = Finding(float(severity), 0.0 if both else float(side))
    if ill and not findings.keys() - {"Support Devices"}:
        # Whoever is ill has at least one of the common findings.
        label = str(rng.choice(["Atelectasis", "Lung Opacity", "Pleural Effusion"]))
        findings[label] = Finding(float(rng.beta(5.0, 1.2)), float(rng.choice([-1.0, 1.0])))
    portable = rng.random() < (0.65 if ill else 0.3)
    if portable:
        views = [("AP",), ("AP", "AP"), ("AP", "LATERAL")][rng.choice(3, p=[0.76, 0.14, 0.10])]
    else:
        views = [("PA", "LATERAL"), ("PA", "LL"), ("PA",)][rng.choice(3, p=[0.62, 0.22, 0.16])]
    return Study(views, findings)


def report(rng: np.random.Generator, findings: dict[str, Finding]) -> dict[str, float]:
    """Return the 14 labels of a report on ``findings``: 1, 0, -1 or NaN for not mentioned."""
    labels = dict.fromkeys(LABELS, float("nan"))
    for label in LABELS:
        if label == "No Finding":
            continue
        chance, hedge, deny = rng.random(3)
        if label in findings:
            seen = chance < 0.86 + 0.13 * min(3 * findings[label].severity, 1.0)
            # A fifth of all hedging is about findings that are there.
            doubted = hedge < 0.2 * _HEDGED[label] / 100 / _frequency(label)
            labels[label] = (-1.0 if doubted else 1.0) if seen else float("nan")
        elif findings and hedge < 0.8 * _HEDGED[label] / 100 / _SHARE_ILL:
            labels[label] = -1.0
        elif deny < _DENIED.get(label, 0.5) / 100:
            labels[label] = 0.0
    if {"Pneumonia", "Consolidation", "Lung Lesion"} & findings.keys() and rng.random() < 0.25:
        labels["Lung Opacity"] = 1.0
    if not findings.keys() - {"Support Devices"} and rng.random() < 0.93:
        labels["No Finding"] = 1.0
    if rng.random() < 0.008:
        labels = dict.fromkeys(LABELS, float("nan"))
    return labels


def _frequency(label: str) -> float:
    well, ill, failing = _RATES[label]
    sick = (1 - _SHARE_FAILING) * ill + _SHARE_FAILING * failing
    return ((1 - _SHARE_ILL) * well + _SHARE_ILL * sick) / 100


def films(seed: int, patient: int, number: int, study: Study, size: int) -> list[np.ndarray]:
    """Return the films of a study as uint8 (rows, columns), the longer side some ``size`` pixels, bone white."""
    # One body serves all views; its finest tubes are as wide as 0.6 of a usual pixel.
    lying = "AP" in study.views
    body = anatomy(seed, patient, number, study.findings, breath=-16.0 * lying, finest=0.6 * 400.0 / size)
    names = ("phantom", "chest", patient, "study", number, "film")
    return [_film(stream(seed, *names, index), body, view, size) for index, view in enumerate(study.views)]


def _film(rng: np.random.Generator, body: Body, view: str, size: int) -> np.ndarray:
    lateral, portable = view in ("LATERAL", "LL"), view == "AP"
    rows = int(size * rng.uniform(0.92, 1.0))
    aspect = (
        rng.uniform(0.80, 0.86)
        if lateral
        else rng.choice([rng.uniform(0.82, 0.98), 1.2 if portable else 0.85])
    )
    rows, columns = (rows, int(rows * aspect)) if aspect <= 1 else (int(rows / aspect), rows)
    source, gap = (rng.uniform(950, 1150), 130.0) if portable else (1680.0, 150.0)
    field = rng.uniform(345, 405) * (0.94 if aspect > 1 else 1.0)
    beam = Beam(source, gap, (source + gap) / source * field / rows, rows, columns)

    build = body.build
    arms = skeleton.shoulder_girdle(body.spine, build.breadth, raised=float(lateral))
    turn = rng.normal(0, np.radians(6.0 if portable else 3.0))
    lean = rng.normal(0, np.radians(3.0 if portable else 1.2))
    pose = _POSES[view] @ tilted(lean, rng.normal(0, 0.05), turn)[0]
    centre = np.array([0.0, 0.0, 0.5 * (build.apex + build.floor)]) + rng.normal(0, [9, 3, 12])
    solids = posed(np.concatenate([body.solids, arms]), pose, -pose @ centre)
    signal = exposed(
        attenuation(solids, beam),
        rng,
        photons=float(rng.uniform(0.6, 2.0) * 1e4 * (3 if lateral else 1)),
        scatter=float(rng.uniform(0.25, 0.55) + (0.5 if lateral else 0.25 * portable)) * 0.04,
        blur=float(rng.uniform(0.4, 0.8)),
    )
    image = displayed(
        signal,
        detail=float(rng.uniform(0.15, 0.5)),
        centre=1.0,
        low=float(rng.uniform(0.005, 0.04)),
        high=float(rng.uniform(0.985, 0.998)),
        gamma=float(rng.uniform(0.8, 1.35)),
    )
    return (255.0 * image + 0.5).astype(np.uint8)


class Body(NamedTuple):
    """A patient's solids at one study, without the arms, and what they are hung on."""

    solids: np.ndarray
    build: organs.Chest
    spine: skeleton.Column


def anatomy(
    seed: int, patient: int, number: int, findings: dict[str, Finding], *, breath: float, finest: float
) -> Body:
    """Return the body of a patient at study ``number`` with ``findings``.

    ``breath`` lowers the diaphragm by mm, ``finest`` is the thinnest tube in mm. The body is the same in all studies
    of a patient; findings have streams of their own, so that one more finding changes nothing else.
    """
    rng = stream(seed, "phantom", "chest", patient, "body")
    spine = skeleton.column(rng)
    build = organs.chest(rng, spine, breath)

    def severity(label: str) -> float:
        return findings[label].severity if label in findings else -1.0

    heart = 1.08 + 0.36 * severity("Cardiomegaly") if "Cardiomegaly" in findings else 1.0
    wide = (
        1.35 + 0.9 * severity("Enlarged Cardiomediastinum")
        if "Enlarged Cardiomediastinum" in findings
        else 1.0
    )
    congestion = 0.3 + 0.7 * severity("Edema") if "Edema" in findings else 0.0
    lift = [0.0, 0.0]
    if "Atelectasis" in findings:
        collapsed = findings["Atelectasis"]
        lift[0 if collapsed.side > 0 else 1] = 6.0 + 18.0 * collapsed.severity
    paths = skeleton.rib_paths(spine, build.breadth, build.depth)
    parts = [
        organs.trunk(build, spine),
        organs.lungs(build),
        organs.mediastinum(rng, build, heart, wide),
        organs.diaphragm(build, (lift[0], lift[1])),
        organs.stomach_bubble(rng, build),
        organs.vessels(rng, build, finest, congestion),
        skeleton.vertebrae(spine, skeleton.C7 - 1, skeleton.L1 + 1),
    ]
    for label, finding in findings.items():
        own = stream(seed, "phantom", "chest", patient, "study", number, label)
        sides = (finding.side,) if finding.side or label == "Edema" else (-1.0, 1.0)
        if label in _SOLIDS:
            parts.extend(_SOLIDS[label](own, build, side, finding.severity) for side in sides)
        elif label == "Support Devices":
            parts.append(chest_findings.support_devices(own, build, finding.side, finding.severity, finest))
        elif label == "Fracture":
            paths, callus = chest_findings.broken_ribs(own, paths, finding.side, finding.severity)
            parts.append(callus)
    parts.append(skeleton.ribs(paths, spine.bone))
    return Body(np.concatenate(parts), build, spine)
