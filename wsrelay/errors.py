"""Every error that wsrelay raises.

    WSRelayError
    ├── InvalidPID          text that looks like a PID and is none        (also ValueError)
    ├── NoProcess           dead or unknown process                       (also LookupError)
    ├── ProcessFailed       `exec`: ended with a reason other than normal
    ├── LinkFailed          `result.error` of a process that a link took down
    ├── UnknownEntry        no such entry, host, module or attribute      (also LookupError)
    ├── NameTaken           the name belongs to a living process          (also ValueError)
    ├── HostFull            the host runs its `max_processes`             (also RuntimeError)
    ├── NotAProcess         the call needs a living process around it     (also RuntimeError)
    ├── NoApp               no App, or several, and nothing chooses one   (also RuntimeError)
    ├── WrongThread         called from another thread than the loop's    (also RuntimeError)
    ├── InboxClosed         closed and empty                              (also EOFError)
    ├── ConfigError         all problems of a configuration, with places
    └── HTTPError           an answer of a handler: status and detail
        └── HandshakeError  an opening handshake that RFC 6455 refuses
    ProcessExit             (BaseException) ends its process: `wsrelay.exit(reason)`
"""

from wsrelay.config.errors import ConfigError
from wsrelay.http.errors import HandshakeError, HTTPError
from wsrelay_core._errors import (
    HostFull,
    InboxClosed,
    InvalidPID,
    LinkFailed,
    NameTaken,
    NoApp,
    NoProcess,
    NotAProcess,
    ProcessExit,
    WrongThread,
    WSRelayError,
)

__all__ = [
    "ConfigError",
    "HTTPError",
    "HandshakeError",
    "HostFull",
    "InboxClosed",
    "InvalidPID",
    "LinkFailed",
    "NameTaken",
    "NoApp",
    "NoProcess",
    "NotAProcess",
    "ProcessExit",
    "ProcessFailed",
    "UnknownEntry",
    "WSRelayError",
    "WrongThread",
]


class ProcessFailed(WSRelayError):
    """A process that was waited for ended with a reason other than `normal`, and no exception."""

    def __init__(self, pid: str, reason: str) -> None:
        super().__init__(f"process {pid} ended: {reason}")
        self.pid = pid
        self.reason = reason


class UnknownEntry(WSRelayError, LookupError):
    """No entry, process host, module or attribute of that name; the message suggests one."""
