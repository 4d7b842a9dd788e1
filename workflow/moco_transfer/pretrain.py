"""MoCo pretraining: the loop around ``moco.MoCo``, from stores and initial weights to an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moco_transfer import config, moco
from moco_transfer.augment import draw_view
from moco_transfer.errors import UserError
from moco_transfer.networks import build_backbone, load_weights, save_weights, seeded
from moco_transfer.seeds import stream, stream_key
from moco_transfer.training.checkpoint import Checkpoint
from moco_transfer.training.device import Precision, autocast
from moco_transfer.training.images import ImagePool, normalise
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.loop import SGD
from moco_transfer.training.probe import LinearProbe
from moco_transfer.training.ranks import ALONE, Ranks
from moco_transfer.training.schedule import cosine, epoch_order, full_batches, full_steps

METRICS = ("loss", "contrast_accuracy", "alignment", "uniformity")


def pretrain(
    parts: Sequence[tuple[Path, np.ndarray]],
    initial: Path,
    encoder: Path,
    metrics: Path,
    *,
    model: str,
    input_size: int,
    settings: config.Moco,
    schedule: config.Schedule,
    probes: Mapping[str, LinearProbe],
    epochs_between_probes: int,
    precision: Precision,
    compiled: bool,
    seed: int,
    stream_name: Sequence[str | int],
    device: torch.device,
    checkpoint: Checkpoint,
    ranks: Ranks = ALONE,
) -> None:
    """Pretrain the initial weights on the images ``parts`` (paths of images.npy, rows) and write the backbone.

    Parameters
    ----------
    metrics : gets a row an epoch: loss, learning rate, contrast accuracy, alignment, uniformity, and for each of the
        ``probes`` its AUROC, every ``epochs_between_probes`` epochs and in the last
    compiled : whether torch.compile compiles both encoders
    stream_name : names this pretraining: it heads the name of every random stream drawn from
    checkpoint : where the state lies to go on from, if there is one
    ranks : the processes that share every batch; all call this, and rank 0 writes

    Raises UserError for colour images, for fewer than two images, for batches that the ranks cannot share, and with the
    step where the loss is not finite.
    """
    pool = ImagePool(parts)
    batch, queue, groups = _sizes(pool, settings, schedule, ranks)
    if (batch, queue) != (schedule.batch, settings.queue) and ranks.rank == 0:
        print(
            f"{len(pool)} images: batch {schedule.batch} -> {batch}, queue {settings.queue} -> {queue}",
            flush=True,
        )
    names = ("moco", *stream_name)
    backbone = build_backbone(model, 0, input_size)
    load_weights(backbone, initial)
    with seeded(stream_key(seed, *names, "head")):
        network = moco.MoCo(
            backbone,
            settings.dim,
            queue,
            settings.momentum,
            settings.temperature,
            groups,
            settings.mask_own_keys,
            ranks,
        )
    network.to(device, memory_format=torch.channels_last).train()
    if compiled:
        network.query_encoder.compile()
        network.key_encoder.compile()
    optimizer = SGD(network.query_encoder.parameters(), settings.sgd_momentum, settings.weight_decay)
    epoch_steps = full_steps(len(pool), batch)
    step, steps = 0, schedule.epochs * epoch_steps
    measured = torch.zeros(epoch_steps, len(METRICS), device=device)  # of each step of the epoch
    with _open_log(schedule.epochs, epoch_steps * batch, metrics, ranks) as log:
        saved = checkpoint.read()
        if saved is not None:
            network.load_state_dict(saved["network"])
            optimizer.load_state(saved["optimizer"])
            measured.copy_(saved["measured"])
            step = saved["step"]
            if log is not None:
                log.load_state(saved["log"])

        def state() -> dict[str, Any]:
            _refuse_nonfinite(measured[:, 0], epoch * epoch_steps)
            return {
                "network": network.state_dict(),  # both encoders, the queue and its images
                "optimizer": optimizer.state(),
                "measured": measured,
                "step": step,
                "log": None if log is None else log.state(),
            }

        for epoch in range(step // epoch_steps, schedule.epochs):
            batches = full_batches(epoch_order(len(pool), seed, *names, epoch), batch)
            for numbers, pixels in pool.batches(batches[step % epoch_steps :], device):
                random = stream(seed, *names, "step", step)
                query_views, key_views, order = _draw_views(network, pixels, settings, input_size, random)
                rate = cosine(schedule.lr, step, steps)
                with autocast(device, precision):
                    out = network(query_views, key_views, torch.from_numpy(numbers).to(device), order)
                out["loss"].backward()
                place = step % epoch_steps
                measured[place] = _measure(out)
                if ranks.size > 1:
                    _sum_over_ranks(network, measured[place], checkpoint)
                    # At once, so that no rank waits for one that has found it before: they wait for each other anyway.
                    _refuse_nonfinite(measured[place : place + 1, 0], step)
                optimizer.step(rate)
                network.update_key_encoder()
                step += 1
                if log is not None:
                    log.step(len(numbers))
                if step % epoch_steps == 0:
                    _refuse_nonfinite(measured[:, 0], epoch * epoch_steps)
                    if log is not None:
                        is_due = (epoch + 1) % epochs_between_probes == 0 or epoch + 1 == schedule.epochs
                        aurocs = {
                            f"probe_{name}": probe.auroc(network.backbone, device) if is_due else None
                            for name, probe in probes.items()
                        }
                        _close_epoch(log, epoch + 1, rate, measured, aurocs)
                checkpoint.after_step(state)
        if log is not None:
            log.write(metrics)
            save_weights(network.backbone, encoder)


def _sizes(
    pool: ImagePool, settings: config.Moco, schedule: config.Schedule, ranks: Ranks
) -> tuple[int, int, int]:
    """Return the batch, the length of the queue and the groups of a batch that suit ``pool`` and ``ranks``."""
    if len(pool.shape) != 2:
        raise UserError(
            "MoCo's augmentations are for grey images; a dataset of colour images cannot be a source"
        )
    if len(pool) < 2:
        raise UserError(f"MoCo needs at least two images, this source has {len(pool)}; raise the percentage")
    batch, queue = moco.clamp(len(pool), schedule.batch, settings.queue)
    groups = min(schedule.bn_groups, batch // 2)  # a group of one image has no variance to normalise by
    if groups % ranks.size:
        raise UserError(
            f"config: a batch of {batch} images in {groups} groups (pretraining.schedules.*.bn_groups) cannot be "
            f"shared by {ranks.size} ranks (pretraining.ranks); the groups must be a multiple of the ranks"
        )
    return batch, queue, groups


def _open_log(
    epochs: int, epoch_images: int, metrics: Path, ranks: Ranks
) -> AbstractContextManager[MetricsLog | None]:
    """Return the log, which only rank 0 has."""
    if ranks.rank > 0:
        return nullcontext()
    return MetricsLog("MoCo", epochs, epoch_images, metrics.parent / "tensorboard")


def _draw_views(
    network: moco.MoCo,
    pixels: Tensor,
    settings: config.Moco,
    input_size: int,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return query views and key views, network input, of this rank's share of ``pixels``, and the order of the keys.

    Parameters and order are drawn for the whole batch, so that each rank draws the same.
    """
    n, _, height, width = pixels.shape
    query, key = (draw_view(settings.augment, n, height, width, input_size, random) for _ in range(2))
    order = random.permutation(n) if network.bn_groups > 1 else np.arange(n)
    start, stop = network.ranks.shares(n, network.bn_groups)[network.ranks.rank]
    rows, on_device = np.arange(start, stop), torch.from_numpy(order).to(pixels.device)
    query_views = normalise(query.rows(rows).of(pixels[start:stop]))
    key_views = normalise(key.rows(order[rows]).of(pixels[on_device[start:stop]]))
    return query_views, key_views, on_device


@torch.no_grad()
def _measure(out: dict[str, Tensor]) -> Tensor:
    """Return the METRICS of one step, [4]; with several ranks this rank's part of them, which add up to the batch's."""
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
    """Make gradients, running statistics and measures of one rank's share those of the batch, in one message.

    Every rank has equally many groups, so that the mean over ranks of the running statistics is that over groups. With
    them goes whether a signal has come to any rank: then all stop after this step.
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
    log: MetricsLog, epoch: int, rate: float, measured: Tensor, aurocs: dict[str, float | None]
) -> None:
    """Record the epoch's means of ``measured``, [steps, 4], and say so where the encoder has collapsed."""
    means = dict(zip(METRICS, measured.double().mean(dim=0).tolist(), strict=True))
    log.epoch(epoch=epoch, loss=means.pop("loss"), lr=rate, **means, **aurocs)
    if means["uniformity"] > moco.COLLAPSED:
        print(
            f"MoCo: epoch {epoch}: the queries are nearly all alike (uniformity {means['uniformity']:.3f}): the "
            "encoder has collapsed; try a lower pretraining.schedules.*.lr or a higher moco.momentum",
            flush=True,
        )


def _refuse_nonfinite(losses: Tensor, first: int) -> None:
    """Raise UserError where one of ``losses``, of the steps from ``first`` on, is not finite."""
    for place in (~losses.isfinite()).nonzero().flatten().tolist():
        raise UserError(
            f"MoCo: the loss is {losses[place].item()} at step {first + place}; try a lower pretraining.schedules.*.lr"
        )
