"""The NumPy head against PyTorch: loss, gradient, and both optimisers step by step."""

import warnings

import numpy as np
import pytest
import torch
from made_up_cells import OPTIMIZERS, made_up_labels, torch_head

from moco_transfer.errors import UserError
from moco_transfer.finetune.end_to_end import masked_bce
from moco_transfer.finetune.linear import apply_head, bce_with_logits, train_head


def made_up_features(views=1, n=43, width=12):
    return np.random.default_rng(1).normal(size=(views, n, width)).astype(np.float32)


def ignore(*_):
    pass


def test_loss_and_gradient_equal_pytorchs():
    values = 10 * made_up_features()[0, :, :3]
    labels = made_up_labels(43, 3)
    logits = torch.tensor(values, requires_grad=True)
    expected = masked_bce(logits, torch.tensor(labels))
    expected.backward()
    loss, gradient = bce_with_logits(values, labels)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, logits.grad.numpy(), atol=1e-7)


def test_masked_loss_is_the_plain_mean_where_nothing_is_masked():
    logits, labels = torch.randn(5, 2), torch.tensor([[0.0, 1.0]] * 5)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(masked_bce(logits, labels), expected)


def test_a_batch_with_nothing_but_masked_labels_moves_nothing():
    loss, gradient = bce_with_logits(np.ones((2, 3), np.float32), np.full((2, 3), np.nan, np.float32))
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("views", [1, 3])
def test_training_equals_a_torch_head_step_by_step(name, views):
    """With several views, the epochs take them in turn and begin again: 0, 1, 2, 0."""
    features, labels = made_up_features(views), made_up_labels(43, 3)
    run = {"epochs": 4, "seed": 1, "stream_name": ("a",)}
    trained = train_head(features, labels, optimizer=OPTIMIZERS[name], after_epoch=ignore, **run)

    def of(epoch, numbers):
        return torch.tensor(features[epoch % views][numbers])

    head = torch_head(of, labels, 12, OPTIMIZERS[name], **run)
    np.testing.assert_allclose(trained[1:].T, head.weight.detach().numpy(), atol=2e-5)
    np.testing.assert_allclose(trained[0], head.bias.detach().numpy(), atol=2e-5)


def test_a_diverging_head_is_said_in_one_line_without_warnings():
    settings = OPTIMIZERS["sgd"].model_copy(update={"lr": 1e30})
    with warnings.catch_warnings(), pytest.raises(UserError, match=r"loss is .* in epoch .*lower"):
        warnings.simplefilter("error")
        train_head(
            made_up_features(),
            made_up_labels(43, 3),
            optimizer=settings,
            epochs=50,
            seed=1,
            stream_name=("d",),
            after_epoch=ignore,
        )


def test_apply_head_is_the_affine_map():
    weights = np.array([[1.0], [2.0], [3.0]], np.float32)
    np.testing.assert_allclose(apply_head(np.array([[1.0, 1.0]], np.float32), weights), [[6.0]])
