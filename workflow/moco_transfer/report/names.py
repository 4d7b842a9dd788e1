"""The names of modes, sources, datasets and measures in figures and tables for people, and the mark of what was seen before."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePath
from urllib.parse import urlsplit

from moco_transfer.config.encoders import Encoder
from moco_transfer.config.experiment import LIMITED, LIMITED_STEPS, NONE_LONGER
from moco_transfer.experiment import Kind

MODE_LABELS = {"linear": "linear", "end_to_end": "end to end"}
MODE_HEADINGS = {"linear": "MoCo + Linear Finetuning", "end_to_end": "MoCo + End-to-end Finetuning"}
"""The paper's headings of its tables 2 and 3."""
MODE_HEADINGS_WITH_ENCODERS = {"linear": "Linear Finetuning", "end_to_end": "End-to-end Finetuning"}
TRAINED_LAYERS = {"linear": "only the last layer", "end_to_end": "all layers"}

MEASURE_LABELS = {
    "svcca_channels": "SVCCA of channels",
    "cka_covariance": "CKA of covariances",
    "frechet": "Fréchet distance",
    "variance_share": "Share of variance\nin leading directions",
}


Seen = Mapping[str, Mapping[str, str]]
"""Why encoders may have seen test images: the reason by target and source, of those that may."""
MARK = "†"
SEEN_MARK = f"{MARK} its encoder may have seen these test images"
"""The entry of legends."""


def seen_note(seen: Seen, targets: Iterable[str]) -> str:
    """Return the sentence on the mark for captions of tables of ``targets``, after a blank, or nothing if none is marked."""
    if not set(targets) & seen.keys():
        return ""
    return f" {MARK} The encoder may have seen the test images of this target (trained_on); the advice leaves it out."


def one_vs_rest_note(multiclass: Collection[str], targets: Iterable[str], titles: Mapping[str, str]) -> str:
    """Return how to read the AUROCs of those ``targets`` that are ``multiclass``, for captions of tables, after a blank, or nothing."""
    named = [titles.get(target, target) for target in targets if target in multiclass]
    if not named:
        return ""
    return f" In {' and '.join(named)}, an image has exactly one class, and an AUROC compares each class with all others (one-vs-rest)."


def left_out_note(seen: Seen) -> str:
    """Return the sentence on results that are no evidence for captions of tables, after a blank, or nothing."""
    parts = [f"{', '.join(sources)} on {target}" for target, sources in seen.items()]
    if not parts:
        return ""
    return f" Left out, because their encoders may have seen the target's test images: {'; '.join(parts)}."


def source_label(source: str, kind: Kind) -> str:
    """Return what figures call a source: 'No MoCo', 'MoCo on spine + chest', 'MoCo (limited)', 'Encoder lite0'."""
    if kind == "encoder":
        return f"Encoder {source}"
    built_in = {
        "none": "No MoCo",
        NONE_LONGER: "No MoCo, longer",
        LIMITED: "MoCo (limited)",
        LIMITED_STEPS: "MoCo (limited, more steps)",
    }
    return built_in.get(source) or "MoCo on " + source.replace("+", " + ")


def source_title(source: str, kind: Kind) -> str:
    """Return what tables call a source, if it can be as the paper does: 'No MoCo', 'Spine+Chest MoCo', 'lite0 encoder'."""
    if kind == "encoder":
        return f"{source} encoder"
    if source == "none":
        return "No MoCo"
    return "+".join(part.capitalize() for part in source.split("+")) + " MoCo"


def weights_text(encoder: Encoder) -> str:
    """Return where the weights of an encoder come from, without the folder of a file and without secrets in an address."""
    if encoder.kind == "supervised":
        return f"trained here on the classes of {encoder.weights.classes_of}"
    if encoder.kind == "file":
        return PurePath(encoder.weights).name
    if encoder.kind == "address":
        parts = urlsplit(encoder.weights)
        return f"{parts.scheme}://{parts.hostname}{parts.path}"
    if encoder.kind == "hub":
        return " ".join(filter(None, [encoder.weights, encoder.file]))
    return {"random": "random", "pretrained": "published by timm"}[encoder.kind]


def dataset_label(dataset: str, titles: Mapping[str, str]) -> str:
    """Return 'VinDr-SpineXR (spine)': the title, and the short name that legends use, unless they are the same."""
    title = titles.get(dataset, dataset)
    return title if title.casefold() == dataset.casefold() else f"{title} ({dataset})"


def interval_name(percentiles: Sequence[float]) -> str:
    """Return the name of a bootstrap interval between two percentiles.

    >>> interval_name([5, 95])
    '5%-95% percentiles, a 90% interval'
    """
    lower, upper = percentiles
    return f"{lower:g}%-{upper:g}% percentiles, a {upper - lower:g}% interval"
