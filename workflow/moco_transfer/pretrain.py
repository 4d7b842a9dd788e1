"""MoCo pretraining: the loop around ``moco.MoCo``, from stores and initial weights to an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moco_transfer import config, moco
from moco_transfer.augment import augment
from moco_transfer.errors import UserError
from moco_transfer.models import build_backbone, load_weights, save_weights, seeded
from moco_transfer.seeds import stream, stream_key
from moco_transfer.training.checkpoint import Checkpoint
from moco_transfer.training.images import ImagePool, normalise
from moco_transfer.training.log import MetricsLog
from moco_transfer.training.optimizers import SGD
from moco_transfer.training.schedule import cosine, epoch_order, full_batches


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
    seed: int,
    stream_name: Sequence[str | int],
    device: torch.device,
    checkpoint: Checkpoint,
) -> None:
    """Pretrain the initial weights on the images ``parts`` (paths of images.npy, rows) and write the backbone.

    ``stream_name`` names this pretraining: it heads the name of every random stream drawn from. ``metrics`` gets a row
    an epoch: loss, learning rate, contrast accuracy, alignment, uniformity. Goes on from the state in ``checkpoint``.

    Raises UserError for colour images, for fewer than two images, and with the step where the loss is not finite.
    """
    pool = ImagePool(parts)
    if len(pool.shape) != 2:
        raise UserError(
            "MoCo's augmentations are for grey images; a dataset of colour images cannot be a source"
        )
    if len(pool) < 2:
        raise UserError(f"MoCo needs at least two images, this source has {len(pool)}; raise the percentage")
    batch, queue = moco.clamp(len(pool), schedule.batch, settings.queue)
    if (batch, queue) != (schedule.batch, settings.queue):
        print(
            f"{len(pool)} images: batch {schedule.batch} -> {batch}, queue {settings.queue} -> {queue}",
            flush=True,
        )

    names = ("moco", *stream_name)
    backbone = build_backbone(model, 0)
    load_weights(backbone, initial)
    with seeded(stream_key(seed, *names, "head")):
        network = moco.MoCo(
            backbone,
            settings.dim,
            queue,
            settings.momentum,
            settings.temperature,
            min(schedule.bn_groups, batch // 2),  # a group of one image has no variance to normalise by
            settings.mask_own_keys,
        )
    network.to(device, memory_format=torch.channels_last).train()
    optimizer = SGD(network.query_encoder.parameters(), settings.sgd_momentum, settings.weight_decay)
    epoch_steps = len(pool) // batch
    step, steps = 0, schedule.epochs * epoch_steps
    log, sums = MetricsLog("MoCo", schedule.epochs), torch.zeros(4, dtype=torch.float64)
    saved = checkpoint.read()
    if saved is not None:
        network.load_state_dict(saved["network"])
        optimizer.load_state(saved["optimizer"])
        log.load_state(saved["log"])
        step, sums = saved["step"], saved["sums"]

    def state() -> dict[str, Any]:
        return {
            "network": network.state_dict(),  # both encoders, the queue and its images
            "optimizer": optimizer.state(),
            "log": log.state(),
            "step": step,
            "sums": sums,
        }

    for epoch in range(step // epoch_steps, schedule.epochs):
        batches = full_batches(epoch_order(len(pool), seed, *names, epoch), batch)
        for numbers in batches[step % epoch_steps :]:
            random = stream(seed, *names, "step", step)
            pixels = pool.batch(numbers).to(device)
            views = [normalise(augment(pixels, settings.augment, input_size, random)) for _ in range(2)]
            order = torch.from_numpy(random.permutation(len(numbers))).to(device)
            rate = cosine(schedule.lr, step, steps)
            out = network(*views, torch.from_numpy(numbers).to(device), order)
            out["loss"].backward()
            optimizer.step(rate)
            network.update_key_encoder()
            _refuse_nonfinite(out["loss"], step)
            sums += torch.stack(
                [
                    out["loss"].detach(),
                    (out["logits"].argmax(dim=1) == 0).float().mean(),
                    moco.alignment(out["queries"], out["keys"]),
                    moco.uniformity(out["queries"]),
                ]
            ).cpu()
            step += 1
            if step % epoch_steps == 0:
                loss, accuracy, alignment, uniformity = (sums / epoch_steps).tolist()
                log.epoch(
                    epoch_steps * batch,
                    epoch=epoch + 1,
                    loss=loss,
                    lr=rate,
                    contrast_accuracy=accuracy,
                    alignment=alignment,
                    uniformity=uniformity,
                )
                if uniformity > moco.COLLAPSED:
                    print(
                        f"MoCo: epoch {epoch + 1}: the queries are nearly all alike (uniformity {uniformity:.3f}): the "
                        "encoder has collapsed; try a lower pretraining.schedules.*.lr or a higher moco.momentum",
                        flush=True,
                    )
                sums.zero_()
            checkpoint.after_step(state)
    log.write(metrics)
    save_weights(network.backbone, encoder)


def _refuse_nonfinite(loss: torch.Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise UserError(
            f"MoCo: the loss is {loss.item()} at step {step}; try a lower pretraining.schedules.*.lr"
        )
