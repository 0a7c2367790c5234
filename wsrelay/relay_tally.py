"""What the ended connections of a relay add up to, for who asks (`metrics`)."""

from collections.abc import Mapping
from typing import Any

__all__ = ["Tally"]


class Tally:
    """Sums over close records (`relay.md` 6).

    Attributes:
        ends: how many ended, by cause and class of the close code, see `code_class`.
        messages_in, messages_out, messages_dropped: sums.
    """

    def __init__(self) -> None:
        self.ends: dict[tuple[str, str], int] = {}
        self.messages_in = 0
        self.messages_out = 0
        self.messages_dropped = 0

    def add(self, record: Mapping[str, Any], dropped: int = 0) -> None:
        """Count a connection that has ended.

        Args:
            record: its close record.
            dropped: messages to it that the policy of its queue dropped.
        """
        self.messages_dropped += dropped
        end = record["cause"], code_class(record["code"])
        self.ends[end] = self.ends.get(end, 0) + 1
        self.messages_in += record["messages_in"]
        self.messages_out += record["messages_out"]


def code_class(code: int) -> str:
    """A close code, if it has a meaning of its own (RFC 6455 7.4.1); else `3xxx` or `4xxx`, for a
    client may choose another one of those each time."""
    return str(code) if code <= 1015 else f"{code // 1000}xxx"
