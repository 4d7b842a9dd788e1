"""What a file of a finetuned model says about it (``model`` builds the module). PyTorch is not imported."""

from __future__ import annotations

from moco_transfer.config import Section
from moco_transfer.config.datasets import Store
from moco_transfer.config.encoders import Network


class Made(Section):
    """Which training made a model: the names of the results' paths."""

    run: str
    target: str
    source: str
    mode: str
    percent: str
    subset: int
    epochs: int


class About(Section):
    """What must be known to use a model.

    Attributes
    ----------
    network : the encoder, how it is built and fed
    crop : side of the middle of a stored image that it sees, in pixels
    store : how an image file becomes a stored image
    classes : names of the outputs, in order
    thresholds : for each class, the logit from which an image counts as positive, chosen on validation images; None if unknown
    made : which training made it
    """

    network: Network
    crop: int
    store: Store
    classes: list[str]
    thresholds: list[float | None]
    made: Made
