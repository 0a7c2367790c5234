"""The files in docs/deployment.md, and real proxies that run them on ports of this machine.

A test opens the proxy's listening sockets itself and hands them down, so that there is no free port
to be guessed, and no start to wait for: who connects early waits in the socket's queue.
"""

import asyncio
import getpass
import grp
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from certificates import Pair, client_context, self_signed
from commands import PATIENCE, ROOT, Program

GUIDE = ROOT / "docs" / "deployment.md"
HOST = "app.example.com"
CLIENT = "127.0.0.2"
"""Where clients of these tests come from, so that they can be told from the proxy."""


def blocks() -> dict[str, str]:
    """The guide's files by their first line, which is a comment with their name."""
    found = re.findall(r"^```\w+\n# ([^\n]*)\n(.*?)^```$", GUIDE.read_text("utf-8"), re.M | re.S)
    files = dict(found)
    assert len(files) == len(found)
    return files


def changed(text: str, changes: Mapping[str, str]) -> str:
    """A file of the guide with other ports and paths; each must be there once."""
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in\n{text}"
        text = text.replace(old, new)
    return text


def write_app(folder: Path, **changes: str) -> Path:
    """The guide's app in a folder.

    Args:
        changes: `gateway`: the title of the block with another gateway.
    """
    files = blocks()
    text = files["app.yaml"]
    if "gateway" in changes:
        start, end = text.index("  - name: gateway"), text.index("  - name: plain")
        text = text[:start] + files[changes["gateway"]] + text[end:]
    (folder / "handlers.py").write_text(files["handlers.py"])
    file = folder / "app.yaml"
    file.write_text(text)
    return file


def program(name: str, package: str) -> str:
    """The path of a program; Debian has these where only root looks."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    assert found, f"these tests need the program {name} (Debian: apt-get install {package})"
    return found


async def until(condition: Callable[[], object]) -> None:
    """Wait for what sends no event."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


@contextmanager
def listening_sockets(count: int) -> Iterator[list[socket.socket]]:
    """Sockets that listen on free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    for one in sockets:
        one.setblocking(False)  # nginx takes them as they are, and two workers share one
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


class Proxy(Program):
    """A proxy that runs.

    Attributes:
        port: of its listener for TLS.
        plain_port: of the other one; nginx only.
        tls: context of clients that trust its certificate.
    """

    port: int
    plain_port: int

    def __init__(self, argv: Sequence[str], pair: Pair, **settings: Any) -> None:
        self.tls = client_context(pair)
        super().__init__(argv, **settings)

    def __exit__(self, *error: Any) -> None:
        # Not SIGKILL first: nginx's workers outlive a master that had no time to end them.
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        finally:
            super().__exit__(*error)


# -- nginx -----------------------------------------------------------------------------------------

_MAIN = """\
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/conf.d/*.conf;
}}
"""


def _user() -> str:
    """Workers keep the user of the test; only root is asked to choose one."""
    if os.geteuid() != 0:
        return ""
    return f"user {getpass.getuser()} {grp.getgrgid(os.getegid()).gr_name};\n"


@contextmanager
def nginx(folder: Path, upstream: str, servers: Mapping[str, str], **site: str) -> Iterator[Proxy]:
    """Run nginx with the guide's site.

    Args:
        folder: of its own.
        upstream: title of the guide's file with the upstream.
        servers: addresses in that file, and those of the test.
        site: further changes of the site, by names of directives: their new values.
    """
    pair = self_signed(folder)
    with listening_sockets(2) as (secure, plain):
        port, plain_port = (one.getsockname()[1] for one in (secure, plain))
        text = changed(
            blocks()["/etc/nginx/conf.d/app.conf"],
            {
                "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
                "listen 80;": f"listen 127.0.0.1:{plain_port};",
                "/etc/ssl/app/chain.pem": str(pair.cert),
                "/etc/ssl/app/key.pem": str(pair.key),
            },
        )
        for directive, value in site.items():
            text, count = re.subn(rf"({directive}) .*;", rf"\1 {value};", text)
            assert count == 1, directive
        (folder / "conf.d").mkdir()
        (folder / "conf.d" / "app.conf").write_text(text)
        (folder / "conf.d" / "upstream.conf").write_text(changed(blocks()[upstream], servers))
        main = folder / "nginx.conf"
        main.write_text(_MAIN.format(user=_user(), folder=folder))
        descriptors = [secure.fileno(), plain.fileno()]
        # nginx takes over listening sockets from the nginx before it (an upgrade of its binary).
        inherited = {**os.environ, "NGINX": "".join(f"{number};" for number in descriptors)}
        argv = [program("nginx", "nginx"), "-e", "stderr", "-p", str(folder), "-c", str(main)]
        with Proxy(argv, pair, env=inherited, pass_fds=descriptors) as proxy:
            proxy.port, proxy.plain_port = port, plain_port
            yield proxy


# -- HAProxy ---------------------------------------------------------------------------------------


@contextmanager
def haproxy(folder: Path, title: str, port: int, **changes: str) -> Iterator[Proxy]:
    """Run HAProxy with a file of the guide.

    Args:
        folder: of its own.
        title: of the file.
        port: of wsrelay.
    """
    pair = self_signed(folder)
    both = folder / "both.pem"
    both.write_text(pair.cert.read_text() + pair.key.read_text())
    with listening_sockets(1) as (listener,):
        text = changed(
            blocks()[title],
            {
                "bind :443 ssl": f"bind fd@{listener.fileno()} ssl",
                "/etc/ssl/app/both.pem": str(both),
                "127.0.0.1:8080": f"127.0.0.1:{port}",
                "inter 2s": "inter 50ms",
                # Without it a check may take no longer than that, which a busy machine can't hold.
                "option httpchk GET /healthz": "option httpchk GET /healthz\n    timeout check 10s",
                **changes,
            },
        )
        file = folder / "haproxy.cfg"
        file.write_text(text)
        argv = [program("haproxy", "haproxy"), "-db", "-f", str(file)]
        with Proxy(argv, pair, pass_fds=[listener.fileno()]) as proxy:
            proxy.port = listener.getsockname()[1]
            yield proxy


def verified_unit(file: Path) -> str:
    """What systemd finds wrong with a unit; empty: nothing, or there is no systemd here."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return ""
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(file)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return "" if done.returncode == 0 and file.name not in done.stderr else done.stderr
