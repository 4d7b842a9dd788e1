"""What a run will leave undecided, before it starts: the last part of ``make plan``.

For each target, mode and number of labels, the smallest difference of two sources that a test shows with 80% power.
The variances are those that an earlier run of the same name has estimated, or else assumed:

- test patients: each source's AUROC is 0.75 with 30% positives, so its variance is that of Hanley and McNeil (1982);
  the errors of two sources on the same patients correlate by 0.5 (half of the pairs in the demo by more than 0.55),
  and each test image counts as a patient
- labelled subsets: the difference of two sources scatters between subsets by 0.25 / sqrt(labels). With 60 to 500
  labels, the factor is 0.37 for the demo's spine (one class) and 0.14 for its chest (fourteen classes); end to end it
  is 0.1 to 0.5
- encoders: two trainings of one source differ by a standard deviation of 0.012 (0.009 to 0.016 over five trainings of
  the demo's spine and chest encoders)
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from moco_transfer.config.experiment import Config
from moco_transfer.data.counts import LEAST_IMAGES, subset_size
from moco_transfer.experiment import MODES, extra_heads, folds, is_trained, trained_sources
from moco_transfer.image_counts import Images
from moco_transfer.report.names import MODE_LABELS
from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.power import ENOUGH, Numbers, are_apart, resized, smallest_decided

if TYPE_CHECKING:
    from moco_transfer.statistics.evidence import Evidence

AUROC, PREVALENCE, CORRELATION = 0.75, 0.3, 0.5
SUBSET_SCATTER = 0.25
ENCODER_SD = 0.012


def undecided_lines(config: Config, images: Mapping[str, Images]) -> list[str]:
    """Return the lines of the plan about the differences that will stay undecided.

    ``images`` are listed by dataset.
    """
    level, evidence = config.evaluation.level, _earlier(config)
    trained = [name for name in config.sources if is_trained(config, name)]
    encoders = config.pretraining.replicates if trained else 1
    # Contrasts of other sources do not pool the encoders' variance with that of the initial weights.
    pooled = len([name for name in trained if name != "none"])
    lines, bases = [], set()
    for target, chosen in config.targets.items():
        sides = images[target].sides
        # With folds, every image is tested once.
        patients = sides.total() if len(folds(config, target)) > 1 else sides["test"]
        for mode in MODES:
            for percent in chosen.percents_of(mode):
                known = _known(config, evidence, target, mode, percent) if evidence else []
                labels = max(LEAST_IMAGES, subset_size(percent, sides["train"]))
                scattered = max(config.n_subsets, config.controls.subsets if mode == "linear" else 0)
                assumed = assumed_contrast(
                    patients, labels, Numbers(1.0, config.n_subsets, encoders), scattered, pooled
                )
                bases.add(bool(known))
                smallest = median(smallest_decided(each, level) for each in known or [assumed])
                said = f"differences below {smallest:.3f} will stay undecided"
                if scattered < 2:
                    said = "all will stay undecided, because one subset does not tell how much subsets differ"
                sizes = ", ".join(
                    [
                        _counted(labels, "label"),
                        _counted(config.n_subsets, "subset"),
                        _counted(encoders, "encoder"),
                    ]
                )
                lines.append(f"  {target}, {MODE_LABELS[mode]}: with {sizes}: {said}")
    heading = (
        f"\nUndecided: a test of two sources (at level {level:g}) shows differences below these in less than "
        f"{100 * ENOUGH:.0f}% of runs. "
    )
    heading += " ".join(_basis(config, known) for known in sorted(bases, reverse=True))
    notes = [
        "  A claim with m comparisons tests the first at 1/m of the level (Holm), so it needs larger differences."
    ]
    if encoders == 1 and trained:
        notes.append(
            "  One encoder of each source: what is decided is about these encoders. With two others, a difference may "
            f"change by {np.sqrt(2) * ENCODER_SD:.3f} (one standard deviation, assumed). pretraining.replicates trains "
            "more of them."
        )
    return [heading, *lines, *notes]


def assumed_contrast(patients: int, labels: int, numbers: Numbers, scattered: int, pooled: int) -> Contrast:
    """Return the contrast of two sources with the assumed variances.

    ``numbers`` are those of subsets and encoders; ``scattered`` subsets tell their scatter, and the encoders of
    ``pooled`` sources theirs, if each meets several subsets.
    """
    positives = PREVALENCE * patients
    of_patients = 2 * (1 - CORRELATION) * auroc_variance(AUROC, positives, patients - positives)
    of_subset, of_encoder = SUBSET_SCATTER**2 / labels, 2 * ENCODER_SD**2
    subsets, encoders = numbers.subsets, numbers.encoders
    facts = {"n_subsets": subsets, "n_encoders": encoders}
    if encoders == 1:
        return Contrast(0.0, of_patients, of_subset / subsets, max(scattered - 1, 1), **facts)
    if encoders >= scattered:
        both = (of_subset + of_encoder) / subsets
        return Contrast(0.0, of_patients, both, max(scattered - 1, 1), **facts)
    between, noise, within = of_encoder / encoders, of_subset / scattered, of_subset / subsets
    return Contrast(
        0.0,
        of_patients,
        within,
        scattered - encoders,
        between,
        max(pooled - 1, 1) * (encoders - 1),
        min((between + noise) / (within + between), 1.0),
        encoder_noise=noise,
        **facts,
    )


def auroc_variance(auroc: float, positives: float, negatives: float) -> float:
    """Return the variance of an AUROC over test sets (Hanley and McNeil 1982, for exponential scores)."""
    both_above, both_below = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    total = auroc * (1 - auroc) + (positives - 1) * (both_above - auroc**2)
    return (total + (negatives - 1) * (both_below - auroc**2)) / (positives * negatives)


def _earlier(config: Config) -> Evidence | None:
    """Return the evidence of an earlier run of the same name, if all its targets have been evaluated."""
    folder = Path("results", config.run)
    files = {
        name: [folder / "evaluate" / target / f"{name}.parquet" for target in config.targets]
        for name in ("estimates", "covariance", "subsets")
    }
    if not all(path.is_file() for paths in files.values() for path in paths):
        return None
    # Pandas takes half a second.
    from moco_transfer.statistics.evidence import read_run

    # A run with other numbers of encoders or folds leaves files behind that belong to no run of this configuration.
    extra = [folder / "controls" / "linear" / f"{name}.parquet" for name in extra_heads(config)]
    extra, trained = list(filter(Path.is_file, extra)), trained_sources(config)
    return read_run(files["estimates"], files["covariance"], files["subsets"], extra, {}, trained)[1]


def _known(config: Config, evidence: Evidence, target: str, mode: str, percent: str) -> list[Contrast]:
    """Return the contrast of each two sources in a cell, with the numbers of the configuration, if they are known."""
    from moco_transfer.statistics.evidence import difference

    found = []
    for a, b in combinations(config.sources, 2):
        weights = difference(target, mode, percent, a, b)
        if not evidence.has(*weights):
            continue
        contrast = evidence.contrast(weights)
        varies = contrast.n_encoders > 1 or bool(contrast.one_encoder)
        planned = config.pretraining.replicates if varies else 1
        # The encoders' part is known, or the number of encoders stays.
        same = contrast.n_encoders == planned and (planned == 1 or contrast.n_subsets == config.n_subsets)
        if contrast.se > 0 and (same or (planned > 1 and are_apart(contrast))):
            found.append(resized(contrast, Numbers(1.0, config.n_subsets, planned)))
    return found


def _basis(config: Config, known: bool) -> str:
    if known:
        return f"From the variances in results/{config.run}/evaluate (median over pairs of sources)."
    return (
        f"From assumed variances: AUROC {AUROC}, {100 * PREVALENCE:.0f}% positives, differences that scatter by "
        f"{SUBSET_SCATTER} / sqrt(labels) between subsets, and {ENCODER_SD} between encoders of a source."
    )


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
