"""Linear finetuning: cached features, the head in NumPy, and the stages around them, compared with PyTorch."""

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_settings import EMBED, LINEAR, NETWORK, OPTIMIZERS, changed
from made_up_stores import made_up_labels, write_store, write_subset
from sklearn.metrics import roc_auc_score

from moco_transfer.augment import augment
from moco_transfer.config import stages
from moco_transfer.config.augmentation import PRESETS
from moco_transfer.config.training import Finetune
from moco_transfer.data.labels import read_targets
from moco_transfer.errors import UserError
from moco_transfer.files import write_array
from moco_transfer.finetune import linear as module
from moco_transfer.finetune.data import BestEpoch
from moco_transfer.finetune.embed import embed
from moco_transfer.finetune.end_to_end import masked_bce
from moco_transfer.finetune.linear import FeatureCache, apply_head, bce_with_logits, linear, train_head
from moco_transfer.model import Classifier
from moco_transfer.networks import build_network, load_encoder, save_encoder
from moco_transfer.seeds import stream
from moco_transfer.tensors import read_tensors
from moco_transfer.training.images import ImagePool, View, centre_crop, predict
from moco_transfer.training.schedule import all_batches, cosine, epoch_order

SIZE = 32
SPLITS = (22, 4, 4)
TRAIN, SCORED = np.array([4, 9, 2, 20, 11, 17, 3]), np.arange(22, 30)


def torch_head(features, labels, width, settings):
    """Return a head trained by PyTorch, from the weights and in the order of images that ``train_head`` draws.

    Parameters
    ----------
    features : a function of (epoch from 0, numbers [n] of images) that returns their features [n, width]
    labels : float32 [images, classes]
    """
    untrained = changed(settings, optimizer__lr=1e-30, epochs=1)
    start = train_head(np.zeros((1, len(labels), width), np.float32), labels, untrained, ignore)
    head = torch.nn.Linear(width, labels.shape[1])
    with torch.no_grad():
        head.weight.copy_(torch.tensor(start[1:].T))
        head.bias.copy_(torch.tensor(start[0]))
    optimizer = settings.optimizer
    common = {"lr": 1, "weight_decay": optimizer.weight_decay}
    if optimizer.name == "sgd":
        update = torch.optim.SGD(head.parameters(), momentum=optimizer.momentum, **common)
    else:
        update = torch.optim.Adam(head.parameters(), **common)
    names = (settings.seed, *settings.stream)
    step, steps = 0, settings.epochs * len(all_batches(np.arange(len(labels)), optimizer.batch))
    for epoch in range(settings.epochs):
        for batch in all_batches(epoch_order(len(labels), *names, epoch), optimizer.batch):
            update.param_groups[0]["lr"] = cosine(optimizer.lr, step, steps)
            update.zero_grad()
            masked_bce(head(features(epoch, batch)), torch.tensor(labels[batch])).backward()
            update.step()
            step += 1
    return head


def ignore(*_):
    pass


# The stages


class Target:
    """A store of 30 images with a labelled subset and an encoder, and the stages' files beside it."""

    def __init__(self, folder, classes=3, train=TRAIN):
        self.folder, self.store = folder, folder / "store"
        write_store(self.store, (30, 36, 36), made_up_labels(30, classes), SPLITS)
        self.subset = write_subset(folder / "subset.parquet", train)
        self.encoder = folder / "encoder.safetensors"
        self.features, self.rows = folder / "features.npy", folder / "rows.npy"
        # Statistics of batch normalisation that are not those of any batch of the target.
        self.network = build_network(NETWORK, 3).train()
        with torch.no_grad():
            for _ in range(3):
                self.network(torch.randn(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
        save_encoder(self.network.eval(), self.encoder)

    def embed(self, **changes):
        """Run the stage and return features and rows."""
        embed(
            changed(EMBED, **changes),
            encoder=self.encoder,
            images=self.store / "images.npy",
            splits=self.store / "splits.parquet",
            subsets=[self.subset],
            features=self.features,
            rows=self.rows,
            device="cpu",
        )
        return np.load(self.features), np.load(self.rows)

    def linear(self, **changes):
        """Run the stage and return the logits, float32 [validation + test, classes]."""
        linear(
            changed(LINEAR, uncertain="mask", **changes),
            features=self.features,
            rows=self.rows,
            index=self.store / "index.parquet",
            splits=self.store / "splits.parquet",
            subset=self.subset,
            predictions=self.folder / "predictions.parquet",
            metrics=self.folder / "metrics.csv",
            head=self.folder / "head.safetensors",
        )
        return pd.read_parquet(self.folder / "predictions.parquet").filter(like="logit_").to_numpy()

    @property
    def labels(self):
        return read_targets(self.store / "index.parquet", "mask")[1]


@pytest.fixture
def target(tmp_path):
    return Target(tmp_path)


@pytest.fixture
def embedded(target):
    """A target whose features are noise."""
    write_array(np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32), target.features)
    write_array(np.stack([np.arange(30), np.zeros(30, int)], axis=1), target.rows)
    return target


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("classes", [1, 14])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_cached_features_give_what_the_frozen_network_gives_image_by_image(tmp_path, name, classes, views):
    """The reference runs each image of each batch through the network on its own."""
    target = Target(tmp_path, classes)
    target.embed(views=views)
    changes = {"optimizer": OPTIMIZERS[name].model_copy(update={"batch": 3}), "epochs": 5}
    logits = target.linear(**changes)

    pixels = torch.from_numpy(np.load(target.store / "images.npy")).unsqueeze(1)
    seen = [centre_crop(pixels, SIZE).float()]
    if views == 2:
        seen.append(torch.zeros_like(seen[0]))
        labelled, random = np.sort(TRAIN), stream(1, "test", "view", 1, 0)
        seen[1][labelled] = augment(pixels[labelled], PRESETS["chexclusion"], SIZE, random)

    prepare = View(SIZE, NETWORK).prepare

    def frozen(view, rows):
        with torch.no_grad():
            return torch.cat([target.network(prepare(seen[view][row : row + 1])) for row in rows])

    head = torch_head(
        lambda epoch, numbers: frozen(epoch % views, TRAIN[numbers]),
        target.labels[TRAIN],
        target.network.width,
        changed(LINEAR, **changes),
    )
    with torch.no_grad():
        expected = head(frozen(0, SCORED)).numpy()
    assert logits.shape == (8, classes)
    np.testing.assert_allclose(logits, expected, atol=2e-4)


def test_the_best_epoch_predicts_where_that_is_asked_for(embedded, monkeypatch):
    seen = []

    def score(labels, logits):
        np.testing.assert_array_equal(labels, embedded.labels[22:26])
        seen.append(logits)
        return [0.1, 0.9, 0.3][len(seen) - 1]

    last = embedded.linear()
    monkeypatch.setattr(module, "validation_score", lambda settings: score)
    best = embedded.linear()
    np.testing.assert_array_equal(best[:4], seen[1])
    assert not np.array_equal(best, last)


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_the_kept_head_on_its_encoder_gives_the_logits_of_the_job(target, checkpoint):
    target.embed()
    logits = target.linear(checkpoint=checkpoint)
    head, about = read_tensors(target.folder / "head.safetensors")
    encoder = load_encoder(target.encoder)
    classifier = Classifier(encoder, len(about["classes"]))
    classifier.head.load_state_dict({name: torch.from_numpy(values) for name, values in head.items()})
    pool = ImagePool([(target.store / "images.npy", SCORED)])
    found = predict(classifier, pool, View(EMBED.crop, encoder.network), torch.device("cpu"))
    np.testing.assert_allclose(found, logits, rtol=0, atol=1e-5)
    assert about["classes"] == ["class0", "class1", "class2"]


def test_of_equal_scores_the_first_epoch_is_kept_and_its_state_is_a_copy():
    state = [0]
    best = BestEpoch(lambda labels, logits: float(logits[0]), np.zeros(1))
    for epoch, value in enumerate([0.2, 0.7, 0.7, 0.5], start=1):
        state[0] = epoch
        best.offer(epoch, np.array([value]), state.copy)
    assert (best.epoch, best.value, best.state) == (2, 0.7, [2])


def test_the_best_epoch_needs_validation_images_with_both_values(tmp_path):
    target = Target(tmp_path, classes=1)
    index = pd.read_parquet(target.store / "index.parquet")
    index.assign(class0=np.float32(0)).to_parquet(target.store / "index.parquet")
    target.embed()
    with pytest.raises(UserError, match=r"both positive and negative.*finetune\.checkpoint"):
        target.linear(checkpoint="best")


@pytest.mark.parametrize("recipe", ["standardised", "logistic"])
def test_a_kept_head_acts_on_the_features_themselves_whatever_the_recipe(embedded, recipe):
    features = 7 * np.load(embedded.features) + 3
    write_array(features, embedded.features)
    logits = embedded.linear(recipe=recipe, checkpoint="best")
    head, about = read_tensors(embedded.folder / "head.safetensors")
    np.testing.assert_allclose(features[SCORED] @ head["weight"].T + head["bias"], logits, atol=1e-5)
    assert ("scikit-learn" in about["versions"]) == (recipe == "logistic")
    assert len(pd.read_csv(embedded.folder / "metrics.csv")) == (1 if recipe == "logistic" else LINEAR.epochs)


@pytest.mark.parametrize("compared", [[], ["standardised", "logistic"]])
def test_many_subsets_are_scored_as_single_jobs_are(embedded, compared):
    subsets = [("10", 4, [4, 9, 2]), ("10", 5, [1, 0, 20]), ("50", 4, TRAIN)]
    rows = [
        pd.DataFrame({"percent": percent, "subset": number, "row": rows}) for percent, number, rows in subsets
    ]
    pd.concat(rows).to_parquet(embedded.folder / "subsets.parquet")
    own = {"uncertain": "zero", "stream": ["linear", "spine"]}
    settings = changed(LINEAR, **own).model_dump() | {
        "target": "spine",
        "source": "chest",
        "average": "macro",
        "subsets": [4, 5],
        "compared": compared,
        "replicate": 1,
        "fold": 1,
    }
    module.linear_subsets(
        stages.LinearSubsets.model_validate(settings),
        features=embedded.features,
        rows=embedded.rows,
        index=embedded.store / "index.parquet",
        splits=embedded.store / "splits.parquet",
        subsets=embedded.folder / "subsets.parquet",
        aurocs=embedded.folder / "aurocs.parquet",
    )
    found = pd.read_parquet(embedded.folder / "aurocs.parquet")
    jobs = [(*subset, recipe) for subset in subsets for recipe in ("paper", *compared)]
    names = found[["percent", "subset", "recipe"]].to_records(index=False).tolist()
    assert names == [(percent, number, recipe) for percent, number, _, recipe in jobs]
    for (percent, number, rows, recipe), auroc in zip(jobs, found["auroc"], strict=True):
        write_subset(embedded.subset, rows)
        logits = embedded.linear(recipe=recipe, stream=["linear", "spine", percent, number])[4:]
        labels = read_targets(embedded.store / "index.parquet", "zero")[1][26:]
        expected = [roc_auc_score(labels[:, k], logits[:, k]) for k in range(3) if 0 < labels[:, k].sum() < 4]
        assert auroc == pytest.approx(np.mean(expected))


def test_views_without_augmentation_are_refused():
    optimizer = OPTIMIZERS["sgd"].model_dump()
    settings = {
        "linear": {"recipe": None, "compared": [], "epochs": 3, "views": 2},
        "end_to_end": {"budgets": [1]},
        "optimizers": {"default": optimizer},
        "checkpoint": "last",
    }
    with pytest.raises(ValueError, match=r"linear\.views is 2 and augment is none"):
        Finetune.model_validate({**settings, "augment": "none"})
    assert Finetune.model_validate({**settings, "augment": "chexclusion"}).linear.views == 2


def test_a_linear_job_imports_neither_torch_nor_other_slow_packages():
    """Its start would take longer than its training."""
    program = (
        "import sys\n"
        "import moco_transfer.cli, moco_transfer.finetune.linear\n"
        "print(*{'torch', 'pandas', 'scipy', 'sklearn', 'numba', 'matplotlib'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


# Features


def test_only_rows_that_are_labelled_or_scored_are_embedded_and_only_labelled_ones_have_views(tmp_path):
    target = Target(tmp_path, train=[7, 2, 7, 11])
    features, rows = target.embed(views=3)
    scored = [[row, 0] for row in (2, 7, 11, *SCORED)]
    assert rows.tolist() == [*scored, *([row, view] for view in (1, 2) for row in (2, 7, 11))]
    np.testing.assert_array_equal(features[: len(scored)], target.embed()[0])


def test_views_differ_from_each_other_and_between_seeds_and_are_the_same_again(target):
    features, rows = target.embed(views=3)
    by_view = [features[(rows[:, 1] == view) & np.isin(rows[:, 0], TRAIN)] for view in range(3)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (np.abs(by_view[one] - by_view[other]).max(axis=1) > 1e-6).any()
    np.testing.assert_array_equal(features, target.embed(views=3)[0])
    assert (features != target.embed(views=3, seed=6)[0]).any()


def test_an_encoder_that_has_diverged_is_said(target):
    with torch.no_grad():
        target.network.features.conv0.weight[0] = torch.nan
    save_encoder(target.network, target.encoder)
    with pytest.raises(UserError, match=r"encoder\.safetensors: .* 15 of 15 features are not finite"):
        target.embed()
    assert not target.features.exists()


def write_cache(folder, features, rows):
    write_array(np.asarray(features, np.float32), folder / "features.npy")
    write_array(np.asarray(rows), folder / "rows.npy")
    return folder / "features.npy", folder / "rows.npy"


def test_features_are_found_by_row_and_view_in_any_order(tmp_path):
    cache = FeatureCache(*write_cache(tmp_path, [[0.0], [1], [2], [3]], [[4, 0], [6, 0], [9, 0], [6, 1]]))
    assert cache.views == 2
    assert cache.of(np.array([9, 4, 9])).tolist() == [[2], [0], [2]]
    assert cache.of(np.array([6]), view=1).tolist() == [[3]]


@pytest.mark.parametrize(("row", "view"), [(5, 0), (10, 0), (9, 1), (14, 0), (0, 1), (6, 2)])
def test_a_row_or_view_that_is_missing_is_said(tmp_path, row, view):
    """Row 14 in view 0 lies where row 4 of view 1 would be numbered."""
    cache = FeatureCache(*write_cache(tmp_path, [[0.0], [1], [2]], [[4, 0], [9, 0], [4, 1]]))
    with pytest.raises(UserError, match=r"features\.npy: lacks features"):
        cache.of(np.array([row]), view)


# The head


def made_up_features(views=1, n=43, width=12):
    return np.random.default_rng(1).normal(size=(views, n, width)).astype(np.float32)


def masked_labels():
    labels = np.stack(list(made_up_labels(43, 3).values()), axis=1)
    return np.where(labels == -1, np.float32("nan"), labels)


def test_loss_and_gradient_equal_pytorchs():
    values, labels = 10 * made_up_features()[0, :, :3], masked_labels()
    logits = torch.tensor(values, requires_grad=True)
    expected = masked_bce(logits, torch.tensor(labels))
    expected.backward()
    loss, gradient = bce_with_logits(values, labels)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, logits.grad.numpy(), atol=1e-7)


def test_masked_loss_is_the_plain_mean_where_nothing_is_masked():
    logits, labels = torch.randn(5, 2), torch.tensor([[0.0, 1.0]] * 5)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(masked_bce(logits, labels), expected)


def test_a_batch_with_nothing_but_masked_labels_moves_nothing():
    loss, gradient = bce_with_logits(np.ones((2, 3), np.float32), np.full((2, 3), np.nan, np.float32))
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("views", [1, 3])
def test_training_equals_a_torch_head_step_by_step(name, views):
    """With several views, the epochs take them in turn and begin again: 0, 1, 2, 0."""
    features, labels = made_up_features(views), masked_labels()
    settings = changed(LINEAR, optimizer=OPTIMIZERS[name], epochs=4)
    trained = train_head(features, labels, settings, ignore)
    head = torch_head(
        lambda epoch, numbers: torch.tensor(features[epoch % views][numbers]), labels, 12, settings
    )
    np.testing.assert_allclose(trained[1:].T, head.weight.detach().numpy(), atol=2e-5)
    np.testing.assert_allclose(trained[0], head.bias.detach().numpy(), atol=2e-5)


def test_a_diverging_head_is_said_in_one_line_without_warnings():
    settings = changed(LINEAR, optimizer__lr=1e30, epochs=50)
    with warnings.catch_warnings(), pytest.raises(UserError, match=r"loss is .* in epoch .*lower"):
        warnings.simplefilter("error")
        train_head(made_up_features(), masked_labels(), settings, ignore)


def test_apply_head_is_the_affine_map():
    weights = np.array([[1.0], [2.0], [3.0]], np.float32)
    np.testing.assert_allclose(apply_head(np.array([[1.0, 1.0]], np.float32), weights), [[6.0]])
