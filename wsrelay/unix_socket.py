"""The file of a listening UNIX socket: bound without taking it from a server that lives."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

__all__ = ["SocketFile"]


class SocketFile:
    """A listening UNIX socket and its file.

    What is left of a server that has gone is removed first; its file refuses connections. The
    loops' own `path` argument removes the file of a living server too. Who may connect is the
    umask's to say, and that of the folder.

    Args:
        path: of the file; absolute.

    Attributes:
        socket: bound.

    Raises:
        OSError: EADDRINUSE where a server listens there, EEXIST where the file is no socket.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        _remove_stale(path)
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.bind(path)
            self._identity = _identity(path)
        except BaseException:
            self.socket.close()
            raise

    def remove(self) -> None:
        """Remove the file, unless another one has taken its place or it is gone."""
        with suppress(FileNotFoundError):
            if _identity(self.path) == self._identity:
                os.unlink(self.path)


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a server with a full backlog lives as well
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    with suppress(FileNotFoundError):
        os.unlink(path)
