"""The keys of a dataset: where it is, how its images are stored, how it is split, and what its labels mean."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from moco_transfer.config import Positive, Section, Share, Text, UserPath
from moco_transfer.config.listing import Folders, Listing, Table
from moco_transfer.data.releases import PHANTOMS, RELEASES


def _share_or_official(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise ValueError("expected a share from 0 to 1, or official") from None


HeldOut = Annotated[Share | Literal["official"], WrapValidator(_share_or_official)]


class Phantom(Section):
    images: Positive = Field(description="Number of generated images.")
    size: Annotated[int, Field(ge=32)] = Field(description="Longer side of the generated images, in pixels.")


class Store(Section):
    size: Annotated[int, Field(ge=16)] = Field(
        description="Side of the stored square images, in pixels. If it is not given, `model.stored`."
    )
    fit: Literal["stretch", "pad", "center_crop"] = Field(description="How an image becomes square (#6).")
    colour: bool = Field(
        False,
        description="Store three channels. If a source has datasets in grey and in colour, grey is repeated in three channels.",
    )
    max_quarantined: Share = Field(
        0.01, description="Packing stops if a larger share of the images is unreadable."
    )
    max_pixels: Positive = Field(50_000_000, description="An image with more pixels counts as unreadable.")
    shards: Positive = Field(
        1,
        description="Number of jobs that share the packing. It does not change the stored array, so it does not pack a dataset again. Another number counts only after you have deleted the store.",
    )


class Split(Section):
    unit: Literal["image", "study", "patient"] = Field(
        description="The unit that is never divided between splits (#1, #2)."
    )
    train: Share = Field(description="Share of the units for training.")
    folds: Positive = Field(
        1,
        description="For a target with few images: the number of folds of a cross-validation. Each image is tested in one fold, and everything is trained in each "
        "fold. `test` must be 1 / `folds`, and neither `validation` nor `test` may be `official`.",
    )
    validation: HeldOut = Field(
        description="Share of the units for validation, or `official` for the release's own."
    )
    test: HeldOut = Field(
        description="Share of the units for testing, or `official` for the release's own. The shares refer to the units that are not official."
    )

    @model_validator(mode="after")
    def _shares_add_up(self) -> Split:
        total = sum(share for share in (self.train, self.validation, self.test) if share != "official")
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares add up to {total:g}, not 1")
        return self

    @model_validator(mode="after")
    def _folds_test_every_image(self) -> Split:
        if self.folds > 1 and "official" in (self.validation, self.test):
            raise ValueError(
                "with folds, each image is tested once, so validation and test need shares, not 'official'; or set folds to 1"
            )
        if self.folds > 1 and abs(self.test * self.folds - 1) > 0.03:
            raise ValueError(
                f"with folds: {self.folds}, test must be {1 / self.folds:.3g}, so that each image is tested once; it is {self.test:g}"
            )
        return self


class Labels(Section):
    uncertain: Literal["zero", "one", "mask"] = Field(description="What a label of -1 counts as (#5).")
    unlabeled: Literal["zero", "drop"] = Field(
        description="What happens to images whose study has no label at all: their labels count as 0, or they are dropped (#5)."
    )


class Dataset(Section):
    title: Text = Field(
        description="Its name in figures and tables. If it is not given, phantoms have a title of their own, and other datasets "
        "the name of their section."
    )
    adapter: Literal[
        "vindr_spinexr", "mimic_cxr_jpg", "nih_chestxray14", "image_folder", "table", "folders"
    ] = Field(
        description="The layout of `root`: that of a release, `table` for a CSV or Parquet file of your own, or `folders` for images whose "
        "folders and names say what they are."
    )
    root: UserPath | None = Field(
        description="The folder that contains the unpacked release. `~` and variables such as `$HOME` are replaced."
    )
    public_set: Literal["kermany", "knee-oai", "fracatlas", "grazpedwri-dx"] | None = Field(
        None,
        description="For a table or folders: the public set that they are. It tells where to get the images, and how many there "
        "are before they are there.",
    )
    labeler: Literal["chexpert", "negbio"] = Field(
        "chexpert", description="For `mimic_cxr_jpg`: the labeler whose labels are used."
    )
    views: Annotated[list[Text], Field(min_length=1)] | None = Field(
        None, description="The views to keep, with the release's names. If null, all are kept."
    )
    table: Table | None = Field(None, description="For the adapter `table`: its columns.")
    folders: Folders | None = Field(
        None, description="For the adapter `folders`: the pattern of the paths, and the labels."
    )
    shareable: bool = Field(
        False,
        description="Whether its images and identifiers may enter figures, tables and the report. If it is not given, only those of "
        "phantoms and of NIH ChestX-ray14 may, because anyone may publish them.",
    )
    phantom: Phantom | None = Field(
        None,
        description="Generate phantom images. A dataset with a `root` is read from there, and this is ignored.",
    )
    store: Store
    split: Split
    labels: Labels

    @model_validator(mode="after")
    def _has_an_origin(self) -> Dataset:
        if self.root is None and self.phantom is None:
            raise ValueError("it has no images; give either 'root' or 'phantom'")
        if self.phantom and self.adapter not in PHANTOMS:
            raise ValueError(f"there are no phantoms in this layout; choose from {', '.join(PHANTOMS)}")
        for kind in ("table", "folders"):
            if (self.adapter == kind) != (getattr(self, kind) is not None):
                raise ValueError(
                    f"the adapter '{kind}' needs the section '{kind}'; no other adapter may have it"
                )
        return self

    @model_validator(mode="after")
    def _names_what_it_uses(self) -> Dataset:
        known = RELEASES[self.adapter].images
        cures = {
            "table": "table.{0} names no column; name it",
            "folders": "folders.pattern has no wildcard {{{1}}}; add it",
        }
        for side in ("validation", "test"):
            if getattr(self.split, side) == "official":
                if self.listing and self.listing.roles["official_split"] is None:
                    cure = cures[self.adapter].format("official_split", "split")
                    raise ValueError(f"split.{side} is 'official', but {cure}, or give a share")
                if not self.listing and side not in known:
                    raise ValueError(
                        f"split.{side} is 'official', but this release has no official {side} images; give a share"
                    )
        has_views = self.listing.roles["view"] if self.listing else RELEASES[self.adapter].views
        if self.views and not has_views:
            hint = f"{cures[self.adapter].format('view', 'view')}, or " if self.listing else ""
            raise ValueError(f"views: this dataset names no views; {hint}set views to null")
        return self

    @property
    def listing(self) -> Listing | None:
        """What lists the images and their labels, if it is no release."""
        return self.table or self.folders


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def implied(name: str, dataset: dict[str, Any], stored: Any) -> dict[str, Any]:
    """Return the raw section of the dataset ``name`` with what the origin of its images implies, and the size ``stored``.

    An overlay may give a dataset other images, and must not have to undo what was said of the former ones. So a phantom
    beside a root does not count, nor a table beside folders or the reverse, and the title of a release names only that release.
    """
    adapter, root = str(dataset.get("adapter")), dataset.get("root")
    phantom = dataset.get("phantom") if root is None else None
    own = {"title": name, "shareable": False}
    if phantom is not None:
        own = {"title": PHANTOMS.get(adapter, name), "shareable": True}
    elif adapter in RELEASES:
        own["shareable"] = RELEASES[adapter].public
    others = [release.title for each, release in RELEASES.items() if phantom is not None or each != adapter]
    given = {
        key: dataset[key]
        for key in own
        if not _is_blank(dataset.get(key)) and not (key == "title" and dataset[key] in others)
    }
    if dataset.get("table") and dataset.get("folders"):
        own |= {key: None for key in ("table", "folders") if key != adapter}
    if isinstance(store := dataset.get("store"), dict) and stored is not None:
        own["store"] = {"size": stored} | store
    return dataset | own | given | {"phantom": phantom}
