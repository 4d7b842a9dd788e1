"""The keys of what is made of the trainings: evaluation, similarity, and the controls.

The controls are extra trainings that separate what the paper varies together: domain, size and compute.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from moco_transfer.config import Average, Name, Percent, Positive, Section


class Evaluation(Section):
    average: Average = Field(description="How the AUROCs of the classes are averaged (#17).")
    replicates: Annotated[int, Field(ge=2)] = Field(description="Number of resamples of the test set.")
    percentiles: Annotated[list[Annotated[float, Field(gt=0, lt=100)]], Field(min_length=2, max_length=2)] = (
        Field(description="The two ends of the interval (#15).")
    )
    unit: Literal["image", "patient"] = Field(description="The unit that is resampled (#16).")
    validation: Literal["full", "matched"] = Field(
        description="The validation images that choose the budget: all, or as many as are labelled (#14a)."
    )
    margin: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="Margin of the equivalence and non-inferiority tests, in AUROC."
    )
    level: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="Significance level of the tests in the claims table."
    )

    @model_validator(mode="after")
    def _percentiles_ascend(self) -> Evaluation:
        if self.percentiles[0] >= self.percentiles[1]:
            raise ValueError(f"the smaller percentile must come first, not {self.percentiles}")
        return self


class Similarity(Section):
    datasets: Annotated[list[Name], Field(min_length=2)] | None = Field(
        description="The datasets that are compared, pair by pair. If null, the targets and all datasets that train a network are, if there are two."
    )
    images: Annotated[int, Field(ge=10)] = Field(description="Number of images drawn from each dataset.")
    network: Name = Field(
        description="The source whose encoder computes the activations; `none` is the one with the initial weights (#18)."
    )
    variance: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Share of the variance that the SVD keeps."
    )
    directions: Positive = Field(description="Number of directions (k) in the measures on shared channels.")
    null_draws: Positive = Field(description="Number of draws of each null distribution.")
    split_halves: Positive = Field(
        description="Number of times that a dataset is split in half and compared with itself, which gives the ceiling."
    )


class SizeControl(Section):
    dataset: Name = Field(
        description="The dataset whose training images MoCo sees. They are drawn at random."
    )
    as_many_as: Name = Field(description="The dataset that sets the number of images.")
    schedule: Literal["size", "dataset"] = Field(
        "size",
        description="The schedule of MoCo, unless `pretraining.schedules` has a line for the control. `size`: that of MoCo on `as_many_as`; the two then differ only in their "
        "domain. `dataset`: that of MoCo on the whole `dataset`; the two then differ only in the number of images, and so of steps.",
    )


class Controls(Section):
    size: dict[Name, SizeControl] = Field(
        description="Extra sources by name: MoCo on as many images of one dataset as another dataset has. Each is finetuned linearly on every target."
    )
    steps: dict[Name, list[Percent]] = Field(
        description="For each target: the percentages at which MoCo on only the labelled images is also run for as many steps as MoCo on "
        "the whole dataset (source `limited-steps`, linear)."
    )
    budget: dict[Name, list[Percent]] = Field(
        description="For each target: the percentages at which a network without MoCo is also trained longer on the labels, by as many images as "
        "MoCo on the whole dataset sees (source `none-longer`, end to end)."
    )
    subsets: Annotated[int, Field(ge=0)] = Field(
        description="Labelled subsets per linear cell, only to estimate the variance between them. The first `n_subsets` are those of the run. "
        "Sources that see only labelled images get no additional ones."
    )
