"""One-of-many classes: the softmax head, what is written of it, what is refused, and what a model and its card then say."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_cards import PERCENTILES, model_card, scored
from made_up_models import network, write_random_model
from made_up_settings import END_TO_END, LINEAR, NETWORK, changed
from made_up_stores import write_store, write_subset
from scipy.special import expit, logsumexp, softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, roc_auc_score
from test_config import raw

from moco_transfer.config import stages
from moco_transfer.config.datasets import Labels, Split, Store
from moco_transfer.config.experiment import check
from moco_transfer.data.split import check_data, split
from moco_transfer.errors import UserError
from moco_transfer.files import write_array
from moco_transfer.finetune.data import validation_score
from moco_transfer.finetune.end_to_end import end_to_end
from moco_transfer.finetune.linear import cross_entropy, linear, linear_subsets
from moco_transfer.finetune.logits import class_logits, log_odds
from moco_transfer.model import Classifier, LogOdds, load_classifier
from moco_transfer.networks import build_network, save_encoder, write_weights
from moco_transfer.predict import predict
from moco_transfer.report.model_card import SHOWN
from moco_transfer.report.model_page import page
from moco_transfer.report.names import one_vs_rest_note
from moco_transfer.statistics.auroc import average_auroc
from moco_transfer.statistics.decisions import balanced_accuracy, decisions
from moco_transfer.tensors import read_tensors

pytestmark = pytest.mark.usefixtures("one_thread")
SPLITS = (30, 9, 12)
IMAGES = sum(SPLITS)
CLASSES = ["cyst", "nodule", "scar"]
TRAIN = np.arange(20)


def one_hot(numbers, classes=3):
    return np.eye(classes, dtype=np.float32)[numbers]


# Formulas


@pytest.mark.parametrize("scale", [1, 30, 200])
@pytest.mark.parametrize("classes", [2, 3, 40])
def test_the_sigmoid_of_a_logit_is_the_softmax_probability(scale, classes):
    """At a scale of 200 most probabilities are 0 or 1 in float64, and their log-odds are still finite and exact."""
    z = np.random.default_rng(1).normal(scale=scale, size=(50, classes)).astype(np.float32)
    z[0] = 0
    found = log_odds(z)
    wide = z.astype(np.float64)
    expected = [wide[:, c] - logsumexp(np.delete(wide, c, axis=1), axis=1) for c in range(classes)]
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32 and np.isfinite(found).all()
    np.testing.assert_allclose(expit(found.astype(float)), softmax(wide, axis=1), atol=1e-6)
    np.testing.assert_allclose(LogOdds()(torch.from_numpy(z)).numpy(), found, rtol=1e-5, atol=1e-4)
    assert class_logits(z, "multilabel") is z


def test_the_loss_of_the_head_is_pytorchs():
    random = np.random.default_rng(2)
    outputs = random.normal(scale=20, size=(9, 4)).astype(np.float32)
    labels = one_hot(random.integers(0, 3, 9), 4)  # no image has the last class
    loss, gradient = cross_entropy(outputs, labels)
    leaf = torch.tensor(outputs, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(leaf, torch.tensor(labels))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), atol=1e-7)
    assert gradient[:, 3].min() > 0


@pytest.mark.parametrize("average", ["weighted", "macro"])
def test_the_average_auroc_is_scikit_learns_one_vs_rest(average):
    random = np.random.default_rng(3)
    numbers = random.choice(4, 200, p=[0.5, 0.3, 0.15, 0.05])
    outputs = (random.normal(size=(200, 4)) + 2 * one_hot(numbers, 4)).astype(np.float32)
    probabilities = softmax(outputs.astype(float), axis=1)
    expected = roc_auc_score(numbers, probabilities, multi_class="ovr", average=average)
    found = average_auroc(one_hot(numbers, 4), log_odds(outputs), average)
    assert found == pytest.approx(expected, abs=1e-9)
    assert average_auroc(one_hot(numbers, 4), outputs, average) != pytest.approx(expected, abs=1e-4)
    settings = changed(LINEAR, task="multiclass", checkpoint="best", average=average)
    assert validation_score(settings)(one_hot(numbers, 4), outputs) == found


# Training


@pytest.fixture
def target(tmp_path):
    """A store of 51 images with features that tell their classes, and the files beside it."""
    random = np.random.default_rng(4)
    numbers = random.integers(0, 3, IMAGES)
    store = write_store(
        tmp_path / "store", (IMAGES, 36, 36), dict(zip(CLASSES, one_hot(numbers).T, strict=True)), SPLITS
    )
    features = random.normal(size=(IMAGES, 5)) + np.pad(one_hot(numbers), ((0, 0), (0, 2)))
    write_array(features.astype(np.float32), tmp_path / "features.npy")
    write_array(np.stack([np.arange(IMAGES), np.zeros(IMAGES, int)], axis=1), tmp_path / "rows.npy")
    write_subset(tmp_path / "subset.parquet", TRAIN)
    return SimpleNamespace(
        folder=tmp_path, store=store, numbers=numbers, subset=tmp_path / "subset.parquet", features=features
    )


def run_linear(target, **changes):
    files = {name: target.folder / f"{name}.npy" for name in ("features", "rows")}
    outs = {"predictions": "predictions.parquet", "metrics": "metrics.csv", "head": "head.safetensors"}
    linear(
        changed(LINEAR, **{"task": "multiclass", **changes}),
        **files,
        index=target.store / "index.parquet",
        splits=target.store / "splits.parquet",
        subset=target.subset,
        **{name: target.folder / file for name, file in outs.items()},
    )
    return pd.read_parquet(target.folder / "predictions.parquet")


def check_predictions(predictions, probabilities):
    """Check that the sigmoids of the written logits are ``probabilities`` [validation + test, classes]."""
    logits = predictions[[f"logit_{name}" for name in CLASSES]].to_numpy(dtype=float)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), probabilities, atol=1e-5)


def test_a_linear_job_writes_the_log_odds_of_its_softmax(target):
    predictions = run_linear(target, epochs=30)
    head, _ = read_tensors(target.folder / "head.safetensors")
    outputs = target.features[SPLITS[0] :].astype(np.float32) @ head["weight"].T + head["bias"]
    check_predictions(predictions, softmax(outputs, axis=1))
    losses = pd.read_csv(target.folder / "metrics.csv")["loss"]
    assert losses.iloc[-1] < losses[0] and losses.iloc[-1] < np.log(3)
    other = run_linear(target, epochs=30, task="multilabel").filter(like="logit_")
    assert np.abs(other.to_numpy() - predictions.filter(like="logit_").to_numpy()).max() > 0.1


def test_a_subset_may_lack_a_class(target):
    write_subset(target.subset, TRAIN[target.numbers[TRAIN] != 2])
    logits = run_linear(target, epochs=30).filter(like="logit_").to_numpy()
    assert np.isfinite(logits).all() and logits[:, 2].mean() < logits[:, :2].mean()


def test_more_subsets_are_scored_as_the_job_is(target):
    predictions = run_linear(target, stream=["linear", "t", "40", 4])
    pd.DataFrame({"percent": "40", "subset": 4, "row": TRAIN}).to_parquet(target.folder / "subsets.parquet")
    settings = changed(LINEAR, task="multiclass", stream=["linear", "t"]).model_dump()
    settings |= {"target": "t", "source": "none", "subsets": [4], "compared": [], "replicate": 1, "fold": 1}
    linear_subsets(
        stages.LinearSubsets.model_validate(settings),
        features=target.folder / "features.npy",
        rows=target.folder / "rows.npy",
        index=target.store / "index.parquet",
        splits=target.store / "splits.parquet",
        subsets=target.folder / "subsets.parquet",
        aurocs=target.folder / "aurocs.parquet",
    )
    test = predictions[predictions["split"] == "test"]
    scores = 1 / (1 + np.exp(-test[[f"logit_{name}" for name in CLASSES]].to_numpy(dtype=float)))
    numbers = target.numbers[-SPLITS[2] :]
    scores /= scores.sum(axis=1, keepdims=True)  # scikit-learn asks for sums of exactly 1
    expected = roc_auc_score(numbers, scores, multi_class="ovr", average="weighted", labels=[0, 1, 2])
    assert pd.read_parquet(target.folder / "aurocs.parquet")["auroc"].item() == pytest.approx(expected)


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_an_end_to_end_job_writes_what_its_kept_model_then_says(target, checkpoint):
    save_encoder(build_network(NETWORK, 3), target.folder / "encoder.safetensors")
    outs = {
        "predictions": "predictions.parquet",
        "metrics": "metrics.csv",
        "networks": "networks.safetensors",
    }
    end_to_end(
        changed(END_TO_END, task="multiclass", budgets=[2], checkpoint=checkpoint),
        encoder=target.folder / "encoder.safetensors",
        store=target.store,
        splits=target.store / "splits.parquet",
        subset=target.subset,
        device="cpu",
        **{name: target.folder / file for name, file in outs.items()},
    )
    assert pd.read_csv(target.folder / "metrics.csv")["loss"][0] < 2 * np.log(3)
    tensors, _ = read_tensors(target.folder / "networks.safetensors", "2/")
    path = target.folder / "model.safetensors"
    write_random_model(path, Store(size=36, fit="stretch"), network(), thresholds=(0.0, None, None))
    about = load_classifier(path)[1]
    about = about.model_copy(update={"network": NETWORK, "classes": CLASSES, "task": "multiclass"})
    weights = {name: torch.from_numpy(values) for name, values in tensors.items()}
    write_weights(path, weights, about.model_dump())
    raw_model = Classifier(build_network(NETWORK, 0), 3)
    raw_model.load_state_dict(weights)
    images = torch.from_numpy(np.load(target.store / "images.npy")[SPLITS[0] :, 2:34, 2:34])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (NETWORK.mean, NETWORK.std))
    inputs = (images[:, None].expand(-1, 3, -1, -1) / 255 - mean) / std
    with torch.no_grad():
        outputs, logits = raw_model.eval()(inputs), load_classifier(path)[0](inputs)
    predictions = pd.read_parquet(target.folder / "predictions.parquet")
    check_predictions(predictions, outputs.softmax(dim=1).numpy())
    written = predictions[[f"logit_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(logits.numpy(), written, atol=1e-5)


# What is refused


def with_a_multiclass_target():
    """Return the paper's configuration with the folders of natural images as a multiclass target."""
    return raw(
        {
            "datasets": {"natural": {"split": {"train": 0.6, "validation": 0.2, "test": 0.2}}},
            "targets": {
                "natural": {"percents": ["10"], "limited": [], "task": "multiclass"},
            },
            "finetune": {"optimizers": {"natural": LINEAR.optimizer.model_dump()}},
        }
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("targets.natural.task", "regression", r"'targets\.natural\.task'.*no target.*at_least.*classes"),
        ("targets.natural.task", 3, r"'targets\.natural\.task': expected multilabel or multiclass"),
        ("targets.chest.task", "multiclass", r"targets\.chest\.task: .*several classes.*multilabel"),
        ("datasets.natural.labels.uncertain", "mask", r"targets\.natural\.task: .*labels\.uncertain to zero"),
    ],
)
def test_a_task_that_cannot_fit_is_refused_with_the_configuration(path, value, message):
    config = with_a_multiclass_target()
    assert check(config).targets["natural"].task == "multiclass"
    assert check(config).targets["chest"].task == "multilabel"
    *sections, key = path.split(".")
    inner = config
    for section in sections:
        inner = inner[section]
    inner[key] = value
    with pytest.raises(UserError, match=message) as refused:
        check(config)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("labels", [["cyst"], ["cyst", "scar"]])
def test_a_table_with_one_label_is_no_choice_between_classes(labels):
    config = with_a_multiclass_target()
    table = {"file": "table.csv", "path": "path", "labels": labels}
    config["datasets"]["natural"] |= {"adapter": "table", "root": "/data", "table": table}
    if len(labels) > 1:
        assert check(config)
        return
    with pytest.raises(UserError, match=r"targets\.natural\.task: multiclass needs several classes"):
        check(config)


SHARES = Split(unit="image", train=0.6, validation=0.2, test=0.2)


@pytest.mark.parametrize("unlabeled", ["zero", "drop"])
@pytest.mark.parametrize("several", [False, True])
def test_images_without_exactly_one_class_are_found_before_packing_and_when_splitting(
    target, unlabeled, several
):
    path, out = target.store / "index.parquet", target.folder / "out"
    labels = Labels(uncertain="zero", unlabeled=unlabeled)
    checked = stages.CheckData(
        datasets=[stages.SplitDataset(name="hip", split=SHARES, labels=labels)],
        percents=["50"],
        task="multiclass",
        sources=[],
        samples=[],
        images="train",
        seed=0,
    )
    index = pd.read_parquet(path)
    index.loc[6:7, CLASSES] = np.nan
    if several:
        index.loc[4, CLASSES] = 1
    index.to_parquet(path)

    def both(task):
        settings = stages.AssignSplits(split=SHARES, fold=1, labels=labels, seed=0)
        names = {"dataset": "hip", "scored": "zero", "task": task}
        yield lambda: check_data(checked.model_copy(update={"task": task}), index=[path], checked=out)
        yield lambda: split(settings, index=path, splits=out, **names)

    found = ["2 with none"] * (unlabeled == "zero") + ["1 with several"] * several
    for call in both("multiclass"):
        if found:
            first = 5 if several else 7
            message = rf"index\.parquet: .* exactly one class: {' and '.join(found)} \(first: row {first}\); targets\.\*\.task"
            with pytest.raises(UserError, match=message):
                call()
        else:
            call()
    for call in both("multilabel"):
        call()


def test_a_job_does_not_train_on_an_image_without_a_class(target):
    index = pd.read_parquet(target.store / "index.parquet")
    index.loc[TRAIN[3], CLASSES] = 0
    index.to_parquet(target.store / "index.parquet")
    with pytest.raises(UserError, match=r"1 of 41 images .*: 1 with none \(first: row 4\)"):
        run_linear(target)
    run_linear(target, task="multilabel")


# Models


def test_predict_names_the_most_probable_class_and_gives_its_probability(tmp_path):
    from PIL import Image

    store = Store(size=40, fit="stretch")
    path, out = tmp_path / "model.safetensors", tmp_path / "out.csv"
    plain = write_random_model(path, store, network(), thresholds=(0.0, None, -2.0))
    _, about = load_classifier(path)
    weights = plain.state_dict()
    write_weights(path, weights, about.model_copy(update={"task": "multiclass"}).model_dump())
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(5).integers(0, 256, (6, 40, 40), dtype=np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).save(tmp_path / "images" / f"{number}.png")
    predict(model=path, images=tmp_path / "images", out=out, device="cpu")
    found = pd.read_csv(out)
    assert list(found.columns[:3]) == ["path", "predicted", "logit_one"]
    probabilities = found[[f"probability_{name}" for name in about.classes]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert found["predicted"].tolist() == [about.classes[k] for k in probabilities.argmax(axis=1)]
    logits = found[[f"logit_{name}" for name in about.classes]].to_numpy()
    assert found["positive_three"].tolist() == (logits[:, 2] >= -2).astype(int).tolist()


def test_a_model_file_from_before_there_were_tasks_is_multilabel(tmp_path):
    path = tmp_path / "model.safetensors"
    model = write_random_model(path, Store(size=40, fit="stretch"), network())
    about = load_classifier(path)[1]
    write_weights(path, model.state_dict(), about.model_dump(exclude={"task"}))
    loaded, found = load_classifier(path)
    assert found == about and found.task == "multilabel"
    assert list(dict(loaded.named_children())) == ["encoder", "head"]


def test_onnx_gives_the_logits_of_the_predictions(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    from moco_transfer.export import export

    path, out = tmp_path / "model.safetensors", tmp_path / "model.onnx"
    plain = write_random_model(path, Store(size=40, fit="stretch"), network(), thresholds=(0.0, None, None))
    about = load_classifier(path)[1]
    write_weights(path, plain.state_dict(), about.model_copy(update={"task": "multiclass"}).model_dump())
    export(encoder=path, to="onnx", out=out)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        outputs = plain(images).numpy()
    np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], log_odds(outputs), atol=1e-4)


# The card


def of_one_class(images, classes=("effusion", "edema", "nodule"), wrong=0.3):
    """Return predictions of which each image, three a patient, has one class; some are called another."""
    random = np.random.default_rng(6)
    own = random.choice(len(classes), images, p=np.arange(1, len(classes) + 1) / sum(range(len(classes) + 1)))
    shown = np.where(random.random(images) < wrong, random.integers(0, len(classes), images), own)
    outputs = random.normal(size=(images, len(classes))) + 6 * one_hot(shown, len(classes))
    return replace(scored(images, classes), labels=one_hot(own, len(classes)), scores=log_odds(outputs))


def test_the_most_probable_class_is_scored_as_scikit_learn_does():
    test = of_one_class(400)
    own, called = test.labels.argmax(axis=1), test.scores.argmax(axis=1)
    found = decisions(test, "image", PERCENTILES)
    assert found.accuracy.value == pytest.approx(accuracy_score(own, called))
    assert found.balanced.value == pytest.approx(balanced_accuracy_score(own, called))
    np.testing.assert_array_equal(found.confusion, confusion_matrix(own, called))
    assert found.commonest == pytest.approx(np.bincount(own).max() / 400)
    for share in (found.accuracy, found.balanced):
        assert share.lower < share.value < share.upper
    assert decisions(of_one_class(9), "image", PERCENTILES) is None


def test_the_interval_of_the_balanced_accuracy_holds_the_truth_as_often_as_it_says():
    """Classes of 20 to 60 images with recalls 0.6 to 0.9; the 90% interval holds their mean in 90% of samples."""
    random, recalls = np.random.default_rng(7), np.array([0.9, 0.75, 0.6])
    own = np.repeat([0, 1, 2], [20, 40, 60])
    held = []
    for _ in range(1000):
        called = np.where(random.random(120) < recalls[own], own, (own + 1) % 3)
        share = balanced_accuracy(own, called, np.arange(120), PERCENTILES)
        held.append(share.lower <= recalls.mean() <= share.upper)
    assert 0.87 < np.mean(held) < 0.95


def test_images_of_a_patient_widen_the_interval_of_the_balanced_accuracy():
    own = np.repeat(np.arange(90) % 3, 3)
    called = np.where(np.repeat(np.arange(90) % 5 == 0, 3), (own + 1) % 3, own)
    alone, together = (
        balanced_accuracy(own, called, units, PERCENTILES)
        for units in (np.arange(270), np.repeat(np.arange(90), 3))
    )
    assert alone.value == together.value
    assert together.upper - together.lower == pytest.approx(
        np.sqrt(3) * (alone.upper - alone.lower), rel=0.15
    )


@pytest.mark.parametrize(("rare", "known"), [(1, False), (9, False), (10, True)])
def test_a_class_of_few_images_leaves_the_interval_of_the_balanced_accuracy_unknown(rare, known):
    """All images of a class of 9 may be hits by chance; the variance would then be that of the other class alone."""
    own = np.repeat([0, 1], [200, rare])
    called = np.where(np.arange(len(own)) < 20, 1, own)
    share = balanced_accuracy(own, called, np.arange(len(own)), PERCENTILES)
    assert share.value == pytest.approx(0.95)
    assert np.isnan([share.lower, share.upper]).tolist() == [not known] * 2
    # of two images each, these are half as many patients
    patients = np.r_[np.arange(200), np.repeat(np.arange(200, 200 + rare), 2)[:rare]]
    assert np.isnan(balanced_accuracy(own, called, patients, PERCENTILES).lower)


def card_of(test):
    card = model_card(300, test.classes)
    about = card.about.model_copy(update={"task": "multiclass"})
    return replace(card, about=about, test=test.labels, decisions=decisions(test, "patient", PERCENTILES))


def test_the_card_says_how_to_read_one_vs_rest_and_what_is_taken_for_what():
    test = of_one_class(300)
    text = page(card_of(test))
    rows = confusion_matrix(test.labels.argmax(axis=1), test.scores.argmax(axis=1))
    for name, row in zip(test.classes, rows, strict=True):
        assert f"| {name} | {' | '.join(map(str, row))} |" in text
    accuracy = accuracy_score(test.labels.argmax(axis=1), test.scores.argmax(axis=1))
    assert f"| accuracy | {accuracy:.3f} (" in text and "| balanced accuracy | " in text
    assert "one-vs-rest" in text and "add up to 1" in text and "softmax" in text and "uncertain" not in text
    assert "one-vs-rest" not in page(model_card()) and "softmax" not in page(model_card())
    few = page(replace(card_of(test), decisions=None))
    assert "too few to say how often" in few


def test_of_many_classes_the_confusion_of_the_most_frequent_is_shown():
    test = of_one_class(400, [f"class{number:02}" for number in range(SHOWN + 5)])
    card = card_of(test)
    rows = [
        line for line in page(card).splitlines() if line.startswith("| class") and line.count("|") > SHOWN
    ]
    assert len(rows) == SHOWN + 1 and rows[0].endswith("| called another class |")
    for row in rows[1:]:
        name, *counts = row.strip("| ").split(" | ")
        number = test.classes.index(name)
        assert sum(map(int, counts)) == test.labels[:, number].sum()


def test_captions_name_the_targets_whose_images_have_one_class():
    titles = {"hip": "Hips", "knee": "Knees"}
    assert "In Knees, an image has exactly one class" in one_vs_rest_note(["knee"], ["hip", "knee"], titles)
    assert one_vs_rest_note(["knee"], ["hip"], titles) == ""
