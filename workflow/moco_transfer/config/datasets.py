"""The keys of a dataset: where it lies, how its images are stored, how it is divided, what its labels mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from moco_transfer.config.section import Positive, Section, Share


class Phantom(Section):
    images: Positive = Field(description="how many images the generated release holds")
    size: Annotated[int, Field(ge=32)] = Field(description="longer side of the generated images, in pixels")


class Store(Section):
    size: Annotated[int, Field(ge=16)] = Field(description="side of the stored square images, in pixels")
    fit: Literal["stretch", "pad", "center_crop"] = Field(description="how an image becomes square (#6)")
    colour: bool = Field(False, description="keep three channels; MoCo's augmentations are for grey images")
    max_quarantined: Share = Field(0.01, description="share of unreadable images above which packing stops")
    max_pixels: Positive = Field(50_000_000, description="images with more pixels are refused")
    shards: Positive = Field(
        1,
        description="parts that are packed as jobs of their own; the array is the same whatever their number",
    )


class Split(Section):
    unit: Literal["image", "study", "patient"] = Field(
        description="what is never divided between splits (#1, #2)"
    )
    train: Share = Field(description="share of the units for training")
    validation: Share | Literal["official"] = Field(
        description="share of the units for validation, or `official`"
    )
    test: Share | Literal["official"] = Field(
        description="share of the units for testing, or `official`: the release's own; shares are of what remains"
    )

    @model_validator(mode="after")
    def _shares_add_up(self) -> Split:
        total = sum(share for share in (self.train, self.validation, self.test) if share != "official")
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares add up to {total:g}, not to 1")
        return self


class Labels(Section):
    uncertain: Literal["zero", "one", "mask"] = Field(description="what a label of -1 counts as (#5)")
    unlabeled: Literal["zero", "drop"] = Field(description="images whose study has no label at all (#5)")


class Table(Section):
    """Which columns of a user's own CSV or Parquet say what."""

    file: str = Field(description="the CSV or Parquet file, relative to `root`")
    path: str = Field(description="the column with each image's path, relative to `root`")
    labels: Annotated[list[str], Field(min_length=1)] = Field(
        description="the columns with labels: 1, 0, -1 or blank"
    )
    image_id: str | None = Field(None, description="the column with a unique name; null takes the path")
    patient_id: str | None = Field(
        None, description="null takes each study, or image, for a patient of its own"
    )
    study_id: str | None = Field(None, description="null takes each image for a study of its own")
    official_split: str | None = Field(None, description="the column with train, validation or test")
    view: str | None = Field(None, description="the column with the view, for `views` and the data card")


class Dataset(Section):
    title: str = Field(description="the name in figures and tables")
    adapter: Literal["vindr_spinexr", "mimic_cxr_jpg", "nih_chestxray14", "image_folder", "table"] = Field(
        description="which release's layout `root` has; `table` is a CSV or Parquet of your own"
    )
    root: str | None = Field(description="the folder the release unpacks to")
    labeler: Literal["chexpert", "negbio"] = Field("chexpert", description="of `mimic_cxr_jpg`: whose labels")
    views: list[str] | None = Field(
        None, description="views that are kept, as the release names them; null: all"
    )
    table: Table | None = Field(None, description="for the adapter `table`")
    shareable: bool = Field(description="whether its images and ids may enter figures and the report")
    phantom: Phantom | None = Field(None, description="generate the release instead of reading `root`")
    store: Store
    split: Split
    labels: Labels

    @model_validator(mode="after")
    def _has_an_origin(self) -> Dataset:
        if (self.root is None) == (self.phantom is None):
            raise ValueError("give either 'root' or 'phantom'; set the other to null")
        if self.phantom and self.adapter in ("nih_chestxray14", "table"):
            raise ValueError("there are no phantoms in this layout; take mimic_cxr_jpg for chest phantoms")
        if (self.adapter == "table") != (self.table is not None):
            raise ValueError("adapter 'table' needs the section 'table', and no other adapter has one")
        return self
