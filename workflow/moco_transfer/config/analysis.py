"""The keys of what is computed from predictions and encoders: AUROC with its intervals, and similarity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from moco_transfer.config.section import Name, Positive, Section


class Evaluation(Section):
    average: Literal["weighted", "macro"] = Field(description="how classes are averaged (#17)")
    replicates: Annotated[int, Field(ge=2)] = Field(description="resamples of the test set")
    percentiles: Annotated[list[Annotated[float, Field(gt=0, lt=100)]], Field(min_length=2, max_length=2)] = (
        Field(description="ends of the interval (#15)")
    )
    unit: Literal["image", "patient"] = Field(description="what is resampled (#16)")
    validation: Literal["full", "matched"] = Field(description="the images that budgets are chosen on (#14a)")
    margin: Annotated[float, Field(gt=0, lt=0.5)] = Field(description="of equivalence, in AUROC")
    level: Annotated[float, Field(gt=0, lt=0.5)] = Field(description="of the tests in the claims table")

    @model_validator(mode="after")
    def _percentiles_ascend(self) -> Evaluation:
        if self.percentiles[0] >= self.percentiles[1]:
            raise ValueError(f"percentiles {self.percentiles} must ascend")
        return self


class Similarity(Section):
    datasets: list[Name] = Field(min_length=2, description="compared pairwise")
    images: Annotated[int, Field(ge=10)] = Field(description="drawn from each dataset")
    network: Name = Field(
        description="the source whose encoder is used; `none` is the ImageNet network (#18)"
    )
    variance: Annotated[float, Field(gt=0, le=1)] = Field(description="share of the variance that SVD keeps")
    directions: Positive = Field(description="k of the measures on shared channels")
    null_draws: Positive = Field(description="draws of each null distribution")
    split_halves: Positive = Field(description="splits of a dataset against itself, the ceiling")
