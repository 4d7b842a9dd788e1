"""The update functions behind our two classes, against PyTorch's own classes, step by step."""

import subprocess
import sys

import pytest
import torch

from moco_transfer.training.loop import SGD, Adam


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_steps_equal_those_of_torch_optim(name):
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    if name == "sgd":
        one, other = (
            SGD(ours.parameters(), 0.9, 0.01),
            torch.optim.SGD(theirs.parameters(), 1, momentum=0.9, weight_decay=0.01),
        )
    else:
        one, other = (
            Adam(ours.parameters(), 0.01),
            torch.optim.Adam(theirs.parameters(), 1, weight_decay=0.01),
        )
    for rate in (0.1, 0.05, 0.01, 0.001):
        x = torch.randn(4, 5)
        ours(x).pow(2).sum().backward()
        one.step(rate)
        theirs(x).pow(2).sum().backward()
        other.param_groups[0]["lr"] = rate
        other.step()
        other.zero_grad()
        assert all(parameter.grad is None for parameter in ours.parameters())
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_training_does_not_import_the_compiler():
    code = (
        "import sys, torch; from moco_transfer.training.loop import SGD; "
        "p = torch.ones(2, requires_grad=True); p.sum().backward(); SGD([p], 0.9, 0.0).step(0.1); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
