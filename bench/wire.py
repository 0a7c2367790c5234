"""The bytes that the load generator sends and expects, all made before the clock starts.

Written down here by hand, from RFC 6455, so that a fault of a measured codec cannot hide in the
tool that measures it.
"""

import base64
import hashlib
import random
from typing import NamedTuple

TEXT = 0x81  # FIN and the opcode, RFC 6455 section 5.2
CLOSE = 0x88
CLOSE_NORMAL = b"\x03\xe8"  # 1000, RFC 6455 section 7.4.1
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3

TURNS = 4  # different windows of a connection, sent in turn


class Window(NamedTuple):
    """What a connection has in flight at a time: all its frames, and all bytes of the answer."""

    request: bytes
    reply: bytes


def upgrade_request(port: int, key: str, path: str = "/", extension: str = "") -> bytes:
    """Make the opening handshake, RFC 6455 section 4.1; an extension is offered if it is named."""
    offer = f"Sec-WebSocket-Extensions: {extension}\r\n" if extension else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"{offer}\r\n"
    ).encode()


def accept_token(key: str) -> bytes:
    """Compute what the server must answer to a key, RFC 6455 section 4.2.2."""
    return base64.b64encode(hashlib.sha1(key.encode() + ACCEPT_GUID).digest())


def is_switch(answer: bytes, key: str) -> bool:
    """Tell whether an answer is the 101 to that key, with no byte behind it."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    named = [field.partition(b":") for field in fields]
    tokens = [value.strip() for name, _, value in named if name.lower() == b"sec-websocket-accept"]
    return status.startswith(b"HTTP/1.1 101") and tokens == [accept_token(key)] and not rest


def header(first: int, length: int, masked: bool) -> bytes:
    """Make a frame header in the shortest form, without the mask, RFC 6455 section 5.2."""
    bit = 0x80 if masked else 0
    if length < 126:
        return bytes((first, bit | length))
    if length < 1 << 16:
        return bytes((first, bit | 126)) + length.to_bytes(2)
    return bytes((first, bit | 127)) + length.to_bytes(8)


def client_frame(first: int, payload: bytes, mask: bytes) -> bytes:
    """Make a masked frame, RFC 6455 section 5.3."""
    size = len(payload)
    stream = int.from_bytes((mask * (size // 4 + 1))[:size])
    body = (int.from_bytes(payload) ^ stream).to_bytes(size)
    return header(first, size, masked=True) + mask + body


def server_frame(first: int, payload: bytes) -> bytes:
    """Make the frame that a server sends: no mask."""
    return header(first, len(payload), masked=False) + payload


def payload_of(size: int, connection: int, turn: int, place: int, accents: bool = False) -> bytes:
    """Make a text that tells its connection, window and place, so that no two can be confused.

    With `accents` a share of its characters is not ASCII; `size` is that of its UTF-8.
    """
    label = f"{place:x}.{turn:x}.{connection:x} "
    if accents:
        label += "é한 "
    text = (label.encode() * (size // len(label) + 1))[:size]
    whole = text.decode(errors="ignore").encode()
    return whole + b"." * (size - len(whole))


def windows(
    connection: int, in_flight: int, size: int, raw: bool, accents: bool = False
) -> list[Window]:
    """Make the windows of a connection; a raw server is expected to return the very bytes."""
    seeded = random.Random(connection)
    made = []
    for turn in range(TURNS):
        payloads = [
            payload_of(size, connection, turn, place, accents) for place in range(in_flight)
        ]
        request = b"".join(client_frame(TEXT, p, seeded.randbytes(4)) for p in payloads)
        reply = request if raw else b"".join(server_frame(TEXT, p) for p in payloads)
        made.append(Window(request, reply))
    return made
