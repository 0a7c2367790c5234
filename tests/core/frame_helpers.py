"""For the tests of frames: readers in several cuts, and wsproto alone as reference."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

from raw_frames import BINARY, CLOSE, FAILED, PING, PONG, TEXT
from wsproto.connection import CLIENT, SERVER, Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import Opcode

from wsrelay_core._frame import FrameCodec

Event = tuple[int, object]


def negotiated(no_context_takeover: bool = False) -> PerMessageDeflate:
    extension = PerMessageDeflate(
        client_no_context_takeover=no_context_takeover,
        server_no_context_takeover=no_context_takeover,
    )
    extension.finalize("permessage-deflate")
    return extension


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces; places beyond its end are folded back."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


def feed_all(
    codec: FrameCodec, pieces: Iterable[bytes], stop_after: int | None = None
) -> list[Event]:
    """Every event once. With `stop_after` the codec has to hold the rest again and again."""
    events: list[Event] = []
    for piece in pieces:
        data = piece
        while True:
            some = codec.feed(data, stop_after)
            data = b""
            if some and some[-1][0] == FAILED:
                return events + some
            events += some
            if stop_after is None or len(some) < stop_after:
                break
    return events


READINGS = ("whole", "byte by byte", "held")


def read(codec: FrameCodec, data: bytes, how: str) -> list[Event]:
    if how == "whole":
        return feed_all(codec, [data])
    if how == "byte by byte":
        return feed_all(codec, [data[i : i + 1] for i in range(len(data))])
    return feed_all(codec, [data], stop_after=1)


class Reference:
    """wsproto's `Connection` alone, read byte by byte.

    Bytewise, because its verdict on a frame that breaks both the order of a message and the
    compression depends on the cut. `comparable` turns False where a known fault of wsproto (see
    `wsrelay_core/README.md`) makes what follows meaningless.
    """

    def __init__(self, client: bool, deflate: PerMessageDeflate | None = None) -> None:
        self.deflate = deflate
        self.connection = Connection(CLIENT if client else SERVER, [deflate] if deflate else [])
        self.events: list[Event] = []
        self.comparable = True
        self._parts: list = []
        self._control_inside = False  # of the unfinished message: wsproto forgot its RSV1

    def read(self, data: bytes) -> "Reference":
        for i in range(len(data)):
            in_compressed = self.deflate is not None and bool(self.deflate._inbound_compressed)
            self.connection.receive_data(data[i : i + 1])
            for event in self.connection.events():
                self._add(event, in_compressed)
            if self._inflate_at_end():
                self.comparable = False
            if not self.comparable or (self.events and self.events[-1][0] in (CLOSE, FAILED)):
                break
        self.comparable = self.comparable and not self._half_a_surrogate()
        return self

    def _half_a_surrogate(self) -> bool:
        decoder = self.connection._proto._message_decoder.decoder
        waiting = decoder.getstate()[0] if decoder else b""
        return len(waiting) == 2 and waiting[:1] == b"\xed" and waiting[1] > 0x9F

    def _inflate_at_end(self) -> bool:
        inflate = self.deflate._decompressor if self.deflate else None
        return inflate is not None and inflate.eof and not self._parts

    def _add(self, event: object, in_compressed: bool) -> None:
        match event:
            case TextMessage() | BytesMessage():
                self._parts.append(event.data)
                if event.message_finished:
                    whole = event.data[:0].join(self._parts)
                    self.events.append((TEXT if isinstance(whole, str) else BINARY, whole))
                    self._parts = []
                    self._control_inside = False
            case Ping() | Pong():
                kind = PING if isinstance(event, Ping) else PONG
                self.events.append((kind, bytes(event.payload)))
                self.comparable = not in_compressed
                self._control_inside = self.connection._proto._message_decoder.opcode is not None
            case CloseConnection() if self.connection.state is ConnectionState.REMOTE_CLOSING:
                self.events.append((CLOSE, (int(event.code), event.reason)))
            case CloseConnection():
                self._fail(int(event.code))

    def _fail(self, code: int) -> None:
        header = self.connection._proto._frame_decoder.header
        starts = header is not None and header.opcode is not Opcode.CONTINUATION
        if code == 1007 and self.deflate and self._control_inside and starts:
            self.comparable = False  # it took a second start for a compressed first frame
        else:
            self.events.append((FAILED, code))


def codes_only(events: Iterable[Event]) -> Iterator[Event]:
    """Errors by their code; their words are not compared."""
    for kind, subject in events:
        yield kind, subject[0] if kind == FAILED else subject  # type: ignore[index]
