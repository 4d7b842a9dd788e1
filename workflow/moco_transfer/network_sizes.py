"""The sizes of networks, so that the plan of a run builds none. A test compares them with the networks themselves."""

from __future__ import annotations

from moco_transfer.config.experiment import INITIAL, Config

NETWORK_SIZES = {
    "densenet_small": (50, 47_272),
    "densenet121": (1024, 7_037_504),
    "densenet169": (1664, 12_642_880),
    "efficientnet_lite0": (1280, 3_413_024),
    "resnet18": (512, 11_186_112),
    "resnet50": (2048, 23_561_152),
    "tf_efficientnet_lite0": (1280, 3_413_024),
    "vit_base_patch14_dinov2": (768, 86_579_712),
    "vit_base_patch16_224": (768, 85_798_656),
}
"""The width of the features and the values in the encoder's file, by architecture."""


def network_size(config: Config, source: str) -> tuple[int, int]:
    """Return the width of the features of a source, and the values in its encoder's file; 0 if unknown."""
    encoder = config.encoders.get(source, config.encoders[INITIAL])  # MoCo starts from the initial weights
    return NETWORK_SIZES.get(encoder.architecture, (0, 0))
