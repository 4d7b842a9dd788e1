"""The keys of training: the initial weights, MoCo, pretraining, finetuning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from moco_transfer.config import CheckpointChoice, LinearRecipe, Name, Positive, Rate, Section
from moco_transfer.config.augmentation import Augmentation, OptionalAugmentation
from moco_transfer.config.encoders import Encoder, Side

DEFAULT = "default"
"""The schedule of every source, and the optimiser of every target, without a line of its own."""


def _with_a_default(entries: dict[str, Any]) -> dict[str, Any]:
    if DEFAULT not in entries:
        raise ValueError(f"'{DEFAULT}' is missing; it serves all that have no line of their own")
    return entries


class Model(Section):
    stored: Annotated[int, Field(ge=16)] = Field(
        description="Side of the stored square images of every dataset without a `store.size` of its own, in pixels."
    )
    crop: Side = Field(
        description="Side of the centre crop of a stored image that all networks see, in pixels (#6). A network with another input size gets it resized."
    )
    initial_weights: Encoder = Field(
        description="The encoder that MoCo starts from; it is the source `none`."
    )


class Schedule(Section):
    epochs: Positive = Field(description="Passes over the source's training images.")
    batch: Positive = Field(description="Images per step.")
    lr: Rate = Field(description="Learning rate at the start; it then follows a cosine.")
    bn_groups: Positive = Field(description="Groups of a batch that are normalised separately (#10).")

    @model_validator(mode="after")
    def _groups_have_two_images(self) -> Schedule:
        if self.batch < 2 * self.bn_groups:
            raise ValueError(
                f"a batch of {self.batch} images is too small for {self.bn_groups} bn_groups of at least two"
            )
        return self


class Moco(Section):
    dim: Positive = Field(description="Width of the projection.")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(description="Momentum of the key encoder.")
    temperature: Rate = Field(description="Temperature of the contrastive loss.")
    queue: Positive = Field(description="Number of keys that are kept as negatives (#8).")
    mask_own_keys: bool = Field(description="Leave keys of the query's own image out of the negatives (#9).")
    augment: Augmentation = Field(description="A preset, or a list of operations in order (#7).")
    sgd_momentum: Annotated[float, Field(ge=0, lt=1)] = Field(description="Momentum of the optimiser.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(description="Weight decay of the optimiser.")


class Probe(Section):
    every: Positive = Field(description="Epochs between two probes. The last epoch is always probed.")
    images: Positive = Field(
        description="The largest number of labelled training images that fit the probe, and of validation images that score it."
    )


class Pretraining(Section):
    images: Literal["train", "train+validation"] = Field(
        description="The images of a source that MoCo sees (#14c)."
    )
    replicates: Positive = Field(
        description="How many encoders of each source are trained, each with random numbers of its own. Labelled subset s meets encoder (s - 1) mod `replicates` + 1, "
        "so more encoders cost more pretraining but no more finetuning. With one encoder, verdicts are about that encoder, not about its source."
    )
    ranks: Positive = Field(
        description="Number of processes (and of GPUs, if `resources.gpus` is above 0) that share one pretraining."
    )
    probe: Probe | None = Field(
        description="A linear classifier on frozen features, which only monitors the training (`metrics.csv`). If null, there is none. A finished training is not repeated for another probe."
    )
    schedules: Annotated[dict[Name, Schedule], AfterValidator(_with_a_default)] = Field(
        description="For each source; `default` is for those without a line of their own. `limited` uses the schedule of its target, and a size control without a line that of the dataset that its `schedule` names."
    )

    def schedule(self, source: str) -> Schedule:
        """Return the schedule of MoCo on ``source``."""
        return self.schedules.get(source, self.schedules[DEFAULT])


class Optimizer(Section):
    # Batch normalisation needs a second image.
    batch: Annotated[int, Field(ge=2)] = Field(description="Images per step.")
    lr: Rate = Field(description="Learning rate at the start; it then follows a cosine.")
    name: Literal["sgd", "adam"] = Field(description="The optimiser.")
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = Field(description="For `sgd`: its momentum.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(description="Weight decay of the optimiser.")


class Linear(Section):
    recipe: LinearRecipe | None = Field(
        description="How heads are trained. `paper`: with the target's optimiser for `epochs`; the result depends on the scale of the features. `standardised`: the same, on "
        "features with mean 0 and standard deviation 1 over the labelled images. `logistic`: logistic regression (scikit-learn) on standardised features with an L2 penalty. "
        "Its strength is chosen for each class (with `multiclass`, once) by the log-loss in a cross-validation over the patients of the labelled images; the optimiser, `checkpoint` "
        "and `epochs` do not matter (`epochs` only names the predictions). If null: `paper` if all encoders have one architecture, else `logistic`."
    )
    compared: list[LinearRecipe] = Field(
        description="Other recipes to try on the same features and labelled subsets. The table `recipes` shows whether they rank the sources in another order; nothing else uses them."
    )
    epochs: Positive = Field(description="Passes over the labelled subset.")
    views: Positive = Field(
        description="Number of cached views of each labelled image, which the epochs use in turn: the image itself, then "
        "`views - 1` views augmented by `finetune.augment`."
    )


class EndToEnd(Section):
    budgets: list[Positive] = Field(
        min_length=1, description="Numbers of epochs. Each is a separate training."
    )


class Finetune(Section):
    linear: Linear
    end_to_end: EndToEnd
    optimizers: Annotated[dict[Name, Optimizer], AfterValidator(_with_a_default)] = Field(
        description="For each target; `default` is for those without a line of their own."
    )
    augment: OptionalAugmentation = Field(
        description="The augmentation of end-to-end training, and of all `linear.views` but the first. A list is written as in `moco.augment` (#12)."
    )
    checkpoint: CheckpointChoice = Field(
        description="The epoch that makes the predictions: the last, or the best on the validation images (#13). A `logistic` linear head has no epochs."
    )

    def optimizer(self, target: str) -> Optimizer:
        """Return the optimiser of finetuning on ``target``."""
        return self.optimizers.get(target, self.optimizers[DEFAULT])

    @model_validator(mode="after")
    def _views_are_augmented(self) -> Finetune:
        if self.linear.views > 1 and self.augment == "none":
            raise ValueError(
                f"linear.views is {self.linear.views} and augment is none, so all views would be the same; "
                "set finetune.augment, or set linear.views to 1"
            )
        return self
