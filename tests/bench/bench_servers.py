"""Servers on wsproto and plain sockets for tests of the load generator, right and wrong ones."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from bench.work import Workload

Reply = str | bytes  # a text message, or bytes as they are
Answer = Callable[[int, str], Iterable[Reply]]


class HangUp(Exception):
    """Raised by an answer: the server closes TCP."""


def echo(number: int, text: str) -> Iterable[Reply]:
    """Answer a connection's n-th message as it should be."""
    return [text]


def at(wanted: int, wrong: Callable[[str], Iterable[Reply]]) -> Answer:
    """Echo, but answer a connection's message of that number wrongly."""
    return lambda number, text: wrong(text) if number == wanted else [text]


class Server:
    """A WebSocket server on wsproto, a thread for each connection."""

    def __init__(self, answer: Answer = echo, at_a_time: int = 1 << 20) -> None:
        self.answer = answer
        self.at_a_time = at_a_time  # bytes of a write
        self.messages: list[str] = []
        self.reset = False
        self.close_answer: bytes | None = None  # instead of the right one
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "Server":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock = self._listener.accept()[0]
                threading.Thread(target=self._connection, args=(sock,), daemon=True).start()

    def _connection(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(HangUp, OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._talk(sock)

    def _talk(self, sock: socket.socket) -> None:
        connection, number, text = WSConnection(ConnectionType.SERVER), 0, ""
        while data := sock.recv(65536):
            connection.receive_data(data)
            for event in connection.events():
                if isinstance(event, Request):
                    self._write(sock, connection.send(AcceptConnection()))
                elif isinstance(event, CloseConnection):
                    right = connection.send(event.response())
                    self._write(sock, right if self.close_answer is None else self.close_answer)
                    return
                elif isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        number += 1
                        self.messages.append(text)
                        for reply in self.answer(number, text):
                            self._write(sock, self._encoded(connection, reply))
                        text = ""

    @staticmethod
    def _encoded(connection: WSConnection, reply: Reply) -> bytes:
        return reply if isinstance(reply, bytes) else connection.send(TextMessage(reply))

    def _write(self, sock: socket.socket, data: bytes) -> None:
        for start in range(0, len(data), self.at_a_time):
            sock.sendall(data[start : start + self.at_a_time])


def work(**changes: float | str) -> Workload:
    """Make a tiny workload."""
    tiny = {"connections": 3, "in_flight": 4, "seconds": 5.0, "warmup": 0.0, "max_messages": 120}
    return Workload(**{**tiny, "patience": 0.3, **changes})  # type: ignore[arg-type]


@contextlib.contextmanager
def one_shot(reply: bytes, then: bytes = b"") -> Iterator[int]:
    """Answer the handshake of one connection with these bytes, and what comes then with those."""

    def talk() -> None:
        sock = listener.accept()[0]
        with sock, contextlib.suppress(ConnectionError):
            sock.recv(65536)
            sock.sendall(reply)
            if then and sock.recv(1):
                sock.sendall(then)
                judged.wait(5)  # closing with unread bytes would throw the answer away

    judged = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        judged.set()
        thread.join()
