"""The App: entries, processes and routers under one namespace, from the first spawn to the last."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import Context, Token, copy_context
from typing import Any, Self, TypeVar

from wsrelay import lifecycle
from wsrelay._text import quoted
from wsrelay.config import (
    TLS,
    Address,
    Config,
    ConfigError,
    ImportPath,
    Lifecycle,
    Problem,
    Proxy,
    Restart,
    parse_address,
    read_file,
)
from wsrelay.config.durations import seconds
from wsrelay.errors import NoApp
from wsrelay.http.limits import Limits, Timeouts
from wsrelay.http.router import Router
from wsrelay.http.routes import RouteConflict
from wsrelay.http.static import StaticFiles
from wsrelay.imports import AppFolder, load
from wsrelay.middleware.table import add_pages, build_chain
from wsrelay.process_info import ProcessInfo, info_of
from wsrelay.registry import Function, Registry, checked_name
from wsrelay.relay import warn_of_origins
from wsrelay.server import Server, ServerList, Service
from wsrelay.supervisor import Supervisor
from wsrelay_core import Connection, CoroutineProcess, Host, Scheduler, scheduler_var

__all__ = ["App"]

logger = logging.getLogger("wsrelay.app")

F = TypeVar("F", bound=Callable[..., Any])


class App:
    """An application: processes, routers and servers that belong together.

    `async with app:` runs processes and middleware without listeners (embed it with
    `app.protocol_factory()`); `async with app.running() as server:` also listens; `app.run()` is
    the whole program.

    Args:
        namespace: of the entries; bare names get it.
        clock: returns monotonic seconds; for tests of timers.

    Raises:
        ValueError: the namespace is none.

    Attributes:
        supervisor: starts, stops and tells of the services (`supervise`).
        folder: where imports look first; None: only where Python does.
    """

    def __init__(self, namespace: str = "app", *, clock: Callable[[], float] | None = None) -> None:
        if ":" in checked_name(namespace):
            raise ValueError(f"{quoted(namespace)}: a namespace has no ':'")
        self.namespace = namespace
        self.registry = Registry(namespace)
        self.supervisor = Supervisor(self.registry)
        self.folder: AppFolder | None = None
        self.services: dict[str, Service] = {}
        self.servers: list[Server] = []
        self.scheduler: Scheduler | None = None
        self._clock = clock
        self._lent = {"load": self._load, "shared": {}}  # to middleware; see `build_chain`
        self._stopping: asyncio.Event | None = None
        self._tokens: list[Token[Any]] = []
        self._body: asyncio.Task[Any] | None = None  # that is inside `async with app`
        self.restart = False
        self.failure: BaseException | None = None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> App:
        """Build an App from a YAML file; raises ConfigError with all that is wrong."""
        return cls.from_config(*read_file(path))

    @classmethod
    def from_config(cls, config: Config, problems: Iterable[Problem] = ()) -> App:
        """Build an App from a configuration.

        Args:
            config: a whole one; or, with `problems`, what could be read of one.
            problems: found while it was read; they are told together with those found here.

        Raises:
            ConfigError: all that is wrong.
        """
        from wsrelay.build import build

        # Without one there is a problem already.
        return build(cls(config.namespace or "app"), config, problems)

    # -- entries -----------------------------------------------------------------------------------

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
            trusted_proxies, proxy_headers, proxy_protocol: see `wsrelay.server.Service`.

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
        outer, inner = build_chain(middleware, options, post_middleware, post_options, self._lent)
        router = Router(prefix, outer, inner)
        add_pages(router)
        self._service_of(server).routers.append(router)
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
        files = StaticFiles(path, directory, index=index, spa=spa, cache=cache)
        service = self._service_of(server)
        for other in service.files:
            if other.path == files.path:
                raise RouteConflict(f"{files} can't be told from {other}", files, other)
        service.files.append(files)
        return files

    def _load(self, path: ImportPath) -> Any:
        return load(path, self.folder)

    def _service_of(self, name: str | None) -> Service:
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

    # -- life --------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether processes can start."""
        return self.scheduler is not None and self.scheduler.running

    async def start(self) -> None:
        """Start the App on the running loop, with its services and without listeners.

        Raises:
            StartFailed: a service did not start; nothing is left running.
        """
        if self.is_running:
            raise RuntimeError("the App is running already")
        self.restart = False
        self.failure = None
        self._stopping = asyncio.Event()
        self.scheduler = Scheduler(
            asyncio.get_running_loop(), lifecycle.Reporter(self), self, self._clock
        )
        self.scheduler.start()
        warn_of_origins(router for one in self.services.values() for router in one.routers)
        try:
            await self.supervisor.open(self.scheduler, self.context())
            if self.failure is not None:  # SystemExit in a process
                raise self.failure
        except BaseException:
            await self.stop()
            if self.failure is not None:
                raise self.failure from None
            raise

    async def stop(self, restart: bool = False) -> None:
        """Stop in order: listeners, connections, services, processes; leftovers are logged by name.

        Args:
            restart: clients are told 1012 (service restart) instead of 1001.
        """
        scheduler = self.scheduler
        if scheduler is None:
            return
        try:
            await lifecycle.stop(self, restart or self.restart)
        finally:
            scheduler.stop()
            self.scheduler = None
            self.servers.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        self._tokens.append(scheduler_var.set(self.scheduler))
        self._body = asyncio.current_task()
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        body, self._body = self._body, None
        try:
            await self.stop()
        finally:
            # A fixture may leave in another context than it entered; then there is nothing to undo.
            with suppress(ValueError):
                scheduler_var.reset(self._tokens.pop())
        if self.failure is not None:
            if isinstance(error, asyncio.CancelledError) and body is not None:
                body.uncancel()
            raise self.failure

    @contextmanager
    def active(self) -> Iterator[Self]:
        """Inside, code outside a process belongs to this App; raises NoApp if it does not run."""
        token = scheduler_var.set(self._running())
        try:
            yield self
        finally:
            scheduler_var.reset(token)

    def _running(self) -> Scheduler:
        if self.scheduler is None or not self.scheduler.running:
            raise NoApp("the App is not running: use `async with app`, `app.running()` or `run()`")
        return self.scheduler

    def processes(self) -> list[ProcessInfo]:
        """Information on everything that lives, connections included, oldest first."""
        return [info_of(process) for process in self.records()]

    def records(self) -> list[CoroutineProcess | Connection]:
        """The living processes themselves."""
        if self.scheduler is None:
            raise NoApp("the App is not running: there are no processes")
        return self.scheduler.table.processes()

    # -- serving -----------------------------------------------------------------------------------

    def context(self) -> Context:
        """A context in which handlers run: this App, and no process."""
        context: Context = copy_context().run(self._fresh_context)
        return context

    def _fresh_context(self) -> Context:
        from wsrelay_core import process_var

        process_var.set(None)
        scheduler_var.set(self._running())
        return copy_context()

    def protocol_factory(self, service: str | None = None) -> Callable[[], asyncio.Protocol]:
        """A protocol factory for a server of one's own: `loop.create_server(factory, …)`.

        The App must be running (`async with app:`).
        """
        server = Server(self, self._service_of(service))
        self.servers.append(server)
        return server.protocol

    @asynccontextmanager
    async def running(
        self, addr: str | Address | None = None, port: int | None = None
    ) -> AsyncIterator[Server | ServerList]:
        """Run and listen.

        Args:
            addr: where the only service listens; None: as declared, else 127.0.0.1 and any free
                port, which the value has as `port`.
            port: instead of that in the address; 0 is any free one.

        Returns:
            The server; of several services all of them, each found by its name (`named`).

        Raises:
            ValueError: several services, and an address for which of them is not clear.
            OSError, ConfigError: see `listen`.
        """
        async with self:
            services = list(self.addresses(addr, port))
            if addr is None and port is None:
                services = [
                    (service, address if service.declared else Address("127.0.0.1", 0))
                    for service, address in services
                ]
            servers = await self._listen(services)
            yield servers[0] if len(servers) == 1 else servers

    async def listen(
        self, addr: str | Address | None = None, port: int | None = None, host: str | None = None
    ) -> ServerList:
        """Open the listeners of all services, or of none.

        Args:
            addr, port, host: see `running`.

        Raises:
            ValueError: several services, and an address for which of them is not clear.
            OSError: one can't listen; the text has its address, and its name if there are several.
            ConfigError: the files of a service's TLS can't serve.
        """
        return await self._listen(self.addresses(addr, port, host))

    async def _listen(self, services: list[tuple[Service, Address]]) -> ServerList:
        opened = ServerList()
        try:
            for service, address in services:
                server = Server(self, service)
                await server.listen(address)
                opened.append(server)
        except BaseException as error:
            for server in opened:
                server.close_listeners()
            if isinstance(error, OSError) and len(services) > 1:
                text = f"http.service {service.id}: {error.strerror}"
                raise OSError(error.errno, text) from None
            raise
        self.servers.extend(opened)
        return opened

    def addresses(
        self, addr: str | Address | None = None, port: int | None = None, host: str | None = None
    ) -> list[tuple[Service, Address]]:
        """Which service listens where; see `running`."""
        if not self.services:
            self.service()
        services = list(self.services.values())
        if len(services) > 1 and (addr is not None or port is not None or host is not None):
            names = ", ".join(self.services)
            raise ValueError(f"an address needs one http.service, there are several: {names}")
        return [(service, _address(service, addr, port, host)) for service in services]

    async def serve(
        self, addr: str | Address | None = None, port: int | None = None, host: str | None = None
    ) -> None:
        """Run and listen until `request_stop`, then stop in order."""
        await self.start()
        try:
            if not self.stop_requested:  # while services started
                await self.listen(addr, port, host)
            for server in self.servers:
                logger.info("listening on %s", server.url)
            assert self._stopping is not None
            await self._stopping.wait()
        finally:
            await self.stop()
        if self.failure is not None:
            raise self.failure

    def reload_certificates(self) -> None:
        """Read the TLS files of all services again; `wsrelay run` does so on SIGHUP.

        New handshakes use what they hold; open connections live on.

        Raises:
            ConfigError: what is wrong with the files of a service, which goes on with what it has;
                the other services have their new files.
        """
        problems: list[Problem] = []
        for server in self.servers:
            try:
                if server.reload_certificate():
                    logger.info("new certificate of %s in use", server.service.id)
            except ConfigError as error:
                problems.extend(error.problems)
        if problems:
            raise ConfigError(problems)

    @property
    def stop_requested(self) -> bool:
        """Whether `serve` is on its way to its end."""
        return self._stopping is not None and self._stopping.is_set()

    def request_stop(self, restart: bool = False, failure: BaseException | None = None) -> None:
        """Let `serve` end; `failure` is raised from it when all is stopped."""
        self.restart = self.restart or restart
        self.failure = self.failure or failure
        if self._stopping is not None:
            self._stopping.set()
        self.supervisor.halt()

    def interrupt(self, failure: BaseException) -> None:
        """A process raised SystemExit or KeyboardInterrupt: stop in order, then raise it.

        `serve` ends; the body of `async with app:` is cancelled at its await.
        """
        self.request_stop(failure=failure)
        if self._body is not None:
            self._body.cancel()

    def run(
        self,
        addr: str | Address | None = None,
        port: int | None = None,
        host: str | None = None,
        *,
        use_uvloop: bool = True,
    ) -> None:
        """The whole program: an event loop, signals, `serve`.

        SIGTERM and SIGINT stop in order, SIGUSR2 too (clients are told 1012); a second signal
        forces the end. SIGHUP, if a service has TLS, reads its files again.
        """
        lifecycle.run(self, addr, port, host, use_uvloop)


def _address(
    service: Service, addr: str | Address | None, port: int | None, host: str | None
) -> Address:
    address = service.addr if addr is None else addr
    if not isinstance(address, Address):
        address = parse_address(address)
    if port is not None and not 0 <= port <= 65535:
        raise ValueError(f"{port} is not a port; a port is 0 to 65535")
    if address.path is not None:
        if port is not None or host is not None:
            raise ValueError(f"{address} has no host and port")
        return address
    return Address(address.host if host is None else host, address.port if port is None else port)
