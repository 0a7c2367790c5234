"""The log of the HTTP side, and the one way in which a client's text may enter it."""

import logging

__all__ = ["escape", "logger"]

logger = logging.getLogger("wsrelay.http")

LOGGED_CHARACTERS = 200


def escape(text: str | bytes, limit: int = LOGGED_CHARACTERS) -> str:
    """Make text from outside fit for one log line.

    Args:
        text: what a client sent.
        limit: characters kept, counted after escaping; what was cut shows as `...`.

    Returns:
        Printable ASCII: all else, and the backslash, is escaped as in a Python literal.
    """
    head = text[: limit + 1]
    decoded = head.decode("latin-1") if isinstance(head, bytes) else head
    escaped = decoded.encode("unicode_escape").decode("ascii")
    return escaped if len(escaped) <= limit else escaped[:limit] + "..."
