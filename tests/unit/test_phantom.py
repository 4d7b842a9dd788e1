"""The phantom releases: layouts, equal bytes, exact projections, findings that change the right pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moco_transfer.phantom import (
    bodies,
    chest,
    spine,
    write_chest_release,
    write_natural_release,
    write_spine_release,
)
from moco_transfer.phantom.bodies import (
    CAVITY,
    HAZE,
    OUTLINE,
    SOLID,
    cylinders,
    ellipsoids,
    posed,
    tilted,
    tubes,
)
from moco_transfer.phantom.chest import LABELS, Finding
from moco_transfer.phantom.natural import CLASSES, draw_picture
from moco_transfer.phantom.organs import Body
from moco_transfer.phantom.projection import LUNG_AIR, POSES, SOFT_TISSUE, Beam, attenuation, shadow
from moco_transfer.phantom.spine import Lesion

WRITERS = {"spine": write_spine_release, "chest": write_chest_release, "natural": write_natural_release}
BEAM = Beam(source_distance=400.0, detector_distance=60.0, pitch=4.0, rows=37, columns=41)


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("releases")
    for name, write in WRITERS.items():
        write(root / name, images=60, size=48, seed=3, workers=2)
    return root


def digests(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under ``root`` by its relative path."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def rays(beam: Beam) -> tuple[np.ndarray, np.ndarray]:
    """Return the source (3,) and the (rows, columns, 3) steps from it to the pixels."""
    row, column = np.mgrid[: beam.rows, : beam.columns]
    steps = np.empty((beam.rows, beam.columns, 3))
    steps[..., 0] = (column - (beam.columns - 1) / 2) * beam.pitch
    steps[..., 1] = beam.source_distance + beam.detector_distance
    steps[..., 2] = ((beam.rows - 1) / 2 - row) * beam.pitch
    return np.array([0.0, -beam.source_distance, 0.0]), steps


def sampled(solid: np.ndarray, beam: Beam, count: int = 1000) -> np.ndarray:
    """Return thicknesses in mm, from the share of many points on each ray that are inside ``solid``."""
    source, steps = rays(beam)
    inverse = solid[bodies.INVERSE : bodies.INVERSE + 9].reshape(3, 3)
    first = inverse @ (source - solid[bodies.CENTRE : bodies.CENTRE + 3])
    bulge, low, high = solid[bodies.BULGE : bodies.BULGE + 3]
    local = steps @ inverse.T
    inside = np.zeros(steps.shape[:2])
    for share in (np.arange(count) + 0.5) / count:
        x, y, z = np.moveaxis(first + share * local, -1, 0)
        inside += (x * x + y * y + bulge * z * z <= 1) & (z >= low) & (z <= high)
    return inside / count * np.linalg.norm(steps, axis=-1)


def test_sphere_has_the_chord_of_its_distance_from_the_ray():
    centre, radius = np.array([12.0, -20.0, 9.0]), 31.0
    source, steps = rays(BEAM)
    unit = steps / np.linalg.norm(steps, axis=-1, keepdims=True)
    distance = np.linalg.norm(np.cross(centre - source, unit), axis=-1)
    chord = 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0))
    image = attenuation(ellipsoids(centre, [radius] * 3, 0.5), BEAM)
    np.testing.assert_allclose(image, 0.5 * chord, atol=1e-4)


def test_cylinder_across_the_beam_has_the_chord_of_a_circle():
    beam = Beam(1e6, 100.0, 2.0, 21, 21)  # the source is so far away that rays are parallel
    image = attenuation(cylinders([0, 0, 0], [15, 15, 11], 1.0, core=0.5, hollow=0.25), beam)
    column = (np.arange(21) - 10) * 2.0
    chord = 2 * np.sqrt(np.maximum(225 - column**2, 0)) - 0.5 * np.sqrt(np.maximum(56.25 - column**2, 0))
    expected = np.where(np.abs(column)[:, None] <= 11, chord[None, :], 0.0)
    np.testing.assert_allclose(image, expected, atol=0.02)  # rays diverge by 1 in 10,000


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6))
def test_any_solid_matches_sampling_along_the_rays(number):
    rng = np.random.default_rng(number)
    centre, halves = rng.uniform(-40, 40, 3), rng.uniform(8, 45, 3)
    sparse = BEAM._replace(pitch=11.0, rows=13, columns=14)
    axes = tilted(*rng.uniform(-1.5, 1.5, 3))
    for solid in (
        ellipsoids(centre, halves, 1.0, axes=axes, low=-0.6, high=rng.uniform(-0.4, 1)),
        cylinders(centre, halves, 1.0, axes=axes),
        cylinders(centre, halves, 1.0, axes=axes, waist=0.5),
        tubes([centre, centre + rng.uniform(-60, 60, 3)], 9.0, 1.0, flatness=1.6),
    ):
        np.testing.assert_allclose(attenuation(solid, sparse), sampled(solid[0], sparse), atol=1.2)


def test_frames_are_orthonormal_and_lean_by_the_given_angles():
    frames = tilted([0.3, 0.0], [0.0, 0.4], [0.2, 0.7])
    np.testing.assert_allclose(np.swapaxes(frames, 1, 2) @ frames, np.stack([np.eye(3)] * 2), atol=1e-12)
    np.testing.assert_allclose(frames[0, :, 2], [np.sin(0.3), 0, np.cos(0.3)])
    np.testing.assert_allclose(frames[1, :, 2], [0, np.sin(0.4), np.cos(0.4)])


def test_a_mirrored_patient_gives_a_mirrored_image():
    solid = ellipsoids([10, 0, 5], [20, 12, 30], 1.0, axes=tilted(0.4, 0.2, 0.9))
    turned = posed(solid, np.diag([-1.0, 1.0, 1.0]), [0, 0, 0])
    np.testing.assert_allclose(attenuation(turned, BEAM), attenuation(solid, BEAM)[:, ::-1], atol=1e-4)


def test_outlines_that_overlap_count_once():
    ball = ellipsoids([0, 0, 0], [30, 30, 30], 0.0, role=OUTLINE)
    inner = ellipsoids([5, 0, 0], [10, 10, 10], 0.0, role=OUTLINE)
    alone, both = attenuation(ball, BEAM), attenuation(np.concatenate([inner, ball]), BEAM)
    np.testing.assert_allclose(both, alone, atol=1e-5)
    assert alone[18, 20] == pytest.approx(60 * SOFT_TISSUE, abs=1e-4)


def test_lungs_remove_soft_tissue_and_organs_and_haze_restore_it():
    body = ellipsoids([0, 0, 0], [80, 60, 80], 0.0, role=OUTLINE)
    lung = ellipsoids([0, 0, 0], [40, 40, 40], 0.0, role=CAVITY)
    heart = ellipsoids([0, 0, 0], [15, 15, 15], 0.0, role=SOLID)
    haze = ellipsoids([0, 30, 0], [20, 20, 20], 0.5, role=HAZE)  # 30 of its 40 mm lie in the lung

    def middle(*solids):
        return attenuation(np.concatenate(solids), BEAM)[18, 20] / SOFT_TISSUE

    assert middle(body, lung) == pytest.approx(120 - 80 * LUNG_AIR, abs=1e-3)
    assert middle(heart, lung, body) == pytest.approx(120 - 50 * LUNG_AIR, abs=1e-3)
    assert middle(haze, heart, lung, body) == pytest.approx(120 - (50 - 15) * LUNG_AIR, abs=1e-3)
    assert middle(body, lung, *[haze] * 9) == pytest.approx(120, abs=1e-3)  # never denser than soft tissue


def test_wire_finer_than_a_pixel_keeps_its_mass():
    path = [[-30, 0, 1], [30, 0, 7]]
    coarse = attenuation(tubes(path, 0.5, 1.0, finest=3.0), BEAM).sum()
    fine = Beam(400.0, 60.0, 0.1, 400, 900)
    exact = attenuation(tubes(path, 0.5, 1.0), fine).sum() * (fine.pitch / BEAM.pitch) ** 2
    assert coarse == pytest.approx(exact, rel=0.05)


def test_shadow_encloses_what_is_drawn():
    solid = cylinders([10, 5, -8], [20, 12, 16], 1.0, axes=tilted(0.4, -0.3), waist=0.2)
    rows, columns = np.nonzero(attenuation(solid, BEAM))
    left, top, right, bottom = shadow(solid, BEAM)
    assert left <= columns.min() <= left + 6 and right - 6 <= columns.max() <= right
    assert top <= rows.min() <= top + 6 and bottom - 6 <= rows.max() <= bottom


@pytest.mark.parametrize("name", WRITERS)
def test_releases_are_byte_identical_with_any_number_of_workers(name, releases, tmp_path):
    WRITERS[name](tmp_path / "one", images=60, size=48, seed=3, workers=1)
    assert digests(tmp_path / "one") == digests(releases / name)
    WRITERS[name](tmp_path / "other", images=10, size=48, seed=4, workers=1)
    assert not set(digests(tmp_path / "other").values()) & set(digests(releases / name).values())


@pytest.mark.parametrize("name", WRITERS)
def test_images_do_not_depend_on_how_many_follow(name, releases, tmp_path):
    WRITERS[name](tmp_path, images=13, size=48, seed=3, workers=1)
    few = {k: v for k, v in digests(tmp_path).items() if not k.endswith((".csv", ".gz"))}
    assert len(few) == 13
    assert few.items() <= digests(releases / name).items()


def test_spine_release_has_the_layout_of_vindr_spinexr(releases):
    columns = ["study_id", "series_id", "image_id", "rad_id", "lesion_type", "xmin", "ymin", "xmax", "ymax"]
    studies, count = {}, 0
    for split in ("train", "test"):
        table = pd.read_csv(releases / "spine" / "annotations" / f"{split}.csv")
        assert list(table.columns) == columns
        files = {path.stem for path in (releases / "spine" / f"{split}_images").glob("*.dicom")}
        assert files == set(table["image_id"])
        assert table["image_id"].str.fullmatch("[0-9a-f]{32}").all()
        normal = table["lesion_type"] == "No finding"
        assert table.loc[normal, "xmin":"ymax"].isna().all(axis=None)
        assert (table.loc[~normal, "xmax"] > table.loc[~normal, "xmin"]).all()
        assert (table.loc[~normal, "ymax"] > table.loc[~normal, "ymin"]).all()
        assert not table.loc[normal, "image_id"].isin(table.loc[~normal, "image_id"]).any()
        assert table.loc[normal, "image_id"].is_unique
        studies[split], count = set(table["study_id"]), count + len(files)
    assert count == 60
    assert studies["test"] and not studies["train"] & studies["test"]


def test_spine_dicoms_open_and_their_window_shows_the_film(releases):
    kinds = set()
    for path in sorted((releases / "spine").glob("*_images/*.dicom")):
        dicom = pydicom.dcmread(path)
        pixels = dicom.pixel_array
        assert (dicom.Modality, dicom.SOPInstanceUID) == ("DX", dicom.file_meta.MediaStorageSOPInstanceUID)
        assert dicom.SOPInstanceUID == f"2.25.{int(path.stem, 16)}" and dicom.SOPInstanceUID.is_valid
        assert pixels.shape == (dicom.Rows, dicom.Columns)
        assert 40 <= max(pixels.shape) <= 48
        assert pixels.max() < 2**dicom.BitsStored
        low, high = dicom.WindowCenter - dicom.WindowWidth / 2, dicom.WindowCenter + dicom.WindowWidth / 2
        assert pixels.min() >= low - 2 and pixels.max() <= high + 2
        kinds.add((dicom.PhotometricInterpretation, dicom.BitsStored, "RescaleSlope" in dicom))
    assert {kind[0] for kind in kinds} == {"MONOCHROME1", "MONOCHROME2"}
    assert {kind[1] for kind in kinds} == {12, 16}
    assert {kind[2] for kind in kinds} == {True, False}


def test_chest_release_has_the_layout_of_mimic_cxr_jpg(releases):
    root = releases / "chest"
    table = {
        name: pd.read_csv(root / f"mimic-cxr-2.0.0-{name}.csv.gz")
        for name in ("chexpert", "negbio", "metadata", "split")
    }
    assert list(table["chexpert"].columns) == ["subject_id", "study_id", *LABELS]
    assert list(table["negbio"].columns) == ["subject_id", "study_id", *LABELS]
    assert list(table["split"].columns) == ["dicom_id", "study_id", "subject_id", "split"]
    assert list(table["metadata"].columns) == [
        "dicom_id",
        "subject_id",
        "study_id",
        "PerformedProcedureStepDescription",
        "ViewPosition",
        "Rows",
        "Columns",
        "StudyDate",
        "StudyTime",
        "ProcedureCodeSequence_CodeMeaning",
        "ViewCodeSequence_CodeMeaning",
        "PatientOrientationCodeSequence_CodeMeaning",
    ]
    metadata = table["metadata"]
    assert len(metadata) == metadata["dicom_id"].nunique() == 60
    assert metadata["dicom_id"].str.fullmatch("([0-9a-f]{8}-){4}[0-9a-f]{8}").all()
    assert metadata.groupby("study_id")["subject_id"].nunique().max() == 1
    assert set(table["split"].groupby("subject_id")["split"].nunique()) == {1}
    paths = set()
    for row in metadata.itertuples():
        path = root / f"files/p{str(row.subject_id)[:2]}/p{row.subject_id}/s{row.study_id}/{row.dicom_id}.jpg"
        with Image.open(path) as image:
            assert (image.mode, image.height, image.width) == ("L", row.Rows, row.Columns)
        paths.add(path)
    assert paths == set(root.rglob("*.jpg"))
    assert set(table["chexpert"]["study_id"]) <= set(metadata["study_id"])
    assert set(np.unique(table["chexpert"][LABELS])[:3]) == {-1.0, 0.0, 1.0}


def test_chest_reports_are_consistent_and_have_the_frequencies_of_mimic():
    findings = [visit.findings for patient in range(500) for visit in chest.studies(11, patient)]
    table = pd.DataFrame(chest.report(np.random.default_rng(i), each) for i, each in enumerate(findings))
    others = table.drop(columns=["No Finding", "Support Devices"])
    assert not (table["No Finding"].eq(1) & others.eq(1).any(axis=1)).any()
    rates = table.eq(1).mean()
    for label, low, high in [
        ("Support Devices", 0.2, 0.4),
        ("Pleural Effusion", 0.16, 0.34),
        ("Cardiomegaly", 0.12, 0.28),
        ("Pneumothorax", 0.02, 0.08),
        ("No Finding", 0.26, 0.42),
    ]:
        assert low < rates[label] < high, label
    assert 0.03 < table["Pneumonia"].eq(-1).mean() < 0.13
    assert 0.001 < table.isna().all(axis=1).mean() < 0.03
    there = np.array(["Pleural Effusion" in each for each in findings])
    assert table.loc[there, "Pleural Effusion"].eq(1).mean() > 0.8
    assert not table.loc[~there, "Pleural Effusion"].eq(1).any()


def projected(findings: dict[str, Finding], patient: int = 5) -> tuple[np.ndarray, Body]:
    """Return a chest's noiseless frontal attenuation (200, 200), 2 mm per pixel, centred at z = 100 mm."""
    body = chest.anatomy(1, patient, 0, findings, breath=0.0, finest=1.2)
    return attenuation(posed(body.solids, np.eye(3), [0, 0, 100.0]), Beam(1e6, 400.0, 2.0, 200, 200)), body


def pixel(x: float, z: float) -> tuple[int, int]:
    """Return the (row, column) of a place in `projected`."""
    return round(99.5 - (z - 100) / 2), round(99.5 + x / 2)


def test_effusion_brightens_only_its_costophrenic_angle():
    plain, body = projected({})
    sick, _ = projected({"Pleural Effusion": Finding(0.6, 1.0)})
    side = 115 * body.build.breadth
    height = body.build.floor + 25
    assert sick[pixel(side, height)] > plain[pixel(side, height)] + 0.15
    np.testing.assert_array_equal(sick[:, :95], plain[:, :95])
    upper = pixel(70, body.build.apex - 60)
    assert sick[upper] == plain[upper]


def test_pneumothorax_darkens_the_edge_of_its_lung():
    plain, body = projected({})
    sick, _ = projected({"Pneumothorax": Finding(0.9, -1.0)})
    centre, halves, _ = body.build.lung(-1.0)
    edge = pixel(centre[0] - 0.8 * halves[0], centre[2] + 0.35 * halves[2])
    assert sick[edge] < plain[edge] - 0.02
    np.testing.assert_array_equal(sick[:, 105:], plain[:, 105:])


@pytest.mark.parametrize(
    "label",
    ["Cardiomegaly", "Pleural Effusion", "Lung Opacity", "Consolidation", "Pneumonia", "Lung Lesion"],
)
def test_graver_findings_change_the_image_more(label):
    plain, _ = projected({})
    subtle, grave = (np.abs(projected({label: Finding(s, 1.0)})[0] - plain).sum() for s in (0.1, 0.9))
    assert 0 < subtle < grave


@pytest.mark.parametrize("label", [label for label in LABELS if label != "No Finding"])
def test_every_chest_finding_leaves_the_rest_of_the_body_alone(label):
    plain, _ = projected({})
    sick, _ = projected({label: Finding(0.7, -1.0)})
    changed = np.abs(sick - plain) > 1e-6
    assert 0.0005 < changed.mean() < 0.35


LESIONS = [
    "Osteophytes",
    "Spondylolysthesis",
    "Disc space narrowing",
    "Vertebral collapse",
    "Foraminal stenosis",
    "Surgical implant",
    "Other lesions",
]


@pytest.mark.parametrize("kind", LESIONS)
def test_every_spine_lesion_changes_the_image_inside_its_box(kind):
    beam = Beam(1e6, 400.0, 2.0, 220, 160)

    def lateral(solids):
        return posed(solids, POSES["LATERAL"], [0, 0, -100])

    plain, sick = (
        spine.anatomy(1, 3, "lumbar", lesions, finest=1.2) for lesions in ([], [Lesion(kind, 21, 0.9, 1.0)])
    )
    change = np.abs(attenuation(lateral(sick.solids), beam) - attenuation(lateral(plain.solids), beam))
    left, top, right, bottom = (int(side) for side in shadow(lateral(sick.markers[0]), beam))
    assert right - left >= 3 and bottom - top >= 3
    assert change[top : bottom + 1, left : right + 1].max() > 0.05


def test_spine_images_are_labelled_by_what_their_view_shows():
    seen = {kind: set() for kind in LESIONS}
    normal = total = 0
    for number in range(150):
        what = spine.study(2, number)
        for view in what.views:
            visible = [lesion.kind for lesion in what.lesions if lesion.visible(view)]
            total, normal = total + 1, normal + (not visible)
            for kind in visible:
                seen[kind].add(view)
    assert 0.35 < normal / total < 0.65
    assert seen["Spondylolysthesis"] == {"LATERAL"}
    assert "AP" not in seen["Foraminal stenosis"]
    assert {"AP", "LATERAL"} <= seen["Osteophytes"]


def test_natural_release_is_class_folders_of_colour_pictures(releases):
    folders = sorted(path.name for path in (releases / "natural").iterdir())
    assert folders == sorted(CLASSES) and len(set(CLASSES)) == 10
    for folder in folders:
        files = sorted((releases / "natural" / folder).iterdir())
        assert len(files) == 6
        with Image.open(files[0]) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=float)
            assert image.mode == "RGB" and 30 <= max(image.size) <= 48
        assert np.abs(pixels[..., 0] - pixels[..., 2]).mean() > 2


def test_natural_pictures_have_the_spectrum_of_scenes():
    power = np.zeros(24)
    for number in range(24):
        grey = draw_picture(1, number, 160)[:80, :80].mean(axis=2)
        grey = (grey - grey.mean()) * np.outer(np.hanning(80), np.hanning(80))
        spectrum = np.abs(np.fft.fft2(grey)) ** 2
        power += (spectrum[1:25, 0] + spectrum[0, 1:25]) / spectrum.sum()
    frequency = np.arange(1, 25)
    slope = np.polyfit(np.log(frequency[2:20]), np.log(power[2:20]), 1)[0]
    assert -3.2 < slope < -1.2  # power falls off about as 1/f^2
