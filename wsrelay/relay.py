"""The `websocket_relay` middleware: from a handler's header to a connection that is a process."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from wsproto.extensions import PerMessageDeflate

from wsrelay.errors import HandshakeError, HTTPError, InvalidPID
from wsrelay.http.addresses import subscriber_of
from wsrelay.http.chain import Handler, SyncHandler
from wsrelay.http.handshake import (
    Opening,
    OriginPolicy,
    check_opening,
    choose_subprotocol,
    negotiate_deflate,
)
from wsrelay.http.request import Client, Request
from wsrelay.http.response import PlainTextResponse, Response
from wsrelay.http.router import Router
from wsrelay.http.upgrade import Upgrade
from wsrelay.log import Limited, escape
from wsrelay.middleware.options import (
    Option,
    OptionError,
    choice,
    count,
    duration,
    flag,
    read_options,
    size,
    tokens,
)
from wsrelay.relay_command import (
    RELAY_FIELD,
    RELAY_HEADER,
    FieldError,
    RelayCommand,
    command_of,
)
from wsrelay.relay_connection import RelayConnection, find_target
from wsrelay.relay_tally import Tally
from wsrelay.spawned import cancel_spawned, note_upgrade
from wsrelay_core import ConnectionSettings, Host, Scheduler, current_scheduler

__all__ = ["OPTIONS", "PREFIXES", "Relay", "warn_of_origins"]

logger = logging.getLogger("wsrelay.relay")

PREFIXES = ("wsrelay.",)
OPTIONS = (
    Option(
        "wsrelay.allowed.origins",
        str,
        None,
        "Pages that may connect: patterns separated by commas. One with `://` is compared with "
        "`scheme://host:port`, another one with `host:port`, both without default ports; `*` "
        "stands for one or more characters other than `/` and `:`, a lone `*` for every page. The "
        "server's own origin needs no entry; absent, no other may connect.",
    ),
    Option(
        "wsrelay.require.origin",
        flag,
        False,
        "Whether a handshake without `Origin`, which no browser sends, is refused.",
    ),
    Option(
        "wsrelay.message.max",
        size,
        1024 * 1024,
        "Most bytes of a client's message, after decompression and with all its fragments. Over "
        "it: close code 1009.",
    ),
    Option(
        "wsrelay.message.timeout",
        duration,
        60.0,
        "Time for a client's message from its first byte to its last; `0` is off. Over it: close "
        "code 1008.",
    ),
    Option(
        "wsrelay.queue.max",
        size,
        1024 * 1024,
        "Most bytes that may wait for one client. Before a message would pass it, what waits is "
        "written to the socket; a message that finds the queue empty is taken, whatever its size.",
    ),
    Option(
        "wsrelay.queue.policy",
        choice("close", "drop_newest", "drop_oldest"),
        "close",
        "What happens to a message that would pass `wsrelay.queue.max`: `close` ends the "
        "connection with 1013, `drop_newest` drops this message, `drop_oldest` those that wait.",
    ),
    Option(
        "wsrelay.ping.interval",
        duration,
        20.0,
        "Time from the connect, or from the last pong, to the next ping; `0` is off.",
    ),
    Option(
        "wsrelay.ping.timeout",
        duration,
        20.0,
        "Time for the pong; bytes of an unfinished message extend it. Over it: close code 1011, "
        "`ping timeout`. `0` is off: pings go on, and nobody waits for their pongs.",
    ),
    Option(
        "wsrelay.idle.timeout",
        duration,
        0.0,
        "A client that sends no message for so long is closed with 1001, `idle timeout`; pongs do "
        "not count. `0` is off.",
    ),
    Option(
        "wsrelay.close.timeout",
        duration,
        5.0,
        "Time for the client's close frame once the server's is queued; then TCP is aborted.",
    ),
    Option(
        "wsrelay.compression",
        choice("off", "permessage-deflate"),
        "off",
        "`permessage-deflate` compresses messages with clients that offer it (RFC 7692).",
    ),
    Option(
        "wsrelay.subprotocols",
        tokens,
        (),
        "Subprotocols separated by commas. The first that the client offers is chosen, unless the "
        "handler chose one that it offers.",
    ),
    Option(
        "wsrelay.connections.max",
        count,
        0,
        "Most connections of this router; `0` is no limit. Over it: 503.",
    ),
    Option(
        "wsrelay.connections.per_ip",
        count,
        0,
        "Most connections of one client address, an IPv6 address counting by its /64; `0` is no "
        "limit. Over it: 429.",
    ),
    Option(
        "wsrelay.heartbeat.default",
        duration,
        0.0,
        "How often a target gets `ws.heartbeat` where its handler names no `heartbeat_interval`; "
        "`0` is never.",
    ),
    Option(
        "wsrelay.message.format",
        choice("envelope", "raw"),
        "envelope",
        "Payload of a client's message: `envelope` is a dict with `client_pid`, `type`, `data` "
        "and `metadata`, `raw` the `data` alone.",
    ),
    Option(
        "wsrelay.drain",
        duration,
        5.0,
        "Time over which a stopping server closes its connections in batches, so that not all "
        "clients come back at once; at most 40% of `timeouts.shutdown`. Up to 100 connections are "
        "one batch.",
    ),
    # Other names of wsrelay.allowed.origins, in the order of their precedence.
    Option(
        "allow_origins",
        str,
        None,
        "Another name of `wsrelay.allowed.origins`, which goes before it.",
    ),
    Option(
        "allowed_origins",
        str,
        None,
        "Another name of `wsrelay.allowed.origins`; both other names go before it.",
    ),
)
_ORIGIN_KEYS = ("wsrelay.allowed.origins", "allow_origins", "allowed_origins")

_RETRY_AFTER = {"Retry-After": "5"}


class Relay:
    """The middleware; one object serves all connections of its router.

    Args:
        options: texts by dotted name, see `OPTIONS`.

    Attributes:
        origins: who may connect.
        seats: how many are connected.
        drain: seconds over which a stopping server closes its connections.
        queue_policy: what happens to a message for which there is no room.
        dropped_log: bounds what its connections log.
        overflow_log: bounds what they log of clients that read too slowly.
        answer_log: bounds what it logs of answers that ask for no proper relay.
        tally: what its ended connections add up to.

    Raises:
        OptionError: unknown or unreadable options.
    """

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        values = read_options(OPTIONS, options or {}, PREFIXES)
        self.origins = _origin_policy(values)
        self.seats = Seats(values["wsrelay.connections.max"], values["wsrelay.connections.per_ip"])
        self.drain: float = values["wsrelay.drain"]
        self.queue_policy: str = values["wsrelay.queue.policy"]
        self.dropped_log = Limited()
        # Where messages may be dropped, a slow client is no news that needs many lines.
        self.overflow_log = Limited(most=1, period=10.0)
        self.answer_log = Limited()
        self.tally = Tally()
        self._subprotocols: tuple[str, ...] = values["wsrelay.subprotocols"]
        self._heartbeat: float = values["wsrelay.heartbeat.default"]
        self._compression = values["wsrelay.compression"] != "off"
        self._settings = ConnectionSettings(
            queue_max=values["wsrelay.queue.max"],
            queue_policy=values["wsrelay.queue.policy"],
            message_max=values["wsrelay.message.max"],
            message_timeout=values["wsrelay.message.timeout"],
            ping_interval=values["wsrelay.ping.interval"],
            ping_timeout=values["wsrelay.ping.timeout"],
            idle_timeout=values["wsrelay.idle.timeout"],
            close_timeout=values["wsrelay.close.timeout"],
            raw=values["wsrelay.message.format"] == "raw",
        )

    @property
    def may_drop(self) -> bool:
        """Whether messages may be dropped in the queue towards a client."""
        return self.queue_policy != "close"

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Run the handler, and upgrade if its response asks for it."""
        if not request.is_handshake:
            return plain_answer(await call_next(request))
        attempt = self.admit(request)
        try:
            return attempt.answer(await call_next(request))
        finally:
            attempt.leave()

    def call_sync(self, request: Request, call_next: SyncHandler) -> Response:
        """The same around a synchronous handler."""
        if not request.is_handshake:
            return plain_answer(call_next(request))
        attempt = self.admit(request)
        try:
            return attempt.answer(call_next(request))
        finally:
            attempt.leave()

    def admit(self, request: Request) -> "Attempt":
        """Check handshake, origin and limits, before the handler runs; raises HandshakeError."""
        try:
            opening = check_opening(request)
            self.origins.check(request)
            if request.server is not None and request.server.draining:
                raise HandshakeError(503, "The server is shutting down", _RETRY_AFTER)
            return Attempt(self, request, opening, self.seats.take(request.client))
        except HTTPError:
            cancel_spawned()  # by middleware further out
            raise

    def connect(
        self, attempt: "Attempt", command: RelayCommand
    ) -> tuple[RelayConnection, str | None]:
        """Make the connection's process, which monitors its target; the 101 is still to be sent.

        Returns:
            The connection, and the value for `Sec-WebSocket-Extensions`.
        """
        assert command.target is not None
        target = find_target(command.target)
        if target is None:
            raise HandshakeError(503, "The target is not there")
        opening, request = attempt.opening, attempt.request
        extension, deflate = self._negotiate(opening) if self._compression else (None, None)
        scheduler = current_scheduler()
        connection = RelayConnection(
            scheduler, _host(scheduler, request), "websocket", self._settings, deflate
        )
        connection.introduce(self, request, attempt.address)
        attempt.seated = True  # the connection gives the place back
        try:
            if opening.subprotocols:
                connection.subprotocol = choose_subprotocol(
                    opening, command.subprotocol, self._subprotocols
                )
            connection.configure(
                command.topic or "ws.message",
                command.metadata or {},
                self._heartbeat if command.heartbeat is None else command.heartbeat,
            )
            connection.watch_target(target.pid)
        except BaseException:
            connection.abandon()
            raise
        return connection, extension

    def _negotiate(self, opening: Opening) -> tuple[str | None, PerMessageDeflate | None]:
        found = negotiate_deflate(opening)
        if found is None:
            return None, None
        answer, deflate = found
        if self.may_drop and not deflate.server_no_context_takeover:
            # Frames are compressed where they are queued. One that is dropped later must not be
            # one that the next ones refer to (RFC 7692 7.1.1.1: the server may say so unasked).
            deflate.server_no_context_takeover = True
            answer += "; server_no_context_takeover"
        return answer, deflate


class Attempt:
    """A handshake that passed its checks: it becomes an upgrade, or leaves nothing behind.

    Attributes:
        request, opening: the handshake.
        address: whose place it has taken.
        seated: whether a connection has that place, and gives it back then.
    """

    __slots__ = ("_failed", "_relay", "address", "opening", "request", "seated")

    def __init__(
        self, relay: Relay, request: Request, opening: Opening, address: str | None
    ) -> None:
        self._relay = relay
        self._failed = True
        self.request = request
        self.opening = opening
        self.address = address
        self.seated = False

    def leave(self) -> None:
        """The request is over."""
        if self._failed:
            cancel_spawned()
        if not self.seated:
            self._relay.seats.give_back(self.address)

    def answer(self, response: Response) -> Response:
        """The upgrade that the handler's response asks for, or the response that goes out."""
        values = response.headers.take(RELAY_FIELD)
        if not values:
            self._failed = response.exception is not None
            return response
        if response.status_code != 200 or response.body:
            self._warn("%s ignored, the response is no empty 200", RELAY_HEADER)
            return response
        try:
            return self._upgrade(response, command_of(response, values))
        except (FieldError, InvalidPID) as error:
            rule = str(error) if isinstance(error, FieldError) else "target_pid: malformed PID"
            self._warn("%s: %s in %s", RELAY_HEADER, rule, escape(b", ".join(values)))
            return PlainTextResponse(rule, 400)
        except HandshakeError:  # of the target; the client's own faults were told before
            value = escape(b", ".join(values))
            self._warn("%s: target_pid: no such process in %s", RELAY_HEADER, value)
            raise

    def _warn(self, message: str, *args: object) -> None:
        path = escape(self.request.path)
        self._relay.answer_log.warning(logger, f"%s: {message}", path, *args)

    def _upgrade(self, response: Response, command: RelayCommand) -> Upgrade:
        connection, extension = self._relay.connect(self, command)
        try:
            upgrade = Upgrade(
                self.opening.accept,
                connection,
                subprotocol=connection.subprotocol,
                extension=extension,
                headers=response.headers.raw,
                abandon=connection.abandon,
            )
        except BaseException:  # of headers that were put into `raw` unchecked
            connection.abandon()
            raise
        note_upgrade(upgrade)
        self._failed = False
        return upgrade


class Seats:
    """Places for connections; a handshake takes one before its handler runs.

    Args:
        most: how many there are, 0 for no limit.
        per_address: how many one client address may have, 0 for no limit; the addresses of one
            IPv6 /64 are one, see `subscriber_of`.

    Attributes:
        taken: how many are taken, by address.
    """

    def __init__(self, most: int, per_address: int) -> None:
        self._most = most
        self._per_address = per_address
        self._count = 0
        self.taken: dict[str | None, int] = {}

    def take(self, client: Client | None) -> str | None:
        """A place for a client; the address that it counts for, to be given back.

        Raises:
            HandshakeError: 503, all are taken; 429, its address has all that one may have.
        """
        address = None if client is None else subscriber_of(client[0])
        if self._most and self._count >= self._most:
            raise HandshakeError(503, "Too many connections", _RETRY_AFTER)
        taken = self.taken.get(address, 0)
        # A Unix socket has no addresses: its clients can't be told apart.
        if self._per_address and address and taken >= self._per_address:
            raise HandshakeError(429, "Too many connections from this address", _RETRY_AFTER)
        self.taken[address] = taken + 1
        self._count += 1
        return address

    def give_back(self, address: str | None) -> None:
        """One connection of this address less."""
        self._count -= 1
        taken = self.taken[address] - 1
        if taken:
            self.taken[address] = taken
        else:
            del self.taken[address]


def plain_answer(response: Response) -> Response:
    """The answer to a request that is no handshake: 426 if its handler asked for a relay."""
    if not response.headers.take(RELAY_FIELD):
        return response
    cancel_spawned()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    return PlainTextResponse("This is a WebSocket endpoint", 426, headers=upgrade)


def warn_of_origins(routers: Iterable[Router]) -> None:
    """One warning that names the routers whose relay has no allowed origins configured."""
    lacking = [
        router.prefix or "/"
        for router in routers
        for layer in (*router.middleware, *router.post_middleware)
        if isinstance(layer, Relay) and layer.origins.same_origin_only
    ]
    if lacking:
        logger.warning(
            "no origins are configured for WebSockets under %s: only pages of the same origin may "
            "connect; set wsrelay.allowed.origins for others",
            ", ".join(lacking),
        )


def _host(scheduler: Scheduler, request: Request) -> Host:
    server = request.server
    name = f"{scheduler.app.namespace}:gateway" if server is None else server.name
    host: Host = scheduler.app.server_host(name)
    return host


def _origin_policy(values: Mapping[str, Any]) -> OriginPolicy:
    key = next((key for key in _ORIGIN_KEYS if values[key] is not None), _ORIGIN_KEYS[0])
    try:
        return OriginPolicy(values[key], values["wsrelay.require.origin"])
    except ValueError as error:
        raise OptionError([(key, f"{key}: {error}")]) from None
