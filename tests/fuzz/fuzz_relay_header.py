"""Any bytes as the value of `X-WS-Relay`. Input: the value."""

import math

from wsrelay.relay_command import (
    OWN_TOPICS,
    RELAY_HEADER,
    SHORTEST_HEARTBEAT,
    FieldError,
    RelayCommand,
    read_header,
    relay_to,
)

__all__ = ["target"]

# All that may be told: an error goes to the client, and repeats nothing of the value.
_TEXTS = ("target_pid", "message_topic", "subprotocol")
MESSAGES = {
    f"{RELAY_HEADER}: longer than 64 KiB",
    f"{RELAY_HEADER}: not JSON",
    f"{RELAY_HEADER}: not a JSON object",
    "target_pid: missing",
    *(f"{name}: must be a string" for name in _TEXTS),
    *(f"{name}: must not be empty" for name in _TEXTS),
    "message_topic: must not begin with @",
    "message_topic: is one of the relay's own topics",
    "heartbeat_interval: must be a duration or milliseconds",
    "heartbeat_interval: is no duration from 0 up, such as 30s",
    "metadata: must be an object",
}


def target(data: bytes) -> None:
    """Read a value; what is accepted keeps the rules, and says the same when written again."""
    try:
        command = read_header([data])
    except FieldError as error:
        assert str(error) in MESSAGES, str(error)
        assert error.__cause__ is None
        return
    check_rules(command)
    check_round_trip(command)


def check_rules(command: RelayCommand) -> None:
    assert command.target and type(command.target) is str
    topic = command.topic
    assert topic is None or (topic and topic[0] != "@" and topic not in OWN_TOPICS)
    beat = command.heartbeat
    assert beat is None or beat == 0 or (beat >= SHORTEST_HEARTBEAT and math.isfinite(beat))
    assert command.metadata is None or type(command.metadata) is dict
    assert command.subprotocol is None or command.subprotocol


def check_round_trip(command: RelayCommand) -> None:
    assert command.target is not None
    response = relay_to(
        command.target,
        message_topic=command.topic,
        heartbeat_interval=None if command.heartbeat is None else command.heartbeat * 1000,
        metadata=command.metadata,
        subprotocol=command.subprotocol,
    )
    again = read_header(response.headers.values_of(RELAY_HEADER.lower().encode()))
    assert (again.target, again.topic, again.metadata, again.subprotocol) == (
        command.target,
        command.topic,
        command.metadata,
        command.subprotocol,
    )
    assert (again.heartbeat is None) == (command.heartbeat is None)
    assert math.isclose(again.heartbeat or 0, command.heartbeat or 0, rel_tol=1e-12)
