"""Training steps on a device that is not the CPU, without a GPU: PyTorch's fake tensors.

A fake tensor knows its shape, type and device, but has no values. An operation on tensors of two devices fails as it would on
a GPU, where a tensor that a step makes on the CPU by mistake stops every training. The device here is ``meta``: on a machine
without a GPU, PyTorch computes no gradients for tensors of the device ``cuda``.
"""

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext

import numpy as np
import pytest
import torch
from made_up_settings import COMPUTING, NETWORK, OPTIMIZERS, PRETRAIN, changed
from made_up_stores import write_store
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from moco_transfer.config.augmentation import operations_of
from moco_transfer.finetune.end_to_end import masked_bce
from moco_transfer.model import Classifier
from moco_transfer.networks import build_network
from moco_transfer.pretrain import train_moco
from moco_transfer.training import images
from moco_transfer.training.images import ImagePool, View
from moco_transfer.training.loop import Recipe, SupervisedTraining

DEVICE = torch.device("meta")
IMAGES = 24  # three steps of eight, of which two run: the end of an epoch needs values


class Enough(Exception):
    """Stops a training."""


class TwoSteps:
    """In place of a checkpoint: keeps the second state, and stops."""

    received, steps = None, 0

    def read(self) -> None:
        """Return no state."""

    def after_step(self, _: object) -> None:
        self.steps += 1
        if self.steps == 2:
            raise Enough


@pytest.fixture(autouse=True)
def fake_tensors(monkeypatch) -> Iterator[None]:
    """Let every tensor of a training be a fake one from when its network goes to the device."""
    with ExitStack() as stack:

        def to(network: nn.Module, device: torch.device, memory_format: torch.memory_format) -> nn.Module:
            mode = stack.enter_context(FakeTensorMode())
            for module in network.modules():
                for tensors in (module._parameters, module._buffers):
                    for name, tensor in (
                        (name, found) for name, found in tensors.items() if found is not None
                    ):
                        fake = mode.from_tensor(tensor).detach().to(device)
                        if isinstance(tensor, nn.Parameter):
                            fake = nn.Parameter(fake, tensor.requires_grad)
                        tensors[name] = fake
            return network

        monkeypatch.setattr(nn.Module, "to", to)
        # Autocast knows no meta tensors. What it does to types is tested on the CPU.
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
        images._on_device.cache_clear()
        yield
    images._on_device.cache_clear()


@pytest.fixture(params=["grey, read in turn", "colour, all on the device"])
def pool(request, tmp_path, monkeypatch) -> ImagePool:
    """Images on both ways to the device that take no thread: tensors of another thread are not fake."""
    colour, delivery = ((), "plain") if "grey" in request.param else ((3,), "resident")
    monkeypatch.setattr(images, "delivery", lambda *_: delivery)
    store = write_store(tmp_path / "store", (IMAGES, 40, 40, *colour))
    return ImagePool([(store / "images.npy", np.arange(IMAGES))])


def pretrain_two_steps(pool: ImagePool) -> nn.Module:
    backbone = build_network(NETWORK, 1)
    colour = len(pool.shape) == 3
    settings = changed(
        PRETRAIN,
        moco__augment="moco_v2" if colour else "moco_cxr",
        schedule={"epochs": 1, "batch": 8, "lr": 0.1, "bn_groups": 2 if colour else 1},
    )
    with pytest.raises(Enough):
        train_moco(settings, backbone, pool, {}, DEVICE, TwoSteps(), None)
    return backbone


def finetune_two_steps(pool: ImagePool) -> nn.Module:
    colour = len(pool.shape) == 3
    network = Classifier(build_network(NETWORK, 1), 2)
    recipe = Recipe(
        optimizer=OPTIMIZERS["adam" if colour else "sgd"],
        section="test",
        epochs=1,
        operations=operations_of("moco_v2") if colour else [],
        view=View(32, NETWORK),
        computing=COMPUTING,
        seed=1,
        stream=("test",),
    )
    labels = np.zeros((IMAGES, 2), np.float32)
    steps = SupervisedTraining(network, pool, labels, masked_bce, recipe, DEVICE).steps()
    assert [next(steps).images, next(steps).images] == [8, 8]
    return network


@pytest.mark.parametrize("train", [pretrain_two_steps, finetune_two_steps])
def test_a_training_step_stays_on_its_device(pool, train):
    network = train(pool)
    assert {tensor.device for tensor in (*network.parameters(), *network.buffers())} == {DEVICE}


@pytest.mark.parametrize("train", [pretrain_two_steps, finetune_two_steps])
def test_a_tensor_that_a_step_makes_on_the_cpu_is_found(pool, train, monkeypatch):
    prepare = View.prepare
    monkeypatch.setattr(View, "prepare", lambda view, views: prepare(view, views) + torch.zeros(32))
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        train(pool)
