"""From a configuration to an App, by the calls that code makes too: YAML is no second engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wsrelay._text import quoted
from wsrelay.config import (
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
from wsrelay.http import Dispatcher, Limits, Route, RouteConflict, Router, Timeouts
from wsrelay.http.static import StaticError, StaticFiles
from wsrelay.imports import AppFolder, ImportFailed, load
from wsrelay.middleware.table import ChainError

if TYPE_CHECKING:
    from wsrelay.app import App
    from wsrelay.server import Service

__all__ = ["build"]


def build(app: App, config: Config) -> App:
    """Add all entries of a configuration to an App.

    Args:
        app: has the namespace of the configuration. It is of no use after an error.
        config: its functions are imported, from its folder first.

    Returns:
        The App.

    Raises:
        ConfigError: all that is wrong with the entries, each problem with its place.
    """
    building = _Building(app, config)
    building.add_all()
    if building.problems:
        raise ConfigError(building.problems)
    return app


class _Building:
    """One run of `build`. An entry that fails adds its problem, and those that need it are silent.

    Attributes:
        problems: so far.
    """

    def __init__(self, app: App, config: Config) -> None:
        self.problems: list[Problem] = []
        self._app = app
        self._config = config
        self._folder = AppFolder.of(config.folder) if config.folder is not None else None
        self._routers: dict[str, Router] = {}
        self._routes: dict[Route, HTTPEndpoint] = {}
        self._files: dict[StaticFiles, HTTPStatic] = {}
        self._failed: set[str] = set()  # modules that raised on import
        if self._folder is not None:
            app.registry.importer = self._folder.load

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
            (ProcessService, self._not_yet),
        ]
        for kind, add in steps:
            for entry in self._config.of(kind):
                add(entry)
        for service in self._app.services.values():
            self._check_routes(service)

    def _problem(self, entry: Entry, message: str, *path: str | int, value: bool = False) -> None:
        self.problems.append(entry.problem(message, *path, value=value))

    def _not_yet(self, entry: Entry) -> None:
        self._problem(entry, f"{entry.kind} is not available yet in this version", "kind")

    # -- HTTP --------------------------------------------------------------------------------------

    def _service(self, entry: HTTPService) -> None:
        for field in ("tls", "trusted_proxies"):
            if getattr(entry, field):
                self._problem(entry, f"{field}: not available yet in this version", field)
        timeouts = {name: value or math.inf for name, value in vars(entry.timeouts).items()}
        del timeouts["shutdown"]
        self._app.service(
            entry.id,
            addr=entry.addr,
            limits=Limits(**vars(entry.limits)),
            timeouts=Timeouts(**timeouts),
            shutdown=entry.timeouts.shutdown,
            declared=True,
        )

    def _router(self, entry: HTTPRouter) -> None:
        try:
            self._routers[entry.id] = self._app.router(
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

    def _endpoint(self, entry: HTTPEndpoint) -> None:
        function = self._handler(entry)
        router = self._routers.get(entry.router)
        if function is None or router is None:
            return
        try:
            self._routes[router.add(entry.method, entry.path, function)] = entry
        except RouteConflict as error:
            self._conflict(entry, str(error))
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
            self._conflict(entry, str(error))
        except StaticError as error:
            self._problem(entry, str(error), error.field, value=True)
        else:
            self._files[files] = entry

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
                self._take_out(service, str(error))
            else:
                return

    def _take_out(self, service: Service, conflict: str) -> None:
        # The error has no more than its text, which begins with the route or the files.
        for router in reversed(service.routers):
            for route in router.routes:
                if conflict.startswith(f"{route} "):
                    router.routes.remove(route)
                    self._conflict(self._routes.pop(route), conflict)
                    return
        for files in service.files:
            if conflict.startswith(f"{files} "):
                service.files.remove(files)
                self._conflict(self._files.pop(files), conflict)
                return
        raise AssertionError(f"no route of this conflict: {conflict}")

    def _conflict(self, entry: HTTPEndpoint | HTTPStatic, message: str) -> None:
        entries: list[tuple[Route | StaticFiles, Entry]] = [
            *self._routes.items(),
            *self._files.items(),
        ]
        others = [other for one, other in entries if message.endswith(f" {one}")]
        if others and others[0].marks is not None:
            message = f"{message}, {others[0].where} at {others[0].place()}"
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
