"""Momentum contrast: two encoders, a queue of keys, and the contrastive loss.

This is algorithm 1 of He et al. 2020 (MoCo), with equations 1 (loss) and 2 (momentum update), and the
projection head of Chen et al. 2020 (MoCo v2). There is one addition for small datasets (#9): the queue stores
the image number of every key, so that keys of the query's own image do not count as negatives. Several
processes, or ranks, may share each batch (``training.ranks``): each encodes its share, and all hold the same
queue. In the shapes, n is the number of images per batch, m is this rank's share of them (m = n with one
rank), C is the dimension of the projection, and K is the number of keys in the queue.
"""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from moco_transfer.training.ranks import ALONE, Ranks

# Above this uniformity, the queries are nearly identical. It is 0 if all are equal, and below -1 in healthy trainings.
COLLAPSED = -0.05


def group_batch_norms(network: nn.Module, groups: int) -> int:
    """Let ``network`` normalise ``groups`` parts of each batch separately (#10), as on ``groups`` GPUs.

    The running statistics move towards the mean over the groups. If the batch does not divide evenly, the first groups are
    one image larger (``torch.tensor_split``). Returns the number of layers of batch normalisation.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for layer in layers:
        layer.groups = groups
        layer.__class__ = _grouped(type(layer))
    return len(layers)


@cache
def _grouped(layer: type[_BatchNorm]) -> type[_BatchNorm]:
    return type(f"Grouped{layer.__name__}", (_Grouped, layer), {})


class _Grouped(_BatchNorm):
    """The ``forward`` of a layer of batch normalisation with ``groups``."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.groups == 1:
            return super().forward(x)
        parts, means, variances = [], [], []
        for part in x.tensor_split(self.groups):
            # With a momentum of 1, the two buffers receive the part's own mean and unbiased variance.
            mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
            parts.append(F.batch_norm(part, mean, variance, self.weight, self.bias, True, 1.0, self.eps))
            means.append(mean)
            variances.append(variance)
        self.running_mean.lerp_(torch.stack(means).mean(0), self.momentum)
        self.running_var.lerp_(torch.stack(variances).mean(0), self.momentum)
        self.num_batches_tracked += 1
        normalised = torch.cat(parts)
        # timm's BatchNormAct2d is also the activation that follows.
        return self.act(self.drop(normalised)) if hasattr(self, "act") else normalised


class MoCo(nn.Module):
    """Query encoder, key encoder and queue.

    Parameters
    ----------
    backbone : network from images to features [n, ``width``]; it becomes part of the query encoder
    dim : dimension of the projection, C in the paper
    queue : number of keys in the queue, K in the paper
    momentum : of the key encoder, m in equation 2
    temperature : of the loss, tau in equation 1
    bn_groups : parts of a batch that both encoders normalise separately (#10); a multiple of the number of ranks
    mask_own_keys : whether keys of the query's own image do not count as negatives (#9)
    ranks : the processes that share a batch; each has its share of the groups
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
        self.batch_norms = group_batch_norms(self.query_encoder, bn_groups // ranks.size)
        # Algorithm 1: f_k.params = f_q.params
        self.key_encoder = copy.deepcopy(self.query_encoder).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(queue, dim), dim=1))  # [K, C]
        self.register_buffer("queue_images", torch.full((queue,), -1))  # [K]; -1 is no image
        self.register_buffer("next", torch.tensor(0))  # the place of the oldest key, which is replaced next

    @property
    def backbone(self) -> nn.Module:
        """The part of the query encoder that is kept after pretraining."""
        return self.query_encoder[0]

    def forward(
        self, query_views: Tensor, key_views: Tensor, images: Tensor, order: Tensor
    ) -> dict[str, Tensor]:
        """Run algorithm 1 up to the loss, and put the batch's keys into the queue.

        Parameters
        ----------
        query_views : views x_q of this rank's share of the batch, network input [m, channels, h, w]
        key_views : views x_k of images ``order[start:stop]``, [m, channels, h, w]; the share is images ``start`` to ``stop``
        images : the numbers of the images of the whole batch, int64 [n]
        order : a permutation [n], which shuffles the keys over the groups (shuffled batch normalisation)

        Returns
        -------
        loss (scalar; its sum over the ranks is the mean loss of the batch), logits of the share ([m, 1 + K], the positive
        first), queries and keys of the whole batch (unit vectors, [n, C])
        """
        shares = self.ranks.shares(len(images), self.bn_groups)
        start, stop = shares[self.ranks.rank]
        # The keys come first, so that their activations are freed before those of the queries are kept for
        # the backward pass.
        with torch.no_grad():
            encoded_keys = self.key_encoder(key_views)  # f_k(x_k), [m, C], shuffled
        encoded_queries = self.query_encoder(query_views)  # f_q(x_q), [m, C]
        # There is no autocast from here on: in bfloat16, a similarity divided by a temperature of 0.2 would
        # be off by several per cent.
        with torch.autocast(query_views.device.type, enabled=False):
            queries = F.normalize(encoded_queries.to(self.queue.dtype), dim=1)  # q, [m, C]
            shuffled_keys = self.ranks.gather(F.normalize(encoded_keys.to(self.queue.dtype), dim=1), shares)
            keys = shuffled_keys[torch.argsort(order)]  # k, [n, C]
            logits = self._logits(queries, keys[start:stop], images[start:stop])  # [m, 1 + K]
            # InfoNCE, equation 1: cross entropy of a choice among 1 + K keys; the right answer is the positive, number 0.
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
        """Equation 2: theta_k <- m theta_k + (1 - m) theta_q. The key encoder keeps its own running statistics."""
        keys, queries = (list(each.parameters()) for each in (self.key_encoder, self.query_encoder))
        torch._foreach_lerp_(keys, queries, 1 - self.momentum)

    def _logits(self, queries: Tensor, keys: Tensor, images: Tensor) -> Tensor:
        """Return the similarities to ``keys`` and to the queue, divided by the temperature: [m, 1 + K]."""
        positive = (queries * keys).sum(dim=1, keepdim=True)  # [m, 1]
        # A copy, because the queue changes before the backward pass, which needs its present keys.
        negative = queries @ self.queue.clone().T  # [m, K]
        if self.mask_own_keys:
            own = images.view(-1, 1) == self.queue_images.view(1, -1)  # [m, K]
            negative = negative.masked_fill(own, -torch.inf)
        return torch.cat([positive, negative], dim=1) / self.temperature

    @torch.no_grad()
    def _enqueue(self, keys: Tensor, images: Tensor) -> None:
        """Replace the oldest keys in the queue, which wraps around at its end."""
        # The place stays on the device, because reading it from a GPU would wait until the GPU has finished its work.
        places = (self.next + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue.index_copy_(0, places, keys)
        self.queue_images.index_copy_(0, places, images)
        self.next.copy_((self.next + len(keys)) % len(self.queue))


def alignment(queries: Tensor, keys: Tensor) -> Tensor:
    """Return the mean squared distance between positive pairs, [n, C] each (Wang and Isola 2020, alpha = 2)."""
    return (queries - keys).pow(2).sum(dim=1).mean()


def uniformity(queries: Tensor) -> Tensor:
    """Return the log of the mean Gaussian potential of all pairs of queries, [n, C] (Wang and Isola 2020, t = 2)."""
    return torch.pdist(queries).pow(2).mul(-2).exp().mean().log()
