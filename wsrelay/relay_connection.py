"""A relay's connection: transfer, the text of heartbeats, and its lines in the log."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from wsrelay.config import format_duration
from wsrelay.errors import InvalidPID
from wsrelay.http.request import Client, Request
from wsrelay.log import describe, escape
from wsrelay.relay_command import FieldError, RelayCommand, read_command
from wsrelay_core import PID, Connection, Process, resolve

if TYPE_CHECKING:
    from wsrelay.relay import Relay

__all__ = ["RelayConnection", "find_target"]

logger = logging.getLogger("wsrelay.relay")
connections = logging.getLogger("wsrelay.connection")


class Left(enum.Enum):
    """What a connection has in place of the address that its seat was taken for."""

    SEAT = enum.auto()


LEFT: Final = Left.SEAT


class RelayConnection(Connection, asyncio.BufferedProtocol):
    """A connection that a relay made; its arguments are those of `wsrelay_core.Connection`.

    Attributes:
        relay: the middleware.
        client, path: of the handshake.
        subprotocol: the chosen one, None for none.
    """

    __slots__ = ("_host", "_port", "_seat", "path", "relay", "subprotocol")

    data_received = None  # uvloop asks for it all the same, and would make an error of its lack

    relay: Relay
    path: str
    subprotocol: str | None
    _host: str | None
    _port: int
    _seat: str | Left | None

    # No `__init__` of its own: handing all those settings on would cost as much as the rest of it.

    def introduce(self, relay: Relay, request: Request, address: str | None) -> None:
        """Tell it whose it is, once and before all else.

        Args:
            relay: the middleware.
            request: the handshake.
            address: of the client, as it counts among the connections that the relay may have.
        """
        self.relay = relay
        # Not the tuple: there are many connections, and most tell nobody.
        client = request.client
        if client is None:
            self._host, self._port = None, 0
        else:
            self._host, self._port = client
        self.path = request.path
        self.subprotocol = None
        self._seat = address

    @property
    def client(self) -> Client | None:
        """Address and port of the client; None on a Unix socket."""
        return None if self._host is None else (self._host, self._port)

    def on_control_message(self, payload: Any, sender: PID | None) -> None:
        """`ws.control`: transfer or reconfigure; nothing changes if any field is bad."""
        try:
            self._apply(_control_command(payload))
        except (FieldError, InvalidPID) as error:
            self._refuse(payload, sender, str(error))
        except Exception as error:  # of a mapping of the sender's own making
            self._refuse(None, sender, f"ws.control: {describe(error)}")

    def _apply(self, command: RelayCommand) -> None:
        target = None
        if command.target is not None:
            target = find_target(command.target)
            if target is None:
                raise FieldError("target_pid: no such process")
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
        self.relay.dropped_log.warning(
            logger, "%s: ws.control of %s refused: %s", self.pid, sender, error
        )
        if sender is not None:
            answer = {"client_pid": self.pid, "error": error, "target_pid": asked}
            self.tell(sender, "ws.control.error", answer)

    def uptime(self) -> str:
        """The connection's age as Go prints a duration."""
        return format_duration(self.uptime_ms() / 1000)

    def on_dropped(self, topic: str, error: Exception | None) -> None:
        """One line for what could not be sent, and not more than a few a second."""
        why = "not a topic for clients" if error is None else describe(error)
        self.relay.dropped_log.warning(logger, "%s: dropped %s: %s", self.pid, escape(topic), why)

    def on_overflow(self) -> None:
        """One line for a client that reads too slowly, not one for each message."""
        self.relay.overflow_log.warning(
            logger,
            "%s: messages are dropped (wsrelay.queue.policy is %s): the client reads too slowly, "
            "and wsrelay.queue.max bytes wait for it",
            self.pid,
            self.relay.queue_policy,
        )

    def on_ended(self, record: dict[str, Any]) -> None:
        """The close record goes to one line."""
        self._leave_seat()
        self.relay.tally.add(record, self.messages_dropped)
        if connections.isEnabledFor(logging.INFO):
            self._log_end(record)

    def _log_end(self, record: dict[str, Any]) -> None:
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
            extra={
                "pid": str(self.pid),
                "client": None if self.client is None else self.client[0],
                "path": escape(self.path),
                "record": record,
            },
        )

    def abandon(self) -> None:
        """The 101 could not be sent: nobody ever knew this PID."""
        super().abandon()
        self._leave_seat()

    def _leave_seat(self) -> None:
        # An end may come before the 101 fails: once is enough.
        address, self._seat = self._seat, LEFT
        if address is not LEFT:
            self.relay.seats.give_back(address)

    def describe(self) -> dict[str, Any]:
        """Facts for `process.info`."""
        facts: dict[str, Any] = super().describe()
        facts.update(client=self.client, path=self.path, subprotocol=self.subprotocol)
        return facts


def find_target(dest: str) -> Process | None:
    """The process that a command names; None where there is none.

    Args:
        dest: PID or registered name.

    Raises:
        FieldError: it is a WebSocket connection.
        InvalidPID: the text looks like a PID and is none.
    """
    process = resolve(dest)
    if isinstance(process, Connection):
        raise FieldError("target_pid: must not be a WebSocket connection")
    return process


def _control_command(payload: Any) -> RelayCommand:
    if not isinstance(payload, Mapping):
        raise FieldError("ws.control: the payload must be a dict")
    return read_command(payload)
