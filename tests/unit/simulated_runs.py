"""Runs whose true variances are known, as evidence and as the contrast of two sources with these variances."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moco_transfer.statistics.contrast import Contrast
from moco_transfer.statistics.evidence import EstimateKey, Evidence

SHARED = 0.02
"""The standard deviation between subsets of what all sources share, which differences do not feel."""


class Design(NamedTuple):
    """Variances and numbers of a simulated run with ``sources``; ``averaged`` of ``scattered`` subsets, ``encoders``
    of each source.

    ``patients`` is the variance of a difference of two sources over test sets; ``subset_sd`` and ``encoder_sd`` are
    those of one source. If ``encoder_sd`` is zero, the encoders are given.
    """

    patients: float
    subset_sd: float
    encoder_sd: float
    sources: int
    averaged: int
    scattered: int
    encoders: int


def simulated(draw: np.random.Generator, design: Design, effect: float) -> Contrast:
    """Return the estimated contrast of the first source with the second, which is worse by ``effect``."""
    keys = [EstimateKey("spine", f"source{k}", "linear", "1") for k in range(design.sources)]
    subsets = range(1, design.scattered + 1)
    met = {subset: (subset - 1) % design.encoders + 1 for subset in subsets}
    shared = draw.normal(0, SHARED, design.scattered)
    values = {}
    for number, key in enumerate(keys):
        aurocs = 0.7 + effect * (number == 0) + draw.normal(0, np.sqrt(design.patients / 2)) + shared
        aurocs += draw.normal(0, design.subset_sd, design.scattered)
        aurocs += draw.normal(0, design.encoder_sd, design.encoders)[np.array(list(met.values())) - 1]
        values[key] = dict(zip(subsets, aurocs, strict=True))
    evidence = Evidence(
        {key: float(np.mean(list(own.values())[: design.averaged])) for key, own in values.items()},
        {(key, key): design.patients / 2 for key in keys},
        values,
        dict.fromkeys(keys, design.averaged),
        encoders={key.source: met for key in keys} if design.encoder_sd else {},
    )
    return evidence.contrast({keys[0]: 1.0, keys[1]: -1.0})


def true_contrast(design: Design, effect: float = 0.0) -> Contrast:
    """Return the contrast that ``simulated`` estimates, with the variances that are true.

    Subsets are met equally often.
    """
    of_subset, of_encoder = 2 * design.subset_sd**2, 2 * design.encoder_sd**2
    numbers = {"n_subsets": design.averaged, "n_encoders": design.encoders if design.encoder_sd else 1}
    if not design.encoder_sd or design.encoders == design.scattered:
        both = (of_subset + of_encoder) / design.averaged
        return Contrast(effect, design.patients, both, design.scattered - 1, **numbers)
    within, between = of_subset / design.averaged, of_encoder / design.encoders
    noise = of_subset / design.scattered
    return Contrast(
        effect,
        design.patients,
        subsets=within,
        subset_df=design.scattered - design.encoders,
        encoders=between,
        encoder_df=(design.sources - 1) * (design.encoders - 1),
        encoder_share=min((between + noise) / (within + between), 1.0),
        encoder_noise=noise,
        **numbers,
    )
