"""The two exceptions with a meaning: the user can mend this, and: this image cannot be used.

Packing puts an image that cannot be used into quarantine, with its reason, and goes on.
"""

from __future__ import annotations


class UserError(Exception):
    """A problem in the user's data, configuration or machine.

    The message is one line that says which file (and row), what was expected, what was found, and what to do. The
    command line prints it without a traceback and exits with status 1.
    """


class UnreadableImage(Exception):
    """One image cannot be decoded; the message is the reason, and names neither the file nor its folder.

    The file is left out because the reason reaches logs, and a path of a credentialed dataset holds identifiers.
    """
