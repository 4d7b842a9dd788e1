"""A cache of machine code that is damaged, unwritable or missing costs time only."""

import errno
from pathlib import Path

import numba
import pytest
from numba.core.caching import CacheImpl

from moco_transfer.compiled import compiled


def double(number):
    return 2 * number


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def hits(function) -> int:
    return sum(function.stats.cache_hits.values())


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_an_emptied_file_of_the_cache_is_replaced(cache, suffix):
    assert compiled(double)(2) == 4
    (file,) = cache.rglob(f"*.{suffix}")
    for damage in (b"", b"\x80\x05garbage", file.read_bytes()[:-9]):
        file.write_bytes(damage)
        again = compiled(double)
        assert again(3) == 6 and hits(again) == 0
        replaced = compiled(double)
        assert replaced(3) == 6 and hits(replaced) == 1


def test_a_cache_that_cannot_be_written_is_done_without(cache, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    function = compiled(double)
    monkeypatch.setattr(function._cache._cache_file, "_save_data", full)
    assert function(3) == 6


def test_there_may_be_no_folder_for_a_cache(cache, monkeypatch):
    cache.touch()
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    assert compiled(double)(3) == 6
