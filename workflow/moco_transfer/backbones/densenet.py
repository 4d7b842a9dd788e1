"""DenseNet (Huang et al. 2017), the paper's network.

It has torchvision's layers under torchvision's parameter names, so that its published weights load and a test can hold
the two against each other; it stands here because importing torchvision takes longer than most jobs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# The layers of figure 3: the first convolution, and the output of each dense block.
TAPS = {
    "CV1": "features.conv0",
    "DB1": "features.denseblock1",
    "DB2": "features.denseblock2",
    "DB3": "features.denseblock3",
    "DB4": "features.denseblock4",
}


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1 convolution to 4 x growth channels; BN, ReLU, 3x3 convolution to ``growth`` channels."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(F.relu(self.norm1(x), inplace=True))
        return self.conv2(F.relu(self.norm2(x), inplace=True))


class DenseBlock(nn.Module):
    """Layers that each see the concatenation of the block's input and all earlier layers' outputs."""

    def __init__(self, channels: int, layers: int, growth: int) -> None:
        super().__init__()
        for i in range(layers):
            self.add_module(f"denselayer{i + 1}", DenseLayer(channels + i * growth, growth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class Transition(nn.Module):
    """BN, ReLU, 1x1 convolution that halves the channels, 2x2 average pooling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x), inplace=True)), 2)


class DenseNet(nn.Module):
    """DenseNet without its classifier: images [n, 3, h, w] to pooled features [n, ``width``]."""

    left_out = ("classifier.",)

    def __init__(self, growth: int, blocks: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(channels))
        self.features.add_module("relu0", nn.ReLU())
        self.features.add_module("pool0", nn.MaxPool2d(3, stride=2, padding=1))
        for i, layers in enumerate(blocks, start=1):
            self.features.add_module(f"denseblock{i}", DenseBlock(channels, layers, growth))
            channels += layers * growth
            if i < len(blocks):
                self.features.add_module(f"transition{i}", Transition(channels))
                channels //= 2
        self.features.add_module(f"norm{len(blocks) + 1}", nn.BatchNorm2d(channels))
        self.width = channels

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.features(x), inplace=True).mean(dim=(2, 3))
