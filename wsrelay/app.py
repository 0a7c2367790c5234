"""The App: entries, processes and routers under one namespace, from the first spawn to the last."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import Context, Token, copy_context
from typing import TYPE_CHECKING, Any, Self, TypeVar

from wsrelay import lifecycle
from wsrelay.config import Address, ConfigError, parse_address
from wsrelay.declarations import Declarations
from wsrelay.errors import NoApp
from wsrelay.process_info import ProcessInfo, info_of
from wsrelay.service import Service
from wsrelay_core import Connection, CoroutineProcess, Scheduler, scheduler_var

if TYPE_CHECKING:
    from wsrelay.config import Config, Problem
    from wsrelay.server import Server, ServerList

__all__ = ["App"]

logger = logging.getLogger("wsrelay.app")

F = TypeVar("F", bound=Callable[..., Any])


class App(Declarations):
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
        servers: those that run.
        scheduler: of the processes; None while it does not run.
    """

    def __init__(self, namespace: str = "app", *, clock: Callable[[], float] | None = None) -> None:
        # All that serves; here, where most often no loop runs that it would hold up.
        import wsrelay.serving  # noqa: F401

        super().__init__(namespace)
        self.servers: list[Server] = []
        self.scheduler: Scheduler | None = None
        self._clock = clock
        self._stopping: asyncio.Event | None = None
        self._tokens: list[Token[Any]] = []
        self._body: asyncio.Task[Any] | None = None  # that is inside `async with app`
        self.restart = False
        self.failure: BaseException | None = None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> App:
        """Build an App from a YAML file; raises ConfigError with all that is wrong."""
        from wsrelay.config import read_file

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
        from wsrelay.serving import warn_of_origins

        self.restart = False
        self.failure = None
        self._stopping = asyncio.Event()
        self.scheduler = Scheduler(
            asyncio.get_running_loop(),
            lifecycle.Reporter(self),
            self,
            self._clock,
            self.registry.spawned,
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

    def protocol_factory(self, service: str | None = None) -> Callable[[], asyncio.BaseProtocol]:
        """A protocol factory for a server of one's own: `loop.create_server(factory, …)`.

        The App must be running (`async with app:`).
        """
        from wsrelay.serving import Server

        server = Server(self, self.service_of(service))
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
        from wsrelay.serving import Server, ServerList

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
