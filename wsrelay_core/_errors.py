"""Errors that the core itself raises.

`wsrelay.errors` draws the whole tree and is where users import them from.
"""

__all__ = [
    "HostFull",
    "InboxClosed",
    "InvalidPID",
    "LinkFailed",
    "NameTaken",
    "NoApp",
    "NoProcess",
    "NotAProcess",
    "ProcessExit",
    "WSRelayError",
    "WrongThread",
]


class WSRelayError(Exception):
    """Base of every error of wsrelay."""


class InvalidPID(WSRelayError, ValueError):
    """A text that looks like a PID and is none; the message names the rule and the text."""


class NoProcess(WSRelayError, LookupError):
    """The process is dead, or was never there (OTP: `noproc`)."""


class NameTaken(WSRelayError, ValueError):
    """The name is registered to a living process."""


class HostFull(WSRelayError, RuntimeError):
    """The process host already runs `max_processes` processes."""


class NotAProcess(WSRelayError, RuntimeError):
    """The call needs a process around it, and there is none (or it is dead)."""


class NoApp(WSRelayError, RuntimeError):
    """No running App, or several, and nothing that chooses one."""


class InboxClosed(WSRelayError, EOFError):
    """The inbox is closed and empty."""


class WrongThread(WSRelayError, RuntimeError):
    """A call from another thread than the one that runs the loop (use `send_threadsafe`)."""


class LinkFailed(WSRelayError):
    """A linked process ended with an error and took this one down; the cause is `__cause__`."""

    def __init__(self, pid: str, reason: str) -> None:
        super().__init__(f"linked process {pid} ended: {reason}")
        self.pid = pid
        self.reason = reason


class ProcessExit(BaseException):
    """Raised by `wsrelay.exit(reason)`: ends the calling process with that reason."""

    def __init__(self, reason: str = "normal") -> None:
        super().__init__(reason)
        self.reason = reason
