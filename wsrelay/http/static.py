"""Files of a folder under a path: `http.static`."""

import asyncio
import hashlib
import math
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from email.utils import formatdate
from urllib.parse import quote

from wsrelay.errors import HTTPError
from wsrelay.log import Limited, describe, escape

from .headers import MutableHeaders
from .logs import logger
from .request import Request
from .response import PlainTextResponse, Response
from .routes import parse_prefix
from .static_conditions import (
    RangeNotSatisfiable,
    Validators,
    failed_precondition,
    range_applies,
    requested_range,
)
from .static_files import OpenFile, Unusual, find
from .static_types import content_type_of
from .streaming import StreamingResponse

__all__ = ["StaticError", "StaticFiles"]

# Read in one go, and at each further step: what a client that does not read pins, beside the
# transport's own buffer. A step into a thread costs 30 to 130 microseconds (a file still goes out
# at 300 MB/s, with the client in the same loop); for that a slow disk never holds the loop.
PIECE = 64 * 1024
# A file changed this short a time ago may change again without its times showing it: file systems
# count in steps of up to two seconds.
SETTLED = 2.0
LONGEST_CACHE = 2**31  # seconds; RFC 9111 1.2.2
_ALLOWED_DOT_NAMES = (".well-known",)  # RFC 8615
_ACCEPTS_HTML = re.compile(rb"(?:^|,)[ \t]*+(text/html|text/\*|\*/\*)[ \t]*+(?=[;,]|$)", re.I)


class StaticError(ValueError):
    """Static files can't be served like that.

    Attributes:
        field: the argument that is wrong.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class StaticFiles:
    """The files of a folder, for GET and HEAD.

    `/css/a.css` is that file in the folder; `/css/` is its `index`, and `/css` redirects there.
    Nothing outside of the folder is served, whatever the path or a link in the folder says; names
    that begin with a dot are not served, but for `.well-known` (RFC 8615). A path that has a
    broken or suspicious spelling (`..`, encoded slashes, backslashes) names no file.

    Answers have an `ETag` and `Last-Modified`, and take conditions and a range (RFC 9110 13, 14);
    see `static_conditions`. Files longer than 64 KiB are sent piece by piece. All work with the
    file system is done in threads of the loop's default executor.

    Args:
        path: URL path under which the folder appears; without parameters.
        directory: the folder; a relative one starts from the working directory of now. The path
            may be a link, also one that is set to another folder later.
        index: name of the file that stands for a folder.
        spa: for an application in one page: the folder's `index` answers for each path that is no
            file, if a browser navigates to it: `Accept` names `text/html`, or takes anything and
            the last segment has no dot. It says `Vary: Accept`. In this mode the `index` is always
            `no-cache`, because it names the other files.
        cache: seconds for which clients may keep a file without asking (`max-age`); 0: they ask
            each time (`no-cache`), and get a 304 while it is the same.
        clock: returns seconds since 1970; for tests.

    Attributes:
        path: without a trailing `/`; empty for the root.

    Raises:
        StaticError: the path is malformed, there is no such folder (or no `index` in it, with
            `spa`), `index` is no plain name, `cache` is negative.
    """

    def __init__(
        self,
        path: str,
        directory: str | os.PathLike[str],
        *,
        index: str = "index.html",
        spa: bool = False,
        cache: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            self.path = parse_prefix(path, "path of static files")
        except ValueError as error:
            raise StaticError("path", str(error)) from None
        self.directory = os.path.abspath(directory)
        self.index = index
        self._root = os.fsencode(self.directory)
        self._spa = spa
        self._cache_control = _cache_control(cache)
        self._clock = clock
        self._warnings = Limited()
        self._check_folder()

    def _check_folder(self) -> None:
        if not is_served(self.index):
            message = f"{self.index!r} is not the name of a file that is served"
            raise StaticError("index", message)
        if not os.path.isdir(self._root):
            what = "is no folder" if os.path.exists(self._root) else "does not exist"
            raise StaticError("directory", f"{self.directory} {what}")
        if self._spa and not os.path.isfile(os.path.join(self.directory, self.index)):
            raise StaticError("index", f"spa needs a file {self.index} in {self.directory}")

    def __str__(self) -> str:
        return f"the files under {self.path or '/'} ({self.directory})"

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments of its path."""
        return tuple(self.path[1:].split("/")) if self.path else ()

    async def respond(self, request: Request, names: Sequence[str]) -> Response | None:
        """Answer a GET or HEAD.

        Args:
            request: whose method, query and headers count.
            names: the decoded segments of its path behind `path`; an empty last one is a folder.

        Returns:
            The response; None: there is no file.

        Raises:
            HTTPError: 503, where the system can't read the file now; it is logged.
        """
        return await asyncio.to_thread(self._respond, request, names)

    def _respond(self, request: Request, names: Sequence[str]) -> Response | None:
        try:
            return self._answer(request, names)
        except PermissionError as error:
            self._warn(request, error)
            return None
        except OSError as error:
            self._warn(request, error)
            raise HTTPError(503, headers={"Retry-After": "1"}) from None

    def _warn(self, request: Request, error: OSError) -> None:
        self._warnings.warning(
            logger,
            "%s: %s can't be served: %s",
            self,
            escape(request.raw_path),
            describe(error),
        )

    def _answer(self, request: Request, names: Sequence[str]) -> Response | None:
        if not all(is_served(name) for name in names if name):
            return None
        as_folder = names[-1:] == [""]
        found = self._find([*names[:-1], self.index] if as_folder else names)
        if found is Unusual.FOLDER and not as_folder and self._has_index(names):
            return self._redirect(request, names)
        if isinstance(found, OpenFile):
            name = self.index if as_folder else names[-1]
            return self._serve(request, found, name)
        if self._spa and is_navigation(request, names):
            page = self._find([self.index])
            if isinstance(page, OpenFile):
                return self._serve(request, page, self.index, {"Vary": "Accept"})
        return None

    def _find(self, names: Sequence[str]) -> OpenFile | Unusual:
        if not all(names):
            return Unusual.NOTHING  # an empty segment is no name
        return find(self._root, [name.encode("utf-8", "surrogateescape") for name in names])

    def _has_index(self, names: Sequence[str]) -> bool:
        found = self._find([*names, self.index])
        if not isinstance(found, OpenFile):
            return False
        found.close()
        return True

    def _redirect(self, request: Request, names: Sequence[str]) -> Response:
        # Relative to the folder that the request's path stands in. It begins with a dot, so
        # nothing in the name makes it another host's, and a proxy may serve it under a prefix.
        location = f"./{quote([*self.segments, *names][-1], safe='')}/"
        if request.query_string:
            location += "?" + request.query_string.decode("ascii")
        headers = {"Location": location, "Cache-Control": self._cache_control}
        return Response(status_code=308, headers=headers)

    def _serve(
        self, request: Request, file: OpenFile, name: str, extra: dict[str, str] | None = None
    ) -> Response:
        """The answer with a file that is there; closes it, unless the answer is to send it."""
        response: Response | None = None
        try:
            response = self._response(request, file)
        finally:
            if not isinstance(response, FileResponse):
                file.close()
        headers = response.headers
        if response.status_code in (412, 416):
            headers["Cache-Control"] = "no-store"
        else:
            page = self._spa and name == self.index
            headers["Cache-Control"] = "no-cache" if page else self._cache_control
        if response.status_code in (200, 206):
            headers["Content-Type"] = content_type_of(name)
            headers["X-Content-Type-Options"] = "nosniff"
        for field, value in (extra or {}).items():
            headers[field] = value
        return response

    def _response(self, request: Request, file: OpenFile) -> Response:
        validators = self._validators(file.status)
        headers = MutableHeaders([("ETag", validators.etag), ("Accept-Ranges", "bytes")])
        if validators.modified is not None:
            headers["Last-Modified"] = formatdate(validators.modified, usegmt=True)
        failed = failed_precondition(request.headers, validators)
        if failed is not None:
            if failed == 304:  # without a type, which would replace that of the client's copy
                return Response(None, 304, headers.raw)
            return PlainTextResponse("The file is another one by now", 412, headers.raw)
        size = file.status.st_size
        start, end, status = 0, size, 200
        if request.method == "GET" and range_applies(request.headers, validators):
            try:
                part = requested_range(request.headers.values_of(b"range"), size)
            except RangeNotSatisfiable:
                headers["Content-Range"] = f"bytes */{size}"
                return PlainTextResponse("The file is shorter", 416, headers.raw)
            if part is not None:
                start, end = part
                status = 206
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        if request.method == "GET" and end - start <= PIECE:
            data = file.read(start, end - start)
            if len(data) == end - start:
                return Response(data, status, headers.raw)
        if request.method == "GET":
            file.keep()
        return FileResponse(file, start, end, status, headers)

    def _validators(self, status: os.stat_result) -> Validators:
        """The tag is made of size and times. That of the last change of the i-node can't be set to
        what it was, as the other can, and is by builds that are to be reproducible."""
        now = self._clock()
        state = b"%d %d %d" % (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest = hashlib.blake2b(state, digest_size=12).hexdigest()
        # RFC 9110 8.8.2.1: a time to come is none; nor is one that no date can tell.
        modified = min(int(status.st_mtime), int(now))
        return Validators(
            b'"%b"' % digest.encode("ascii"),
            modified if modified >= 0 else None,
            strong=now - status.st_ctime >= SETTLED,
        )


class FileResponse(StreamingResponse):
    """A part of an open file, sent piece by piece; closes it."""

    def __init__(
        self, file: OpenFile, start: int, end: int, status_code: int, headers: MutableHeaders
    ) -> None:
        super().__init__(_pieces(file, start, end), status_code, headers.raw)
        self.content_length = end - start
        self._file = file

    def discard(self) -> None:
        """Close the file."""
        self._file.close()


async def _pieces(file: OpenFile, start: int, end: int) -> AsyncIterator[bytes]:
    try:
        while start < end:
            piece = await asyncio.to_thread(file.read, start, min(PIECE, end - start))
            if not piece:
                return  # it was cut meanwhile; the length that was announced tells
            start += len(piece)
            yield piece
    finally:
        file.close()


def is_served(name: str) -> bool:
    """Whether a segment may name a file or folder: not hidden, and not more than a name."""
    if not name or "/" in name or "\\" in name or "\0" in name:
        return False
    return not name.startswith(".") or name in _ALLOWED_DOT_NAMES


def is_navigation(request: Request, names: Sequence[str]) -> bool:
    """Whether a browser seems to ask for a page, rather than a page for one of its parts."""
    accept = b",".join(request.headers.values_of(b"accept"))
    accepted = [kind.lower() for kind in _ACCEPTS_HTML.findall(accept)]
    if b"text/html" in accepted:
        return True
    return (not accept or bool(accepted)) and "." not in "".join(names[-1:])


def _cache_control(cache: float) -> str:
    if not cache >= 0:
        raise StaticError("cache", f"must be a number of seconds from 0 up, not {cache}")
    return f"max-age={math.ceil(min(cache, LONGEST_CACHE))}" if cache else "no-cache"
