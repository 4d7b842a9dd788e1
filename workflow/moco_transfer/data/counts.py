"""How many images a split, a labelled subset or a size control gets, and whether they are enough to train on.

Only numbers are here, so that a configuration can be checked before anything is read, the index before anything
is packed, and the splits before anything is trained, all by the same rules. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from moco_transfer.errors import UserError

# Batch normalisation needs a second image, and so does MoCo, whose other images are the negatives.
LEAST_IMAGES = 2


def subset_size(percent: str, images: int) -> int:
    """Return max(1, floor(``percent`` / 100 x ``images``)), exactly: ``percent`` is text, since floats round.

    >>> subset_size("0.05", 225_720)
    112
    """
    return max(1, int(Fraction(percent) * images / 100))


def smallest_percent(images: int) -> str:
    """Return the smallest percentage, rounded up to three digits, that labels two of ``images`` images (at least 2).

    >>> smallest_percent(30)
    '6.67'
    """
    exact = Fraction(100 * LEAST_IMAGES, images)
    decimals = 0
    while exact * 10**decimals < 100 and (exact * 10**decimals).denominator > 1:
        decimals += 1
    rounded = -int(-exact * 10**decimals // 1)  # up
    digits = str(rounded).zfill(decimals + 1)
    return f"{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".") if decimals else digits


def side_sizes(units: int, unit: str, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """Return how many ``units`` each side gets: floor(share x units), but the last side gets the rest.

    ``unit`` is the name of one. Raises UserError if a side gets none.

    >>> side_sizes(8389, "image", {"train": Fraction("0.7"), "validation": Fraction("0.3")})
    {'train': 5872, 'validation': 2517}
    """
    *cut, last = [name for name, share in shares.items() if share > 0]
    sizes = {name: int(shares[name] * units) for name in cut}
    sizes[last] = units - sum(sizes.values())
    short = min(sizes, key=sizes.__getitem__)
    if sizes[short] < 1:
        raise UserError(
            f"split: {_counted(units, unit)} too few for the shares: {short} gets none; give it a larger share, or add images"
        )
    return sizes


def fold_sizes(
    units: int, unit: str, shares: Mapping[str, Fraction], fold: int, folds: int
) -> tuple[dict[str, int], int]:
    """Return how many ``units`` each side gets in a fold, and how many come after its test part in their order.

    The units are cut into as many test parts as there are folds, whose sizes differ by one unit at most; fold 1 has one of the
    largest. What a fold does not test is cut by ``side_sizes``, in proportion to the other shares. Raises UserError if a side
    gets none.

    >>> fold_sizes(11, "image", {"train": Fraction("0.6"), "validation": Fraction("0.2"), "test": Fraction("0.2")}, 1, 5)
    ({'train': 6, 'validation': 2, 'test': 3}, 0)
    """
    if folds == 1:
        return side_sizes(units, unit, shares), 0
    start, end = ((folds - fold + part) * units // folds for part in (0, 1))
    if units < folds:
        raise UserError(
            f"split: {_counted(units, unit)} too few for {folds} folds; set folds to a smaller number, or add images"
        )
    rest = {side: share / (1 - shares["test"]) for side, share in shares.items() if side != "test"}
    return side_sizes(units - (end - start), unit, rest) | {"test": end - start}, units - end


def _counted(units: int, unit: str) -> str:
    return f"1 {unit} is" if units == 1 else f"{units} {'studies' if unit == 'study' else unit + 's'} are"


def check_percents(where: str, percents: Sequence[str], training: int) -> None:
    """Raise UserError if one of ``percents`` labels fewer than two of ``training`` images; ``where`` names the target.

    Every percentage is finetuned end to end, and some are pretrained on; both need two images.
    """
    if training < LEAST_IMAGES:
        raise UserError(
            f"{where}: it has {training} training images; finetuning needs at least {LEAST_IMAGES}"
        )
    for percent in percents:
        if Fraction(percent) * training / 100 < LEAST_IMAGES:
            raise UserError(
                f"{where}: {percent}% of {training} training images is fewer than the two images that end-to-end "
                f'finetuning and MoCo need; the smallest percentage that works is "{smallest_percent(training)}"'
            )


def check_moco_images(name: str, images: int) -> None:
    """Raise UserError if the source ``name`` has too few ``images`` for MoCo."""
    if images < LEAST_IMAGES:
        raise UserError(
            f"MoCo of {name} needs at least two images, but would have {images}; raise the percentage, "
            "or give its dataset training images"
        )


def check_sample(where: str, needed: int, available: int) -> None:
    """Raise UserError if a size control draws more images than its dataset has; ``where`` names the control."""
    if available < needed:
        raise UserError(
            f"{where}: MoCo needs {needed} images of its dataset, which has {available}; "
            "name the smaller dataset in as_many_as, or set this control to null"
        )
