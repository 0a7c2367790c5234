"""Frames byte by byte, right and wrong, for all tests that need them (RFC 6455 section 5.2)."""

import struct
import zlib

CONT, TEXT, BINARY, CLOSE, PING, PONG, FAILED = 0, 1, 2, 8, 9, 10, -1
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
KEY = b"\x11\x92\x53\xf4"


def raw(
    first: int,
    payload: bytes = b"",
    *,
    key: bytes | None = KEY,
    announce: int | None = None,
    form: int | None = None,
) -> bytes:
    """A frame byte by byte as told; `form` is the size of its length field (0, 2 or 8)."""
    length = len(payload) if announce is None else announce
    if form is None:
        form = 0 if length < 126 else 2 if length < 1 << 16 else 8
    second = {0: length, 2: 126, 8: 127}[form] | (0x80 if key is not None else 0)
    extended = {0: b"", 2: struct.pack(">H", length & 0xFFFF), 8: struct.pack(">Q", length)}[form]
    return bytes([first, second]) + extended + (key or b"") + masked(payload, key)


def masked(payload: bytes, key: bytes | None) -> bytes:
    """The payload as it goes over the wire."""
    if key is None or not payload:
        return payload
    pad = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")
    return mixed.to_bytes(len(payload), "big")


def deflated(payload: bytes, compressor: "zlib._Compress | None" = None) -> bytes:
    """The payload of a compressed message (RFC 7692 section 7.2.1)."""
    compressor = compressor or zlib.compressobj(wbits=-15)
    packed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    # zlib is silent when there is nothing to flush twice (RFC 7692 section 7.2.3.6).
    return packed[:-4] if packed else b"\x00"


# Streams that break RFC 6455 in their last frame, and the close code that says so (section 7.4.1).
VIOLATIONS = {
    "unmasked": (raw(FIN | TEXT, b"hi", key=None), 1002),
    "unmasked control": (raw(FIN | PING, b"hi", key=None), 1002),
    "rsv1 without an extension": (raw(FIN | TEXT | RSV1, b"hi"), 1002),
    "rsv2": (raw(FIN | TEXT | RSV2, b"hi"), 1002),
    "rsv3": (raw(FIN | BINARY | RSV3, b"hi"), 1002),
    "rsv1 on a ping": (raw(FIN | PING | RSV1, b"hi"), 1002),
    "rsv2 on a close": (raw(FIN | CLOSE | RSV2), 1002),
    **{f"opcode {op:#x}": (raw(FIN | op, b"hi"), 1002) for op in (3, 4, 5, 6, 7, *range(11, 16))},
    "fragmented ping": (raw(PING, b"hi"), 1002),
    "fragmented pong": (raw(PONG, b"hi"), 1002),
    "fragmented close": (raw(CLOSE, b"\x03\xe8"), 1002),
    "ping of 126 bytes": (raw(FIN | PING, b"x" * 126), 1002),
    "pong of 126 bytes": (raw(FIN | PONG, b"x" * 126), 1002),
    "close of 126 bytes": (raw(FIN | CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "ping with a 64 bit length": (raw(FIN | PING, b"x", form=8), 1002),
    "16 bit length of 0": (raw(FIN | TEXT, b"", form=2), 1002),
    "16 bit length of 125": (raw(FIN | TEXT, b"x" * 125, form=2), 1002),
    "64 bit length of 125": (raw(FIN | TEXT, b"x" * 125, form=8), 1002),
    "64 bit length of 65535": (raw(FIN | BINARY, b"x" * 65535, form=8), 1002),
    "top bit of a length": (raw(FIN | BINARY, b"x", announce=1 << 63), 1002),
    "all bits of a length": (raw(FIN | BINARY, b"x", announce=(1 << 64) - 1), 1002),
    "continuation without start": (raw(FIN | CONT, b"hi"), 1002),
    "empty continuation without start": (raw(FIN | CONT), 1002),
    "text inside a message": (raw(TEXT, b"a") + raw(FIN | TEXT, b"b"), 1002),
    "binary inside a message": (raw(TEXT, b"a") + raw(FIN | BINARY, b"b"), 1002),
    "fragment start inside a message": (raw(BINARY, b"a") + raw(BINARY, b"b"), 1002),
    "bad utf-8": (raw(FIN | TEXT, b"caf\xe9"), 1007),
    "utf-8 cut at the end": (raw(FIN | TEXT, b"caf\xc3"), 1007),
    "utf-8 surrogate": (raw(FIN | TEXT, b"\xed\xa0\x80"), 1007),
    "utf-8 overlong": (raw(FIN | TEXT, b"\xc0\xaf"), 1007),
    "utf-8 past U+10FFFF": (raw(FIN | TEXT, b"\xf4\x90\x80\x80"), 1007),
    "bad utf-8 in a first fragment": (raw(TEXT, b"\xff"), 1007),
    "bad utf-8 across fragments": (raw(TEXT, b"\xe6\xbc") + raw(FIN | CONT, b"a"), 1007),
    "utf-8 cut at the end of fragments": (raw(TEXT, b"a") + raw(FIN | CONT, b"\xe6\xbc"), 1007),
    "close with one byte": (raw(FIN | CLOSE, b"\x03"), 1002),
    **{
        f"close code {code}": (raw(FIN | CLOSE, code.to_bytes(2, "big") + b"why"), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2999, 5000, 65535)
    },
    "bad utf-8 in a close reason": (raw(FIN | CLOSE, b"\x03\xe8\xff"), 1007),
    "close reason cut inside a character": (raw(FIN | CLOSE, b"\x03\xe8\xc3"), 1007),
}

# The same with permessage-deflate.
COMPRESSED_VIOLATIONS = {
    "rsv1 on a continuation": (
        raw(TEXT | RSV1, deflated(b"a")) + raw(FIN | CONT | RSV1, b"\x00"),
        1002,
    ),
    "rsv1 on a pong": (raw(FIN | PONG | RSV1), 1002),
    "rsv1 on a close": (raw(FIN | CLOSE | RSV1), 1002),
    "reserved block type": (raw(FIN | TEXT | RSV1, b"\x07"), 1007),
    "distance before the start": (raw(FIN | BINARY | RSV1, b"\x02\x04\x00\x00"), 1007),
    "bad utf-8 inside": (raw(FIN | TEXT | RSV1, deflated(b"abc\xff")), 1007),
    "utf-8 cut inside": (raw(FIN | TEXT | RSV1, deflated(b"abc\xc3")), 1007),
    "start inside a compressed message": (
        raw(TEXT | RSV1, deflated(b"a")) + raw(FIN | TEXT | RSV1, b"\x62\x07"),
        1002,
    ),
}
