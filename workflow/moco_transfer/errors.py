"""Two exceptions with a meaning: the user can fix this, and this image cannot be used."""

from __future__ import annotations


class UserError(Exception):
    """A problem in the user's data, configuration or machine.

    The message is one line that says which file (and row), what was expected, what was found, and what to do.
    The command line prints it without a traceback and exits with status 1.
    """


class UnreadableImage(Exception):
    """One image cannot be decoded. Packing quarantines it, with this message as the reason, and continues.

    The message names neither the file nor its folder: reasons reach logs, and a path of a credentialed
    dataset contains identifiers.
    """
