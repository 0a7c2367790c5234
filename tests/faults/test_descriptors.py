"""A server without descriptors, in an OS process of its own: a file, TLS, a WebSocket, a handler.

That accepting pauses at the reserve, in-process, is `tests/test_listener.py`.
"""

import contextlib
import resource
import socket

import pytest
from certificates import client_context, self_signed
from commands import PATIENCE, serving
from websockets.sync.client import connect

LIMIT = 90  # descriptors of the server

YAML = """\
version: "1.0"
namespace: app
entries:
  - name: gateway
    kind: http.service
    addr: "127.0.0.1:0"
    {tls}
  - {{name: pages, kind: http.router}}
  - {{name: hog, kind: http.endpoint, meta: {{router: pages}}, method: GET, path: /hog,
     func: h:hog}}
  - {{name: free, kind: http.endpoint, meta: {{router: pages}}, method: GET, path: /free,
     func: h:free}}
  - {{name: files, kind: http.static, meta: {{server: gateway}}, path: /files, directory: files}}
  - {{name: sockets, kind: http.router, prefix: /ws, post_middleware: [websocket_relay]}}
  - {{name: connect, kind: http.endpoint, meta: {{router: sockets}}, method: GET, path: /,
     func: h:connect}}
"""
HANDLERS = """\
import os

from wsrelay import process, relay_to

held = []


def hog(request):
    try:
        while True:
            held.append(open(os.devnull))
    except OSError:
        return str(len(held))


def free(request):
    while held:
        held.pop().close()
    return "free"


async def echo():
    async for message in process.inbox():
        if message.topic == "ws.message":
            process.send(message.sender, "ws.send", message.payload)


def connect(request):
    return relay_to(process.spawn(echo))
"""
BIG = b"x" * 100_000


class Site:
    """A server whose descriptors are few, and clients of it."""

    def __init__(self, command, context):
        self.command = command
        self.context = context
        self.open = []

    def limit(self, count):
        pid = self.command.process.pid
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, hard))

    def dial(self, timeout=PATIENCE):
        """TCP, and TLS on it; who is not accepted waits in the kernel's queue."""
        sock = socket.create_connection(("127.0.0.1", self.command.port), timeout)
        try:
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_hostname="localhost")
        except TimeoutError:
            sock.close()
            raise
        self.open.append(sock)
        return sock

    def get(self, sock, path):
        """Status and body of one request on a kept connection."""
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
        data = b""
        while b"\r\n\r\n" not in data:
            part = sock.recv(65536)
            assert part, "the connection has ended"
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields[b"content-length"]):
            body += sock.recv(65536)
        return int(head.split(b" ")[1]), body

    def websocket(self):
        scheme = "ws" if self.context is None else "wss"
        url = f"{scheme}://localhost:{self.command.port}/ws/"
        return connect(url, ssl=self.context)

    def fill(self):
        """Connect until nobody is accepted any more."""
        while not self.pauses():
            with contextlib.suppress(TimeoutError):
                sock = self.dial(0.2)
                if self.context is None:
                    sock.settimeout(0.2)
                    self.get(sock, "/free")
        return len(self.open)

    def pauses(self):
        return [line for line in self.command.so_far() if "accepts no more connections" in line]

    def close(self):
        for sock in self.open:
            sock.close()
        self.open = []


@pytest.fixture(params=["plain", "tls"])
def site(request, tmp_path):
    tls, context = "", None
    if request.param == "tls":
        pair = self_signed(tmp_path)
        tls = f'tls: {{cert: "{pair.cert}", key: "{pair.key}"}}'
        context = client_context(pair)
    (tmp_path / "app.yaml").write_text(YAML.format(tls=tls))
    (tmp_path / "h.py").write_text(HANDLERS)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "big.txt").write_bytes(BIG)
    with serving("run", "app.yaml", "--no-access-log", cwd=tmp_path) as command:
        made = Site(command, context)
        made.limit(LIMIT)
        yield made
        made.close()


def test_out_of_descriptors_and_back(site):
    """One line, those who are in are served, a file too; and it goes on by itself."""
    with site.websocket() as client:
        kept = site.dial()
        assert site.get(kept, "/files/big.txt") == (200, BIG)
        site.fill()
        assert len(site.pauses()) == 1
        # The reserve is there for the application: a file is opened, a process is made.
        client.send("on")
        assert client.recv(PATIENCE) == "on"
        assert site.get(kept, "/files/big.txt") == (200, BIG)
        # Now the application itself takes the last one. Who is in is still served.
        status, count = site.get(kept, "/hog")
        assert status == 200 and int(count) >= 10
        assert site.get(kept, "/files/big.txt")[0] == 503
        client.send("still")
        assert client.recv(PATIENCE) == "still"
        assert site.get(kept, "/free") == (200, b"free")
        assert site.get(kept, "/files/big.txt") == (200, BIG)
        others = [sock for sock in site.open if sock is not kept]
        for sock in others:
            sock.close()
        site.open = [kept]
        for _ in range(3):
            assert site.get(site.dial(), "/files/big.txt") == (200, BIG)
        assert len(site.pauses()) == 1
    assert not any("asyncio" in line or "accept4" in line for line in site.command.so_far())
