"""The page of a model card: what a finetuned model is, how good it is, and what it must not be used for.

``scripts/model_card.py`` collects what a card says. Titles, names of classes and all other text of a user are escaped for
Markdown here or by ``tables.markdown``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from moco_transfer import escape
from moco_transfer.config.experiment import INITIAL, LIMITED
from moco_transfer.data.labels import SPLITS
from moco_transfer.report.model_card import SHOWN, ModelCard, frequent
from moco_transfer.report.model_scores import calibration_section, results_section
from moco_transfer.report.names import TRAINED_LAYERS
from moco_transfer.report.tables import markdown


def page(card: ModelCard, note: str = "") -> str:
    """Return the card as Markdown; ``note`` comes first."""
    made = card.about.made
    parts = [f"# Model card: {card.title}, {made.percent}% of the labels", ""]
    parts += [f"**{escape.markdown(note)}**", ""] if note else []
    for heading, section in (
        ("What it is", _what_it_is),
        ("What trained it", _data),
        ("How it was trained", _training),
        ("How good it is", results_section),
        ("Calibration", calibration_section),
        ("What it must not be used for", _limits),
        ("How to use it", _use),
        ("Passing it on", _sharing),
    ):
        parts += [f"## {heading}", "", *section(card), ""]
    return "\n".join(parts).rstrip() + "\n"


def _what_it_is(card: ModelCard) -> list[str]:
    made, network = card.about.made, card.about.network
    count, classes = len(card.about.classes), ", ".join(map(escape.markdown, card.about.classes[:SHOWN]))
    more = f" and {count - SHOWN} more" if count > SHOWN else ""
    gives = "a logit of the class" if count == 1 else f"{count:,} logits, one for each of the classes"
    if card.one_of_many:
        means = "An image has exactly one of them. The sigmoid of a logit is the probability of its class; the probabilities add up to 1."
    else:
        means = "The sigmoid of a logit is the probability that the image is positive."
    lines = [
        f"A network that looks at one image and gives {gives} {classes}{more}. {means}",
        "",
        f"- Encoder: {escape.markdown(network.name)}, {network.channels} x {network.size} x {network.size} pixels.",
        f"- It starts from {_start(card)}.",
        f"- Then {TRAINED_LAYERS[made.mode]} {'was' if made.mode == 'linear' else 'were'} {_effort(card)}{len(card.labelled):,} labelled images.",
        "",
    ]
    folds = card.facts["split"]["folds"]
    if card.facts["advised"]:
        subsets = card.way["n_subsets"]
        counted = [f"{subsets} labelled subsets"] * (subsets > 1) + [f"{folds} folds"] * (folds > 1)
        over = f", the mean over {' and '.join(counted)}" if counted else ""
        why = (
            f"Of {card.ways} ways to train, this one has the highest validation AUROC, {card.way['validation_auroc']:.3f}{over}; its test "
            f"AUROC is {card.way['auroc']:.3f}. `tables/advice.md` says how sure the choice is, and which other ways are not ruled out. "
        )
        why += (
            "In a cross-validation, images that test in one fold are for validation in another, so luck with them has a part in this "
            "test AUROC: among ways that are about as good, it is too high."
            if folds > 1
            else "No test image had a say in it."
        )
    elif card.way.get("may_have_seen"):
        why = "The advice leaves it out, and it was compared with no other way to train."
    else:
        why = f"It is one of {card.ways} ways to train that were compared; `tables/advice.md` ranks them."
    lines.append(
        f"{why} The file contains the network of labelled subset {made.subset}, which was fixed in advance, and the numbers below "
        "are those of this one network."
    )
    if folds > 1:
        lines += [
            "",
            f"The run is a cross-validation with {folds} folds, and this is the network of fold 1. One part in {folds} of the images did not "
            "train it; these are its test images, and all numbers below are of that fold. A network trained on all images should be a "
            "little better, but nothing would be left to test it.",
        ]
    if card.way.get("may_have_seen"):
        reason = escape.markdown(str(card.way["may_have_seen"]))
        lines += [
            "",
            f"**Its encoder may have seen the test images ({reason}): the numbers below are no evidence.**",
        ]
    return lines


def _start(card: ModelCard) -> str:
    """Return what finetuning started from, in words."""
    source, facts = card.about.made.source, card.facts
    own = INITIAL if source not in facts["encoders"] else source
    name, weights = (escape.markdown(facts["encoders"][own][key]) for key in ("name", "weights"))
    if own != INITIAL:
        return f"the encoder '{source}' ({name}, weights: {weights})"
    initial = f"the initial weights of {name} ({weights})"
    if source == "none":
        return initial
    if source == LIMITED:
        seen = f"only the {len(card.labelled):,} labelled images"
    else:
        seen = " and ".join(
            f"{_seen(card, name):,} images of {card.title_of(name)}" for name in facts["sources"][source]
        )
    return f"MoCo (contrastive pretraining, which sees no labels) on {seen}, which started from {initial}"


def _seen(card: ModelCard, dataset: str) -> int:
    """Return how many images of a dataset MoCo saw."""
    counts = card.images[dataset]["images"]
    return int(sum(counts.get(split, 0) for split in card.facts["pretraining"]["images"].split("+")))


def _data(card: ModelCard) -> list[str]:
    made, facts = card.about.made, card.facts
    counts = card.images[made.target]
    split = pd.DataFrame(
        {
            "split": SPLITS,
            "images": [f"{counts['images'].get(name, 0):,}" for name in SPLITS],
            "patients": [f"{counts['patients'].get(name, 0):,}" for name in SPLITS],
        }
    )
    names = [each.name for each in frequent(card.results)]
    columns = [card.about.classes.index(name) for name in names]
    sides = {"labelled images": card.labelled, "validation": card.validation, "test": card.test}
    labels = pd.DataFrame(
        {"class": names}
        | {side: [_prevalence(values[:, k]) for k in columns] for side, values in sides.items()}
    )
    target = card.titles.get(made.target, made.target)  # ``markdown`` escapes it
    undivided = f"no {facts['split']['unit']} is in two splits"
    if facts["split"]["unit"] != "patient":
        undivided += ", but a patient may be"
    uncertain = {"zero": "negative", "one": "positive", "mask": "unknown, and left out"}[facts["uncertain"]]
    meaning = f"Positive images, by class. An uncertain label counts as {uncertain}."
    if card.one_of_many:
        meaning = "Images, by class. Each has exactly one."
    return [
        markdown(split, f"{target}, by split; {undivided}."),
        f"{len(card.labelled):,} of the training images ({made.percent}%) were labelled for this model. Their labels, and those of "
        "the images that chose and scored it:",
        "",
        markdown(labels, f"{meaning}{card.left_out}"),
    ]


def _prevalence(labels: np.ndarray) -> str:
    positive, known = int((labels == 1).sum()), int((~np.isnan(labels)).sum())
    return f"{positive:,} of {known:,}" + (f" ({positive / known:.1%})" if known else "")


def _training(card: ModelCard) -> list[str]:
    about, facts = card.about, card.facts
    made, network, store = about.made, about.network, about.store
    finetune = facts["finetune"]
    rows = {
        "run, seed": f"{made.run}, {facts['seed']}",
        "labelled subset": f"{made.subset}, {len(card.labelled):,} images",
        "trained layers": TRAINED_LAYERS[made.mode],
        **_optimisation(card),
        **({"loss": "cross entropy of the softmax over the classes"} if card.one_of_many else {}),
        "augmentation": _augmentation(finetune, made.mode),
        "stored images": f"{store.size} x {store.size} pixels, {'colour' if store.colour else 'grey'}, fit '{store.fit}'",
        "crop": f"the middle {about.crop} x {about.crop} pixels",
        "input of the network": f"{network.channels} x {network.size} x {network.size}, mean {_numbers(network.mean)}, "
        f"standard deviation {_numbers(network.std)}, of values from 0 to 1",
    }
    if made.source == LIMITED or facts["sources"].get(made.source):
        schedule = facts["schedules"][made.target if made.source == LIMITED else made.source]
        rows["MoCo"] = _settings(schedule | facts["moco"])
    rows["packages"] = _settings(card.versions)
    frame = pd.DataFrame({"setting": rows.keys(), "value": map(str, rows.values())})
    return [
        markdown(frame, "The training in full."),
        "`config/README.md` explains the settings. The packages are those of the finetuning.",
    ]


def _recipe(card: ModelCard) -> str:
    return card.facts["recipe"] if card.about.made.mode == "linear" else "paper"


def _effort(card: ModelCard) -> str:
    if _recipe(card) == "logistic":
        return "fitted to "
    epochs = card.about.made.epochs
    return f"trained for {epochs:,} epoch{'s' if epochs > 1 else ''} on "


def _optimisation(card: ModelCard) -> dict[str, Any]:
    """Return how the weights were found, by setting."""
    facts, recipe = card.facts, _recipe(card)
    scaled = {} if recipe == "paper" else {"features": "standardised by the labelled images"}
    if recipe == "logistic":
        return scaled | {
            "fit": "logistic regression, L2 penalty, its strength by cross-validation over patients"
        }
    best = facts["finetune"]["checkpoint"] == "best"
    return scaled | {
        "epochs": card.about.made.epochs,
        "optimiser": _settings(facts["optimizer"]),
        "schedule": "cosine, from the learning rate to 0",
        "weights of": "the best epoch on the validation images" if best else "the last epoch",
    }


def _settings(values: Mapping[str, Any]) -> str:
    """Return 'name adam, batch 16, lr 0.01'; what is not set is left out."""
    return ", ".join(f"{key} {_value(value)}" for key, value in values.items() if value is not None)


def _value(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def _augmentation(finetune: Mapping[str, Any], mode: str) -> str:
    views = finetune["linear"]["views"]
    if finetune["augment"] == "none" or (mode == "linear" and views == 1):
        return "none"
    named = _value(finetune["augment"])
    return f"{named}, {views - 1} views besides the image itself" if mode == "linear" else named


def _limits(card: ModelCard) -> list[str]:
    generated = [name for name, each in card.facts["datasets"].items() if each["phantom"]]
    lines = [
        "- It is no medical device. It was made to compare ways of training, and nobody has tested it in care. No decision about a "
        "patient may rest on it.",
        f"- It knows images of {card.title} alone. With other scanners, hospitals, populations, views or labels its results are unknown; "
        "measure them first.",
        "- It says nothing about classes other than those above, nor about images of something else: it gives probabilities for any "
        "picture.",
        "- Labels that come from reports or from several readers contain errors, which the model learns and the numbers above include.",
    ]
    if card.about.made.target in generated:
        lines.insert(
            0,
            "- **It was trained and tested on generated images. It knows nothing about patients and is good for trying out only.**",
        )
    elif generated:
        names = " and ".join(card.title_of(name) for name in generated)
        lines.insert(0, f"- Part of its training used generated images: {names}.")
    return lines


def _use(card: ModelCard) -> list[str]:
    return [
        "`model.safetensors` beside this page contains the encoder, the head, and how images are decoded, resized and scaled:",
        "",
        "```",
        "moco-transfer predict --model model.safetensors --images FOLDER_OR_TABLE --out predictions.csv",
        "```",
        "",
        "Feed it images as they leave the scanner (DICOM, JPEG, PNG), not resized ones.",
    ]


def _sharing(card: ModelCard) -> list[str]:
    made, facts = card.about.made, card.facts
    first = facts["encoders"][made.source if made.source in facts["encoders"] else INITIAL]
    used = {made.target, first["classes_of"], *facts["sources"].get(made.source, [])}
    closed = [name for name, each in facts["datasets"].items() if name in used and not each["shareable"]]
    if closed:
        names = " and ".join(card.title_of(name) for name in closed)
        text = (
            f"It was trained on images that may not be shared: {names}. Weights can reveal whether an image was among them, and parts "
            "of it. Ask the owner of the data before you pass the model on; this page contains only counts."
        )
    else:
        text = "All images that trained it in this run may be shared."
    if first["others"]:
        text += " The weights that it started from are the work of others: their licence counts as well."
    return [text]
