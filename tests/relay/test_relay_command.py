"""The header of a handler and the payload of `ws.control`, field by field."""

import orjson
import pytest

from wsrelay import process
from wsrelay.relay_command import (
    RELAY_FIELD,
    RELAY_HEADER,
    FieldError,
    RelayCommand,
    command_of,
    read_command,
    read_header,
    relay_to,
)

TARGET = "{app:processes|0x1}"


def header(**fields):
    return orjson.dumps({"target_pid": TARGET, **fields})


def read(**fields):
    return read_header([header(**fields)])


# -- the header as a whole -------------------------------------------------------------------------


def test_all_fields():
    command = read(
        message_topic="chat",
        heartbeat_interval="30s",
        metadata={"user_id": None},
        subprotocol="v2",
    )
    assert command == RelayCommand(TARGET, "chat", 30.0, {"user_id": None}, "v2")


def test_only_the_target_is_required():
    assert read() == RelayCommand(target=TARGET)


@pytest.mark.parametrize(
    "field", ["message_topic", "heartbeat_interval", "metadata", "subprotocol"]
)
def test_null_is_the_default(field):
    assert read(**{field: None}) == RelayCommand(target=TARGET)


def test_unknown_fields_are_ignored():
    assert read(color="red", Target_Pid=1) == RelayCommand(target=TARGET)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([b"{}", b"{}"], "X-WS-Relay: there must be one"),
        ([b"not json"], "X-WS-Relay: not JSON"),
        ([b""], "X-WS-Relay: not JSON"),
        ([b'{"target_pid": "\xff"}'], "X-WS-Relay: not JSON"),
        ([b"[]"], "X-WS-Relay: not a JSON object"),
        ([b'"x"'], "X-WS-Relay: not a JSON object"),
        ([b"null"], "X-WS-Relay: not a JSON object"),
        ([b"[" * 5000 + b"]" * 5000], "X-WS-Relay: not JSON"),
        ([b"{}"], "target_pid: missing"),
        ([b'{"target_pid": null}'], "target_pid: missing"),
    ],
)
def test_what_is_no_header(values, message):
    with pytest.raises(FieldError) as caught:
        read_header(values)
    assert str(caught.value) == message


def test_64_kib_are_read_and_not_a_byte_more():
    fixed = len(header(metadata={"x": ""}))
    fits = header(metadata={"x": "y" * (64 * 1024 - fixed)})
    assert len(fits) == 64 * 1024
    assert read_header([fits]).metadata == {"x": "y" * (64 * 1024 - fixed)}
    with pytest.raises(FieldError, match=r"^X-WS-Relay: longer than 64 KiB$"):
        read_header([fits + b" "])


# -- one field at a time ---------------------------------------------------------------------------

SECRET = "s3cret"

BAD_FIELDS = [
    ({"target_pid": 7}, "target_pid: must be a string"),
    ({"target_pid": [SECRET]}, "target_pid: must be a string"),
    ({"target_pid": ""}, "target_pid: must not be empty"),
    ({"message_topic": 7}, "message_topic: must be a string"),
    ({"message_topic": {"x": SECRET}}, "message_topic: must be a string"),
    ({"message_topic": ""}, "message_topic: must not be empty"),
    ({"message_topic": "@" + SECRET}, "message_topic: must not begin with @"),
    ({"message_topic": "@"}, "message_topic: must not begin with @"),
    *(
        ({"message_topic": topic}, "message_topic: is one of the relay's own topics")
        for topic in ("ws.join", "ws.leave", "ws.heartbeat", "ws.control", "ws.close", "ws.send")
    ),
    ({"heartbeat_interval": True}, "heartbeat_interval: must be a duration or milliseconds"),
    ({"heartbeat_interval": []}, "heartbeat_interval: must be a duration or milliseconds"),
    *(
        ({"heartbeat_interval": value}, "heartbeat_interval: is no duration from 0 up, such as 30s")
        for value in ("", "30", "-1s", "1y", SECRET, "1m 30s", -1, -0.5, 1e300, "9999999h")
    ),
    ({"metadata": [SECRET]}, "metadata: must be an object"),
    ({"metadata": SECRET}, "metadata: must be an object"),
    ({"metadata": 0}, "metadata: must be an object"),
    ({"metadata": False}, "metadata: must be an object"),
    ({"subprotocol": 7}, "subprotocol: must be a string"),
    ({"subprotocol": ""}, "subprotocol: must not be empty"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_FIELDS)
def test_a_bad_field_is_named_with_its_rule_and_without_its_value(fields, message):
    with pytest.raises(FieldError) as caught:
        read(**fields)
    assert str(caught.value) == message
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("300ms", 0.3),
        ("30s", 30.0),
        ("1m30s", 90.0),
        ("2h", 7200.0),
        ("1.5h", 5400.0),
        ("0", 0.0),
        ("0s", 0.0),
        (0, 0.0),
        (250, 0.25),
        (1500.5, 1.5005),
        # A clock of nanoseconds would never let the loop go on.
        ("1ns", 0.001),
        (1e-300, 0.001),
    ],
)
def test_durations_are_go_text_or_milliseconds(value, seconds):
    assert read(heartbeat_interval=value).heartbeat == pytest.approx(seconds)


@pytest.mark.parametrize("topic", ["chat", "ws.message", "ws.", "wsx", "ws.join2", "a b", "채팅"])
def test_topics_that_are_nobody_elses(topic):
    assert read(message_topic=topic).topic == topic


def test_metadata_passes_through():
    metadata = {"a": None, "b": [1, 2.5, {"c": False}], "": "", "ü": "\u2028"}
    assert read(metadata=metadata).metadata == metadata


# -- ws.control ------------------------------------------------------------------------------------


def test_a_control_needs_no_field():
    assert read_command({}) == RelayCommand()


def test_a_control_has_the_rules_of_the_header():
    for fields, message in BAD_FIELDS:
        with pytest.raises(FieldError) as caught:
            read_command(fields)
        assert str(caught.value) == message


# -- relay_to --------------------------------------------------------------------------------------


def test_relay_to_builds_the_header():
    response = relay_to(
        process.PID(TARGET),
        message_topic="chat",
        heartbeat_interval="30s",
        metadata={"user": 1},
        subprotocol="v2",
    )
    assert (response.status_code, response.body) == (200, b"")
    (value,) = response.headers.values_of(RELAY_HEADER.lower().encode())
    assert orjson.loads(value) == {
        "target_pid": TARGET,
        "message_topic": "chat",
        "heartbeat_interval": "30s",
        "metadata": {"user": 1},
        "subprotocol": "v2",
    }


def test_relay_to_says_only_what_was_said():
    response = relay_to("room")
    assert orjson.loads(response.headers[RELAY_HEADER]) == {"target_pid": "room"}
    assert orjson.loads(relay_to("room", heartbeat_interval=0).headers[RELAY_HEADER]) == {
        "target_pid": "room",
        "heartbeat_interval": 0,
    }


@pytest.mark.parametrize("text", ["\x7f", "line\r\nX-Evil: 1", "\0", "ü\u2028", '"', "\\u007f"])
def test_relay_to_carries_any_text(text):
    response = relay_to("room", metadata={"text": text})
    values = response.headers.values_of(RELAY_HEADER.lower().encode())
    assert read_header(values).metadata == {"text": text}


@pytest.mark.parametrize("metadata", ["ann", ["ann"], 5])
def test_metadata_is_a_mapping(metadata):
    with pytest.raises(TypeError, match=f"metadata is a dict, not {type(metadata).__name__}"):
        relay_to("room", metadata=metadata)


PIDS = [TARGET, "room", "", "\x7f", 'a"\\\r\n\0ü\u2028', "x" * 1024, "x" * 1025, "{", "x" * 70_000]


@pytest.mark.parametrize("text", PIDS, ids=range(len(PIDS)))
def test_a_pid_alone_says_what_its_text_says(text):
    """The relay need not read its header: it must be as if it had."""
    plain, other = relay_to(process.PID(text)), relay_to(text)
    assert plain.headers.raw == other.headers.raw
    assert (plain.status_code, plain.body, plain.exception) == (200, b"", None)
    values = plain.headers.values_of(RELAY_FIELD)
    try:
        told = read_header(values)
    except FieldError as error:
        with pytest.raises(FieldError) as found:
            command_of(plain, values)
        assert str(found.value) == str(error)
    else:
        assert command_of(plain, values) == told
        assert type(command_of(plain, values).target) is str


def test_whoever_changes_the_header_is_obeyed():
    response = relay_to(process.PID(TARGET))
    response.headers[RELAY_HEADER] = header(message_topic="chat")
    assert command_of(response, response.headers.take(RELAY_FIELD)).topic == "chat"
    response = relay_to(process.PID(TARGET))
    response.headers.append(RELAY_HEADER, header())
    with pytest.raises(FieldError, match="there must be one"):
        command_of(response, response.headers.take(RELAY_FIELD))
