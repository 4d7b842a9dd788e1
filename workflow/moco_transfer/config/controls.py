"""The keys of the controls: trainings that tell apart what the paper varies together, domain, size and compute."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from moco_transfer.config.section import Name, Percent, Section


class SizeControl(Section):
    dataset: Name = Field(description="whose training images MoCo sees, drawn at random")
    as_many_as: Name = Field(description="the dataset whose number of training images is taken")


class Controls(Section):
    size: dict[Name, SizeControl] = Field(
        description="sources by name: MoCo on as many images of one dataset as another has, by a line of its own in "
        "`pretraining.schedules`; finetuned linearly on every target"
    )
    steps: dict[Name, list[Percent]] = Field(
        description="by target: percentages where MoCo on just the labelled images also takes as many steps as MoCo on "
        "the whole dataset (source `limited-steps`, linear)"
    )
    budget: dict[Name, list[Percent]] = Field(
        description="by target: percentages where a network without MoCo is also trained on the labels for as many more "
        "images as MoCo on the whole dataset shows (source `none-longer`, end to end)"
    )
    subsets: Annotated[int, Field(ge=0)] = Field(
        description="labelled subsets a linear cell, for the variance between them alone; those up to `seeds` are there "
        "anyway, and sources that see labelled images have no more"
    )
