"""Two exceptions with a meaning: the user can fix this, and this image cannot be used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A problem in the user's data, configuration or machine.

    The message is one line that says which file (and row), what was expected, what was found, and what to do.
    The command line and the scripts print it without a traceback and exit with status 1 (``in_one_line``).
    """


@contextmanager
def in_one_line() -> Iterator[None]:
    """End the process with status 1 and the message of a UserError, without a traceback."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")


class UnreadableImage(Exception):
    """One image cannot be decoded. Packing quarantines it, with this message as the reason, and continues.

    The message names neither the file nor its folder: reasons reach logs, and a path of a credentialed
    dataset contains identifiers.
    """
