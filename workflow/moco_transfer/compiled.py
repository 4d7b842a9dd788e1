"""Compile a function with numba, and keep the machine code on disk only where that works."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
from numba.core.caching import FunctionCache


def compiled(function: Callable) -> Callable:
    """Return ``function`` compiled by numba, which releases the GIL.

    The first call of a process takes the machine code from numba's cache on disk, or compiles for up to 7 s. The
    cache only saves time: a crash may have left its files empty, and its folder may be read-only or missing.
    """
    dispatcher = numba.njit(nogil=True)(function)
    with suppress(RuntimeError, OSError):  # no folder for a cache
        dispatcher._cache = _Cache(function)
    return dispatcher


class _Cache(FunctionCache):
    """numba's cache, in which what cannot be read is compiled again, and what cannot be written is left out."""

    def load_overload(self, *arguments: Any) -> Any:
        try:
            return super().load_overload(*arguments)
        except Exception:  # the files are pickles, so damage can raise anything
            with suppress(Exception):
                self.flush()
            return None

    def save_overload(self, *arguments: Any) -> None:
        with suppress(Exception):
            super().save_overload(*arguments)
