"""Stages that make encoders: the initial weights, and MoCo on a source, with what probes it and who shares the work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moco_transfer.training.probe import LinearProbe

Settings = dict[str, Any]


def fetch_weights(settings: Settings, *, encoder: Path) -> None:
    """Fetch or read published weights and write them as the backbone's."""
    from moco_transfer.initial_weights import download, import_weights

    if settings["kind"] == "file":
        path = Path(settings["path"])
    else:
        path = encoder.with_name(Path(settings["url"]).name)
        download(settings["url"], path)
    import_weights(path, settings["sha256"], settings["model"], encoder)


def train_weights(
    settings: Settings, *, images: Path, index: Path, splits: Path, encoder: Path, metrics: Path, device: str
) -> None:
    """Train a stand-in for published weights on a dataset whose labels are classes."""
    from moco_transfer.data.labels import read_targets, split_rows
    from moco_transfer.errors import UserError
    from moco_transfer.initial_weights import train_weights
    from moco_transfer.training.attempt import attempt
    from moco_transfer.training.checkpoint import fingerprint
    from moco_transfer.training.device import open_device

    rows = split_rows(splits, ["train"])
    labels = read_targets(index, "zero")[1]
    if (labels.sum(axis=1) != 1).any():
        raise UserError(
            f"{index}: images have no class or several; model.initial_weights.dataset needs one each"
        )
    classes = labels.argmax(axis=1)
    attempt(
        lambda checkpoint: train_weights(
            images,
            rows,
            classes[rows],
            encoder,
            metrics,
            model=settings["model"],
            input_size=settings["input_size"],
            epochs=settings["epochs"],
            batch=settings["batch"],
            lr=settings["lr"],
            precision=settings["precision"],
            compiled=settings["compile"],
            seed=settings["seed"],
            device=open_device(device),
            checkpoint=checkpoint,
        ),
        folder=encoder.parent / "state",
        fingerprint=fingerprint(settings, [images], {"index": [index], "splits": [splits]}),
        outputs=[encoder, metrics],
    )


def pretrain(
    settings: Settings,
    *,
    initial: Path,
    images: list[Path],
    index: list[Path],
    splits: list[Path],
    subset: Path | None = None,
    encoder: Path,
    metrics: Path,
    device: str,
) -> None:
    """Pretrain the initial weights by MoCo on the images of one source: splits of datasets, or a subset of one.

    Started by torchrun, several processes share each batch. ``images``, ``index`` and ``splits`` name one file for each
    of ``settings["datasets"]``. Where ``settings["match"]`` is 'steps' a subset has as many steps as the whole would.
    """
    from moco_transfer import config
    from moco_transfer.data.labels import split_rows, subset_rows
    from moco_transfer.pretrain import pretrain
    from moco_transfer.training.attempt import attempt
    from moco_transfer.training.checkpoint import Checkpoint, fingerprint
    from moco_transfer.training.device import open_device
    from moco_transfer.training.ranks import open_ranks
    from moco_transfer.training.schedule import epochs_for_steps

    rows = [split_rows(path, settings["images"].split("+")) for path in splits]
    schedule = config.Schedule.model_validate(settings["schedule"])
    if subset is not None:
        whole, rows = len(rows[0]), [subset_rows(subset)]
        if settings["match"] == "steps":
            epochs = epochs_for_steps(schedule.epochs, schedule.batch, whole, len(rows[0]))
            schedule = schedule.model_copy(update={"epochs": epochs})
    files = {"initial": [initial], "index": index, "splits": splits}
    with open_ranks() as ranks:

        def train(checkpoint: Checkpoint) -> None:
            opened = open_device(device)
            pretrain(
                list(zip(images, rows, strict=True)),
                initial,
                encoder,
                metrics,
                model=settings["model"],
                input_size=settings["input_size"],
                settings=config.Moco.model_validate(settings["moco"]),
                schedule=schedule,
                probes=_probes(settings, images, index, splits, subset) if ranks.rank == 0 else {},
                epochs_between_probes=settings["probe"]["every"] if settings["probe"] else 1,
                precision=settings["precision"],
                compiled=settings["compile"],
                seed=settings["seed"],
                stream_name=settings["stream"],
                device=opened,
                checkpoint=checkpoint,
                ranks=ranks.on(opened),
            )

        attempt(
            train,
            folder=encoder.parent / "state",
            fingerprint=fingerprint(
                settings, images, files | {"subset": [subset] if subset is not None else []}
            ),
            outputs=[encoder, metrics],
            ranks=ranks,
        )


def _probes(
    settings: Settings, images: list[Path], index: list[Path], splits: list[Path], subset: Path | None
) -> dict[str, LinearProbe]:
    """Return a linear probe, by dataset, for those of the source's datasets that have labels.

    It learns from the labels of the training images, or of the subset where that is the source.
    """
    import pyarrow.parquet as pq

    from moco_transfer.data.labels import label_columns, read_targets, split_rows, subset_rows
    from moco_transfer.training.probe import LinearProbe

    probes = {}
    if settings["probe"]:
        for dataset, *files in zip(settings["datasets"], images, index, splits, strict=True):
            stored, table, split = files
            if label_columns(pq.read_schema(table).names):
                probes[dataset["name"]] = LinearProbe(
                    stored,
                    read_targets(table, dataset["uncertain"])[1],
                    split_rows(split, ["train"]) if subset is None else subset_rows(subset),
                    split_rows(split, ["validation"]),
                    images_each=settings["probe"]["images"],
                    size=settings["input_size"],
                    seed=settings["seed"],
                    stream_name=("moco", *settings["stream"]),
                )
    return probes
