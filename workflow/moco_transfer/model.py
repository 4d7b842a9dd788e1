"""A finetuned model: an encoder with its head, in one file that says everything needed to use it.

``scripts/model_card.py`` writes the file. Nothing here reads images, so that trainers need no decoder: ``transform.load_model`` is for
whoever uses the model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from moco_transfer.config.encoders import About
from moco_transfer.errors import UserError
from moco_transfer.networks import build_network, load_state, read_weights


class Classifier(nn.Sequential):
    """An encoder and a linear head: from network input [n, channels, size, size] to one output per class, [n, classes]."""

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__(OrderedDict(encoder=encoder, head=nn.Linear(encoder.width, classes)))


class LogOdds(nn.Module):
    """From the outputs z [n, classes >= 2] of a softmax head to the logits that predictions hold: ``finetune.logits.log_odds``."""

    def forward(self, z: Tensor) -> Tensor:
        """Return z_c - log sum exp(z_k) over the other classes k, for every class c."""
        top = torch.arange(z.shape[1], device=z.device) == z.argmax(dim=1, keepdim=True)
        shifted = z - z.amax(dim=1, keepdim=True)
        of_top = -shifted.masked_fill(top, float("-inf")).logsumexp(dim=1, keepdim=True)
        parts = shifted.exp()
        others = (parts.sum(dim=1, keepdim=True) - parts).masked_fill(top, 1)
        return torch.where(top, of_top, shifted - others.log())


def _about(path: Path, found: Mapping) -> About:
    """Return what the file ``path`` says about its model; raises UserError if it holds none."""
    try:
        return About.model_validate({key: found[key] for key in About.model_fields if key in found})
    except (TypeError, ValidationError):
        raise UserError(
            f"{path}: not a finetuned model of this version of the package; those are results/<run>/models/**/model.safetensors"
        ) from None


def read_file(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Return ``networks.read_weights`` of a file that a user names.

    Raises UserError if it is missing, may not be read, is damaged, or is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); models are results/<run>/models/**/model.safetensors"
        ) from None
    # The length of the header in 8 bytes, and the header: JSON.
    if start[8:] != b"{":
        raise UserError(
            f"{path}: not a safetensors file; models are results/<run>/models/**/model.safetensors, and weights of "
            "others become an encoder as a source (docs/encoders.md)"
        )
    return read_weights(path)


def load_classifier(path: Path) -> tuple[Classifier, About]:
    """Return the model in the file ``path`` in evaluation mode on the CPU, and what is known about it.

    Its outputs are logits [n, classes]: the sigmoid of one is the probability of the class, also with one-of-many classes.
    Raises UserError if the file is missing, is damaged or is something else.
    """
    weights, found = read_file(path)
    about = _about(path, found)
    model = Classifier(build_network(about.network, 0), len(about.classes))
    load_state(model, weights, path)
    if about.task == "multiclass":
        model.add_module("log_odds", LogOdds())
    return model.eval(), about
