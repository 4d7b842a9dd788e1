"""Momentum Contrast: two encoders, a queue of keys, and the contrastive loss.

He et al. 2020 (MoCo), algorithm 1 and equations 1 and 2, with the projection head of Chen et al. 2020 (MoCo v2). Two
things are added for small data sets (#9): the queue keeps the number of the image behind every key, and a key of the
query's own image does not count as a negative. Several processes may share each batch (``training.ranks``): then each
encodes a part of it, and all of them hold the same queue.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moco_transfer.training.ranks import ALONE, Ranks

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
    bn_groups : parts of a batch that are normalised apart, in both encoders (#10); a multiple of the number of ranks
    mask_own_keys : leave keys of the query's own image out of the negatives (#9)
    ranks : the processes that share a batch; each has its part of the groups
    """

    def __init__(
        self,
        backbone: nn.Module,
        dim: int,
        queue: int,
        momentum: float,
        temperature: float,
        bn_groups: int = 1,
        mask_own_keys: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__()
        self.momentum, self.temperature, self.mask_own_keys = momentum, temperature, mask_own_keys
        self.bn_groups, self.ranks = bn_groups, ranks
        head = nn.Sequential(
            nn.Linear(backbone.width, backbone.width), nn.ReLU(), nn.Linear(backbone.width, dim)
        )
        self.query_encoder = nn.Sequential(backbone, head)
        for module in self.query_encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__, module.groups = GroupedBatchNorm2d, bn_groups // ranks.size
        self.key_encoder = copy.deepcopy(self.query_encoder).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(queue, dim), dim=1))  # [K, C]
        self.register_buffer(
            "queue_images", torch.full((queue,), -1, dtype=torch.int64)
        )  # [K]; -1 is no image
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))

    @property
    def backbone(self) -> nn.Module:
        """The part of the query encoder that is kept after pretraining."""
        return self.query_encoder[0]

    def forward(
        self, query_views: Tensor, key_views: Tensor, images: Tensor, order: Tensor
    ) -> dict[str, Tensor]:
        """One step of algorithm 1 up to the loss; the queue then holds the batch's keys.

        Parameters
        ----------
        query_views : views of this rank's share of the batch, network input [m, 3, h, w]
        key_views : views of this rank's share of the batch in the order ``order``, [m, 3, h, w] (shuffled BN)
        images : the numbers of the batch's images, int64 [n]; n = m where one process is alone
        order : a permutation [n]

        Returns
        -------
        loss (a scalar whose sum over the ranks is the batch's mean loss), logits of the share ([m, 1 + K], the positive
        first), queries and keys of the whole batch (unit vectors, [n, C])
        """
        shares = self.ranks.shares(len(images), self.bn_groups)
        start, stop = shares[self.ranks.rank]
        with torch.no_grad():
            encoded_keys = self.key_encoder(key_views)
        encoded_queries = self.query_encoder(query_views)
        # Autocast ends here: a similarity of bfloat16 over a temperature of 0.2 would be off by a few per cent.
        with torch.autocast(query_views.device.type, enabled=False):
            queries = F.normalize(encoded_queries.to(self.queue.dtype), dim=1)  # [m, C]
            shuffled_keys = self.ranks.gather(F.normalize(encoded_keys.to(self.queue.dtype), dim=1), shares)
            keys = shuffled_keys[torch.argsort(order)]  # [n, C]
            logits = self._logits(queries, keys[start:stop], images[start:stop])
            # Equation 1: cross entropy of a (K + 1)-way choice whose right answer is the positive, at 0.
            loss = F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.int64))
            self._enqueue(keys, images)
            return {
                "loss": loss * (len(logits) / len(images)),
                "logits": logits.detach(),
                "queries": self.ranks.gather(queries, shares),
                "keys": keys,
            }

    @torch.no_grad()
    def update_key_encoder(self) -> None:
        """Equation 2: theta_k <- m theta_k + (1 - m) theta_q. Buffers are the key encoder's own."""
        keys, queries = (list(each.parameters()) for each in (self.key_encoder, self.query_encoder))
        torch._foreach_lerp_(keys, queries, 1 - self.momentum)

    def _logits(self, queries: Tensor, keys: Tensor, images: Tensor) -> Tensor:
        """Return the similarities of ``queries`` with their ``keys`` and with the queue, over the temperature."""
        positive = (queries * keys).sum(dim=1, keepdim=True)  # [m, 1]
        negative = queries @ self.queue.clone().T  # [m, K]; a copy, because the queue changes before backward
        if self.mask_own_keys:
            own = images.view(-1, 1) == self.queue_images.view(1, -1)  # [m, K]
            negative = negative.masked_fill(own, -torch.inf)
        return torch.cat([positive, negative], dim=1) / self.temperature

    @torch.no_grad()
    def _enqueue(self, keys: Tensor, images: Tensor) -> None:
        # Places are counted on the device: a number read from a GPU would wait for all that it has yet to do.
        places = (self.next + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue.index_copy_(0, places, keys)
        self.queue_images.index_copy_(0, places, images)
        self.next.copy_((self.next + len(keys)) % len(self.queue))


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
