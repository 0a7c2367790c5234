"""Files opened below a folder, and nowhere else, by names that a stranger chose.

Everything here blocks for as long as the file system takes; it runs in threads.
"""

import errno
import os
import resource
import stat
from collections.abc import Sequence
from enum import Enum

__all__ = ["OpenFile", "Unusual", "find"]

# A folder need not be readable to find a known name in it, where the system can tell the two.
_FOLDER = os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
# Non-blocking: what became a FIFO since we looked must not hold the thread until somebody writes.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

# The last descriptors are not for files that stay open for as long as a client takes. Connections
# leave 32 (`listener.py`); clients that read slowly could else have these too, one with each file.
SPARED = 16


class Unusual(Enum):
    """What is found in place of a file."""

    NOTHING = 0
    FOLDER = 1
    LINK = 2


class OpenFile:
    """A regular file, open for reading.

    Attributes:
        status: what `fstat` says of it.
    """

    __slots__ = ("_descriptor", "status")

    def __init__(self, descriptor: int, status: os.stat_result) -> None:
        self._descriptor = descriptor
        self.status = status

    def read(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from a position; none behind the end.

        Raises:
            OSError: the system can't read it, or it is closed.
        """
        return os.pread(self._descriptor, count, offset)

    def keep(self) -> None:
        """Ask to have it open for longer than a moment; the kernel gives low numbers first.

        Raises:
            OSError: too few descriptors are left for that.
        """
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit != resource.RLIM_INFINITY and self._descriptor >= limit - SPARED:
            raise OSError(errno.EMFILE, f"all descriptors but {SPARED} are in use")

    def close(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    # A thread may open it for a client that is gone by then.
    __del__ = close


def find(root: bytes, names: Sequence[bytes]) -> OpenFile | Unusual:
    """Open the file below a folder that a list of names leads to.

    Each name is looked up in the open folder before it, so nothing that is renamed or replaced
    meanwhile leads outside. Links are followed where they end inside of the folder. The folder
    itself may be one: where it is, is the operator's affair.

    Args:
        root: the folder's path.
        names: of folders and, as the last, of the file; without `/`, NUL, `.` and `..`.

    Returns:
        The file, or what is there instead: nothing, also where a link leads outside or to nothing,
        and for all that is no regular file; or a folder.

    Raises:
        PermissionError: somebody forbade it.
        OSError: the folder is gone, or the system can't open a file now (no descriptors left).
    """
    folder = os.open(root, _FOLDER)
    try:
        found = _walk(folder, names)
        if found is Unusual.LINK:
            resolved = _resolve(root, names)
            found = Unusual.NOTHING if resolved is None else _walk(folder, resolved)
        # A link in a path that had none was put there just now.
        return Unusual.NOTHING if found is Unusual.LINK else found
    except OSError as error:
        if error.errno in _ABSENT:
            return Unusual.NOTHING
        raise
    finally:
        os.close(folder)


def _resolve(root: bytes, names: Sequence[bytes]) -> list[bytes] | None:
    """The names that lead to the same place without links; None: it is outside."""
    base = os.path.realpath(root, strict=True)
    real = os.path.realpath(os.path.join(root, *names), strict=True)
    if real == base:
        return []
    inside = base.rstrip(b"/") + b"/"
    return real.removeprefix(inside).split(b"/") if real.startswith(inside) else None


def _walk(root: int, names: Sequence[bytes]) -> OpenFile | Unusual:
    """As `find`, from an open folder, but stops at the first link."""
    folder = root
    try:
        for name in names[:-1]:
            kind = _kind(folder, name)
            if kind is not Unusual.FOLDER:
                return kind or Unusual.NOTHING
            deeper = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            if folder != root:
                os.close(folder)
            folder = deeper
        if not names:
            return Unusual.FOLDER
        return _kind(folder, names[-1]) or _open(folder, names[-1])
    finally:
        if folder != root:
            os.close(folder)


def _kind(folder: int, name: bytes) -> Unusual | None:
    """What a name stands for, without opening it, which alone has effects on a FIFO or a tape;
    None: a regular file."""
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        return Unusual.FOLDER
    return Unusual.LINK if stat.S_ISLNK(mode) else Unusual.NOTHING


def _open(folder: int, name: bytes) -> OpenFile | Unusual:
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    file = OpenFile(descriptor, status)
    if stat.S_ISREG(status.st_mode):
        return file
    file.close()
    return Unusual.NOTHING
