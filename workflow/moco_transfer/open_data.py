"""Fetch public sets of radiographs (``make open-data``): what a plain download gives, and what must be clicked for the others.

Nothing is downloaded that was not named. Before, the files are listed with their sizes and licences, and the disk must have room for
them, packed and unpacked. A download grows in ``archives/SET/FILE.part``; if it stops, the next run continues it. It gets its name when
its size and the publisher's checksum are right. A set is unpacked beside its folder, which appears when it is complete. A file that
was downloaded in a browser counts if it lies in ``archives/SET/``.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import json
import logging
import shlex
import shutil
import ssl
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from moco_transfer.data.image_list import files_below
from moco_transfer.data.public_sets import PUBLIC_SETS, PublicSet
from moco_transfer.errors import UserError
from moco_transfer.files import replacing, room_for

BLOCK = 1 << 20
# The table with paths that is made of dataset.csv.
TABLE, LISTED = "dataset.csv", "images.csv"
REFUSALS = {401: "it asks for a login", 403: "access is refused", 404: "there is no such file"}

log = logging.getLogger(__name__)


class Offer(NamedTuple):
    """A file as its publisher lists it; ``digest`` is empty if no checksum is published. ``size`` is in bytes."""

    name: str
    size: int
    address: str
    algorithm: str
    digest: str


def open_data(folder: Path, *, sets: list[str] | None = None) -> str:
    """Fetch public sets of radiographs for config/open.yaml into a folder, or list them.

    It prints what it will fetch, how large that is and under which licence, downloads and checks it, unpacks it, and prints the lines
    of YAML that say where the images are. A set that cannot be fetched by a plain download is explained. If it stops, run it
    again: it continues.

    Parameters
    ----------
    folder : where the sets go, with one folder for each
    sets : the names of the sets to fetch; if not given, they are only listed
    """
    unknown = [name for name in sets or () if name not in PUBLIC_SETS]
    if unknown:
        raise UserError(f"SETS: there is no set '{unknown[0]}'; choose from {', '.join(PUBLIC_SETS)}")
    chosen = {name: PUBLIC_SETS[name] for name in sets or ()}
    if not chosen:
        return _overview(folder)
    home = folder.expanduser().absolute()
    absent = {name: each for name, each in chosen.items() if each.listing and not (home / name).is_dir()}
    offers = {name: _offers(name, each, home / "archives" / name) for name, each in absent.items()}
    for name, each in chosen.items():
        print(_announced(name, each, offers.get(name), home / name), flush=True)
    # Unpacked images take about as much as their archive: they are compressed themselves.
    archives = sum(
        _missing_bytes(offer, home / "archives" / name) for name in offers for offer in offers[name]
    )
    with room_for(archives + sum(offer.size for each in offers.values() for offer in each), home):
        for name, each in absent.items():
            files = [_fetched(offer, home / "archives" / name, each) for offer in offers[name]]
            _unpack(files, home / name)
        for name, each in chosen.items():
            if each.lists_images and not (home / name / LISTED).is_file():
                _list_images(home / name)
    return _roots(home)


def _overview(folder: Path) -> str:
    lines = [f"{'set':17}{'images':>8}  {'download':12}{'licence':14}what it shows"]
    for name, each in PUBLIC_SETS.items():
        licence = each.licence if len(each.licence) < 12 else "see its page"
        lines.append(f"{name:17}{sum(each.images.values()):>8,}  {each.download:12}{licence:14}{each.title}")
    clicked = [name for name, each in PUBLIC_SETS.items() if not each.listing]
    wanted = shlex.quote(str(folder))
    return "\n".join(
        [
            *lines,
            "",
            "Nothing was downloaded. docs/open-data.md describes each set and its traps. To fetch some:",
            f'  make open-data DIR={wanted} SETS="kermany knee-oai"',
            f"Must be clicked, because no plain download gives it whole: {', '.join(clicked)}. Name it in SETS to read how.",
        ]
    )


def _announced(name: str, each: PublicSet, offers: Sequence[Offer] | None, home: Path) -> str:
    """Return what will happen to a set: what is fetched, its licence and how to cite it, or what to click."""
    terms = f"  licence: {each.licence}; to cite: {each.citation}"
    if home.is_dir() and each.listing:
        return f"{name}: {home} is there, so nothing is fetched (to fetch it again, remove it)"
    if offers is None:
        steps = [f"  {number}. {step.format(home=home)}" for number, step in enumerate(each.by_hand, 1)]
        return "\n".join([f"{name}: must be clicked, at {each.page}", terms, *steps])
    lines = [
        f"  {offer.name}: {_readable(offer.size)}, {offer.algorithm.upper() if offer.digest else 'no checksum'} published"
        for offer in offers
    ]
    return "\n".join([f"{name}: from {each.page}", terms, *lines])


def _offers(name: str, each: PublicSet, archives: Path) -> list[Offer]:
    """Return the files of a set as its publisher lists them, or, if there is no list, as they lie in ``archives``."""
    instead = (
        f"get {', '.join(each.files)} from {each.page} in a browser, put them into {archives}, and run again"
    )
    here = [archives / file for file in each.files]
    try:
        with _opened(each.listing, {}, instead) as answer:
            listed = {offer.name: offer for offer in map(_offer, json.load(answer))}
        lacking = [file for file in each.files if file not in listed]
        if lacking:
            raise UserError(f"{each.listing}: it does not list {lacking[0]}; {instead}")
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        problem = UserError(
            f"{each.listing}: not the list of files that was expected ({_reason(error)}); {instead}"
        )
    except UserError as error:
        problem = error
    else:
        return [listed[file] for file in each.files]
    if not all(map(Path.is_file, here)):
        raise problem from None
    log.warning("%s; the files in %s are used, compared with no checksum", problem, archives)
    return [Offer(path.name, path.stat().st_size, "", "", "") for path in here]


def _offer(entry: dict) -> Offer:
    """Read a file from the JSON of Mendeley Data, which has ``content_details``, or of figshare."""
    if "content_details" in entry:
        details = entry["content_details"]
        digest = details.get("sha256_hash") or ""
        return Offer(entry["filename"], int(entry["size"]), details["download_url"], "sha256", digest)
    digest = entry.get("computed_md5") or entry.get("supplied_md5") or ""
    return Offer(entry["name"], int(entry["size"]), entry["download_url"], "md5", digest)


def _missing_bytes(offer: Offer, archives: Path) -> int:
    here = [path for path in (archives / offer.name, _part(archives / offer.name)) if path.is_file()]
    return max(0, offer.size - (here[0].stat().st_size if here else 0))


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _fetched(offer: Offer, archives: Path, each: PublicSet) -> Path:
    """Return the path of a file that is complete and compared with its checksum, after downloading what lacks."""
    path = archives / offer.name
    if path.is_file():
        _check(path, offer, "remove it and run again")
        return path
    archives.mkdir(parents=True, exist_ok=True)
    instead = f"run again: it continues; or get it from {each.page} in a browser, put it into {archives}, and run again"
    _download(offer, _part(path), instead)
    try:
        _check(_part(path), offer, instead.replace(": it continues", ""))
    except UserError:
        _part(path).unlink()
        raise
    _part(path).replace(path)
    return path


def _download(offer: Offer, part: Path, instead: str) -> None:
    """Download a file into ``part``, after the bytes that are there already if the server can continue."""
    start = part.stat().st_size if part.is_file() else 0
    if start == offer.size:
        return
    headers = {"Range": f"bytes={start}-"} if 0 < start < offer.size else {}
    try:
        with _opened(offer.address, headers, instead) as answer:
            start = start if answer.status == http.client.PARTIAL_CONTENT else 0
            with (
                part.open("ab" if start else "wb") as file,
                tqdm(
                    desc=offer.name, total=offer.size, initial=start, unit="B", unit_scale=True, disable=None
                ) as bar,  # on stderr, shown on a terminal only
            ):
                while block := answer.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        log.warning("%s: the download stopped (%s)", offer.name, _reason(error))
    if part.stat().st_size < offer.size:
        arrived = f"only {part.stat().st_size:,} of {offer.size:,} bytes arrived"
        raise UserError(f"{offer.name}: {arrived}; {instead}")


def _opened(address: str, headers: dict[str, str], instead: str) -> http.client.HTTPResponse:
    request = urllib.request.Request(address, headers={"User-Agent": "moco-transfer", **headers})
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        why = REFUSALS.get(error.code, error.reason)
        raise UserError(f"{address}: {why} (HTTP {error.code}); {instead}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(f"{address}: cannot be reached ({_reason(error)}); {instead}") from None


def _check(path: Path, offer: Offer, instead: str) -> None:
    """Raise UserError if a file has another size or checksum than its publisher lists."""
    size = path.stat().st_size
    if size != offer.size:
        raise UserError(f"{path}: {size:,} bytes instead of the {offer.size:,} that are published; {instead}")
    if not offer.digest:
        log.info("%s: only its size was compared, because no checksum is published", offer.name)
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, offer.algorithm).hexdigest()
    if digest != offer.digest.lower():
        raise UserError(
            f"{path}: its {offer.algorithm.upper()} is {digest}, not the published {offer.digest}; {instead}"
        )
    log.info("%s: %s %s, as published", offer.name, offer.algorithm.upper(), digest)


def _unpack(files: Sequence[Path], home: Path) -> None:
    """Make the folder ``home`` of what the archives contain and of copies of the other files, at once or not at all."""
    temporary = home.with_name(f".{home.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        for path in files:
            if path.suffix == ".zip":
                _unzip(path, temporary)
            else:
                shutil.copyfile(path, temporary / path.name)
        temporary.replace(home)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unzip(path: Path, into: Path) -> None:
    # A member such as '../x' could replace any file of this user.
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(not (into / each.filename).resolve().is_relative_to(into.resolve()) for each in members):
                raise UserError(
                    f"{path}: a file in it would leave the folder, so it is not what its publisher means; remove it"
                )
            with room_for(sum(each.file_size for each in members), into):
                for each in tqdm(members, desc=f"unpacking {path.name}", unit=" files", disable=None):
                    archive.extract(each, into)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(
            f"{path}: damaged, or no zip archive ({_reason(error)}); remove it and run again"
        ) from None
    except NotImplementedError as error:
        home = into.with_name(into.name.removeprefix(".").removesuffix(".unpacking"))
        raise UserError(f"{path}: {_reason(error)}; unpack it by another program into {home}") from None


def _list_images(root: Path) -> None:
    """Write ``images.csv``: the rows of ``dataset.csv`` whose images are below ``root``, with their paths.

    The table names an image without its folder and suffix (``filestem``). Raises UserError if it or all images are missing.
    """
    if not (root / TABLE).is_file():
        raise UserError(f"{root}: {TABLE} is missing; put it there, or remove the folder, and run again")
    paths = {Path(path).stem: path for path in files_below(root)[0] if path.endswith(".png")}
    with (root / TABLE).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    there = [{**row, "path": paths[row["filestem"]]} for row in rows if row.get("filestem") in paths]
    if not there:
        raise UserError(f"{root}: none of the images that {TABLE} names is below it; unpack them there")
    if len(there) < len(rows):
        log.warning(
            "%s: left out because the image is not there: %d of %d", LISTED, len(rows) - len(there), len(rows)
        )
    with replacing(root / LISTED) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(there[0]))
        writer.writeheader()
        writer.writerows(there)


def _roots(home: Path) -> str:
    """Return the YAML that says where the sets in the folder ``home`` are, and what to do with it."""
    lines = []
    for name, each in PUBLIC_SETS.items():
        if (home / name).is_dir():
            found = sorted((home / name).glob(each.inside)) if each.inside else [home / name]
            if found:  # the shortest path, because copies may hold another copy
                root = json.dumps(str(min(found, key=lambda path: len(path.parts))), ensure_ascii=False)
                lines.append(f"  {each.dataset}: {{root: {root}}}")
            else:
                log.warning(
                    "%s: it has no folder %s, so its root is not shown; docs/open-data.md says what to look for",
                    home / name,
                    each.inside,
                )
    if not lines:
        return ""
    usage = "then: .venv/bin/snakemake -n --configfile config/open.yaml my.yaml"
    extra = f"{home / 'archives'} is no longer needed.\n" if (home / "archives").is_dir() else ""
    return f"\n{extra}For a file of your own, such as my.yaml ({usage}):\n\ndatasets:\n" + "\n".join(lines)


def _readable(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e3:,.0f} kB"


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
