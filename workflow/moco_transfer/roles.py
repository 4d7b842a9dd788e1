"""Which part each source of a run plays in the claims.

Claims are not about names of datasets but about roles, so that they apply to any run: the target's own dataset, other datasets, natural
images, mixtures, just the labelled images.
"""

from __future__ import annotations

from typing import Literal

from moco_transfer.config.experiment import LIMITED, Config

Role = Literal["initial", "own", "other", "natural", "mixture", "limited"]
"""The part of a source in the claims about one target: the initial weights alone; MoCo on the target's dataset alone, on other datasets, on
natural images, or on several datasets with the target's among them; MoCo on only the labelled images."""


def natural_datasets(config: Config) -> list[str]:
    """Return the datasets that stand for natural images: those in the layout of ImageNet, and the one whose classes the initial weights learn.

    A target is none of them, whatever its layout.
    """
    encoder = config.model.initial_weights
    behind = encoder.weights.classes_of if encoder.kind == "supervised" else None
    return [
        name
        for name, dataset in config.datasets.items()
        if name not in config.targets and (dataset.adapter == "image_folder" or name == behind)
    ]


def source_roles(config: Config) -> dict[str, dict[str, Role]]:
    """Return the role of each source in the claims, by target; sources without a role take no part.

    These are other encoders, whose images are not known to be of any domain, the sources of the controls, and MoCo on natural images
    together with others that are not the target's.
    """
    natural = set(natural_datasets(config))

    def role(target: str, seen: list[str]) -> Role | None:
        if not seen:
            return "initial"
        if target in seen:
            return "own" if seen == [target] else "mixture"
        if natural.isdisjoint(seen):
            return "other"
        return "natural" if natural.issuperset(seen) else None

    roles = {}
    for target, chosen in config.targets.items():
        found = {source: role(target, seen) for source, seen in config.moco_sources.items()}
        limited = {LIMITED: "limited"} if chosen.limited else {}
        roles[target] = {source: each for source, each in (found | limited).items() if each}
    return roles
