"""Linear finetuning on cached features against a torch head on top of the frozen network, image by image."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from made_up_cells import OPTIMIZERS, made_up_cell, made_up_labels, torch_head

from moco_transfer.augment import augment
from moco_transfer.config.augmentation import PRESETS
from moco_transfer.config.training import Finetune
from moco_transfer.errors import UserError
from moco_transfer.files import write_array
from moco_transfer.finetune.cell import BestEpoch, write_predictions
from moco_transfer.finetune.embed import embed_images
from moco_transfer.finetune.linear import FeatureCache, finetune_linear
from moco_transfer.networks import build_backbone, save_weights
from moco_transfer.seeds import stream
from moco_transfer.training.images import centre_crop, normalise
from moco_transfer.training.log import MetricsLog

SIZE, EPOCHS = 32, 5
TRAIN, VALIDATION, TEST = np.array([4, 9, 2, 20, 11, 17, 3]), np.arange(22, 26), np.arange(26, 30)


def network_with_statistics():
    """Return a network whose BN statistics are not those of any batch of a cell."""
    network = build_backbone("densenet_small", 3)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
    return network.eval()


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("classes", [1, 14])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_cached_features_give_what_the_frozen_network_gives_image_by_image(tmp_path, name, classes, views):
    """Batch by batch, the reference runs each image of it through the network on its own."""
    images = np.random.default_rng(0).integers(0, 256, (30, 36, 36), dtype=np.uint8)
    write_array(images, tmp_path / "images.npy")
    network = network_with_statistics()
    save_weights(network, tmp_path / "encoder.safetensors")
    cell = made_up_cell(TRAIN, VALIDATION, TEST, made_up_labels(30, classes))
    settings = OPTIMIZERS[name].model_copy(update={"batch": 3})
    features, index = embed_images(
        tmp_path / "encoder.safetensors",
        tmp_path / "images.npy",
        TRAIN,
        cell.scored,
        model="densenet_small",
        views=views,
        augmentation="chexclusion",
        input_size=SIZE,
        seed=5,
        stream_name=("b",),
        device=torch.device("cpu"),
    )
    write_array(features, tmp_path / "features.npy")
    write_array(index, tmp_path / "rows.npy")
    run = {"epochs": EPOCHS, "seed": 5, "stream_name": ("b",)}
    cache = FeatureCache(tmp_path / "features.npy", tmp_path / "rows.npy")
    logits = finetune_linear(
        cell, cache, optimizer=settings, score=None, log=MetricsLog("t", EPOCHS, 1), **run
    )

    pixels = torch.from_numpy(images).unsqueeze(1)
    seen = [centre_crop(pixels, SIZE).float()]
    if views == 2:
        seen.append(torch.zeros_like(seen[0]))
        labelled = np.sort(TRAIN)
        seen[1][labelled] = augment(
            pixels[labelled], PRESETS["chexclusion"], SIZE, stream(5, "b", "view", 1, 0)
        )

    def frozen(view, rows):
        with torch.no_grad():
            return torch.cat([network(normalise(seen[view][row : row + 1])) for row in rows])

    head = torch_head(
        lambda epoch, numbers: frozen(epoch % views, TRAIN[numbers]),
        cell.labels[TRAIN],
        network.width,
        settings,
        **run,
    )
    with torch.no_grad():
        expected = head(frozen(0, cell.scored)).numpy()
    assert logits.shape == (8, classes)
    np.testing.assert_allclose(logits, expected, atol=2e-4)


def cell_with_features(folder, broken=None):
    features = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    if broken is not None:
        features[broken] = np.nan
    write_array(features, folder / "features.npy")
    write_array(np.stack([np.arange(40), np.zeros(40, int)], axis=1), folder / "rows.npy")
    cell = made_up_cell(np.arange(20), np.arange(20, 30), np.arange(30, 40), made_up_labels(40, 3))
    return cell, FeatureCache(folder / "features.npy", folder / "rows.npy")


def finetune(cell, cache, score=None):
    return finetune_linear(
        cell,
        cache,
        optimizer=OPTIMIZERS["sgd"],
        epochs=3,
        score=score,
        seed=1,
        stream_name=("c",),
        log=MetricsLog("t", 3, 1),
    )


def test_the_best_epoch_predicts_where_that_is_asked_for(tmp_path):
    cell, cache = cell_with_features(tmp_path)
    seen = []

    def score(labels, logits):
        np.testing.assert_array_equal(labels, cell.labels[cell.validation])
        seen.append(logits)
        return [0.1, 0.9, 0.3][len(seen) - 1]

    logits = finetune(cell, cache, score)
    np.testing.assert_array_equal(logits[:10], seen[1])
    assert not np.array_equal(logits, finetune(cell, cache))


def test_of_equal_scores_the_first_epoch_is_kept_and_its_state_is_a_copy():
    state = [0]
    best = BestEpoch(lambda labels, logits: float(logits[0]), np.zeros(1))
    for epoch, value in enumerate([0.2, 0.7, 0.7, 0.5], start=1):
        state[0] = epoch
        best.offer(epoch, np.array([value]), state.copy)
    assert (best.epoch, best.value, best.state) == (2, 0.7, [2])


@pytest.mark.parametrize("row", [0, 25, 39])
def test_a_broken_feature_of_any_image_of_the_cell_is_said(tmp_path, row):
    with pytest.raises(UserError, match=r"features\.npy: features are not finite"):
        finetune(*cell_with_features(tmp_path, broken=row))


def test_logits_that_are_not_finite_are_not_written(tmp_path):
    cell, _ = cell_with_features(tmp_path)
    logits = np.zeros((20, 3), np.float32)
    logits[4, 1] = np.inf
    with pytest.raises(UserError, match=r"predictions\.parquet: .*1 of 20 images .*25 epochs"):
        write_predictions(tmp_path / "predictions.parquet", cell, [(25, logits)])
    assert not list(tmp_path.glob("*predictions*"))


def test_views_without_augmentation_are_refused():
    optimizer = OPTIMIZERS["sgd"].model_dump()
    settings = {
        "linear": {"epochs": 3, "views": 2},
        "end_to_end": {"budgets": [1]},
        "optimizers": {"chest": optimizer},
        "checkpoint": "last",
    }
    with pytest.raises(ValueError, match=r"linear\.views is 2 and augment is none"):
        Finetune.model_validate({**settings, "augment": "none"})
    assert Finetune.model_validate({**settings, "augment": "chexclusion"}).linear.views == 2


def test_a_linear_job_imports_neither_torch_nor_other_slow_packages():
    """Its start would take longer than its training."""
    program = (
        "import sys\n"
        "import moco_transfer.cli, moco_transfer.config, moco_transfer.training.log\n"
        "import moco_transfer.finetune.cell, moco_transfer.finetune.linear\n"
        "print(*{'torch', 'pandas', 'scipy', 'sklearn', 'numba', 'matplotlib'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
