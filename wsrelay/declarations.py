"""What an App is made of: entries under one namespace, declared by calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from wsrelay._text import quoted
from wsrelay.config import Address, parse_address
from wsrelay.config.durations import seconds
from wsrelay.http.limits import Limits, Timeouts
from wsrelay.http.router import Router
from wsrelay.http.routes import RouteConflict
from wsrelay.imports import AppFolder, load
from wsrelay.registry import Function, Registry, checked_name
from wsrelay.service import Service
from wsrelay.supervisor import Supervisor
from wsrelay_core import Host

if TYPE_CHECKING:
    from wsrelay.config import TLS, ImportPath, Proxy, Restart
    from wsrelay.http.static import StaticFiles

__all__ = ["Declarations"]

F = TypeVar("F", bound=Callable[..., Any])


class Declarations:
    """The entries of an App, and what the process API asks of them.

    Args:
        namespace: of the entries; bare names get it.

    Raises:
        ValueError: the namespace is none.

    Attributes:
        registry: processes, functions and hosts by name.
        services: by id.
        supervisor: starts, stops and tells of the services (`supervise`).
        folder: where imports look first; None: only where Python does.
    """

    def __init__(self, namespace: str) -> None:
        if ":" in checked_name(namespace):
            raise ValueError(f"{quoted(namespace)}: a namespace has no ':'")
        self.namespace = namespace
        self.registry = Registry(namespace)
        self.supervisor = Supervisor(self.registry)
        self.folder: AppFolder | None = None
        self.services: dict[str, Service] = {}
        self._lent = {"load": self._load, "shared": {}}  # to middleware; see `build_chain`

    def service(
        self,
        name: str = "gateway",
        *,
        addr: str | Address | None = None,
        tls: TLS | None = None,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        shutdown: float = 10.0,
        trusted_proxies: Sequence[str | Proxy] = (),
        proxy_headers: str = "x-forwarded",
        proxy_protocol: bool = False,
    ) -> Service:
        """Declare an `http.service`.

        Args:
            name: of the entry.
            addr: where it listens, as `127.0.0.1:8443`, `:8443` (all interfaces) or `unix:/path`;
                None: 127.0.0.1:8080, and any free port in `running`.
            tls: None: plain HTTP. The files are read when it begins to listen.
            limits, timeouts: of a client; None: the defaults.
            shutdown: seconds in which a stop must be done.
            trusted_proxies, proxy_headers, proxy_protocol: see `wsrelay.service.Service`.

        Raises:
            ValueError: there is one of this name, `addr` is no address, or what is said of proxies
                can't be.
        """
        entry = self.registry.id_of(checked_name(name))
        if entry in self.services:
            # Somebody who has declared a router may not know that this made one.
            hint = "" if self.services[entry].declared else "; declare it before its first router"
            raise ValueError(f'there is already an http.service "{entry}"{hint}')
        service = Service(
            entry,
            shutdown=shutdown,
            tls=tls,
            declared=addr is not None,
            trusted_proxies=trusted_proxies,
            proxy_headers=proxy_headers,
            proxy_protocol=proxy_protocol,
        )
        if addr is not None:
            service.addr = addr if isinstance(addr, Address) else parse_address(addr)
        if limits is not None:
            service.limits = limits
        if timeouts is not None:
            service.timeouts = timeouts
        self.services[entry] = service
        return service

    def router(
        self,
        prefix: str = "",
        *,
        middleware: Sequence[Any] = (),
        options: Mapping[str, str] | None = None,
        post_middleware: Sequence[Any] = (),
        post_options: Mapping[str, str] | None = None,
        server: str | None = None,
    ) -> Router:
        """Declare an `http.router`.

        Args:
            prefix: of all its paths.
            middleware: names or callables around every request under the prefix, first outermost.
            options: texts by dotted name, for `middleware`.
            post_middleware: the same behind the match of a route.
            post_options: for `post_middleware`.
            server: id of the service; by default the only one.

        Raises:
            ChainError: unknown middleware, options that nobody knows or that can't be read.
            ValueError: no service of that name, or several and none named; a malformed prefix.
        """
        from wsrelay.middleware.table import add_pages, build_chain  # see `wsrelay.serving`

        outer, inner = build_chain(middleware, options, post_middleware, post_options, self._lent)
        router = Router(prefix, outer, inner)
        add_pages(router)
        self.service_of(server).routers.append(router)
        return router

    def static(
        self,
        path: str,
        directory: str | os.PathLike[str],
        *,
        index: str = "index.html",
        spa: bool = False,
        cache: float = 0.0,
        server: str | None = None,
    ) -> StaticFiles:
        """Declare an `http.static`: the files of a folder under a path.

        Routes whose path is spelled out go before files, and no middleware of a router runs
        around these; see `StaticFiles`, also for what is served and what is not.

        Args:
            path: URL path under which the folder appears.
            directory: the folder; a relative one starts from the working directory.
            index: name of the file that stands for a folder.
            spa: whether `index` also answers a browser that navigates to what is no file.
            cache: seconds for which clients may keep a file without asking; 0: they ask.
            server: id of the service; by default the only one.

        Raises:
            RouteConflict: the service has files under this path; the message names both.
            StaticError: no folder there, or another argument is of no use (a ValueError).
            ValueError: no service of that name, or several and none named.
        """
        from wsrelay.http.static import StaticFiles  # see `wsrelay.serving`

        files = StaticFiles(path, directory, index=index, spa=spa, cache=cache)
        service = self.service_of(server)
        for other in service.files:
            if other.path == files.path:
                raise RouteConflict(f"{files} can't be told from {other}", files, other)
        service.files.append(files)
        return files

    def _load(self, path: ImportPath) -> Any:
        return load(path, self.folder)

    def service_of(self, name: str | None) -> Service:
        """A declared service; None: the only one, which is made if there is none."""
        if name is not None:
            entry = self.registry.id_of(name)
            if entry not in self.services:
                raise ValueError(f'there is no http.service "{entry}"')
            return self.services[entry]
        if not self.services:
            return self.service()
        if len(self.services) > 1:
            raise ValueError(f"server= must name one of {', '.join(self.services)}")
        return next(iter(self.services.values()))

    def process(self, name: str) -> Callable[[F], F]:
        """Decorator: a `process.python` entry; returns the function unchanged."""
        if not isinstance(name, str):
            raise TypeError('a process needs its name: write @app.process("name")')

        def decorate(function: F) -> F:
            self.registry.add_process(name, function)
            return function

        return decorate

    def host(self, name: str, max_processes: int = 0) -> Host:
        """Declare a `process.host` (0: no limit)."""
        return self.registry.add_host(name, max_processes)

    def supervise(
        self,
        name: str,
        process: str | Function,
        *,
        input: Any = None,
        host: str | None = None,
        auto_start: bool = True,
        start_timeout: float | str = 10.0,
        stop_timeout: float | str = 10.0,
        stable_threshold: float | str = 5.0,
        requires: Sequence[str] = (),
        restart: Restart | None = None,
    ) -> None:
        """Declare a `process.service`: a process that is kept alive (OTP: a `transient` child).

        If it ends with an error, or is killed, it is started again after a back-off; if it
        returns or is cancelled, it is not. Its process of the moment is registered under its id
        and, in the App's own namespace, under the bare name: `process.send("clock", …)`. What
        waits in the mailbox of a process that ends is lost, as ever. Stop, start and look at it
        with `app.supervisor`.

        Args:
            name: of the service.
            process: as in `process.spawn`.
            input: its only argument, None for no argument; dicts and lists are copied for each
                start.
            host: as in `process.spawn`.
            auto_start: whether it starts with the App, before the listeners open.
            start_timeout: seconds, or a text such as `"30s"`, until it must have started: it waits
                for the first time (outside of `process.starting()`), or has returned. 0: no limit.
            stop_timeout: seconds, or a text, from its cancel until it is terminated; 0: no limit
                but that of the whole shutdown.
            stable_threshold: seconds, or a text, of life after which restarts are counted anew.
            requires: names of services that start before it and stop after it.
            restart: delays and number of the restarts.

        Raises:
            ValueError: there is such a service already; a name or a duration that is none.
            TypeError: the function can't be called with this input; `requires` is one text.
        """
        from wsrelay.config import Lifecycle, Restart  # see `wsrelay.serving`

        if isinstance(requires, str):  # a sequence, but of letters
            raise TypeError(f"requires is a list, such as [{quoted(requires)}], not a text")
        lifecycle = Lifecycle(
            auto_start=auto_start,
            start_timeout=seconds(start_timeout),
            stop_timeout=seconds(stop_timeout),
            stable_threshold=seconds(stable_threshold),
            requires=list(requires),
            restart=restart or Restart(),
        )
        self.supervisor.add(name, process, input, host, lifecycle)

    # What the process API asks of the App that it finds.

    def find_function(self, target: str | Function) -> tuple[str, Function]:
        """Entry name and function of what `spawn` was given."""
        return self.registry.find_process(target)

    def find_host(self, name: str | None, spawner: Host | None) -> Host:
        """The host of a new process."""
        return self.registry.find_host(name, spawner)

    def server_host(self, name: str) -> Host:
        """The host under which the connections of a server run."""
        return self.registry.server_host(name)
