"""wsrelay: WebSocket connections as processes.

An HTTP handler spawns a process and answers with an `X-WS-Relay` header; the `websocket_relay`
middleware upgrades the connection; from then on the connection is a process: it has a PID, anybody
can send to it, monitor it, link to it, and hand it to another process while it is open.
"""

from typing import TYPE_CHECKING

from wsrelay import process
from wsrelay._late import late
from wsrelay.app import App
from wsrelay.errors import (
    ConfigError,
    HostFull,
    HTTPError,
    InboxClosed,
    InvalidPID,
    LinkFailed,
    NameTaken,
    NoApp,
    NoProcess,
    NotAProcess,
    ProcessFailed,
    StartFailed,
    UnknownEntry,
    WrongThread,
    WSRelayError,
)
from wsrelay.http.request import Request
from wsrelay.http.response import JSONResponse, PlainTextResponse, Response
from wsrelay.http.router import Router
from wsrelay.http.streaming import StreamingResponse
from wsrelay.process import exit
from wsrelay.relay_command import relay_to
from wsrelay.supervisor import ServiceStatus
from wsrelay_core import PID, Event, Message

if TYPE_CHECKING:
    from wsrelay.config import TLS, Restart
else:  # which stand among the tables that a file is read by
    __getattr__, __dir__ = late(__name__, config=("TLS", "Restart"))

__version__ = "0.1.0"

__all__ = [
    "PID",
    "TLS",
    "App",
    "ConfigError",
    "Event",
    "HTTPError",
    "HostFull",
    "InboxClosed",
    "InvalidPID",
    "JSONResponse",
    "LinkFailed",
    "Message",
    "NameTaken",
    "NoApp",
    "NoProcess",
    "NotAProcess",
    "PlainTextResponse",
    "ProcessFailed",
    "Request",
    "Response",
    "Restart",
    "Router",
    "ServiceStatus",
    "StartFailed",
    "StreamingResponse",
    "UnknownEntry",
    "WSRelayError",
    "WrongThread",
    "exit",
    "process",
    "relay_to",
]
