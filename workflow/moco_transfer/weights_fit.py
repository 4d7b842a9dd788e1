"""Find the weights of a network among the tensors of a file.

The names of the tensors begin with a prefix that says how the network was wrapped, such as ``module.``, ``encoder_q.`` or
``backbone.``, and the network's family may have renamed its layers since. Both are found out, because every prefix is tried and
the one under which every weight of the network is there is taken.
"""

from __future__ import annotations

import difflib
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from moco_transfer.errors import UserError

log = logging.getLogger(__name__)

# If a file holds two copies of a network, the average of many steps comes first and the copy that only serves training last:
# what the authors of MoCo, BYOL and DINO evaluate.
FIRST, LAST = {"ema", "teacher"}, {"k", "key", "momentum", "student", "target"}

# A counter that only a batch normalisation without momentum reads; older files lack it.
COUNTER = "num_batches_tracked"


@dataclass
class _Match:
    """What the tensors of a file under one prefix give for a network.

    Attributes
    ----------
    found : the weights by the network's names, in its shapes
    used : names of the file's tensors that are in ``found`` or that the network's family merged into one of them
    problem : the first weight that is missing or has another shape; empty if none
    """

    prefix: str
    found: dict[str, Tensor]
    used: set[str]
    problem: str

    @property
    def rank(self) -> tuple[int, int]:
        words = set(re.split(r"[._]", self.prefix.lower()))
        return (0 if words & FIRST else 2 if words & LAST else 1), len(self.prefix)


def fit_state(
    state: Mapping[str, Tensor], module: nn.Module, match: Literal["name", "order"], origin: str | Path
) -> str:
    """Load the tensors ``state`` of the file ``origin`` into ``module``, and log and return what was done in one line.

    By name, the prefix is found, old names are renamed by the filter that timm has for the family, position embeddings of another
    input size are resampled (Dosovitskiy et al. 2021), and children with numbers for names (``nn.Sequential``) are the network's in
    their order. A file that has more layers than the network belongs to another one. By order, names are ignored, and only one
    linear layer may follow the last weight. A first layer of one or three channels is converted. If two prefixes fit, ``teacher``
    and ``ema`` come first, and ``encoder_k``, ``momentum``, ``target`` and ``student`` last. Heads are left over.

    Raises UserError unless all weights are there in the right shape, and finite.
    """
    wanted = {name: value for name, value in module.state_dict().items() if not name.endswith(COUNTER)}
    by = _by_order if match == "order" else _by_name
    tried = [by(under, module, wanted, prefix) for prefix, under in _groups(state, wanted)]
    fitting = sorted((one for one in tried if not one.problem), key=lambda one: one.rank)
    name = _name(module)
    if not fitting:
        best = max(tried, key=lambda one: len(one.found))
        raise UserError(
            f"{origin}: these are not the weights of {name}: {len(best.found)} of its {len(wanted)} weights are there"
            f"{_under(best.prefix)}; {best.problem}; correct encoder, or the file{_advice(match, best, state)}"
        )
    best = fitting[0]
    for weight, value in best.found.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(
                f"{origin}: {weight}{_under(best.prefix)} contains values that are not finite numbers; get the file again"
            )
    module.load_state_dict(best.found, strict=False)

    left = [tensor for tensor in state if tensor not in best.used]
    some = ", ".join(left[:4]) + (", ..." if len(left) > 4 else "")
    report = (
        f"{origin}: {len(best.used)} of its {len(state)} tensors matched all {len(wanted)} weights of {name}{_under(best.prefix)}; "
        f"left over: {f'{len(left)} ({some})' if left else 'none'}"
    )
    others: list[str] = []
    for one in fitting[1:]:
        if not any(_nested(one.prefix, prefix) for prefix in (best.prefix, *others)):
            others.append(one.prefix)
    if others:
        report += f"; not used, although it fits too: {', '.join(map(repr, others))}"
    log.info(report)
    return report


def _groups(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield each prefix of the names and the names and tensors under it, if they are enough for at least half of the network."""
    prefixes = {name[: dot.end()]: None for name in state for dot in re.finditer(r"\.", name)}
    enough = sum(value.numel() for value in wanted.values()) / 2
    for prefix in ["", *prefixes]:
        under = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if prefix == "" or sum(value.numel() for value in under.values()) >= enough:
            yield prefix, under


def _by_name(
    under: dict[str, Tensor], module: nn.Module, wanted: Mapping[str, Tensor], prefix: str
) -> _Match:
    """Match by name, in the best of the ways in which networks are wrapped."""
    children = [name for name, child in module.named_children() if child.state_dict()]
    ways = [{name: name for name in under}]
    numbers = list(dict.fromkeys(name.split(".")[0] for name in under if name.split(".")[0].isdigit()))
    # DINOv2's trainings store blocks in chunks: blocks.CHUNK.BLOCK
    ways.append({re.sub(r"\bblocks\.\d+\.(\d+)\.", r"blocks.\1.", name): name for name in under})
    if numbers:
        # nn.Sequential(*network.children()): numbers in place of the names of the children that have weights
        renamed = dict(zip(numbers, children, strict=False))
        ways.append(
            {
                ".".join([renamed.get(first, first), *rest]): name
                for name in under
                for first, *rest in [name.split(".")]
            }
        )
    if len(children) == 1:
        ways.append({f"{children[0]}.{name}": name for name in under})
    return max(
        (
            _matched({new: under[old] for new, old in way.items()}, way, module, wanted, prefix)
            for way in ways
        ),
        key=lambda one: len(one.found),
    )


def _matched(
    tensors: dict[str, Tensor],
    origins: Mapping[str, str],
    module: nn.Module,
    wanted: Mapping[str, Tensor],
    prefix: str,
) -> _Match:
    """Match ``tensors``, whose names in the file are ``origins``, after the filter of the network's family."""
    filtered = _filtered(tensors, module)
    for name in filtered.keys() & tensors.keys():
        # The filter also resamples the kernel of the patches, which would make another network of it.
        if name.endswith(".weight") and tensors[name].ndim == filtered[name].ndim == 4:
            filtered[name] = tensors[name]
    unused = {id(value) for name, value in filtered.items() if name not in wanted}
    found, problem = {}, ""
    for name, value in wanted.items():
        given = filtered.get(name)
        fitted = None if given is None else _adapted(given, value)
        if fitted is not None:
            found[name] = fitted
        elif not problem:
            shape = "is missing" if given is None else f"is {_form(given)}, not {_form(value)}"
            problem = f"{name} {shape}"
    problem = problem or _other_layer(filtered, wanted)
    used = {
        prefix + origins[name]
        for name, value in tensors.items()
        if id(value) not in unused or name.endswith(COUNTER)
    }
    return _Match(prefix, found, used, problem)


def _other_layer(filtered: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return that the file has a layer inside the network that the network lacks, as that of a deeper one has, or nothing.

    Inside are the parts with numbers, such as ``layer1`` and ``blocks.0``; a head is outside.
    """

    def parts(name: str) -> set[str]:
        words = re.sub(r"\d+", "#", name).split(".")
        return {".".join(words[:i]) for i in range(1, len(words)) if "#" in "".join(words[:i])}

    inside = {part for name in wanted for part in parts(name)}
    for name in filtered:
        own = name not in wanted and not name.endswith(COUNTER)
        if own and (parts(name) & inside or name in ("reg_token", "register_tokens")):
            return f"{name} is in the file, but not in this network"
    return ""


def _filtered(tensors: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return ``tensors`` under today's names and sizes, by what timm does with files of this family."""
    family = sys.modules[type(module).__module__]
    for name in (
        "checkpoint_filter_fn",
        "_filter_torchvision_pretrained",
        "_filter_fn",
        "pretrained_filter_fn",
    ):
        convert = getattr(family, name, None)
        if convert is not None:
            break
    else:
        return tensors
    try:
        try:
            return convert(dict(tensors), module)
        except TypeError:
            return convert(dict(tensors))
    except Exception:
        # It is made for files of its family, and may fail in any way on the tensors of another prefix or file.
        return tensors


def _by_order(
    under: dict[str, Tensor], module: nn.Module, wanted: Mapping[str, Tensor], prefix: str
) -> _Match:
    given = {name: value for name, value in under.items() if not name.endswith(COUNTER)}
    found, used = {}, {prefix + name for name in under if name.endswith(COUNTER)}
    for (name, value), (own, tensor) in zip(wanted.items(), given.items(), strict=False):
        fitted = _adapted(tensor, value)
        kinds = own.rsplit(".", 1)[-1], name.rsplit(".", 1)[-1]
        if (
            fitted is None
            or (kinds[0] != kinds[1] and set(kinds) <= {"weight", "bias", "running_mean", "running_var"})
            or (own in wanted and own != name)
        ):
            at = len(found) + 1
            problem = f"tensor {at} of the file is {own} {list(tensor.shape)}, of the network {name} {list(value.shape)}"
            return _Match(prefix, found, used, problem)
        found[name] = fitted
        used.add(prefix + own)
    rest = [value.ndim for value in list(given.values())[len(wanted) :]]
    problem = ""
    if len(found) < len(wanted):
        problem = f"the file has only {len(given)} tensors"
    elif rest not in ([], [2], [2, 1]):
        problem = f"the file has {len(given)} tensors, more than the network and a linear layer"
    return _Match(prefix, found, used, problem)


def _adapted(value: Tensor, wanted: Tensor) -> Tensor | None:
    """Return ``value`` in the shape of ``wanted``, or None if it is another weight.

    A first layer for colour takes the sum of its channels for grey images, and one for grey images a third of its weights for each
    of three equal channels: the outputs stay the same (timm does it too).
    """
    if value.is_floating_point() != wanted.is_floating_point():
        return None
    # A linear layer may be a convolution of one pixel elsewhere.
    if value.squeeze().shape == wanted.squeeze().shape:
        return value.reshape(wanted.shape)
    if value.ndim == wanted.ndim == 4 and {value.shape[1], wanted.shape[1]} == {1, 3}:
        value = value.float()
        value = value.sum(dim=1, keepdim=True) if wanted.shape[1] == 1 else value.expand(-1, 3, -1, -1) / 3
        return value if value.shape == wanted.shape else None
    return None


def _advice(match: str, best: _Match, state: Mapping[str, Tensor]) -> str:
    first = best.prefix + best.problem.split()[0]
    if match == "order" or first in state:
        return ""
    if any(re.search(r"\bencoder\.layer\.\d+\.attention\.", name) for name in state):
        return ", which has the names of the library Transformers; take the file that goes with the authors' own code"
    near = difflib.get_close_matches(first, list(state), n=3, cutoff=0.5)
    return f", which has {', '.join(near or list(state)[:3])} (or match: order, if only the names differ)"


def _name(module: nn.Module) -> str:
    network = getattr(module, "network", None)
    if network is not None:
        return network.name
    return (getattr(module, "pretrained_cfg", None) or {}).get("architecture") or type(module).__name__


def _form(value: Tensor) -> str:
    return f"{list(value.shape)}" if value.is_floating_point() else f"{list(value.shape)} of {value.dtype}"


def _under(prefix: str) -> str:
    return f" under '{prefix}'" if prefix else ""


def _nested(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
