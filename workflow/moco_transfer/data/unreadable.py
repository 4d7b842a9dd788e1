"""The exception for an image that cannot be used: packing quarantines it with its reason and goes on."""

from __future__ import annotations


class UnreadableImage(Exception):
    """One image cannot be decoded; the message is the reason, and names neither the file nor its folder.

    The file is left out because the reason reaches logs, and a path of a credentialed dataset holds identifiers.
    """
