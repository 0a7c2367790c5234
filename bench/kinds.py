"""The servers that can be measured: scripts in `servers/`, and what must be installed for each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench import machine


@dataclass(frozen=True, slots=True)
class Kind:
    """A server: its script, its arguments, the packages it needs, and whether it is a raw one.

    A raw one knows no WebSocket: it gets frames without a handshake and returns the very bytes.
    """

    script: str
    arguments: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    raw: bool = False


STARLETTE = ("starlette", "uvicorn", "httptools")

KINDS = {
    "wsrelay": Kind("wsrelay_echo.py"),
    "wsrelay-shared": Kind("wsrelay_room.py", ("echo",)),
    "picows": Kind("picows_echo.py", packages=("picows",)),
    "queue": Kind("picows_queue.py", packages=("picows",)),
    "raw": Kind("uvloop_raw.py", raw=True),
    "epoll": Kind("epoll_raw.py", raw=True),
    "websockets": Kind("websockets_server.py", ("echo",), ("websockets",)),
    "aiohttp": Kind("aiohttp_server.py", ("echo",), ("aiohttp",)),
    "starlette": Kind("starlette_server.py", ("echo",), STARLETTE),
    "granian": Kind("granian_server.py", ("echo",), ("granian",)),
    "socketify": Kind("socketify_server.py", ("echo",), ("socketify",)),
}
"""Those that answer the sender."""

FAN_KINDS = {
    "wsrelay": Kind("wsrelay_room.py", ("broadcast",)),
    "wsrelay-loop": Kind("wsrelay_room.py", ("loop",)),
    "picows": Kind("picows_fan.py", packages=("picows",)),
    "raw": Kind("uvloop_raw.py", ("fan",), raw=True),
    "websockets": Kind("websockets_server.py", ("fan",), ("websockets",)),
    "aiohttp": Kind("aiohttp_server.py", ("fan",), ("aiohttp",)),
    "starlette": Kind("starlette_server.py", ("fan",), STARLETTE),
    "granian": Kind("granian_server.py", ("fan",), ("granian",)),
    "socketify": Kind("socketify_server.py", ("fan",), ("socketify",)),
}
"""Those that answer everybody, under the names of their echo."""

FLOOR = "epoll"
"""What no server can go below: the kernel's part."""

RIVALS = tuple(name for name in KINDS if not name.startswith("wsrelay") and name != FLOOR)


def packages() -> list[str]:
    """Name all packages that are measured, or that a measured one stands on."""
    needed = {package for kind in KINDS.values() for package in kind.packages}
    return sorted({"wsrelay", "uvloop", "h11", *needed})


def missing(names: Iterable[str], kinds: Mapping[str, Kind] = KINDS) -> dict[str, list[str]]:
    """Tell which of these servers cannot be measured, and which packages they lack."""
    lacking = {
        name: [package for package in kinds[name].packages if machine.installed(package) is None]
        for name in names
    }
    return {name: packages for name, packages in lacking.items() if packages}
