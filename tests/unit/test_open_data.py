"""``moco-transfer open-data`` against a web server that lists and sends files as Mendeley Data and figshare do."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import shlex
import shutil
import subprocess
import sys
import threading
import types
import zipfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from moco_transfer import cli
from moco_transfer.data.public_sets import PUBLIC_SETS

ROOT = Path(__file__).parents[2]
KERMANY = "chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg"


def zipped(*names: str, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive with a file of 1,000 bytes for each of ``names``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in names:
            archive.writestr(name, b"x" * 1000)
    return buffer.getvalue()


@pytest.fixture
def web(monkeypatch):
    """A web server: its files by path, the ranges that were asked for, and after how many bytes it hangs up."""
    files, asked, settings = {}, [], types.SimpleNamespace(cut=None, ranges=True)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Range"]))
            body = files.get(self.path)
            if body is None:
                return self.send_error(404)
            wanted = self.headers["Range"] if settings.ranges else None
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            is_listing = body.startswith(b"[")
            self.wfile.write(body[start:] if is_listing else body[start : settings.cut])
            return None

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    address = f"http://127.0.0.1:{server.server_port}"
    for name, each in PUBLIC_SETS.items():
        if each.listing:
            monkeypatch.setitem(PUBLIC_SETS, name, replace(each, listing=f"{address}/{name}"))
    settings.files, settings.asked, settings.address = files, asked, address
    yield settings
    server.shutdown()
    thread.join()
    server.server_close()


def publish(web, name, contents, checksums=True):
    """Publish ``contents`` by name of the file as the publisher of the set ``name`` does, in a list with another file."""
    listed = []
    for file, content in {**contents, "OTHER.tar.gz": b"not wanted"}.items():
        address, size = f"{web.address}/files/{name}/{file}", len(content)
        web.files[f"/files/{name}/{file}"] = content
        sha, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
        if "mendeley" in PUBLIC_SETS[name].page:
            details = {"download_url": address, "sha256_hash": sha if checksums else None}
            listed.append({"filename": file, "size": size, "content_details": details})
        else:
            sums = (
                {"supplied_md5": md5, "computed_md5": md5}
                if checksums
                else {"supplied_md5": "", "computed_md5": ""}
            )
            listed.append({"name": file, "size": size, "download_url": address, **sums})
    web.files[f"/{name}"] = json.dumps(listed).encode()


@pytest.fixture
def fetch(tmp_path, capsys, caplog):
    """Run the command for sets; return what it prints, or its error."""
    caplog.set_level("INFO")

    def run(*sets, status=0):
        options = ["--sets", *sets] if sets else []
        assert cli.main(["open-data", *options, "--", str(tmp_path / "open")]) == status
        out, err = capsys.readouterr()
        assert err.count("\n") == 1 if status else True, err
        return err if status else out

    return run


def roots(out):
    """Return the root of each dataset in the YAML that the command prints at its end."""
    return {
        name: each["root"]
        for name, each in yaml.safe_load(out[out.index("\ndatasets:") :])["datasets"].items()
    }


def test_without_names_the_sets_are_listed_and_nothing_is_fetched(web, fetch, tmp_path):
    out = fetch()
    assert all(name in out for name in PUBLIC_SETS) and "Nothing was downloaded" in out
    assert not web.asked and not (tmp_path / "open").exists()
    assert "choose from kermany, knee-oai" in fetch("knees", status=1)


def test_named_sets_are_fetched_checked_unpacked_and_their_roots_printed(web, fetch, tmp_path, caplog):
    publish(web, "kermany", {"ChestXRay2017.zip": zipped(KERMANY, "__MACOSX/chest_xray/._x")})
    publish(
        web,
        "fracatlas",
        {"FracAtlas.zip": zipped("FracAtlas/dataset.csv", "FracAtlas/images/Fractured/IMG0.jpg")},
    )
    out = fetch("kermany", "fracatlas")
    before = out[: out.index("datasets:")]
    for part in (
        "CC BY 4.0",
        "doi:10.17632/rscbjbr9sj.2",
        "ChestXRay2017.zip: ",
        "SHA256 published",
        "MD5 published",
    ):
        assert part in before
    home = tmp_path / "open"
    assert roots(out) == {
        "child-chest": str(home / "kermany/chest_xray"),
        "limbs": str(home / "fracatlas/FracAtlas"),
    }
    assert (home / "kermany" / KERMANY).read_bytes() == b"x" * 1000
    assert sorted(path.name for path in home.iterdir()) == ["archives", "fracatlas", "kermany"]
    assert not any("OTHER" in path for path, _ in web.asked)
    assert caplog.text.count("as published") == 2

    # A set that is there is neither asked for nor changed.
    web.asked.clear()
    assert roots(fetch("kermany")) == roots(out) and not web.asked


def test_an_interrupted_download_continues(web, fetch, tmp_path):
    content = zipped(KERMANY, "chest_xray/other.jpeg")
    publish(web, "kermany", {"ChestXRay2017.zip": content})
    web.cut = 700
    message = fetch("kermany", status=1)
    assert f"only 700 of {len(content):,} bytes" in message and "run again: it continues" in message
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["ChestXRay2017.zip.part"]
    web.cut = None
    fetch("kermany")
    assert web.asked[-1][1] == "bytes=700-"
    assert (tmp_path / "open/archives/kermany/ChestXRay2017.zip").read_bytes() == content


def test_a_server_that_cannot_continue_sends_all_again(web, fetch, tmp_path):
    content = zipped(KERMANY, "chest_xray/other.jpeg")
    publish(web, "kermany", {"ChestXRay2017.zip": content})
    web.cut, web.ranges = 700, False
    fetch("kermany", status=1)
    web.cut = None
    fetch("kermany")
    assert (tmp_path / "open/archives/kermany/ChestXRay2017.zip").read_bytes() == content


def test_a_wrong_checksum_removes_the_download(web, fetch, tmp_path):
    publish(web, "fracatlas", {"FracAtlas.zip": zipped("FracAtlas/dataset.csv")})
    right = web.files["/files/fracatlas/FracAtlas.zip"]
    web.files["/files/fracatlas/FracAtlas.zip"] = right.replace(b"xx", b"xy", 1)
    message = fetch("fracatlas", status=1)
    assert (
        hashlib.md5(right).hexdigest() in message
        and "not the published" in message
        and "continues" not in message
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_where_no_checksum_is_published_it_says_so(web, fetch, caplog):
    publish(web, "kermany", {"ChestXRay2017.zip": zipped(KERMANY)}, checksums=False)
    assert "no checksum published" in fetch("kermany")
    assert "no checksum is published" in caplog.text


def test_progress_goes_to_stderr(web, tmp_path, capsys, monkeypatch):
    publish(web, "kermany", {"ChestXRay2017.zip": zipped(KERMANY)})
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert cli.main(["open-data", "--sets", "kermany", "--", str(tmp_path / "open")]) == 0
    out, err = capsys.readouterr()
    assert "ChestXRay2017.zip: 100%" in err and "unpacking ChestXRay2017.zip: 100%" in err
    assert "100%" not in out


def test_a_disk_without_room_is_refused_before_anything_is_downloaded(web, fetch, tmp_path, monkeypatch):
    content = zipped(KERMANY)
    publish(web, "kermany", {"ChestXRay2017.zip": content})
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 2 * len(content) - 1))
    message = fetch("kermany", status=1)
    assert "no space left" in message and str(tmp_path / "open") in message
    assert [path for path, _ in web.asked] == ["/kermany"]
    # Half of it is there: the archive.
    archives = tmp_path / "open/archives/kermany"
    archives.mkdir(parents=True)
    (archives / "ChestXRay2017.zip").write_bytes(content)
    fetch("kermany")


@pytest.mark.parametrize("name", ["../escaped", "chest_xray/../../escaped", "/tmp/escaped-by-open-data"])
def test_an_archive_that_would_leave_its_folder_is_not_unpacked(web, fetch, tmp_path, name):
    publish(web, "kermany", {"ChestXRay2017.zip": zipped(KERMANY, name)})
    assert "would leave the folder" in fetch("kermany", status=1)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["ChestXRay2017.zip"]


def test_a_damaged_archive_leaves_no_folder(web, fetch, tmp_path):
    damaged = zipped(KERMANY, "chest_xray/second.jpeg").replace(b"x" * 900, b"y" * 900, 1)
    publish(web, "kermany", {"ChestXRay2017.zip": damaged})
    assert "damaged" in fetch("kermany", status=1)
    assert [path.name for path in (tmp_path / "open").iterdir()] == ["archives"]


def test_what_the_server_refuses_is_said_with_what_to_do(web, fetch):
    message = fetch("kermany", status=1)
    for part in (
        f"{web.address}/kermany",
        "HTTP 404",
        "https://data.mendeley.com",
        "in a browser",
        "archives/kermany",
    ):
        assert part in message
    publish(web, "kermany", {"ChestXRay2017.zip": zipped(KERMANY)})
    del web.files["/files/kermany/ChestXRay2017.zip"]
    assert "there is no such file (HTTP 404)" in fetch("kermany", status=1)
    publish(web, "kermany", {})
    assert "does not list ChestXRay2017.zip" in fetch("kermany", status=1)
    web.files["/kermany"] = b'[{"filename": "x"}]'
    assert "not the list of files that was expected" in fetch("kermany", status=1)
    web.files["/kermany"] = b"<html>"
    assert "not the list of files that was expected" in fetch("kermany", status=1)


def test_files_that_were_clicked_count(web, fetch, tmp_path, caplog):
    archives = tmp_path / "open/archives/kermany"
    archives.mkdir(parents=True)
    content = zipped(KERMANY)
    (archives / "ChestXRay2017.zip").write_bytes(content)
    publish(web, "kermany", {"ChestXRay2017.zip": content + b"more"})
    assert "instead of the" in fetch("kermany", status=1)
    web.files.clear()  # no list can be had, so that there is nothing to compare with
    assert "child-chest" in fetch("kermany")
    assert "compared with no checksum" in caplog.text


def test_a_set_that_must_be_clicked_is_explained(web, fetch, tmp_path):
    out = fetch("nih-chestxray14")
    home = tmp_path / "open/nih-chestxray14"
    for part in (
        "must be clicked, at https://nihcc.app.box.com",
        "Data_Entry_2017_v2020.csv",
        str(home),
        "tar -xzf",
    ):
        assert part in out
    assert not web.asked and "datasets:" not in out
    home.mkdir(parents=True)
    assert roots(fetch("nih-chestxray14")) == {"chest": str(home)}


def wrists(web, *stems):
    header = "filestem,patient_id,study_number,projection,ao_classification,fracture_visible\n"
    rows = [
        f"{stem},{number // 2},1,{number % 2 + 1},,{'1.0' if number == 0 else ''}\n"
        for number, stem in enumerate(stems)
    ]
    parts = {f"images_part{part}.zip": zipped(f"{stems[part - 1]}.png") for part in range(1, 5)}
    publish(web, "grazpedwri-dx", {"dataset.csv": (header + "".join(rows)).encode(), **parts})


def test_the_wrists_get_a_table_with_paths(web, fetch, tmp_path, caplog):
    wrists(web, "0001_a", "0001_b", "0002_a", "0002_b", "0003_gone")
    assert roots(fetch("grazpedwri-dx")) == {"wrist": str(tmp_path / "open/grazpedwri-dx")}
    table = tmp_path / "open/grazpedwri-dx/images.csv"
    lines = table.read_text().splitlines()
    assert lines[0].endswith(",fracture_visible,path") and lines[1] == "0001_a,0,1,1,,1.0,0001_a.png"
    assert len(lines) == 5 and "1 of 5" in caplog.text
    # It is also made for a folder that somebody has unpacked, whatever its layout.
    table.unlink()
    (table.parent / "images_part1").mkdir()
    (table.parent / "0001_a.png").rename(table.parent / "images_part1/0001_a.png")
    fetch("grazpedwri-dx")
    assert table.read_text().splitlines()[1].endswith(",images_part1/0001_a.png")
    table.unlink()
    (table.parent / "dataset.csv").unlink()
    assert "dataset.csv is missing" in fetch("grazpedwri-dx", status=1)


def test_make_hands_on_the_folder_and_the_sets():
    command = ["make", "--dry-run", "open-data", "DIR=/it's my data", "SETS=kermany knee-oai"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    line = next(line for line in shown.splitlines() if "moco_transfer open-data" in line)
    assert shlex.split(line)[-5:] == ["--sets", "kermany", "knee-oai", "--", "/it's my data"]
