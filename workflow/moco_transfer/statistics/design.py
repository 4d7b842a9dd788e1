"""Which part each source plays in the claims, for a run and for the paper.

Claims are about roles (``roles``), so that they apply to any run, whatever its datasets are called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from moco_transfer.config.experiment import LIMITED
from moco_transfer.roles import Role
from moco_transfer.statistics.evidence import Evidence

ROLE_NAMES: dict[Role, str] = {
    "own": "MoCo on the target's own dataset",
    "initial": "no MoCo",
    "other": "MoCo on another dataset",
    "natural": "MoCo on natural images",
    "mixture": "MoCo on a mixture with the target's own dataset",
    "limited": "MoCo on just the labelled images",
}


@dataclass(frozen=True)
class Design:
    """The sources of a run, as the claims speak of them.

    Attributes
    ----------
    roles : by target and source; a source without a role takes no part
    datasets : those that MoCo on a source sees; of the initial weights alone, none
    images : how many images of each dataset MoCo sees
    natural : the datasets of natural images
    few : the percentages that count as few labels, by target; of other targets, all but the largest do
    network : the source whose encoder computes the similarity of datasets, if it is trained in the run; '' if its weights are given
    """

    roles: Mapping[str, Mapping[str, Role]]
    datasets: Mapping[str, Sequence[str]]
    images: Mapping[str, int]
    natural: Sequence[str] = ()
    few: Mapping[str, Sequence[str]] = field(default_factory=dict)
    network: str = ""

    def of(self, target: str, *roles: Role) -> list[str]:
        """Return the sources with one of the ``roles`` for ``target``, in the order of the roles."""
        known = self.roles.get(target, {})
        return [source for role in roles for source in known if known[source] == role]

    def larger(self, target: str) -> list[str]:
        """Return MoCo on the largest other datasets, if they have more images than the target's dataset."""
        others = {
            source: sum(self.images[name] for name in self.datasets[source])
            for source in self.of(target, "other")
        }
        most = max(others.values(), default=0)
        return [source for source in others if others[source] == most > self.images[target]]

    def largest_alone(self, mixture: str) -> list[str]:
        """Return MoCo on only the largest dataset of a ``mixture``."""
        largest = max(self.datasets[mixture], key=self.images.__getitem__)
        return [source for source, seen in self.datasets.items() if list(seen) == [largest]]

    def few_labels(self, target: str, percents: Sequence[str]) -> list[str]:
        """Return which of the ascending ``percents`` are few labels."""
        return [percent for percent in percents if percent in self.few.get(target, ())] or list(percents[:-1])

    def seen_in(self, evidence: Evidence) -> Design:
        """Return this design with the roles of only those sources of which ``evidence`` has AUROCs."""
        there = {(key.target, key.source) for key in evidence.values}
        roles = {
            target: {source: role for source, role in of.items() if (target, source) in there}
            for target, of in self.roles.items()
        }
        return replace(self, roles=roles)

    def present(self) -> set[Role]:
        """Return the roles that some source has for some target."""
        return {role for of in self.roles.values() for role in of.values()}

    def missing(self, roles: Sequence[Role]) -> list[Role]:
        """Return which of the ``roles`` are missing for the target that lacks the fewest."""
        lacking = [[role for role in roles if role not in of.values()] for of in self.roles.values()]
        return min(lacking, key=len, default=list(roles))


# "Settings with limited labeled data (e.g. VinDr-SpineXR with 1% and 10% labeled and MIMIC with 1% labeled)".
FEW_IN_THE_PAPER = {"spine": ("1", "10"), "chest": ("1",)}
PAPER = Design(
    roles={
        target: {
            "none": "initial",
            target: "own",
            other: "other",
            "spine+chest": "mixture",
            LIMITED: "limited",
        }
        for target, other in (("spine", "chest"), ("chest", "spine"))
    },
    datasets={"none": [], "spine": ["spine"], "chest": ["chest"], "spine+chest": ["spine", "chest"]},
    images={"spine": 5872, "chest": 225_720},
    natural=["natural"],
    few=FEW_IN_THE_PAPER,
)
