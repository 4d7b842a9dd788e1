"""The order of a run's sources, which figures, legends, tables, pages and the plan take from the configuration.

A configuration is merged from parts, and the order in which their keys come together is an accident. Here it is decided once:
the initial weights; encoders of others; MoCo on single datasets, then on mixtures. Datasets count in the order of the targets,
then of the other datasets. ``experiment.all_sources`` puts MoCo on only the labelled images behind these, and then the controls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from moco_transfer.config.analysis import SizeControl
from moco_transfer.config.encoders import Encoder


def places(targets: Iterable[str], datasets: Iterable[str]) -> dict[str, int]:
    """Return the place of each dataset, from 0: targets in their order, then the others in theirs."""
    return {name: place for place, name in enumerate(dict.fromkeys([*targets, *datasets]))}


def ordered_sources(
    sources: Mapping[str, list[str] | Encoder], place: Mapping[str, int]
) -> dict[str, list[str] | Encoder]:
    """Return ``sources`` in the order above; of several on the same datasets, and of encoders, the first stays first."""

    def rank(source: str) -> tuple[int, int, list[int]]:
        seen = sources[source]
        if isinstance(seen, Encoder):
            return 1, 0, []
        # Of several names of the initial weights, "none" comes first.
        return (2, len(seen), sorted(place[name] for name in seen)) if seen else (0, source != "none", [])

    return {source: sources[source] for source in sorted(sources, key=rank)}


def ordered_controls(controls: Mapping[str, SizeControl], place: Mapping[str, int]) -> dict[str, SizeControl]:
    """Return the size controls by the dataset that they are drawn from, the one that sets their size, and their schedule."""

    def rank(name: str) -> tuple[int, int, bool]:
        control = controls[name]
        return place[control.dataset], place[control.as_many_as], control.schedule != "size"

    return {name: controls[name] for name in sorted(controls, key=rank)}
