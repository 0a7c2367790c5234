"""What a configuration serves, in one list: routes, folders of files, and services."""

from dataclasses import dataclass

from wsrelay.config import (
    Config,
    HTTPEndpoint,
    HTTPRouter,
    HTTPService,
    HTTPStatic,
    ProcessService,
)

__all__ = ["RouteLine", "ServiceLine", "route_lines", "service_lines"]

_IMPLICIT = "gateway"  # the service that an App makes where there is none


@dataclass(frozen=True, slots=True)
class RouteLine:
    """One way in.

    Attributes:
        kind: Kind of its entry.
        name: Name of its entry.
        method: HTTP method; that of an `http.static` is GET.
        path: Template of the whole path.
        function: `func` as it is written, with the source of a `function.python`; the directory of
            an `http.static`.
        router: Name of its router; None for an `http.static`.
        middleware: Names around every request under the prefix, the outermost first.
        post_middleware: Names around the function, after the match.
        service: Name of the `http.service`.
        address: Where that listens.
    """

    kind: str
    name: str
    method: str
    path: str
    function: str
    router: str | None
    middleware: list[str]
    post_middleware: list[str]
    service: str
    address: str


@dataclass(frozen=True, slots=True)
class ServiceLine:
    """One process that is kept alive.

    Attributes:
        kind: Kind of its entry, `process.service`.
        name: Name of its entry.
        process: As it is written.
        host: Name of the `process.host`; None: the App chooses.
        auto_start: Whether it starts with the App.
        requires: Names of the services that start before it.
    """

    kind: str
    name: str
    process: str
    host: str | None
    auto_start: bool
    requires: list[str]


def route_lines(config: Config) -> list[RouteLine]:
    """The endpoints and folders of a configuration, in the order of its file."""
    lines = []
    for entry in config.entries:
        if isinstance(entry, HTTPEndpoint):
            lines.append(_endpoint(config, entry))
        elif isinstance(entry, HTTPStatic):
            lines.append(_static(config, entry))
    return lines


def service_lines(config: Config) -> list[ServiceLine]:
    """The services of a configuration, in the order of its file."""
    return [
        ServiceLine(
            kind=entry.kind,
            name=entry.name,
            process=str(entry.process),
            host=None if entry.host is None else _name(entry.host),
            auto_start=entry.lifecycle.auto_start,
            requires=[_name(one) for one in entry.lifecycle.requires],
        )
        for entry in config.of(ProcessService)
    ]


def _endpoint(config: Config, entry: HTTPEndpoint) -> RouteLine:
    router = config.get(entry.router)
    assert isinstance(router, HTTPRouter)
    service, address = _service(config, router.server)
    return RouteLine(
        kind=entry.kind,
        name=entry.name,
        method=entry.method,
        path=router.prefix.removesuffix("/") + entry.path,
        function=_function(config, entry),
        router=router.name,
        middleware=router.middleware,
        post_middleware=router.post_middleware,
        service=service,
        address=address,
    )


def _static(config: Config, entry: HTTPStatic) -> RouteLine:
    service, address = _service(config, entry.server)
    return RouteLine(
        kind=entry.kind,
        name=entry.name,
        method="GET",
        path=entry.path.removesuffix("/") + "/{file...}",
        function=str(entry.directory),
        router=None,
        middleware=[],
        post_middleware=[],
        service=service,
        address=address,
    )


def _service(config: Config, server: str | None) -> tuple[str, str]:
    """Name and address of a service; without one, those of the service that the App makes."""
    found = None if server is None else config.get(server)
    if not isinstance(found, HTTPService):
        found = HTTPService(name=_IMPLICIT, namespace=config.namespace)
    return found.name, str(found.addr)


def _function(config: Config, entry: HTTPEndpoint) -> str:
    named = None if entry.func.id is None else config.get(entry.func.id)
    source = getattr(named, "source", None)
    return str(entry.func) if source is None else f"{entry.func} ({source})"


def _name(entry_id: str) -> str:
    return entry_id.rpartition(":")[2]
