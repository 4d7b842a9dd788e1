"""Take an encoder or a finetuned model away, to torchvision, timm or ONNX: ``moco-transfer export``.

Before anything is written, the network that will load the file is built, loads it, and must give the same outputs for random
images.
"""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from moco_transfer.config.encoders import SMALL, About, Network
from moco_transfer.errors import UserError
from moco_transfer.files import replacing
from moco_transfer.model import load_classifier, read_file
from moco_transfer.networks import load_encoder, timm_arguments

SUFFIXES = {
    "torchvision": (".pth", ".pt", ".safetensors"),
    "timm": (".safetensors", ".pth", ".pt"),
    "onnx": (".onnx",),
}
# The most that outputs may differ, relative to the largest: the order of sums differs between programs.
TOLERANCE = 1e-4
SMALL_ARGUMENTS: dict[str, Any] = {"growth_rate": 8, "block_config": (2, 3, 4, 3)}
# What torchvision calls a network's classifier.
CLASSIFIERS = ("classifier", "fc", "heads", "head")


def export(*, encoder: Path, to: Literal["torchvision", "timm", "onnx"], out: Path) -> str:
    """Write an encoder for torchvision, timm or ONNX, and print the Python lines that load it.

    The network that loads the file is built and compared on random images before the file is written. An encoder of three
    channels expects colour or grey repeated; the printed lines say how images are normalised.

    Parameters
    ----------
    encoder : an encoder of a run, results/RUN/**/encoder.safetensors, or a finetuned model, of which torchvision and timm
        get the encoder, and ONNX all, with logits as outputs
    to : torchvision and timm get a file of weights that their network of this name loads with strict=True; ONNX gets the
        whole network, for any number of images at once
    out : the file to write, which must not be there yet: .pth or .safetensors for torchvision and timm, .onnx for ONNX
    """
    if out.suffix not in SUFFIXES[to]:
        raise UserError(f"--out {out}: expected a name that ends with {' or '.join(SUFFIXES[to])}")
    if out.exists():
        raise UserError(f"--out {out}: it is there already; remove it, or give another name")
    module: nn.Module
    if "classes" in read_file(encoder)[1]:
        module, about = load_classifier(encoder)
        network, backbone = about.network, module.encoder
    else:
        module = backbone = load_encoder(encoder).eval()
        network, about = module.network, None
    if to == "onnx":
        return _to_onnx(module, network, about, out)
    write = _to_torchvision if to == "torchvision" else _to_timm
    return write(backbone, network, out)


def _to_torchvision(encoder: nn.Module, network: Network, out: Path) -> str:
    from torchvision import models

    name = network.name.split(".")[0]
    elsewhere = "export it with --to timm or --to onnx"
    if name == SMALL:
        code = f"DenseNet({_written(SMALL_ARGUMENTS)}, num_init_features=16)"
        other: nn.Module = models.DenseNet(**SMALL_ARGUMENTS, num_init_features=16)
    elif name in models.list_models():
        code = f"{name}()"
        other = models.get_model(name, weights=None)
    else:
        raise UserError(f"torchvision has no network named {name}; {elsewhere}")
    classifier = next(part for part in CLASSIFIERS if hasattr(other, part))
    setattr(other, classifier, nn.Identity())
    state = dict(encoder.state_dict())
    if network.channels == 1:  # torchvision's networks have three, over which the weights are spread
        first = next(part for part, layer in encoder.named_modules() if isinstance(layer, nn.Conv2d))
        state[f"{first}.weight"] = state[f"{first}.weight"].repeat(1, 3, 1, 1) / 3
    images = _random_images(network, 2)
    try:
        other.load_state_dict(state)
        difference = _difference(other.eval(), images.expand(-1, 3, -1, -1), _outputs(encoder, images))
    except (RuntimeError, AssertionError):
        raise UserError(
            f"torchvision's {name} is another network than timm's of this name; {elsewhere}"
        ) from None
    _require_same(difference, f"torchvision's {name} gives other features than timm's; {elsewhere}")
    lines = [
        "import torch, torchvision",
        f"network = torchvision.models.{code}",
        f"network.{classifier} = torch.nn.Identity()",
    ]
    return _save(state, lines, network.model_copy(update=_three_channels(network)), difference, out)


def _three_channels(network: Network) -> dict[str, Any]:
    return {"channels": 3, **{key: (getattr(network, key) * 3)[:3] for key in ("mean", "std")}}


def _to_timm(encoder: nn.Module, network: Network, out: Path) -> str:
    import timm

    small = network.name == SMALL
    name = "densenet121" if small else network.name
    arguments = timm_arguments(network.model_copy(update={"name": name})) | (SMALL_ARGUMENTS if small else {})
    other = timm.create_model(name, **arguments)
    state = encoder.state_dict()
    other.load_state_dict(state)
    images = _random_images(network, 2)
    difference = _difference(other.eval(), images, _outputs(encoder, images))
    _require_same(difference, f"timm's {name} gives other features; export it with --to onnx")
    lines = ["import timm, torch", f'network = timm.create_model("{name}", {_written(arguments)})']
    return _save(state, lines, network, difference, out)


def _save(state: dict[str, Tensor], lines: list[str], network: Network, difference: float, out: Path) -> str:
    """Write ``state`` to ``out`` and return how it is loaded into the network that ``lines`` build."""
    state = {name: value.contiguous() for name, value in state.items()}
    place = json.dumps(str(out))
    if out.suffix == ".safetensors":
        content, load = save(state), f"safetensors.torch.load_file({place})"
        lines = ["import safetensors.torch", *lines]
    else:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content, load = buffer.getvalue(), f"torch.load({place}, weights_only=True)"
    with replacing(out) as temporary:
        temporary.write_bytes(content)
    lines += [f"network.load_state_dict({load})", "network.eval()", *_input_lines(network)]
    return "\n".join([_summary(out, "features", difference), "", *lines])


def _to_onnx(module: nn.Module, network: Network, about: About | None, out: Path) -> str:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--to onnx: {error.name} is not installed; run: python -m pip install onnx onnxscript onnxruntime"
        ) from None
    for library in ("onnxscript", "onnx_ir"):  # they tell every step
        logging.getLogger(library).setLevel(logging.WARNING)
    output = "logits" if about else "features"
    try:
        program = torch.onnx.export(
            module,
            (_random_images(network, 2),),
            dynamo=True,
            input_names=["images"],
            output_names=[output],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"PyTorch cannot export {network.name} to ONNX ({reason}); choose --to timm"
        ) from None
    described = network.model_dump() | (about.model_dump(exclude={"network"}) if about else {})
    for node in program.model.graph.all_nodes():  # PyTorch's stack traces: names of folders of this machine
        node.metadata_props.clear()
    program.model.metadata_props.update({key: json.dumps(value) for key, value in described.items()})
    with replacing(out) as temporary:
        program.save(temporary)
        difference = _difference_in_onnxruntime(module, network, temporary)
        if difference is not None:
            _require_same(
                difference, f"onnxruntime gives other {output} for {network.name}; choose --to timm"
            )
    lines = [
        "import onnxruntime",
        f"session = onnxruntime.InferenceSession({json.dumps(str(out))})",
        *_input_lines(network),
        f'# {output} = session.run(["{output}"], {{"images": images}})[0]',
    ]
    return "\n".join([_summary(out, output, difference), "", *lines])


def _difference_in_onnxruntime(module: nn.Module, network: Network, path: Path) -> float | None:
    """Return how the ONNX file ``path`` differs from ``module`` for one image and for three; None without onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def other(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    batches = [_random_images(network, n) for n in (1, 3)]
    return max(_difference(other, images, _outputs(module, images)) for images in batches)


def _random_images(network: Network, n: int) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, network.channels, network.size, network.size, generator=generator)


@torch.no_grad()
def _outputs(module: nn.Module, images: Tensor) -> Tensor:
    return module(images)


def _difference(other: Any, images: Tensor, expected: Tensor) -> float:
    """Return the largest difference between the outputs of ``other`` and those ``expected``, relative to the largest of these."""
    found = _outputs(other, images)
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max())


def _require_same(difference: float, message: str) -> None:
    if not difference <= TOLERANCE:  # NaN is no small difference
        raise UserError(f"{message} (relative difference {difference:.2g})")


def _summary(out: Path, outputs: str, difference: float | None) -> str:
    if difference is None:
        return f"{out}: written, but not compared: onnxruntime is not installed"
    return f"{out}: the same {outputs} for random images (relative difference {difference:.1e})"


def _input_lines(network: Network) -> list[str]:
    shape = f"[n, {network.channels}, {network.size}, {network.size}]"
    return [
        f"# images: float32 {shape}, values from 0 to 1, minus mean, divided by std, of each channel",
        f"mean, std = {network.mean}, {network.std}",
    ]


def _written(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in arguments.items())
