"""Every error that wsrelay raises.

WSRelayError
├── InvalidPID          text that looks like a PID and is none        (also ValueError)
├── NoProcess           dead or unknown process                       (also LookupError)
├── ProcessFailed       `exec`: ended with a reason other than normal
├── StartFailed         a service that did not start
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

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from wsrelay.config.problems import Problem
    from wsrelay.http.headers import HeaderPairs

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
    "StartFailed",
    "UnknownEntry",
    "WSRelayError",
    "WrongThread",
    "reason_phrase",
]

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class ProcessFailed(WSRelayError):
    """A process that was waited for ended with a reason other than `normal`, and no exception."""

    def __init__(self, pid: str, reason: str) -> None:
        super().__init__(f"process {pid} ended: {reason}")
        self.pid = pid
        self.reason = reason


class StartFailed(WSRelayError):
    """A `process.service` that did not start; the process's own error is `__cause__`.

    Args:
        entry: id of the service.
        why: in one line.
    """

    def __init__(self, entry: str, why: str) -> None:
        super().__init__(f'process.service "{entry}" did not start: {why}')
        self.entry = entry
        self.why = why


class UnknownEntry(WSRelayError, LookupError):
    """No entry, process host, module or attribute of that name; the message suggests one."""


class ConfigError(WSRelayError, ValueError):
    """A configuration that can't be used; `str` gives one problem per line.

    Args:
        problems: What is wrong. They are sorted by place, and told once each: one line of a file
            that an alias brings in several times is one thing to mend.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        once = dict.fromkeys(problems)
        self.problems: list[Problem] = sorted(once, key=lambda problem: problem.order)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def reason_phrase(status_code: int) -> str:
    """The reason phrase that goes with a status code (RFC 9110 15), or `Unknown`."""
    return _PHRASES.get(status_code, "Unknown")


class HTTPError(WSRelayError):
    """Ends a request with a status of the client's or the server's fault.

    Args:
        status_code: 400 to 599.
        detail: plain text for the client; the reason phrase where it is empty.
        headers: further headers of the answer, such as `Allow` or `Retry-After`.
    """

    def __init__(
        self, status_code: int, detail: str = "", headers: HeaderPairs | None = None
    ) -> None:
        if not 400 <= status_code <= 599:
            raise ValueError(f"an HTTPError has a status from 400 to 599, not {status_code}")
        super().__init__(status_code, detail)
        self.status_code = status_code
        self.detail = detail or reason_phrase(status_code)
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.status_code} {self.detail}"


class HandshakeError(HTTPError):
    """Refuses an opening handshake (RFC 6455 4.2.2, `relay.md` 2)."""
