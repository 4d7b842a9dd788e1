"""Fetch published weights: from an address, a repository of the Hugging Face hub, or those that timm names for a network."""

from __future__ import annotations

import hashlib
import http.client
import logging
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from moco_transfer.checksums import file_sha256
from moco_transfer.config.encoders import Encoder
from moco_transfer.errors import UserError
from moco_transfer.files import replacing

log = logging.getLogger(__name__)

# The names under which repositories keep the weights of a network, the most common first.
USUAL_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.pth",
)
INSTEAD = "or fetch it elsewhere and set weights to the path of the file"


def fetch(wanted: Encoder) -> Path:
    """Return the path of the weights of ``wanted`` on this machine.

    What is not here yet is downloaded into the cache of torch.hub or huggingface_hub. The SHA-256 of the file goes to the log,
    and is compared with the first digits that ``wanted.sha256`` gives.

    Raises UserError if the file cannot be had, or is another file.
    """
    if wanted.kind == "file":
        path = Path(wanted.weights)
        if not path.is_file():
            return path  # whoever reads it says what is wrong
    elif wanted.kind == "address":
        path = _from_address(wanted.weights)
    elif wanted.kind == "hub":
        repository, _, revision = wanted.weights.removeprefix("hf-hub:").partition("@")
        path = _from_hub(repository, revision, [wanted.file] if wanted.file else USUAL_FILES)
    else:
        path = _of_timm(wanted.encoder)

    digest = file_sha256(path)
    if wanted.sha256 is not None and not digest.startswith(wanted.sha256):
        again = "" if wanted.kind == "file" else "delete it and run again, "
        raise UserError(
            f"{path}: SHA-256 begins with {digest[:8]}, not {wanted.sha256}, so the file is damaged or another one; {again}get it "
            "again, or correct sha256"
        )
    log.info(f"{path}: SHA-256 {digest}")
    return path


def _from_address(address: str) -> Path:
    import torch

    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name or "weights"
    # Many files have the same name, so each address has its own folder.
    folder = hashlib.sha256(address.encode()).hexdigest()[:8]
    path = Path(torch.hub.get_dir(), "checkpoints", folder, name)
    if path.is_file():
        return path
    log.info(f"{address}: downloading to {path}")
    try:
        with urllib.request.urlopen(address, timeout=60) as answer, replacing(path) as temporary:
            with temporary.open("wb") as file:
                shutil.copyfileobj(answer, file)
            length = answer.headers.get("Content-Length")
            if length is not None and int(length) != temporary.stat().st_size:
                raise OSError(f"only {temporary.stat().st_size} of {length} bytes arrived")
    except urllib.error.HTTPError as error:
        why = {401: "it asks for a login", 403: "access is refused", 404: "there is no such file"}.get(
            error.code, error.reason
        )
        raise UserError(f"{address}: {why} (HTTP {error.code}); correct weights, {INSTEAD}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(f"{address}: cannot be fetched ({_reason(error)}); run again, {INSTEAD}") from None
    return path


def _from_hub(repository: str, revision: str | None, names: list[str] | tuple[str, ...]) -> Path:
    """Return the first of the files ``names`` of ``repository``; the revision None is the newest."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub import errors as refused

    where = f"hf-hub:{repository}" + (f"@{revision}" if revision else "")
    page = f"{constants.ENDPOINT}/{repository}"
    absent: Exception | None = None
    for name in names:
        try:
            # Each attempt without a network takes half a minute, so that only the cache is asked for the other names.
            offline = isinstance(absent, refused.LocalEntryNotFoundError)
            path = Path(hf_hub_download(repository, name, revision=revision, local_files_only=offline))
            log.info(f"{where}: {name} of commit {_commit(path)}")
            return path
        except refused.GatedRepoError:
            why = f"its authors ask you to accept their terms at {page}; do so, log in with 'hf auth login' or HF_TOKEN"
        except refused.RepositoryNotFoundError:
            why = "the hub has no such repository, or it is private; correct weights, log in with 'hf auth login' or HF_TOKEN"
        except refused.RevisionNotFoundError:
            why = f"the repository has no such revision; take the commit from {page}/commits/main"
        except refused.EntryNotFoundError as error:
            # It is raised too if the hub cannot be reached; another name may be in the cache.
            absent = error if absent is None or isinstance(error, refused.LocalEntryNotFoundError) else absent
            continue
        except (OSError, ValueError, refused.HTTPError) as error:
            why = f"cannot be fetched ({_reason(error)}); run again"
        raise UserError(f"{where}: {why}, {INSTEAD}") from None
    if isinstance(absent, refused.LocalEntryNotFoundError):
        why = f"the hub cannot be reached, and the file is not in its cache ({_reason(absent.__cause__ or absent)}); run again with a network"
    else:
        why = f"it has no file {' or '.join(names)}; set file to one of those that {page}/tree/{revision or 'main'} lists"
    raise UserError(f"{where}: {why}, {INSTEAD}")


def _commit(path: Path) -> str:
    """Return the commit of a file in the hub's cache, which is the name of a folder: snapshots/COMMIT/FILE."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else "unknown"


def _of_timm(encoder: str) -> Path:
    import timm

    try:
        published = timm.get_pretrained_cfg(encoder)
    except RuntimeError:  # an unknown tag
        published = None
    if published is not None and published.hf_hub_id:
        repository, _, revision = published.hf_hub_id.partition("@")
        names = [published.hf_hub_filename] if published.hf_hub_filename else USUAL_FILES
        return _from_hub(repository, revision or None, names)
    if published is not None and published.url:
        return _from_address(published.url)
    tags = timm.list_models(f"{encoder.split('.')[0]}.*", pretrained=True)
    known = f"; it has {', '.join(tags)}" if tags else ""
    raise UserError(
        f"{encoder}: timm has no weights of this name{known}; correct encoder, or set weights to the path of a file"
    )


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
