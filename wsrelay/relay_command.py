"""What a handler's `X-WS-Relay` header and a `ws.control` message say, read field by field.

Both have the same fields and rules (relay contract, sections 2 and 5). An error names field and
rule, never the value: it goes to the client.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from wsrelay.config import duration_ms
from wsrelay.http.response import Response

__all__ = ["RELAY_HEADER", "FieldError", "RelayCommand", "read_command", "read_header", "relay_to"]

RELAY_HEADER = "X-WS-Relay"
HEADER_MAX = 64 * 1024
SHORTEST_HEARTBEAT = 0.001  # seconds; a clock that fires without end would stop the loop
OWN_TOPICS = frozenset({"ws.join", "ws.leave", "ws.heartbeat", "ws.control", "ws.close", "ws.send"})


class FieldError(ValueError):
    """A field of a relay command breaks a rule; the text names both."""


@dataclass(frozen=True, slots=True)
class RelayCommand:
    """A relay command; None is "not said".

    Attributes:
        target: PID or registered name.
        topic: topic of client messages.
        heartbeat: seconds between heartbeats, 0 for never.
        metadata: attached to every message.
        subprotocol: the handler's choice.
    """

    target: str | None = None
    topic: str | None = None
    heartbeat: float | None = None
    metadata: dict[str, Any] | None = None
    subprotocol: str | None = None


def read_header(values: list[bytes]) -> RelayCommand:
    """The command of a response's `X-WS-Relay` fields; raises FieldError."""
    if len(values) != 1:
        raise FieldError(f"{RELAY_HEADER}: there must be one")
    if len(values[0]) > HEADER_MAX:
        raise FieldError(f"{RELAY_HEADER}: longer than 64 KiB")
    try:
        fields = orjson.loads(values[0])
    except orjson.JSONDecodeError:
        raise FieldError(f"{RELAY_HEADER}: not JSON") from None
    if not isinstance(fields, dict):
        raise FieldError(f"{RELAY_HEADER}: not a JSON object")
    if fields.get("target_pid") is None:
        raise FieldError("target_pid: missing")
    return read_command(fields)


def read_command(fields: Mapping[str, Any]) -> RelayCommand:
    """The command of a mapping; absent and None are "not said", unknown fields are ignored."""
    return RelayCommand(
        target=_text(fields, "target_pid"),
        topic=_topic(fields),
        heartbeat=_heartbeat(fields),
        metadata=_metadata(fields),
        subprotocol=_text(fields, "subprotocol"),
    )


def relay_to(
    pid: str,
    *,
    message_topic: str | None = None,
    heartbeat_interval: str | float | None = None,
    metadata: Mapping[str, Any] | None = None,
    subprotocol: str | None = None,
) -> Response:
    """A response that asks for a relay to `pid`: the `X-WS-Relay` header in one line.

    Args:
        pid: PID or registered name of the target process.
        message_topic: topic of client messages, `ws.message` by default.
        heartbeat_interval: Go duration such as `"30s"`, or milliseconds; never by default.
        metadata: attached to every message.
        subprotocol: used if the client offered it.

    Raises:
        TypeError: `metadata` is no mapping, or JSON can't say it.
    """
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"metadata is a dict, not {type(metadata).__name__}")
    fields = {
        "target_pid": pid,
        "message_topic": message_topic,
        "heartbeat_interval": heartbeat_interval,
        "metadata": None if metadata is None else dict(metadata),
        "subprotocol": subprotocol,
    }
    said = {name: value for name, value in fields.items() if value is not None}
    response = Response()
    # DEL is the one control character that JSON leaves as it is, and no header may have it.
    header = orjson.dumps(said, option=orjson.OPT_NON_STR_KEYS).replace(b"\x7f", b"\\u007f")
    response.headers[RELAY_HEADER] = header
    return response


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise FieldError(f"{name}: must be a string")
    if not value:
        raise FieldError(f"{name}: must not be empty")
    return str.__str__(value)  # of an enum's member str() is something else


def _topic(fields: Mapping[str, Any]) -> str | None:
    topic = _text(fields, "message_topic")
    if topic is None:
        return None
    if topic.startswith("@"):
        raise FieldError("message_topic: must not begin with @")
    if topic in OWN_TOPICS:
        raise FieldError("message_topic: is one of the relay's own topics")
    return topic


def _heartbeat(fields: Mapping[str, Any]) -> float | None:
    value = fields.get("heartbeat_interval")
    if value is None:
        return None
    try:
        interval = duration_ms(value) / 1000
    except TypeError:
        raise FieldError("heartbeat_interval: must be a duration or milliseconds") from None
    except ValueError:
        raise FieldError("heartbeat_interval: is no duration from 0 up, such as 30s") from None
    return max(interval, SHORTEST_HEARTBEAT) if interval else 0.0


def _metadata(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    value = fields.get("metadata")
    if value is not None and not isinstance(value, dict):
        raise FieldError("metadata: must be an object")
    return value
