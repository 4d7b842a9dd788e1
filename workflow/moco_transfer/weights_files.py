"""Read a file of weights, whatever training code wrote it.

A file may be a plain state dict, a checkpoint with the weights in one of its entries, or safetensors under any name. Everything
else is refused with what it is, by its content, and what to do. Nothing is unpickled: files of PyTorch are read with
``weights_only=True``. ``weights_fit`` then finds a network's weights among the tensors.
"""

from __future__ import annotations

import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from moco_transfer import checksums
from moco_transfer.errors import UserError

# Checkpoints hold settings, epochs and metrics beside the weights, as objects of these packages. They are not needed: an empty
# object takes the place of each, so that none of these packages is imported and none of their code runs.
SETTINGS = re.compile(
    r"(addict|argparse|box|collections|copyreg|datetime|easydict|enum|fvcore|lightning|lightning_fabric|lightning_utilities"
    r"|ml_collections|mmcv|mmengine|numpy|omegaconf|pathlib|pytorch_lightning|torch\.optim|torch\.torch_version"
    r"|types\.SimpleNamespace|typing|uuid|yacs)(\.|$)"
    r"|builtins\.(bool|bytes|dict|float|frozenset|int|list|object|range|slice|str|tuple|type)$"
)
SAVE_STATE = "torch.save(model.state_dict(), 'weights.pth')"

HDF5 = b"\x89HDF\r\n\x1a\n"
ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
    b"\x28\xb5\x2f\xfd": "zstd",
}
# torch.save wrote this until version 1.6, after the two bytes of a pickle's protocol.
LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")


class _Nothing:
    """Takes the place of an object or function of ``SETTINGS``."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


class _Mapping:
    """Takes the place of a class of ``SETTINGS`` that extends dict."""

    def __new__(cls, *_: object) -> OrderedDict:
        return OrderedDict()


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the file ``path`` on the CPU, by name, whatever its extension.

    The entries of a checkpoint become the first part of the names ("state_dict.conv1.weight"); those of its optimizer are left
    out. A file that this project wrote is compared with its checksum.

    Raises UserError, which says what the file is and what to do, if it is damaged or not a file of weights.
    """
    path = Path(path)
    kind = _foreign_kind(path)
    if kind is not None:
        raise UserError(f"{path}: {kind}")
    content = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)
    if isinstance(content, Tensor):
        raise UserError(
            f"{path}: a single tensor {list(content.shape)}, not the weights of a network; save them by name with {SAVE_STATE}"
        )
    state = dict(_tensors(content)) if isinstance(content, Mapping) else {}
    if not state:
        keys = list(map(str, content))[:5] if isinstance(content, Mapping) else []
        what = f"a dict with the keys {', '.join(keys)}" if keys else f"a {type(content).__name__}"
        raise UserError(f"{path}: {what}, without any tensor by name; save the weights with {SAVE_STATE}")
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    checksums.check(path)
    try:
        return load_file(path)
    except SafetensorError:
        raise checksums.damaged(path) from None


def _read_torch(path: Path) -> object:
    kind = _archive_kind(path)
    if kind is not None:
        raise UserError(f"{path}: {kind}")
    empty: list[tuple[type, str]] = []
    while True:
        try:
            # The open file is given, because torch.load goes by the extension of a path.
            with path.open("rb") as file, torch.serialization.safe_globals(empty):
                return torch.load(file, map_location="cpu", weights_only=True)
        except UnpicklingError as error:
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            name = "" if found is None else found[1] if "." in found[1] else f"builtins.{found[1]}"
            if not SETTINGS.match(name) or any(name == known for _, known in empty):
                raise _not_only_tensors(path, name) from None
            empty.append((_Mapping if name.lower().endswith(("dict", "cfgnode")) else _Nothing, name))
        except (EOFError, OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
            raise UserError(
                f"{path}: this file of PyTorch is cut or damaged ({reason}); get it again"
            ) from None


def _not_only_tensors(path: Path, name: str) -> UserError:
    what = f"objects of {name}" if name else "Python objects"
    return UserError(
        f"{path}: it contains {what} and not only tensors, as if a whole network had been saved; they are not loaded, because that "
        f"would run code of the file. Load it with the code that wrote it and save the weights alone: {SAVE_STATE}"
    )


def _tensors(content: Mapping, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value.detach()
        elif isinstance(value, Mapping) and "optim" not in str(key).lower():
            yield from _tensors(value, f"{prefix}{key}.")


def _foreign_kind(path: Path) -> str | None:
    """Return what ``path`` is and what to do, if it is neither safetensors nor of PyTorch; else None.

    A kind that can be seen only inside a zip archive is found by ``_archive_kind``.
    """
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if file.suffix in WEIGHTS)[:5]
        return "a folder; give the file of weights in it" + (
            f", such as {', '.join(inside)}" if inside else ""
        )
    if not path.exists():
        return "no such file of weights; correct weights"
    if not path.is_file():
        return "not a regular file; give a file of weights"
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        return "an empty file; get it again"
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself; run git lfs pull in its repository, or download the file"
    if head.startswith(HDF5):
        return "an HDF5 file, as Keras writes; its weights must be converted to PyTorch first (many authors publish them for PyTorch too)"
    if head.startswith(b"\x93NUMPY"):
        return "an array of NumPy, not the weights of a network; save them by name with safetensors or torch.save"
    for magic, name in ARCHIVES.items():
        if head.startswith(magic):
            return f"a {name} archive; unpack it and give the file of weights in it"
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it and give the file of weights in it"
    if _is_safetensors(path) or _is_zip(path) or head[2:].startswith(LEGACY):
        return None
    if head[:1] == b"\x80":
        return "a pickle that torch.save did not write; load it with the code that wrote it and save the weights with torch.save"
    page = re.search(rb"<(!doctype|html|head|body)", head, re.IGNORECASE)
    if page or _is_text(head):
        what = "a web page, such as a login page" if page else "text"
        return f"{what}, not weights; delete it, and get the file itself (log in first, if its site asks for that)"
    return f"not a file of PyTorch or safetensors (it begins with {head[:8].hex(' ')}); correct weights, or get the file again"


def _archive_kind(path: Path) -> str | None:
    """Return what the zip archive ``path`` is and what to do, if torch.save did not write it or it is cut; else None."""
    if not _is_zip(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "this file is cut or damaged: the end is not that of an archive; get it again"
    if any(name.endswith("/constants.pkl") for name in names):
        return (
            "a TorchScript program, not only weights; in Python, save them with "
            "torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), 'weights.pth')"
        )
    if any(name.endswith("/data.pkl") for name in names):
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "arrays of NumPy (.npz); save them by name as tensors with torch.save"
    if any(name.endswith(".weights.h5") for name in names):
        return "a model of Keras; its weights must be converted to PyTorch first"
    inside = [name for name in names if name.endswith(WEIGHTS)][:5]
    return (
        f"a zip archive{f' with {inside[0]}' if inside else ''}; unpack it and give the file of weights in it"
    )


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _is_safetensors(path: Path) -> bool:
    """Whether ``path`` begins with the length of a header and a header in JSON (the format of safetensors)."""
    with path.open("rb") as file:
        head = file.read(9)
    # The format limits the header to 100 MB, which no text reaches with its first eight letters.
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= 100_000_000


def _is_text(head: bytes) -> bool:
    """Whether ``head`` is UTF-8; its last letter may be cut."""
    return b"\0" not in head and len(head) - len(head.decode("utf-8", "ignore").encode()) <= 3
