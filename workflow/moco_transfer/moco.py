"""Momentum Contrast: two encoders, a queue of keys, and the contrastive loss.

He et al. 2020 (MoCo), algorithm 1 and equations 1 and 2, with the projection head of Chen et al. 2020 (MoCo v2). Two
things are added for small data sets (#9): the queue keeps the number of the image behind every key, and a key of the
query's own image does not count as a negative.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moco_transfer.models import DenseNet

# Uniformity is 0 where all queries are one vector and -4 where any two are opposite; trained ones lie below -1.
COLLAPSED = -0.05


class GroupedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation in ``groups`` parts of the batch, each by its own statistics, as on that many GPUs.

    The running statistics take the average of the groups'. A batch that does not divide evenly is cut as
    ``torch.tensor_split`` cuts it: the first groups are one image larger.
    """

    groups = 1

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.groups == 1:
            return super().forward(x)
        parts, means, variances = [], [], []
        for part in x.tensor_split(self.groups):
            # A momentum of 1 leaves the part's own mean and unbiased variance in the two buffers.
            mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
            parts.append(F.batch_norm(part, mean, variance, self.weight, self.bias, True, 1.0, self.eps))
            means.append(mean)
            variances.append(variance)
        self.running_mean.lerp_(torch.stack(means).mean(0), self.momentum)
        self.running_var.lerp_(torch.stack(variances).mean(0), self.momentum)
        self.num_batches_tracked += 1
        return torch.cat(parts)


class MoCo(nn.Module):
    """Query encoder, key encoder and queue.

    Parameters
    ----------
    backbone : network from images to features [n, ``width``]; it becomes the query encoder
    dim : width of the projection, C in the paper
    queue : number of keys kept, K
    momentum : of the key encoder, m
    temperature : of the loss, tau
    bn_groups : parts of a batch that are normalised apart, in both encoders (#10)
    mask_own_keys : leave keys of the query's own image out of the negatives (#9)
    """

    def __init__(
        self,
        backbone: DenseNet,
        dim: int,
        queue: int,
        momentum: float,
        temperature: float,
        bn_groups: int = 1,
        mask_own_keys: bool = True,
    ) -> None:
        super().__init__()
        self.momentum, self.temperature, self.mask_own_keys = momentum, temperature, mask_own_keys
        self.bn_groups = bn_groups
        head = nn.Sequential(
            nn.Linear(backbone.width, backbone.width), nn.ReLU(), nn.Linear(backbone.width, dim)
        )
        self.query_encoder = nn.Sequential(backbone, head)
        for module in self.query_encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__, module.groups = GroupedBatchNorm2d, bn_groups
        self.key_encoder = copy.deepcopy(self.query_encoder).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(queue, dim), dim=1))  # [K, C]
        self.register_buffer(
            "queue_images", torch.full((queue,), -1, dtype=torch.int64)
        )  # [K]; -1 is no image
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))

    @property
    def backbone(self) -> DenseNet:
        """The part of the query encoder that is kept after pretraining."""
        return self.query_encoder[0]

    def forward(
        self, query_views: Tensor, key_views: Tensor, images: Tensor, order: Tensor
    ) -> dict[str, Tensor]:
        """One step of algorithm 1 up to the loss; the queue then holds the batch's keys.

        Parameters
        ----------
        query_views, key_views : two views of the same images, network input [n, 3, h, w]
        images : the images' numbers, int64 [n]
        order : a permutation [n]; the key batch is normalised in this order (shuffled BN)

        Returns
        -------
        loss (a scalar), queries and keys (unit vectors, [n, C]) and logits ([n, 1 + K], the positive first)
        """
        queries = F.normalize(self.query_encoder(query_views), dim=1)  # [n, C]
        keys = self._keys(key_views, order)  # [n, C]
        positive = (queries * keys).sum(dim=1, keepdim=True)  # [n, 1]
        negative = queries @ self.queue.clone().T  # [n, K]; a copy, because the queue changes before backward
        if self.mask_own_keys:
            own = images.view(-1, 1) == self.queue_images.view(1, -1)  # [n, K]
            negative = negative.masked_fill(own, -torch.inf)
        logits = torch.cat([positive, negative], dim=1) / self.temperature
        # Equation 1: cross entropy of a (K + 1)-way choice whose right answer is the positive, at 0.
        loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))
        self._enqueue(keys, images)
        return {"loss": loss, "queries": queries.detach(), "keys": keys, "logits": logits.detach()}

    @torch.no_grad()
    def update_key_encoder(self) -> None:
        """Equation 2: theta_k <- m theta_k + (1 - m) theta_q. Buffers are the key encoder's own."""
        for key, query in zip(self.key_encoder.parameters(), self.query_encoder.parameters(), strict=True):
            key.lerp_(query, 1 - self.momentum)

    @torch.no_grad()
    def _keys(self, views: Tensor, order: Tensor) -> Tensor:
        if self.bn_groups == 1:
            return F.normalize(self.key_encoder(views), dim=1)
        shuffled = F.normalize(self.key_encoder(views[order]), dim=1)
        return shuffled[torch.argsort(order)]

    @torch.no_grad()
    def _enqueue(self, keys: Tensor, images: Tensor) -> None:
        start, n = int(self.next), len(keys)
        self.queue[start : start + n] = keys
        self.queue_images[start : start + n] = images
        self.next.fill_((start + n) % len(self.queue))


def clamp(images: int, batch: int, queue: int) -> tuple[int, int]:
    """Return (batch, queue) for ``images`` images: a batch no larger than the data, and a queue that is the largest
    multiple of the batch within both its configured length and the data, and at least one batch (#9).
    """
    batch = min(batch, images)
    return batch, max(batch, min(queue, images) // batch * batch)


def alignment(queries: Tensor, keys: Tensor) -> Tensor:
    """Return the mean squared distance of positive pairs, [n, C] each (Wang and Isola 2020, alpha = 2)."""
    return (queries - keys).pow(2).sum(dim=1).mean()


def uniformity(queries: Tensor) -> Tensor:
    """Return the log of the mean Gaussian potential of the queries [n, C] (Wang and Isola 2020, t = 2)."""
    return torch.pdist(queries).pow(2).mul(-2).exp().mean().log()
