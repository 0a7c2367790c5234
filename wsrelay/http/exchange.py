"""One request in the hands of a connection, and the helpers around it."""

import asyncio
import contextvars
import math
import sys
from collections.abc import Coroutine
from typing import Any

from .body import RequestBody
from .head import Head
from .logs import logger
from .request import Client, Request
from .response import Response
from .streaming import StreamingResponse
from .upgrade import Upgrade

__all__ = ["Exchange", "abandon", "client_of", "start_task"]


class Exchange:
    """A request in hand.

    Attributes:
        head, request, body: what was read; no body: None.
        task: the handler's; None while it runs inline, or has not left its first step.
        responded: the response is written.
        continued: `100 Continue` is written.
        started: when the head was complete, by the server's clock; None: not to be logged.
        body_deadline: when the body is due; `math.inf`: never.
        stream: the response whose head is written, and whose body follows in `task`.
        closes: whether the connection ends after that.
    """

    __slots__ = (
        "body",
        "body_deadline",
        "closes",
        "continued",
        "head",
        "request",
        "responded",
        "started",
        "stream",
        "task",
    )

    def __init__(
        self,
        head: Head,
        request: Request,
        body: RequestBody | None,
        started: float | None = None,
    ) -> None:
        self.head = head
        self.request = request
        self.body = body
        self.started = started
        self.task: asyncio.Task[None] | None = None
        self.responded = False
        self.continued = False
        self.body_deadline = math.inf
        self.stream: StreamingResponse | None = None
        self.closes = False

    @property
    def body_failed(self) -> bool:
        """Whether the body will never be complete."""
        return self.body is not None and self.body.error is not None

    @property
    def awaits_continue(self) -> bool:
        """Whether the client holds its body back and was not told to send it."""
        return (
            self.body is not None
            and self.body.pending
            and self.head.expects_continue
            and not self.continued
        )


def start_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, None],
    context: contextvars.Context,
) -> asyncio.Task[None]:
    """Run a handler in a context of its own; one that waits for nothing may be done already."""
    if sys.version_info >= (3, 12):  # an answer that waits for nothing then costs no loop turn
        return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)
    return loop.create_task(coroutine, context=context)


def client_of(peer: Any) -> Client | None:
    """Address and port of a peer, as its socket names it; None on a Unix socket."""
    # Of IPv6 it has four parts; of a Unix socket it is a text, or nothing.
    if not isinstance(peer, tuple):
        return None
    # A socket for both families writes IPv4 addresses so.
    return peer[0].removeprefix("::ffff:") if "." in peer[0] else peer[0], peer[1]


def abandon(response: Response, request: Request | None = None) -> None:
    """Let go of a response that is not sent: tell an `Upgrade` that there will be none.

    Args:
        request: that it would have answered; None: it is answered, though not with all of this.
    """
    try:
        if isinstance(response, Upgrade):
            response.abandon()
        elif isinstance(response, StreamingResponse):
            response.discard()
        if request is not None and request.unsent is not None:
            unsent, request.unsent = request.unsent, None
            unsent()
    except Exception as error:
        logger.error("A response that nobody takes could not be cleaned up", exc_info=error)
