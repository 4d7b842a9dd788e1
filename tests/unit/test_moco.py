"""Each part of MoCo against a few lines of plain code."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moco_transfer import moco
from moco_transfer.training.schedule import clamp


class TinyBackbone(nn.Module):
    """A convolution with batch normalisation, small enough to recompute by hand."""

    width = 6

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, bias=False)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x))).mean((2, 3))


@pytest.fixture
def network():
    torch.manual_seed(3)
    return moco.MoCo(TinyBackbone(), dim=5, queue=12, momentum=0.9, temperature=0.2).train()


def batch(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 8, 8, generator=generator), torch.randn(n, 3, 8, 8, generator=generator)


def step(network, n=4, first=0, seed=0):
    queries, keys = batch(n, seed)
    return network(queries, keys, torch.arange(first, first + n), torch.arange(n))


def test_loss_is_info_nce_over_one_positive_and_the_queue(network):
    queue = network.queue.tolist()
    out = step(network)
    losses = []
    for q, k, logits in zip(
        out["queries"].tolist(), out["keys"].tolist(), out["logits"].tolist(), strict=True
    ):
        expected = [sum(map(math.prod, zip(q, key, strict=True))) / 0.2 for key in [k, *queue]]
        assert logits == pytest.approx(expected, abs=1e-5)
        losses.append(-math.log(math.exp(expected[0]) / sum(map(math.exp, expected))))
    assert out["loss"].item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_queries_and_keys_have_unit_length(network):
    out = step(network)
    torch.testing.assert_close(out["queries"].norm(dim=1), torch.ones(4))
    torch.testing.assert_close(out["keys"].norm(dim=1), torch.ones(4))


def test_key_encoder_is_an_exponential_moving_average_and_keeps_its_own_statistics(network):
    for parameter in network.query_encoder.parameters():
        parameter.data += 1.0
    before = [p.clone() for p in network.key_encoder.parameters()]
    statistics = network.key_encoder[0].norm.running_mean.clone()
    network.update_key_encoder()
    pairs = zip(before, network.key_encoder.parameters(), network.query_encoder.parameters(), strict=True)
    for old, new, query in pairs:
        torch.testing.assert_close(new, 0.9 * old + 0.1 * query)
    torch.testing.assert_close(network.key_encoder[0].norm.running_mean, statistics)


def test_only_the_query_encoder_gets_a_gradient(network):
    step(network)["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.query_encoder[1].parameters())
    assert all(p.grad is None for p in network.key_encoder.parameters())


def test_a_batch_that_does_not_fit_the_end_of_the_queue_goes_on_at_its_start():
    network = moco.MoCo(TinyBackbone(), dim=5, queue=10, momentum=0.9, temperature=0.2).train()
    keys = [step(network, first=4 * i, seed=i)["keys"] for i in range(3)]
    expected = torch.cat([keys[2][2:], keys[0][2:], keys[1], keys[2][:2]])
    torch.testing.assert_close(network.queue, expected)
    assert network.queue_images.tolist() == [10, 11, 2, 3, 4, 5, 6, 7, 8, 9]


def test_queue_is_first_in_first_out(network):
    keys = [step(network, first=4 * i, seed=i)["keys"] for i in range(4)]
    expected = torch.cat([keys[3], keys[1], keys[2]])  # room for three batches: the fourth replaced the first
    torch.testing.assert_close(network.queue, expected)
    assert network.queue_images.tolist() == [12, 13, 14, 15, 4, 5, 6, 7, 8, 9, 10, 11]


def test_keys_of_the_querys_own_image_are_not_negatives(network):
    step(network)  # the queue now holds keys of images 0 to 3
    out = step(network, n=4, first=2)  # images 2 and 3 meet their own keys
    masked = torch.isinf(out["logits"])
    assert masked.nonzero().tolist() == [[0, 3], [1, 4]]
    network.mask_own_keys = False
    assert not torch.isinf(step(network, n=4, first=2)["logits"]).any()


@pytest.mark.parametrize("sizes", [(4, 4), (5, 5, 4, 4)])
def test_grouped_batch_norm_equals_separate_batches(sizes):
    groups, n = len(sizes), sum(sizes)
    layer = nn.BatchNorm2d(3)
    assert moco.group_batch_norms(layer, groups) == 1
    x = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    out = layer(x)
    apart, means, variances = [], [], []
    for part in x.split(sizes):
        one = nn.BatchNorm2d(3, momentum=1.0)
        apart.append(one(part))
        means.append(one.running_mean)
        variances.append(one.running_var)
    torch.testing.assert_close(out, torch.cat(apart))
    torch.testing.assert_close(layer.running_mean, 0.1 * torch.stack(means).mean(0))
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * torch.stack(variances).mean(0))


def test_keys_come_back_in_the_order_of_the_images_from_the_groups_they_were_shuffled_into():
    torch.manual_seed(0)
    network = moco.MoCo(TinyBackbone(), 5, 8, 0.9, 0.2, bn_groups=2).train()
    queries, keys = batch(4)
    order = torch.tensor([2, 0, 3, 1])
    expected = torch.empty(4, 5)
    with torch.no_grad():
        expected[order] = F.normalize(network.key_encoder(keys[order]), dim=1)
    found = network(queries, keys[order], torch.arange(4), order)["keys"]
    torch.testing.assert_close(found, expected)
    unshuffled = network(queries, keys, torch.arange(4), torch.arange(4))["keys"]
    assert not torch.allclose(unshuffled, expected)


@pytest.mark.parametrize("n, sizes", [(12, (6, 6)), (58, (15, 15, 14, 14))])
def test_one_device_with_groups_is_that_many_ranks(n, sizes):
    """Compute each rank by hand: its queries, its part of the shuffled keys, its gradient of the mean loss."""
    torch.manual_seed(1)
    network = moco.MoCo(TinyBackbone(), 5, 60, 0.9, 0.2, bn_groups=len(sizes)).double().train()
    ranks = [copy.deepcopy(network) for _ in sizes]
    for rank in ranks:
        for module in rank.modules():
            module.groups = 1
    query_views, key_views = (views.double() for views in batch(n))
    order = torch.randperm(n)
    out = network(query_views, key_views[order], torch.arange(n), order)
    out["loss"].backward()

    keys = torch.empty(n, 5, dtype=torch.float64)
    with torch.no_grad():
        for rank, rows in zip(ranks, order.split(sizes), strict=True):
            keys[rows] = F.normalize(rank.key_encoder(key_views[rows]), dim=1)
    loss = 0.0
    for rank, rows in zip(ranks, torch.arange(n).split(sizes), strict=True):
        queries = F.normalize(rank.query_encoder(query_views[rows]), dim=1)
        similar = torch.cat([(queries * keys[rows]).sum(1, keepdim=True), queries @ rank.queue.T], 1) / 0.2
        torch.testing.assert_close(out["logits"][rows], similar.detach())
        loss = loss - similar.log_softmax(1)[:, 0].sum() / n
    loss.backward()
    torch.testing.assert_close(out["loss"], loss)
    torch.testing.assert_close(out["keys"], keys)
    own = list(network.query_encoder.parameters())
    for place, parameters in enumerate(
        zip(*(rank.query_encoder.parameters() for rank in ranks), strict=True)
    ):
        torch.testing.assert_close(own[place].grad, sum(parameter.grad for parameter in parameters))
    for encoder in ("query_encoder", "key_encoder"):
        means = torch.stack([getattr(rank, encoder)[0].norm.running_mean for rank in ranks])
        torch.testing.assert_close(getattr(network, encoder)[0].norm.running_mean, means.mean(0))


def test_similarities_and_loss_are_float32_under_autocast(network):
    full = step(copy.deepcopy(network))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = step(network)
    assert out["logits"].dtype == out["loss"].dtype == out["queries"].dtype == torch.float32
    # The encoders' outputs are rounded to bfloat16; the similarities of these outputs are not.
    assert not torch.equal(out["queries"], full["queries"])
    torch.testing.assert_close(out["logits"][:, 0], (out["queries"] * out["keys"]).sum(1) / 0.2)
    assert not torch.equal(out["logits"], out["logits"].bfloat16().float())


@pytest.mark.parametrize(
    "images, batch_size, queue, expected",
    [
        (58, 64, 24576, (58, 58)),
        (112, 256, 24576, (112, 112)),
        (5872, 64, 24576, (64, 5824)),
        (225_720, 256, 24576, (256, 24576)),
        (100, 64, 10, (64, 64)),
    ],
)
def test_batch_and_queue_are_clamped_to_the_data(images, batch_size, queue, expected):
    assert clamp(images, batch_size, queue) == expected


def test_alignment_and_uniformity_against_loops():
    generator = np.random.default_rng(0)
    q, k = (F.normalize(torch.tensor(generator.normal(size=(6, 3))), dim=1) for _ in range(2))
    alignment = np.mean([float(((x - y) ** 2).sum()) for x, y in zip(q, k, strict=True)])
    potentials = [math.exp(-2 * float(((q[i] - q[j]) ** 2).sum())) for i in range(6) for j in range(i)]
    assert moco.alignment(q, k).item() == pytest.approx(alignment)
    assert moco.uniformity(q).item() == pytest.approx(math.log(np.mean(potentials)))


def test_equal_queries_count_as_collapsed_and_spread_ones_do_not():
    alike = F.normalize(torch.ones(8, 16) + 1e-3 * torch.randn(8, 16), dim=1)
    spread = F.normalize(torch.randn(64, 16), dim=1)
    assert moco.uniformity(alike).item() > moco.COLLAPSED
    assert moco.uniformity(spread).item() < -1
