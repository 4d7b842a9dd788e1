"""The one exception that means: the user can mend this."""

from __future__ import annotations


class UserError(Exception):
    """A problem in the user's data, configuration or machine.

    The message is one line that says which file (and row), what was expected, what was found, and what to do. The
    command line prints it without a traceback and exits with status 1.
    """
