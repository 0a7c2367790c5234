"""The kinds of entries, as typed objects.

Each dataclass below is also the table that its part of a file is read by: the type, the key, the
reader and the default of a field stand in one line. Durations are seconds (`float`), 0 being off;
sizes are bytes (`int`). References to other entries are ids, `namespace:name`.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from wsrelay._text import quoted
from wsrelay.config import values
from wsrelay.config.fields import (
    Reader,
    Reading,
    defined,
    group,
    list_of,
    setting,
    simple,
    text_map,
)
from wsrelay.config.locations import Address, ImportPath, Proxy
from wsrelay.config.nodes import Marks, Node, plain
from wsrelay.config.problems import Place, Problem
from wsrelay.config.references import Reference, entry_of, entry_or_import, the_only

__all__ = [
    "KINDS",
    "TLS",
    "Entry",
    "FunctionPython",
    "HTTPEndpoint",
    "HTTPRouter",
    "HTTPService",
    "HTTPStatic",
    "Lifecycle",
    "Limits",
    "ProcessHost",
    "ProcessPython",
    "ProcessService",
    "Restart",
    "Timeouts",
]

_duration = simple(values.duration)
_count = simple(values.whole, least=0)
_boolean = simple(values.boolean)
# Which middleware there is, and which options, is not known here: wsrelay/schema.py fills these in.
_middleware = list_of(
    defined(simple(values.middleware), "middleware"), example="[cors, websocket_relay]"
)
_options = defined(text_map, "options")


def _read_file(node: Node, reading: Reading) -> Path:
    """A path; a relative one starts from the folder of the configuration, so an app can move."""
    written = values.non_empty(node)
    return reading.folder / written if reading.folder else Path(written)


_file = replace(simple(values.non_empty), read=_read_file)
_plain = Reader(lambda node, reading: plain(node), lambda _: {}, lambda value: value)


@dataclass(kw_only=True)
class Entry:
    """What every entry has.

    Attributes:
        name: Name, unique in its namespace.
        namespace: Namespace of the file.
        marks: Places in the file; None for an entry that was made in code.
    """

    kind: ClassVar[str]

    name: str = field(metadata=setting(simple(values.name)))
    namespace: str
    marks: Marks | None = field(default=None, repr=False, compare=False)

    @property
    def id(self) -> str:
        """`namespace:name`, by which references and the process registry know the entry."""
        return f"{self.namespace}:{self.name}"

    @property
    def where(self) -> str:
        """How messages name the entry: `http.router "ws_router"`."""
        return f"{self.kind} {quoted(self.name)}"

    def place(self, *path: str | int, value: bool = False) -> Place | None:
        """Where a part of the entry stands in its file.

        Args:
            path: Keys of the file, and positions in lists (from 0): `place("post_options",
                "cors.max.age")`, `place("meta", "server")`, `place("middleware", 0)`.
            value: The place of the value rather than that of its key.

        Returns:
            The place; that of the nearest thing around it, at worst of the entry, if the file
            does not have it; None for an entry that was made in code.
        """
        return self.marks.place(*path, value=value) if self.marks else None

    def problem(self, message: str, *path: str | int, value: bool = False) -> Problem:
        """A Problem of this entry at a place of it; `path` and `value` as in `place`."""
        return Problem.at(self.place(*path, value=value), self.where, message)


@dataclass(kw_only=True)
class Timeouts:
    """Time limits of an `http.service`, in seconds.

    Attributes:
        header: For a complete header block, from the first byte and from the connect.
        read: For the body of a request.
        idle: Between two requests of one connection.
        shutdown: For the whole of a stop.
    """

    header: float = field(default=10.0, metadata=setting(_duration))
    read: float = field(default=30.0, metadata=setting(_duration))
    idle: float = field(default=75.0, metadata=setting(_duration))
    shutdown: float = field(default=10.0, metadata=setting(_duration))


@dataclass(kw_only=True)
class Limits:
    """Size limits of an `http.service`.

    Attributes:
        header_bytes: Bytes of a header block.
        headers: Number of headers.
        body: Bytes of a request's body.
        connections: Open connections; 0: as many as the system allows.
    """

    header_bytes: int = field(default=16 * 1024, metadata=setting(simple(values.size, least=1)))
    headers: int = field(default=100, metadata=setting(simple(values.whole, least=1)))
    body: int = field(default=1024 * 1024, metadata=setting(simple(values.size, least=0)))
    connections: int = field(default=0, metadata=setting(_count))


@dataclass(kw_only=True)
class TLS:
    """TLS of an `http.service`.

    Attributes:
        cert: Certificate and the chain behind it, PEM; begins with the server's own.
        key: Private key, PEM, without a password.
        client_ca: Authorities that sign clients' certificates, PEM.
        client_auth: `none`, `optional` or `required`: whether a client must show a certificate.
            By default `required` with `client_ca`, else `none`.
    """

    cert: Path | str = field(metadata=setting(_file))
    key: Path | str = field(metadata=setting(_file))
    client_ca: Path | str | None = field(default=None, metadata=setting(_file))
    client_auth: str = field(
        default="",
        metadata=setting(simple(values.choice, choices=("none", "optional", "required"))),
    )

    def __post_init__(self) -> None:
        if not self.client_auth:
            self.client_auth = "required" if self.client_ca else "none"
        if self.client_auth != "none" and self.client_ca is None:
            raise ValueError(f"client_auth {quoted(self.client_auth)} needs client_ca")


@dataclass(kw_only=True)
class HTTPService(Entry):
    """A listening HTTP server.

    Attributes:
        addr: Where it listens. The file of a UNIX socket gets its mode from the umask.
        timeouts: Time limits.
        limits: Size limits.
        tls: Certificate and key. Absent: plain HTTP.
        trusted_proxies: Subnets of the proxies whose forwarding headers count; `unix`: every peer
            on a Unix socket.
        proxy_headers: Which headers they write: `x-forwarded` or `forwarded`.
        proxy_protocol: Whether they begin each connection with a PROXY header.
    """

    kind: ClassVar[str] = "http.service"

    addr: Address = field(
        default=Address("127.0.0.1", 8080), metadata=setting(simple(values.address))
    )
    timeouts: Timeouts = field(default_factory=Timeouts, metadata=setting(group(Timeouts)))
    limits: Limits = field(default_factory=Limits, metadata=setting(group(Limits)))
    tls: TLS | None = field(default=None, metadata=setting(group(TLS)))
    trusted_proxies: list[Proxy] = field(
        default_factory=list,
        metadata=setting(list_of(simple(values.proxy), example='["10.0.0.0/8"]')),
    )
    proxy_headers: str = field(
        default="x-forwarded",
        metadata=setting(simple(values.choice, choices=("x-forwarded", "forwarded"))),
    )
    proxy_protocol: bool = field(default=False, metadata=setting(_boolean))


@dataclass(kw_only=True)
class HTTPRouter(Entry):
    """Routes under a prefix, with their middleware.

    Attributes:
        server: Id of the `http.service`. Absent: the only one; if the file has none, the server
            on 127.0.0.1:8080 that the App makes by itself.
        prefix: Begins with `/`, or is empty.
        middleware: Names, the outermost first; run for every request under the prefix.
        options: Their options, as texts.
        post_middleware: Names; run after the match.
        post_options: Their options, as texts.
    """

    kind: ClassVar[str] = "http.router"

    server: str | None = field(
        default=None,
        metadata=setting(entry_of("http.service"), "meta.server", the_only("http.service", False)),
    )
    prefix: str = field(default="", metadata=setting(simple(values.prefix)))
    middleware: list[str] = field(default_factory=list, metadata=setting(_middleware))
    options: dict[str, str] = field(default_factory=dict, metadata=setting(_options))
    post_middleware: list[str] = field(default_factory=list, metadata=setting(_middleware))
    post_options: dict[str, str] = field(default_factory=dict, metadata=setting(_options))


@dataclass(kw_only=True)
class HTTPEndpoint(Entry):
    """One route.

    Attributes:
        router: Id of the `http.router`. Absent: the only one.
        method: HTTP method, in capitals.
        path: Template of the path after the prefix; its parameters are the router's to check.
        func: A `function.python` entry or an object to import.
    """

    kind: ClassVar[str] = "http.endpoint"

    router: str = field(
        metadata=setting(entry_of("http.router"), "meta.router", the_only("http.router", True)),
    )
    method: str = field(metadata=setting(simple(values.method)))
    path: str = field(metadata=setting(simple(values.path)))
    func: Reference = field(metadata=setting(entry_or_import("function.python")))


@dataclass(kw_only=True)
class HTTPStatic(Entry):
    """A folder of files; see `wsrelay.http.StaticFiles`.

    Attributes:
        server: Id of the `http.service`, as for an `http.router`.
        path: URL path under which the files appear. Routes that are spelled out go before them,
            and no middleware of a router runs around them.
        directory: The folder; a relative one starts from the configuration's folder.
        index: File that stands for a folder.
        spa: Whether `index` also answers a browser that navigates to what is no file.
        cache: Time for which clients may keep a file without asking; 0: they ask each time.
    """

    kind: ClassVar[str] = "http.static"

    server: str | None = field(
        default=None,
        metadata=setting(entry_of("http.service"), "meta.server", the_only("http.service", False)),
    )
    path: str = field(metadata=setting(simple(values.path)))
    directory: Path = field(metadata=setting(_file))
    index: str = field(default="index.html", metadata=setting(simple(values.file_name)))
    spa: bool = field(default=False, metadata=setting(_boolean))
    cache: float = field(default=0.0, metadata=setting(_duration))


@dataclass(kw_only=True)
class FunctionPython(Entry):
    """A function under a name of its own, for `func`.

    Attributes:
        source: The function to import, `package.module:attribute`.
    """

    kind: ClassVar[str] = "function.python"

    source: ImportPath = field(metadata=setting(simple(values.import_path)))


@dataclass(kw_only=True)
class ProcessPython(Entry):
    """A process function under a name of its own, for `process` and `process.spawn`.

    Attributes:
        source: The function to import, `package.module:attribute`.
    """

    kind: ClassVar[str] = "process.python"

    source: ImportPath = field(metadata=setting(simple(values.import_path)))


@dataclass(kw_only=True)
class ProcessHost(Entry):
    """A place where processes run.

    Attributes:
        max_processes: A spawn over it raises HostFull; 0: no limit.
    """

    kind: ClassVar[str] = "process.host"

    max_processes: int = field(default=0, metadata=setting(_count))


@dataclass(kw_only=True)
class Restart:
    """How a failed process comes back.

    Attributes:
        initial_delay: Time before the first attempt.
        max_delay: The longest time before an attempt.
        backoff_factor: What the delay is multiplied by after each attempt, at least 1.
        jitter: Part of the delay by which it varies at random, 0 to 1.
        max_attempts: Attempts in a row; 0: endless.
    """

    initial_delay: float = field(default=1.0, metadata=setting(_duration))
    max_delay: float = field(default=90.0, metadata=setting(_duration))
    backoff_factor: float = field(
        default=2.0, metadata=setting(simple(values.number, least=1, most=1000))
    )
    jitter: float = field(default=0.1, metadata=setting(simple(values.number, least=0, most=1)))
    max_attempts: int = field(default=0, metadata=setting(_count))

    def __post_init__(self) -> None:
        if not 0 <= self.initial_delay < math.inf or not self.max_delay < math.inf:
            raise ValueError("initial_delay and max_delay are seconds from 0 up")
        if self.initial_delay > self.max_delay:
            raise ValueError("initial_delay is longer than max_delay")
        if not 1 <= self.backoff_factor <= 1000:
            raise ValueError("backoff_factor is a number from 1 to 1000")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter is a number from 0 to 1")
        if self.max_attempts < 0:
            raise ValueError("max_attempts is a whole number from 0 up")


@dataclass(kw_only=True)
class Lifecycle:
    """When a service starts, stops and comes back.

    Attributes:
        auto_start: Whether it starts with the App.
        start_timeout: Time in which it must have started; 0: no limit.
        stop_timeout: Time from its cancel until it is terminated; 0: no limit but that of the
            whole stop.
        stable_threshold: Time of life after which the attempts are counted anew.
        requires: Ids of the services that start before it and stop after it.
        restart: How it comes back after a failure.
    """

    auto_start: bool = field(default=True, metadata=setting(_boolean))
    start_timeout: float = field(default=10.0, metadata=setting(_duration))
    stop_timeout: float = field(default=10.0, metadata=setting(_duration))
    stable_threshold: float = field(default=5.0, metadata=setting(_duration))
    requires: list[str] = field(
        default_factory=list,
        metadata=setting(list_of(entry_of("process.service"), example="[other_service]")),
    )
    restart: Restart = field(default_factory=Restart, metadata=setting(group(Restart)))


@dataclass(kw_only=True)
class ProcessService(Entry):
    """A process that is kept alive.

    Attributes:
        process: A `process.python` entry or an object to import.
        host: Id of the `process.host`. Absent: the App chooses, as `process.spawn` does.
        input: The only argument of the process, as plain Python. Absent: it has none.
        lifecycle: When it starts, stops and comes back.
    """

    kind: ClassVar[str] = "process.service"

    process: Reference = field(metadata=setting(entry_or_import("process.python")))
    host: str | None = field(default=None, metadata=setting(entry_of("process.host")))
    input: object = field(default=None, metadata=setting(_plain))
    lifecycle: Lifecycle = field(default_factory=Lifecycle, metadata=setting(group(Lifecycle)))


KINDS: dict[str, type[Entry]] = {
    table.kind: table
    for table in (
        HTTPService,
        HTTPRouter,
        HTTPEndpoint,
        HTTPStatic,
        FunctionPython,
        ProcessPython,
        ProcessHost,
        ProcessService,
    )
}
