"""MoCo pretraining: the training loop around ``moco.MoCo``, from stores and initial weights to an encoder file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moco_transfer import moco
from moco_transfer.augment import draw_view
from moco_transfer.config import stages
from moco_transfer.config.augmentation import Operation, operations_of
from moco_transfer.data.labels import label_columns, read_targets, split_rows, subset_rows
from moco_transfer.errors import UserError
from moco_transfer.files import column_names
from moco_transfer.networks import load_encoder, save_encoder, seeded
from moco_transfer.seeds import stream, stream_key
from moco_transfer.training.attempt import attempt
from moco_transfer.training.checkpoint import Checkpoint, fingerprint
from moco_transfer.training.device import autocast, open_device
from moco_transfer.training.images import ImagePool, View
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.loop import SGD, refuse_nonfinite
from moco_transfer.training.probe import LinearProbe
from moco_transfer.training.ranks import ALONE, Ranks, open_ranks
from moco_transfer.training.schedule import (
    clamp,
    cosine,
    epoch_order,
    epochs_for_steps,
    full_batches,
    full_steps,
)

METRICS = ("loss", "contrast_accuracy", "alignment", "uniformity")


def pretrain(
    settings: stages.Pretrain,
    *,
    initial: Path,
    stores: list[Path],
    splits: list[Path],
    subset: Path | None = None,
    encoder: Path,
    metrics: Path,
    device: str,
) -> None:
    """Pretrain the initial weights with MoCo on the images of one source: splits of datasets, or a subset of one dataset.

    Each dataset of the settings has one folder in ``stores`` and one file in ``splits``. If torchrun has started several processes, they
    share each batch.
    """
    rows = [split_rows(path, settings.images.split("+")) for path in splits]
    if subset is not None:
        whole, rows = len(rows[0]), [subset_rows(subset)]
        if settings.match == "steps":
            epochs = epochs_for_steps(settings.schedule.epochs, settings.schedule.batch, whole, len(rows[0]))
            schedule = settings.schedule.model_copy(update={"epochs": epochs})
            settings = settings.model_copy(update={"schedule": schedule})
    images = [store / "images.npy" for store in stores]
    tables = [store / "index.parquet" for store in stores]
    files = {"initial": [initial], "index": tables, "splits": splits, "subset": [subset] if subset else []}
    with open_ranks() as ranks:

        def train(checkpoint: Checkpoint) -> None:
            where = open_device(device)
            pool = ImagePool(list(zip(images, rows, strict=True)))
            backbone = load_encoder(initial)
            if ranks.rank > 0:
                train_moco(settings, backbone, pool, {}, where, checkpoint, None, ranks.on(where))
                return
            probes = _open_probes(settings, View(settings.crop, backbone.network), stores, splits, subset)
            batch = max(1, min(settings.schedule.batch, len(pool)))
            epoch_images = len(pool) // batch * batch
            events = metrics.parent / "tensorboard"
            with MetricsLog("MoCo", settings.schedule.epochs, epoch_images, events) as log:
                train_moco(settings, backbone, pool, probes, where, checkpoint, log, ranks.on(where))
            log.write(metrics)
            save_encoder(backbone, encoder)

        attempt(
            train,
            folder=encoder.parent / "state",
            fingerprint=fingerprint(__name__, settings.model_dump(), images, files),
            outputs=[encoder, metrics],
            ranks=ranks,
        )


def train_moco(
    settings: stages.Pretrain,
    backbone: nn.Module,
    pool: ImagePool,
    probes: Mapping[str, LinearProbe],
    device: torch.device,
    checkpoint: Checkpoint,
    log: MetricsLog | None,
    ranks: Ranks = ALONE,
) -> None:
    """Train ``backbone`` in place on the images of ``pool``.

    Parameters
    ----------
    probes : linear probes by dataset; ``log`` gets their AUROC in the epochs that are probed
    checkpoint : holds the state from which an interrupted training resumes
    log : gets one row per epoch: loss, learning rate, contrast accuracy, alignment, uniformity, probes; None on ranks above 0
    ranks : the processes that share every batch; all of them call this

    Raises UserError for fewer than two images, for batches that the ranks cannot share, and for a loss
    that is not finite, with its step.
    """
    schedule, names = settings.schedule, (settings.seed, "moco", *settings.stream)
    network = _build_moco(settings, backbone, pool, device, ranks)
    parameters = network.query_encoder.parameters()
    optimizer = SGD(parameters, settings.moco.sgd_momentum, settings.moco.weight_decay)
    operations, view = operations_of(settings.moco.augment), View(settings.crop, backbone.network)
    batch = min(schedule.batch, len(pool))
    epoch_steps = full_steps(len(pool), batch)
    step, steps = 0, schedule.epochs * epoch_steps
    measured = torch.zeros(epoch_steps, len(METRICS), device=device)  # of each step of the epoch

    saved = checkpoint.read()
    if saved is not None:
        network.load_state_dict(saved["network"])
        optimizer.load_state(saved["optimizer"])
        measured.copy_(saved["measured"])
        step = saved["step"]
        if log is not None:
            log.load_state(saved["log"])

    def refuse_nonfinite_losses(first: int = 0, stop: int = epoch_steps) -> None:
        refuse_nonfinite(measured[first:stop, 0], epoch * epoch_steps + first, "pretraining.schedules.*.lr")

    def state() -> dict[str, Any]:
        refuse_nonfinite_losses()
        return {
            "network": network.state_dict(),  # both encoders, the queue and its images
            "optimizer": optimizer.state(),
            "measured": measured,
            "step": step,
            "log": None if log is None else log.state(),
        }

    for epoch in range(step // epoch_steps, schedule.epochs):
        batches = full_batches(epoch_order(len(pool), *names, epoch), batch)
        for numbers, images in pool.batches(batches[step % epoch_steps :], device):
            random, place = stream(*names, "step", step), step % epoch_steps
            query_views, key_views, order = _draw_views(network, images, operations, view, random)
            with autocast(device, settings.computing.precision):
                out = network(query_views, key_views, torch.from_numpy(numbers).to(device), order)
            out["loss"].backward()
            measured[place] = _measure(out)
            if ranks.size > 1:
                _sum_over_ranks(network, measured[place], checkpoint)
                # This is checked in every step: ranks wait for each other, so all of them must raise this in
                # the same step.
                refuse_nonfinite_losses(place, place + 1)
            lr = cosine(schedule.lr, step, steps)
            optimizer.step(lr)
            network.update_key_encoder()
            step += 1

            if log is not None:
                log.step(len(numbers))
            if step % epoch_steps == 0:
                refuse_nonfinite_losses()
                if log is not None:
                    aurocs = _probe(settings, probes, network, epoch + 1)
                    _close_epoch(log, epoch + 1, lr, measured, aurocs)
            checkpoint.after_step(state)


def _build_moco(
    settings: stages.Pretrain, backbone: nn.Module, pool: ImagePool, device: torch.device, ranks: Ranks
) -> moco.MoCo:
    """Return MoCo with a new head on ``device``; its queue and groups fit the images of ``pool`` and the ranks (#9, #10)."""
    if len(pool) < 2:
        raise UserError(
            f"MoCo needs at least two images, and this source has {len(pool)}; raise the percentage"
        )
    configured = settings.schedule.batch, settings.moco.queue
    batch, queue = clamp(len(pool), *configured)
    groups = min(settings.schedule.bn_groups, batch // 2)  # a group of one image has no variance to divide by
    if groups % ranks.size:
        raise UserError(
            f"config: a batch of {batch} images in {groups} groups (pretraining.schedules.*.bn_groups) cannot be "
            f"shared by {ranks.size} ranks (pretraining.ranks); the number of groups must be a multiple of the number "
            "of ranks"
        )
    if (batch, queue) != configured and ranks.rank == 0:
        changes = f"batch {configured[0]} -> {batch}, queue {configured[1]} -> {queue}"
        print(f"{len(pool)} images: {changes}", flush=True)
    with seeded(stream_key(settings.seed, "moco", *settings.stream, "head")):
        network = moco.MoCo(
            backbone,
            settings.moco.dim,
            queue,
            settings.moco.momentum,
            settings.moco.temperature,
            groups,
            settings.moco.mask_own_keys,
            ranks,
        )
    if network.batch_norms == 0 and ranks.rank == 0:
        print("this network has no batch normalisation, so bn_groups has no effect", flush=True)
    if settings.computing.compile:
        network.query_encoder.compile()
        network.key_encoder.compile()
    return network.to(device, memory_format=torch.channels_last).train()


def _open_probes(
    settings: stages.Pretrain,
    view: View,
    stores: Sequence[Path],
    splits: Sequence[Path],
    subset: Path | None,
) -> dict[str, LinearProbe]:
    """Return a linear probe for each of the source's datasets that has labels, by its name.

    A probe is fitted to the labels of the training images, or of the subset if that is the source.
    """
    if settings.probe is None:
        return {}
    probes = {}
    for dataset, store, split in zip(settings.datasets, stores, splits, strict=True):
        if label_columns(column_names(store / "index.parquet")):
            probes[dataset.name] = LinearProbe(
                store / "images.npy",
                read_targets(store / "index.parquet", dataset.uncertain)[1],
                split_rows(split, ["train"]) if subset is None else subset_rows(subset),
                split_rows(split, ["validation"]),
                images_each=settings.probe.images,
                view=view,
                seed=settings.seed,
                stream_name=("moco", *settings.stream),
            )
    return probes


def _probe(
    settings: stages.Pretrain, probes: Mapping[str, LinearProbe], network: moco.MoCo, epoch: int
) -> dict[str, float | None]:
    """Return the probes' AUROCs by column of the metrics; they are None in an epoch that is not probed."""
    if not probes:
        return {}
    is_due = epoch % settings.probe.every == 0 or epoch == settings.schedule.epochs
    device = network.queue.device
    return {
        f"probe_{name}": probe.auroc(network.backbone, device) if is_due else None
        for name, probe in probes.items()
    }


def _draw_views(
    network: moco.MoCo,
    images: Tensor,
    operations: Sequence[Operation],
    view: View,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return query views and key views of this rank's share of ``images`` as network input, and the order of the keys.

    Parameters and order are drawn for the whole batch, so that every rank draws the same.
    """
    n = len(images)
    query, key = (draw_view(operations, images.shape, view.crop, random) for _ in range(2))
    order = random.permutation(n) if network.bn_groups > 1 else np.arange(n)
    start, stop = network.ranks.shares(n, network.bn_groups)[network.ranks.rank]
    rows, on_device = np.arange(start, stop), torch.from_numpy(order).to(images.device)
    query_views = view.prepare(query.rows(rows).of(images[start:stop]))
    key_views = view.prepare(key.rows(order[rows]).of(images[on_device[start:stop]]))
    return query_views, key_views, on_device


@torch.no_grad()
def _measure(out: dict[str, Tensor]) -> Tensor:
    """Return this rank's part of one step's METRICS, [4]; the parts of all ranks add up to the batch's."""
    queries, keys = out["queries"], out["keys"]
    share = len(out["logits"]) / len(queries)
    return torch.stack(
        [
            out["loss"],
            (out["logits"].argmax(dim=1) == 0).float().mean() * share,
            moco.alignment(queries, keys) * share,
            moco.uniformity(queries) * share,
        ]
    )


@torch.no_grad()
def _sum_over_ranks(network: moco.MoCo, measured: Tensor, checkpoint: Checkpoint) -> None:
    """Turn one rank's gradients, running statistics and metrics into those of the whole batch, in one message.

    All ranks have the same number of groups, so the mean of the running statistics over ranks is the mean over groups. The
    message also tells all ranks whether one of them has received a signal; then all stop after this step.
    """
    statistics = [
        buffer for name, buffer in network.named_buffers() if name.endswith(("running_mean", "running_var"))
    ]
    for statistic in statistics:
        statistic.div_(network.ranks.size)
    gradients = [parameter.grad for parameter in network.query_encoder.parameters()]
    signals = measured.new_full((1,), float(checkpoint.received is not None))
    network.ranks.sum([*gradients, *statistics, measured, signals])
    checkpoint.agree(bool(signals.item()))


def _close_epoch(
    log: MetricsLog, epoch: int, lr: float, measured: Tensor, aurocs: dict[str, float | None]
) -> None:
    """Record the epoch's means of ``measured``, [steps, 4], and warn if the encoder has collapsed."""
    means = dict(zip(METRICS, measured.double().mean(dim=0).tolist(), strict=True))
    log.epoch(epoch=epoch, loss=means.pop("loss"), lr=lr, **means, **aurocs)
    if means["uniformity"] > moco.COLLAPSED:
        print(
            f"MoCo: epoch {epoch}: the queries are nearly identical (uniformity {means['uniformity']:.3f}): the "
            "encoder has collapsed; try a lower pretraining.schedules.*.lr or a higher moco.momentum",
            flush=True,
        )
