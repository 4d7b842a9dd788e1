"""The settings of each stage of the pipeline: one typed object per stage.

A rule fills in the object from the configuration and writes it as JSON (``--settings``). The command line validates it once
and passes the whole object to the stage's function.

The settings hold only what a stage's result depends on. The places of files, the device and the number of processes are
separate options, because changing them must not make Snakemake run a stage again.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from moco_transfer.config import (
    Average,
    CheckpointChoice,
    LinearRecipe,
    Name,
    Percent,
    Positive,
    Precision,
    Sampling,
    Section,
    Task,
)
from moco_transfer.config.analysis import Evaluation, Similarity
from moco_transfer.config.augmentation import OptionalAugmentation
from moco_transfer.config.datasets import Folders, Labels, Phantom, Split, Store, Table
from moco_transfer.config.encoders import Encoder, Side, Taps
from moco_transfer.config.training import Moco, Optimizer, Probe, Schedule

Seed = Annotated[int, Field(ge=0)]
StreamName = list[str | int]
"""The first parts of the name of every random stream that a stage draws from (``seeds.stream``)."""
Mode = Literal["linear", "end_to_end"]
Job = tuple[str, Mode, Percent, int, int, int]
"""(source, mode, percent, subset, replicate, fold) of one finetuning job."""


class WritePhantom(Section):
    adapter: Literal["vindr_spinexr", "mimic_cxr_jpg", "image_folder"]
    phantom: Phantom
    seed: Seed


class Index(Section):
    adapter: str
    labeler: str
    views: list[str] | None
    table: Table | None
    folders: Folders | None


class Pack(Section):
    store: Store
    shard: Positive
    shards: Positive


class JoinShards(Section):
    store: Store


class AssignSplits(Section):
    split: Split
    fold: Positive
    labels: Labels
    seed: Seed


class SplitDataset(Section):
    name: Name
    split: Split
    labels: Labels


class CheckData(Section):
    """What a run needs of a dataset, the first of ``datasets``.

    ``sources`` are those that see only this dataset, ``percents`` and ``task`` those of a target (else no percentage). ``samples`` are the size
    controls that draw from it; the other ``datasets`` set their sizes, in the same order. ``images`` names MoCo's splits.
    """

    datasets: Annotated[list[SplitDataset], Field(min_length=1)]
    percents: list[Percent]
    task: Task = "multilabel"
    sources: list[Name]
    samples: list[Name]
    images: str
    seed: Seed


class DrawSubset(Section):
    uncertain: str
    percent: Percent
    subset: Positive
    sampling: Sampling
    seed: Seed


class DrawExtraSubsets(Section):
    uncertain: str
    percents: list[Percent]
    subsets: list[Positive]
    sampling: Sampling
    seed: Seed


class DrawSample(Section):
    """The size control ``name``: as many images of one dataset as another dataset has."""

    name: Name
    images: str
    seed: Seed


class Computing(Section):
    """How training steps are computed."""

    precision: Precision
    compile: bool


class ImportEncoder(Section):
    encoder: Encoder
    crop: Side
    seed: Seed
    stream: StreamName


class TrainWeights(Section):
    encoder: Encoder
    crop: Side
    computing: Computing
    seed: Seed
    stream: StreamName


class LabelledDataset(Section):
    """A dataset's name, and what its labels of -1 count as."""

    name: Name
    uncertain: str


class Pretrain(Section):
    """MoCo on one source: the images of ``datasets`` in the splits that ``images`` names, or a subset of them.

    With ``match`` 'steps', training on a subset takes as many steps as training on all images would.
    """

    crop: Side
    moco: Moco
    schedule: Schedule
    match: Literal["epochs", "steps"]
    datasets: list[LabelledDataset]
    images: str
    probe: Probe | None
    computing: Computing
    seed: Seed
    stream: StreamName


class Embed(Section):
    crop: Side
    views: Positive
    augment: OptionalAugmentation
    seed: Seed
    stream: StreamName


class Finetune(Section):
    """What linear and end-to-end finetuning share."""

    task: Task = "multilabel"
    uncertain: str
    optimizer: Optimizer
    checkpoint: CheckpointChoice
    average: Average | None  # of the AUROC that chooses the best epoch; None if the last epoch predicts
    seed: Seed
    stream: StreamName


class Linear(Finetune):
    """Linear heads. The recipe ``logistic`` has no optimiser, and no epochs: there they only name the predictions."""

    recipe: LinearRecipe
    epochs: Positive
    optimizer: Optimizer | None


class LinearSubsets(Linear):
    """Linear heads on many labelled ``subsets`` of one target; each adds its percentage and subset to ``stream``.

    On each subset, ``recipe`` is tried, and then those that are ``compared``.
    """

    compared: list[LinearRecipe]
    target: Name
    source: Name
    subsets: list[Positive]
    replicate: Positive
    fold: Positive


class LongerBy(Section):
    """The MoCo training that a longer supervised training matches in images: its epochs, and the splits it sees."""

    epochs: Positive
    images: str


class EndToEnd(Finetune):
    crop: Side
    budgets: list[Positive]
    longer_by: LongerBy | None
    augment: OptionalAugmentation
    computing: Computing


class SelectBudgets(Section):
    target: Name
    jobs: list[Job]
    percents: list[Percent]
    validation: Literal["full", "matched"]
    average: Average
    seed: Seed


class Evaluate(Section):
    target: Name
    jobs: list[Job]
    percents: list[Percent]
    evaluation: Evaluation
    seed: Seed


class SimulateCoverage(Section):
    percentiles: list[float]
    replicates: Positive
    seed: Seed


class SimulateErrorRates(Section):
    seed: Seed


class RecordActivations(Section):
    crop: Side
    taps: Taps = None
    datasets: list[Name]
    images: Positive
    seed: Seed


class CompareDatasets(Section):
    similarity: Similarity
    seed: Seed


class CompareNetworks(Section):
    crop: Side
    taps: Taps = None
    sources: list[Name]
    targets: list[Name]
    images: Positive
    variance: float
    seed: Seed
