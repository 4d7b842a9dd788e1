"""The keys of a dataset: where it is, how its images are stored, how it is split, and what its labels mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from moco_transfer.config import Positive, Section, Share, Text


class Phantom(Section):
    images: Positive = Field(description="Number of generated images.")
    size: Annotated[int, Field(ge=32)] = Field(description="Longer side of the generated images, in pixels.")


class Store(Section):
    size: Annotated[int, Field(ge=16)] = Field(description="Side of the stored square images, in pixels.")
    fit: Literal["stretch", "pad", "center_crop"] = Field(description="How an image becomes square (#6).")
    colour: bool = Field(
        False,
        description="Store three channels. MoCo's augmentations need grey images, so a colour dataset cannot be a source.",
    )
    max_quarantined: Share = Field(
        0.01, description="Packing stops if a larger share of the images is unreadable."
    )
    max_pixels: Positive = Field(50_000_000, description="An image with more pixels counts as unreadable.")
    shards: Positive = Field(
        1,
        description="Number of jobs that share the packing. It does not change the stored array.",
    )


class Split(Section):
    unit: Literal["image", "study", "patient"] = Field(
        description="The unit that is never divided between splits (#1, #2)."
    )
    train: Share = Field(description="Share of the units for training.")
    validation: Share | Literal["official"] = Field(
        description="Share of the units for validation, or `official` for the release's own."
    )
    test: Share | Literal["official"] = Field(
        description="Share of the units for testing, or `official` for the release's own. The shares refer to the units that are not official."
    )

    @model_validator(mode="after")
    def _shares_add_up(self) -> Split:
        total = sum(share for share in (self.train, self.validation, self.test) if share != "official")
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares add up to {total:g}, not 1")
        return self


class Labels(Section):
    uncertain: Literal["zero", "one", "mask"] = Field(description="What a label of -1 counts as (#5).")
    unlabeled: Literal["zero", "drop"] = Field(
        description="What happens to images whose study has no label at all: their labels count as 0, or they are dropped (#5)."
    )


class Table(Section):
    """The columns of a user's own CSV or Parquet file."""

    file: str = Field(description="The CSV or Parquet file, relative to `root`.")
    path: str = Field(description="The column with each image's path, relative to `root`.")
    labels: Annotated[list[Text], Field(min_length=1)] = Field(
        description="The columns with labels: 1, 0, -1 or blank."
    )
    image_id: str | None = Field(
        None, description="The column with a unique name of each image. If null, the path is the name."
    )
    patient_id: str | None = Field(
        None,
        description="The column with the patient. If null, each study (or image) counts as a separate patient.",
    )
    study_id: str | None = Field(
        None, description="The column with the study. If null, each image counts as a separate study."
    )
    official_split: str | None = Field(None, description="The column with `train`, `validation` or `test`.")
    view: str | None = Field(None, description="The column with the view, for `views` and the data card.")


class Dataset(Section):
    title: Text = Field(description="Its name in figures and tables.")
    adapter: Literal["vindr_spinexr", "mimic_cxr_jpg", "nih_chestxray14", "image_folder", "table"] = Field(
        description="The layout of `root`: that of a release, or `table` for a CSV or Parquet file of your own."
    )
    root: str | None = Field(description="The folder that contains the unpacked release.")
    labeler: Literal["chexpert", "negbio"] = Field(
        "chexpert", description="For `mimic_cxr_jpg`: the labeler whose labels are used."
    )
    views: list[Text] | None = Field(
        None, description="The views to keep, with the release's names. If null, all are kept."
    )
    table: Table | None = Field(None, description="For the adapter `table`: its columns.")
    shareable: bool = Field(
        description="Whether its images and identifiers may enter figures, tables and the report."
    )
    phantom: Phantom | None = Field(None, description="Generate phantom images instead of reading `root`.")
    store: Store
    split: Split
    labels: Labels

    @model_validator(mode="after")
    def _has_an_origin(self) -> Dataset:
        if (self.root is None) == (self.phantom is None):
            raise ValueError("give either 'root' or 'phantom'; set the other to null")
        if self.phantom and self.adapter in ("nih_chestxray14", "table"):
            raise ValueError("there are no phantoms in this layout; use mimic_cxr_jpg for chest phantoms")
        if (self.adapter == "table") != (self.table is not None):
            raise ValueError("the adapter 'table' needs the section 'table'; no other adapter may have it")
        return self
