"""The access log: one line for each request, in the logger `wsrelay.access` at INFO.

The query is never part of a line: it may carry a token (`token_auth.query.param`).
"""

import logging

from wsrelay.log import escape

from .head import Head
from .request import Client, Request

__all__ = ["CLIENT_GONE", "enabled", "log_refusal", "log_request"]

logger = logging.getLogger("wsrelay.access")

CLIENT_GONE = 499
"""Status of a request whose client left before its answer was written, as nginx numbers it."""


def enabled() -> bool:
    """Whether anybody wants the lines; asked once for each request."""
    return logger.isEnabledFor(logging.INFO)


def log_request(request: Request, status: int, size: int, seconds: float) -> None:
    """Write the line of a request.

    Args:
        request: as the handler saw it: `client` is what middleware found out.
        status: of the response, 101 for an upgrade, `CLIENT_GONE` without one.
        size: bytes of the response's body that were written.
        seconds: from the end of the request's head to the response.
    """
    client = escape(request.client[0]) if request.client is not None else "-"
    _write(client, escape(request.method), escape(request.raw_path), status, size, seconds)


def log_refusal(client: Client | None, head: Head | None, status: int, size: int) -> None:
    """Write the line of what never became a request; a head that can't be read shows as `-`."""
    method = "-" if head is None else escape(head.method)
    path = "-" if head is None else escape(head.target.partition(b"?")[0])
    _write("-" if client is None else client[0], method, path, status, size, 0.0)


def _write(client: str, method: str, path: str, status: int, size: int, seconds: float) -> None:
    milliseconds = round(seconds * 1000, 3)
    logger.info(
        "%s %s %s %d %dB %.1fms",
        client,
        method,
        path,
        status,
        size,
        milliseconds,
        extra={
            "client": client,
            "method": method,
            "path": path,
            "status": status,
            "bytes": size,
            "duration_ms": milliseconds,
        },
    )
