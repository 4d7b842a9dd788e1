"""The schedule against PyTorch's, and batches that lose nothing they should not."""

import numpy as np
import pytest
import torch

from moco_transfer.training.schedule import all_batches, cosine, epoch_order, full_batches


def test_cosine_equals_pytorchs_at_every_step_and_ends_near_zero():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.002)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=500)
    for step in range(500):
        assert cosine(0.002, step, 500) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        optimizer.step()
        scheduler.step()
    assert cosine(0.002, 499, 500) < 1e-5 * 0.002 * 2


def test_every_epoch_has_an_order_of_its_own():
    first, second = epoch_order(50, 1, "moco", "spine", 0), epoch_order(50, 1, "moco", "spine", 1)
    assert sorted(first) == list(range(50)) and not np.array_equal(first, second)
    np.testing.assert_array_equal(first, epoch_order(50, 1, "moco", "spine", 0))


def test_full_batches_drop_the_rest_and_all_batches_keep_it():
    order = np.arange(10)
    assert [list(b) for b in full_batches(order, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [list(b) for b in all_batches(order, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_last_batch_of_one_joins_the_one_before():
    assert [len(b) for b in all_batches(np.arange(9), 4)] == [4, 5]
    assert [len(b) for b in all_batches(np.arange(1), 4)] == [1]
