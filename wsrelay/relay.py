"""The `websocket_relay` middleware: from a handler's header to a connection that is a process."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from wsrelay.config import format_duration
from wsrelay.errors import HTTPError, InvalidPID
from wsrelay.http.chain import Handler, SyncHandler
from wsrelay.http.handshake import (
    HandshakeError,
    Opening,
    OriginPolicy,
    check_opening,
    choose_subprotocol,
    negotiate_deflate,
)
from wsrelay.http.request import Request
from wsrelay.http.response import PlainTextResponse, Response
from wsrelay.http.upgrade import Upgrade
from wsrelay.log import Limited, escape
from wsrelay.middleware.options import (
    Option,
    choice,
    count,
    duration,
    flag,
    names,
    read_options,
    size,
)
from wsrelay.process import spawn_scope
from wsrelay.relay_command import (
    RELAY_HEADER,
    FieldError,
    RelayCommand,
    read_command,
    read_header,
)
from wsrelay_core import PID, Connection, Host, Process, Scheduler, current_scheduler, resolve

__all__ = ["OPTIONS", "PREFIXES", "Relay", "RelayConnection", "SpawnScope"]

logger = logging.getLogger("wsrelay.relay")
connections = logging.getLogger("wsrelay.connection")

PREFIXES = ("wsrelay.",)
OPTIONS = (
    Option("wsrelay.allowed.origins", str, None),
    Option("wsrelay.require.origin", flag, False),
    Option("wsrelay.message.max", size, 1024 * 1024),
    Option("wsrelay.message.timeout", duration, 60.0),
    Option("wsrelay.queue.max", size, 1024 * 1024),
    Option("wsrelay.queue.policy", choice("close", "drop_newest", "drop_oldest"), "close"),
    Option("wsrelay.ping.interval", duration, 20.0),
    Option("wsrelay.ping.timeout", duration, 20.0),
    Option("wsrelay.idle.timeout", duration, 0.0),
    Option("wsrelay.close.timeout", duration, 5.0),
    Option("wsrelay.compression", choice("off", "permessage-deflate"), "off"),
    Option("wsrelay.subprotocols", names, ()),
    Option("wsrelay.connections.max", count, 0),
    Option("wsrelay.connections.per_ip", count, 0),
    Option("wsrelay.heartbeat.default", duration, 0.0),
    Option("wsrelay.message.format", choice("envelope", "raw"), "envelope"),
    Option("wsrelay.drain", duration, 5.0),
    # Older names of wsrelay.allowed.origins, in the order of their precedence.
    Option("allow_origins", str, None),
    Option("allowed_origins", str, None),
)

# The handler's headers that have no place on a 101.
_NOT_ON_101 = (b"content-", b"sec-websocket-")
_RETRY_AFTER = {"Retry-After": "5"}


class RelayConnection(Connection, asyncio.BufferedProtocol):
    """A connection that a relay made: transfer, heartbeat text, and its line in the log."""

    __slots__ = ("client", "path", "relay", "subprotocol")

    relay: "Relay"
    client: tuple[str, int] | None
    path: str
    subprotocol: str | None

    def on_control_message(self, payload: Any, sender: PID | None) -> None:
        """`ws.control`: transfer or reconfigure; nothing changes if any field is bad."""
        try:
            self._apply(_control_command(payload))
        except (FieldError, InvalidPID) as error:
            self._refuse(payload, sender, str(error))

    def _apply(self, command: RelayCommand) -> None:
        target = None if command.target is None else find_target(command.target)
        moved = target is not None and target.pid != self.target_pid
        metadata = self.metadata if command.metadata is None else command.metadata
        interval = self.heartbeat_interval if command.heartbeat is None else command.heartbeat
        if moved and target is not None and not self.transfer(target.pid):
            raise FieldError("target_pid: no such process")
        self.configure(command.topic or self.topic, metadata, interval)
        if moved:
            self.join()

    def _refuse(self, payload: Any, sender: PID | None, error: str) -> None:
        asked = payload.get("target_pid") if isinstance(payload, Mapping) else None
        logger.warning("%s: ws.control of %s refused: %s", self.pid, sender, error)
        if sender is not None:
            answer = {"client_pid": self.pid, "error": error, "target_pid": asked}
            self.tell(sender, "ws.control.error", answer)

    def uptime(self) -> str:
        """The connection's age as Go prints a duration."""
        return format_duration(self.uptime_ms() / 1000)

    def on_dropped(self, topic: str, error: Exception | None) -> None:
        """One line for what could not be sent, and not more than a few a second."""
        self.relay.dropped_log.warning(
            logger,
            "%s: dropped %s: %s",
            self.pid,
            escape(topic),
            "not a topic for clients" if error is None else f"{type(error).__name__}: {error}",
        )

    def on_ended(self, record: dict[str, Any]) -> None:
        """The close record goes to one line."""
        self.relay.forget(self.client)
        connections.info(
            "%s ended: %s code=%s reason=%s initiator=%s clean=%s uptime=%s in=%d/%dB out=%d/%dB",
            self.pid,
            record["cause"],
            record["code"],
            escape(record["reason"]),
            record["initiator"],
            record["clean"],
            format_duration(record["uptime_ms"] / 1000),
            record["messages_in"],
            record["bytes_in"],
            record["messages_out"],
            record["bytes_out"],
            extra={"pid": str(self.pid), "record": record},
        )

    def describe(self) -> dict[str, Any]:
        """Facts for `process.info`."""
        facts = super().describe()
        facts.update(client=self.client, path=self.path, subprotocol=self.subprotocol)
        return facts


class Relay:
    """The middleware; one object serves all connections of its router.

    Args:
        options: texts by dotted name, see `OPTIONS`.

    Raises:
        OptionError: unknown or unreadable options.
    """

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        values = read_options(OPTIONS, options or {}, PREFIXES)
        self.values = values
        self.origins = _origin_policy(values)
        self.open: Counter[str | None] = Counter()
        self.dropped_log = Limited()
        self.drain: float = values["wsrelay.drain"]
        self._hosts: dict[tuple[int, str], Host] = {}
        self._connection_options = {
            "queue_max": values["wsrelay.queue.max"],
            "queue_policy": values["wsrelay.queue.policy"],
            "message_max": values["wsrelay.message.max"],
            "message_timeout": values["wsrelay.message.timeout"],
            "ping_interval": values["wsrelay.ping.interval"],
            "ping_timeout": values["wsrelay.ping.timeout"],
            "idle_timeout": values["wsrelay.idle.timeout"],
            "close_timeout": values["wsrelay.close.timeout"],
            "raw": values["wsrelay.message.format"] == "raw",
        }
        self._compression = values["wsrelay.compression"] != "off"

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Run the handler, and upgrade if its response asks for it."""
        if not request.is_handshake:
            return plain_answer(await call_next(request))
        opening = self.admit(request)
        return self.answer(request, opening, await call_next(request))

    def call_sync(self, request: Request, call_next: SyncHandler) -> Response:
        """The same around a synchronous handler."""
        if not request.is_handshake:
            return plain_answer(call_next(request))
        opening = self.admit(request)
        return self.answer(request, opening, call_next(request))

    # -- before the handler: a refused client never costs a process ------------------------------

    def admit(self, request: Request) -> Opening:
        """Check handshake, origin and limits; raises HandshakeError."""
        opening = check_opening(request)
        self.origins.check(request)
        server = request.server
        if server is not None and server.draining:
            raise HandshakeError(503, "The server is shutting down", _RETRY_AFTER)
        most = self.values["wsrelay.connections.max"]
        if most and self.open.total() >= most:
            raise HandshakeError(503, "Too many connections", _RETRY_AFTER)
        per_client = self.values["wsrelay.connections.per_ip"]
        if per_client and self.open[_address(request.client)] >= per_client:
            raise HandshakeError(429, "Too many connections from this address", _RETRY_AFTER)
        return opening

    # -- after the handler -----------------------------------------------------------------------

    def answer(self, request: Request, opening: Opening, response: Response) -> Response:
        """The upgrade that the response asks for, or the response that is to go out."""
        values = response.headers.values_of(RELAY_HEADER.lower().encode())
        if not values:
            if response.exception is not None:
                cancel_spawned()
            return response
        del response.headers[RELAY_HEADER]
        if response.status_code != 200 or response.body:
            logger.warning(
                "%s: %s ignored, the response is no empty 200", escape(request.path), RELAY_HEADER
            )
            cancel_spawned()
            return response
        try:
            return self.upgrade(request, opening, response, read_header(values))
        except (FieldError, InvalidPID) as error:
            message = str(error) if isinstance(error, FieldError) else "target_pid: malformed PID"
            shown = escape(b", ".join(values))
            logger.warning("%s: %s: %s in %s", escape(request.path), RELAY_HEADER, message, shown)
            cancel_spawned()
            return PlainTextResponse(message, 400)
        except HTTPError:
            cancel_spawned()
            raise

    def upgrade(
        self, request: Request, opening: Opening, response: Response, command: RelayCommand
    ) -> Upgrade:
        """Make the connection's process and monitor its target; the 101 is still to be sent."""
        assert command.target is not None
        target = find_target(command.target, HandshakeError(503, "The target is not there"))
        deflate = negotiate_deflate(opening) if self._compression else None
        scheduler = current_scheduler()
        connection = RelayConnection(
            scheduler,
            self._host(scheduler, request),
            "websocket",
            deflate=None if deflate is None else deflate[1],
            **self._connection_options,
        )
        connection.relay = self
        connection.client = request.client
        connection.path = request.path
        connection.subprotocol = choose_subprotocol(
            opening, command.subprotocol, self.values["wsrelay.subprotocols"]
        )
        interval = command.heartbeat
        connection.configure(
            command.topic or "ws.message",
            command.metadata or {},
            self.values["wsrelay.heartbeat.default"] if interval is None else interval,
        )
        connection.watch_target(target.pid)
        self.open[_address(request.client)] += 1
        upgrade = Upgrade(
            opening.accept,
            connection,
            subprotocol=connection.subprotocol,
            extension=None if deflate is None else deflate[0],
            headers=[pair for pair in response.headers.raw if _belongs_on_101(pair[0])],
            abandon=_abandoner(self, connection, spawn_scope.get()),
        )
        note_upgrade(upgrade)
        return upgrade

    def _host(self, scheduler: Scheduler, request: Request) -> Host:
        name = f"{scheduler.app.namespace}:gateway" if request.server is None else (
            request.server.name
        )
        host: Host = scheduler.app.server_host(name)
        return host

    def forget(self, client: tuple[str, int] | None) -> None:
        """A connection of this client has ended."""
        address = _address(client)
        self.open[address] -= 1
        if self.open[address] <= 0:
            del self.open[address]


# -- what a request spawned ------------------------------------------------------------------------


class Spawned(list[PID]):
    """What one request spawned, and the upgrade that it led to."""

    upgrade: Upgrade | None = None


class SpawnScope:
    """Outermost middleware of a router with a relay: remembers what the request spawns.

    If the upgrade does not happen after all, because another middleware failed or replaced it, its
    connection is abandoned and what was spawned for it is cancelled.
    """

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Around an asynchronous chain."""
        token = spawn_scope.set(Spawned())
        try:
            return settle(await call_next(request))
        except BaseException:
            settle(None)
            cancel_spawned()
            raise
        finally:
            spawn_scope.reset(token)

    def call_sync(self, request: Request, call_next: SyncHandler) -> Response:
        """Around a synchronous chain."""
        token = spawn_scope.set(Spawned())
        try:
            return settle(call_next(request))
        finally:
            spawn_scope.reset(token)


def settle(response: Response | None) -> Any:
    """Abandon an upgrade that another response took the place of."""
    spawned = spawn_scope.get()
    if isinstance(spawned, Spawned) and spawned.upgrade not in (None, response):
        upgrade, spawned.upgrade = spawned.upgrade, None
        assert upgrade is not None
        upgrade.abandon()
    return response


def note_upgrade(upgrade: Upgrade) -> None:
    """Remember the upgrade that this request is about to become."""
    spawned = spawn_scope.get()
    if isinstance(spawned, Spawned):
        spawned.upgrade = upgrade


def cancel_spawned(spawned: list[PID] | None = None) -> None:
    """Cancel what the request spawned and nobody else knows of."""
    pids = spawned if spawned is not None else spawn_scope.get()
    for pid in pids or ():
        process = resolve(pid)
        if process is not None and not process.has_relations():
            process.cancel("the upgrade failed")


def plain_answer(response: Response) -> Response:
    """The answer to a request that is no handshake: the relay's header never leaves the server."""
    if not response.headers.values_of(RELAY_HEADER.lower().encode()):
        return response
    cancel_spawned()
    return PlainTextResponse(
        "This is a WebSocket endpoint",
        426,
        headers={"Upgrade": "websocket", "Connection": "Upgrade"},
    )


# -- help ------------------------------------------------------------------------------------------


def find_target(dest: str, missing: Exception | None = None) -> Process:
    """The process that a command names.

    Raises:
        FieldError: it is a WebSocket connection; or there is none, and `missing` is None.
        InvalidPID: the text looks like a PID and is none.
    """
    process = resolve(dest)
    if process is None:
        raise missing or FieldError("target_pid: no such process")
    if isinstance(process, Connection):
        raise FieldError("target_pid: must not be a WebSocket connection")
    return process


def _control_command(payload: Any) -> RelayCommand:
    if not isinstance(payload, Mapping):
        raise FieldError("ws.control: the payload must be a dict")
    return read_command(payload)


def _origin_policy(values: Mapping[str, Any]) -> OriginPolicy:
    from wsrelay.middleware.options import OptionError

    keys = ("wsrelay.allowed.origins", "allow_origins", "allowed_origins")
    key = next((key for key in keys if values[key] is not None), keys[0])
    try:
        return OriginPolicy(values[key], values["wsrelay.require.origin"])
    except ValueError as error:
        raise OptionError([(key, f"{key}: {error}")]) from None


def _address(client: tuple[str, int] | None) -> str | None:
    return None if client is None else client[0]


def _belongs_on_101(name: bytes) -> bool:
    return not name.lower().startswith(_NOT_ON_101)


def _abandoner(
    relay: Relay, connection: RelayConnection, spawned: list[PID] | None
) -> Callable[[], None]:
    def abandon() -> None:
        connection.abandon()
        relay.forget(connection.client)
        cancel_spawned(spawned)

    return abandon
