"""No training of an encoder sees a test image: with other pixels in all of them, every encoder file has the same bytes.

So sources of this run need no ``trained_on``. The fingerprint in the folder of states does change, because it covers the whole
store; it decides only whether an interrupted training may resume.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_up_settings import COMPUTING, NETWORK, PRETRAIN, changed
from made_up_stores import write_manifest, write_store, write_subset

from moco_transfer import cli
from moco_transfer.config import Section, stages
from moco_transfer.networks import build_network, save_encoder

pytestmark = pytest.mark.usefixtures("one_thread")
SPLITS = (16, 8, 8)  # images that train, validate and test
TEST, VALIDATION = slice(24, 32), slice(16, 24)
MOCO = changed(PRETRAIN, datasets=[{"name": "noise", "uncertain": "zero"}], probe={"every": 1, "images": 16})
ENCODER = {
    "encoder": "densenet_small",
    "weights": {"classes_of": "noise", "epochs": 1, "batch": 8, "lr": 0.1},
}
CLASSES = stages.TrainWeights(encoder=ENCODER, crop=32, computing=COMPUTING, seed=1, stream=["initial"])
TRAININGS = {
    "MoCo": ("pretrain", changed(MOCO, images="train")),
    "MoCo with validation images": ("pretrain", changed(MOCO, images="train+validation")),
    "MoCo on labelled images": ("pretrain", changed(MOCO, images="train", match="steps")),
    "classes": ("train-weights", CLASSES),
}


def trained(
    folder: Path, stage: str, settings: Section, subset: bool, other: slice | None
) -> dict[str, bytes]:
    """Train an encoder on noise, with other pixels in the rows ``other``, and return the bytes of what it wrote."""
    labels = np.tile([0, 1], 16)
    store = write_store(folder / "store", (32, 40, 40), {"one": labels, "two": 1 - labels}, SPLITS)
    images = np.load(store / "images.npy")
    if other is not None:
        images[other] = 255 - images[other]
    np.save(store / "images.npy", images)
    write_manifest(store)
    save_encoder(build_network(NETWORK, 1), folder / "initial.safetensors")
    files = {"splits": store / "splits.parquet", "encoder": folder / "encoder.safetensors"}
    files |= {"metrics": folder / "metrics.csv", "stores" if stage == "pretrain" else "store": store}
    if stage == "pretrain":
        files["initial"] = folder / "initial.safetensors"
    if subset:
        files["subset"] = write_subset(folder / "subset.parquet", range(0, 16, 2))
    options = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    assert cli.main([stage, "--settings", settings.model_dump_json(), "--device", "cpu", *options]) == 0
    return {name: (folder / name).read_bytes() for name in ("encoder.safetensors", "metrics.csv")}


@pytest.mark.parametrize("training", TRAININGS)
def test_other_test_images_give_the_same_encoder_byte_by_byte(training, tmp_path):
    stage, settings = TRAININGS[training]
    subset = training == "MoCo on labelled images"
    expected = trained(tmp_path / "as they are", stage, settings, subset, None)
    # The metrics hold the score of a probe, which reads validation images.
    assert trained(tmp_path / "other", stage, settings, subset, TEST) == expected


def test_other_images_that_a_training_sees_give_another_encoder(tmp_path):
    stage, settings = TRAININGS["MoCo with validation images"]
    expected = trained(tmp_path / "as they are", stage, settings, False, None)
    found = trained(tmp_path / "other", stage, settings, False, VALIDATION)
    assert found["encoder.safetensors"] != expected["encoder.safetensors"]
