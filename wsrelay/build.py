"""From a configuration to an App, by the calls that code makes too: YAML is no second engine."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from wsrelay._text import quoted
from wsrelay.config import (
    Address,
    Config,
    ConfigError,
    Entry,
    FunctionPython,
    HTTPEndpoint,
    HTTPRouter,
    HTTPService,
    HTTPStatic,
    ImportPath,
    Problem,
    ProcessHost,
    ProcessPython,
    ProcessService,
)
from wsrelay.errors import UnknownEntry
from wsrelay.http import Dispatcher, Limits, RouteConflict, Router, Timeouts
from wsrelay.http.static import StaticError, StaticFiles
from wsrelay.imports import AppFolder, ImportFailed, load
from wsrelay.middleware.table import ChainError
from wsrelay.supervisor import check_input
from wsrelay.tls import TLSFilesError, check_files

if TYPE_CHECKING:
    from wsrelay.app import App
    from wsrelay.service import Service

__all__ = ["build"]


def build(app: App, config: Config, problems: Iterable[Problem] = ()) -> App:
    """Add all entries of a configuration to an App.

    Args:
        app: has the namespace of the configuration. It is of no use after an error.
        config: its functions are imported, from its folder first.
        problems: found while it was read; with any, it lacks the entries that could not be.

    Returns:
        The App.

    Raises:
        ConfigError: all that is wrong with the entries, each problem with its place.
    """
    building = _Building(app, config, problems)
    building.add_all()
    if building.problems:
        raise ConfigError(building.problems)
    return app


class _Building:
    """One run of `build`. An entry that fails adds its problem, and those that need it are silent.

    Attributes:
        problems: so far.
    """

    def __init__(self, app: App, config: Config, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        self._is_whole = not self.problems
        self._app = app
        self._entries = self._unique(config.entries)
        self._folder = AppFolder.of(config.folder) if config.folder is not None else None
        self._routers: dict[str, Router] = {}
        self._served: dict[object, HTTPEndpoint | HTTPRouter | HTTPStatic] = {}
        self._listening: dict[Address, HTTPService] = {}
        self._failed: set[str] = set()  # modules that raised on import
        if self._folder is not None:
            app.registry.importer = self._folder.load
            app.folder = self._folder

    def add_all(self) -> None:
        """Each kind after those that it refers to."""
        steps: list[tuple[type[Any], Callable[[Any], None]]] = [
            (HTTPService, self._service),
            (HTTPRouter, self._router),
            (FunctionPython, self._function),
            (HTTPEndpoint, self._endpoint),
            (ProcessHost, self._host),
            (ProcessPython, self._process),
            (HTTPStatic, self._static),
            (ProcessService, self._supervise),
        ]
        for kind, add in steps:
            for entry in self._entries:
                if isinstance(entry, kind):
                    add(entry)
        for service in self._app.services.values():
            self._check_routes(service)

    def _unique(self, entries: Iterable[Entry]) -> list[Entry]:
        """The entries, of several with one name the first."""
        first: dict[str, Entry] = {}
        for entry in entries:
            earlier = first.setdefault(entry.id, entry)
            if earlier is not entry:
                place = f" at {earlier.place()}" if earlier.marks is not None else ""
                message = f"the name is taken by {earlier.where}{place}"
                self._problem(entry, message, "name", value=True)
        return list(first.values())

    def _problem(self, entry: Entry, message: str, *path: str | int, value: bool = False) -> None:
        self.problems.append(entry.problem(message, *path, value=value))

    # -- HTTP --------------------------------------------------------------------------------------

    def _service(self, entry: HTTPService) -> None:
        other = self._listening.setdefault(entry.addr, entry)
        if other is not entry and entry.addr.port != 0:
            message = f"addr: {other.where} listens on {entry.addr}; write another address"
            self._problem(entry, message, "addr", value=True)
        if entry.proxy_protocol and not entry.trusted_proxies:
            message = "proxy_protocol: name the proxies that speak it under trusted_proxies"
            self._problem(entry, message, "proxy_protocol")
        if entry.proxy_protocol and entry.tls:
            # asyncio begins TLS before a protocol sees a byte.
            message = "proxy_protocol: not together with tls; let the proxy do TLS, or take it out"
            self._problem(entry, message, "proxy_protocol")
        if entry.tls is not None:
            try:
                check_files(entry.tls)
            except TLSFilesError as error:
                for field, message in error.problems:
                    self._problem(entry, f"tls.{field}: {message}", "tls", field, value=True)
        timeouts = {name: value or math.inf for name, value in vars(entry.timeouts).items()}
        del timeouts["shutdown"]
        service = self._app.service(
            entry.id,
            addr=entry.addr,
            limits=Limits(**vars(entry.limits)),
            timeouts=Timeouts(**timeouts),
            shutdown=entry.timeouts.shutdown,
            tls=entry.tls,
            trusted_proxies=entry.trusted_proxies,
            proxy_headers=entry.proxy_headers,
            proxy_protocol=(
                entry.proxy_protocol and bool(entry.trusted_proxies) and entry.tls is None
            ),
        )
        service.declared = True

    def _router(self, entry: HTTPRouter) -> None:
        if not self._is_whole and entry.server and entry.server not in self._app.services:
            return  # the service is an entry that could not be read
        try:
            router = self._routers[entry.id] = self._app.router(
                entry.prefix,
                middleware=entry.middleware,
                options=entry.options,
                post_middleware=entry.post_middleware,
                post_options=entry.post_options,
                server=entry.server,
            )
        except ChainError as error:
            for path, message in error.problems:
                self._problem(entry, message, *path)
        except ValueError as error:
            self._problem(entry, str(error), "prefix", value=True)
        else:
            self._served.update(dict.fromkeys(router.routes, entry))  # pages of its middleware

    def _endpoint(self, entry: HTTPEndpoint) -> None:
        function = self._handler(entry)
        router = self._routers.get(entry.router)
        if function is None or router is None:
            return
        try:
            self._served[router.add(entry.method, entry.path, function)] = entry
        except RouteConflict as error:
            self._conflict(entry, error)
        except ValueError as error:
            self._problem(entry, str(error), "path", value=True)

    def _static(self, entry: HTTPStatic) -> None:
        try:
            files = self._app.static(
                entry.path,
                entry.directory,
                index=entry.index,
                spa=entry.spa,
                cache=entry.cache,
                server=entry.server,
            )
        except RouteConflict as error:
            self._conflict(entry, error)
        except StaticError as error:
            self._problem(entry, str(error), error.field, value=True)
        else:
            self._served[files] = entry

    def _handler(self, entry: HTTPEndpoint) -> Callable[..., Any] | None:
        if entry.func.id is not None:
            return self._app.registry.functions.get(entry.func.id)
        assert entry.func.import_path is not None
        return self._import(entry, entry.func.import_path, "func")

    def _check_routes(self, service: Service) -> None:
        """Find the conflicts between routers; a route that has one leaves, to show the next."""
        while True:
            try:
                Dispatcher(service.routers, service.files)
            except RouteConflict as error:
                self._take_out(service, error)
            else:
                return

    def _take_out(self, service: Service, conflict: RouteConflict) -> None:
        served = conflict.route
        if isinstance(served, StaticFiles):
            service.files.remove(served)
        else:
            for router in service.routers:
                router.routes[:] = [route for route in router.routes if route is not served]
        self._conflict(self._served.pop(served), conflict)

    def _conflict(
        self, entry: HTTPEndpoint | HTTPRouter | HTTPStatic, conflict: RouteConflict
    ) -> None:
        message = str(conflict)
        other = None if conflict.other is None else self._served.get(conflict.other)
        if other is not None and other.marks is not None:
            message = f"{message}, {other.where} at {other.place()}"
        self._problem(entry, message, "path", value=True)

    # -- functions and processes -------------------------------------------------------------------

    def _function(self, entry: FunctionPython) -> None:
        function = self._import(entry, entry.source, "source")
        if function is not None:
            self._app.registry.functions[entry.id] = function

    def _host(self, entry: ProcessHost) -> None:
        self._app.host(entry.id, entry.max_processes)

    def _process(self, entry: ProcessPython) -> None:
        function = self._import(entry, entry.source, "source")
        if function is None:
            return
        try:
            self._app.registry.add_process(entry.id, function, str(entry.source))
        except TypeError:
            message = f"source: {quoted(str(entry.source))} is no async function; write `async def`"
            self._problem(entry, message, "source", value=True)

    def _supervise(self, entry: ProcessService) -> None:
        target: str | Callable[..., Any] | None = entry.process.id
        function = self._supervised(entry)
        if function is None:
            return
        try:
            check_input(function, entry.input)
        except TypeError as error:
            missing = "needs an input" if entry.input is None else "does not take this input"
            key = "process" if entry.input is None else "input"
            self._problem(entry, f"{key}: {entry.process} {missing}: {error}", key, value=True)
            return
        settings = {field: getattr(entry.lifecycle, field) for field in vars(entry.lifecycle)}
        self._app.supervise(
            entry.name, target or function, input=entry.input, host=entry.host, **settings
        )

    def _supervised(self, entry: ProcessService) -> Callable[..., Any] | None:
        if entry.process.id is not None:
            return self._app.registry.processes.get(entry.process.id)
        assert entry.process.import_path is not None
        function = self._import(entry, entry.process.import_path, "process")
        if function is not None and not inspect.iscoroutinefunction(inspect.unwrap(function)):
            message = f"{quoted(str(entry.process))} is no async function; write `async def`"
            self._problem(entry, f"process: {message}", "process", value=True)
            return None
        return function

    def _import(self, entry: Entry, path: ImportPath, key: str) -> Callable[..., Any] | None:
        """The function at an import path; None after a problem, told once for each module."""
        try:
            if path.module not in self._failed:
                found = load(path, self._folder)
                if callable(found):
                    function: Callable[..., Any] = found
                    return function
                kind = type(found).__name__
                message = f"{quoted(str(path))} is no function, but of type {kind}"
                self._problem(entry, f"{key}: {message}", key, value=True)
        except UnknownEntry as error:
            self._problem(entry, f"{key}: {error}", key, value=True)
        except ImportFailed as error:
            self._failed.add(path.module)
            self._problem(entry, f"{key}: {error}", key, value=True)
        return None
