"""The connection of one HTTP/1.1 client, until it ends or becomes a WebSocket.

The bytes of a head pass `head.py`, where the core or h11 parses them; responses leave as joined
bytes. One request is served at a time, in the order of arrival.
"""

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from wsrelay.errors import HTTPError
from wsrelay.log import escape
from wsrelay_core import reset_on_close

from . import access
from .body import ChunkedReader, LengthReader, RequestBody
from .chain import ORDERS, failure_response
from .exchange import Exchange, abandon, start_task
from .head import Head, HeadReader, take_whole
from .limits import Limits, Timeouts
from .link import BUSY, HEAD, LINGER, Link
from .logs import logger
from .peer import Peer
from .proxy_protocol import ProxyHeaderError, take_proxy_header
from .request import Request
from .response import Response, error_response
from .server import ServerState
from .streaming import ShortStream, StreamingResponse, framed
from .upgrade import Upgrade
from .writer import (
    CONTINUE,
    body_size,
    encode_response,
    encode_stream_head,
    has_content,
    says_close,
)

__all__ = ["HTTPProtocol", "RequestHandler"]

RequestHandler = Callable[[Request], Awaitable[Response]]
"""A `Dispatcher`, or any such function. An attribute `dispatch_sync` of it is tried first."""

# Requests of one client served in one go; the other connections have their turn then.
PIPELINED_AT_ONCE = 16


class HTTPProtocol(Link):
    """The asyncio protocol of one connection.

    Args:
        handler: see `RequestHandler`.
        server: the state shared by the server's connections.
        limits, timeouts: what one client may cost.
        context: copied for each request; the handler runs in the copy. None: that of the caller.
        peername: address of the other side, as `accept` told it; None: the transport knows.
        descriptor: of its socket, if there is no TLS; -1: the transport knows.
    """

    __slots__ = (
        "_advance_due",
        "_awaits_proxy_header",
        "_context",
        "_descriptor",
        "_dispatch_sync",
        "_exchange",
        "_handler",
        "_head_begun",
        "_heads",
        "_limits",
        "_loop",
        "_peer",
        "_peername",
        "_writable",
    )

    _loop: asyncio.AbstractEventLoop
    _peer: Peer

    def __init__(
        self,
        handler: RequestHandler,
        server: ServerState,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        context: contextvars.Context | None = None,
        peername: Any = None,
        descriptor: int = -1,
    ) -> None:
        limits = limits if limits is not None else Limits()
        super().__init__(
            server, timeouts if timeouts is not None else Timeouts(), limits.longest_head
        )
        self._handler = handler
        self._dispatch_sync: Callable[[Request], Response | None] | None = getattr(
            handler, "dispatch_sync", None
        )
        self._limits = limits
        self._context = context
        self._peername = peername
        self._descriptor = descriptor
        self._awaits_proxy_header = False
        self._heads: HeadReader | None = None
        self._head_begun = True
        self._exchange: Exchange | None = None
        self._advance_due = False
        self._writable: asyncio.Future[None] | None = None

    # --- asyncio's callbacks ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the head of the first request is due from now on."""
        self._transport = transport  # type: ignore[assignment]
        self._loop = asyncio.get_running_loop()
        self._peer = Peer(transport, self._server, self._peername, self._descriptor < 0)
        self._awaits_proxy_header = self._server.proxy_protocol and self._peer.is_trusted
        self._server.opened(self)
        if self._server.ended:
            self._transport.abort()
            return
        self.deadline = self._server.clock() + self._timeouts.header
        limit = self._limits.connections
        if limit and self._server.open_connections > limit:
            self._refuse(HTTPError(503, headers={"Retry-After": "1"}))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop is to read to.

        With a `data_received` instead, uvloop would keep this object, half a KiB, for as long as
        the WebSocket is open that it became: it holds that of the last protocol that had one.
        """
        return self._server.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """The loop has read so many bytes."""
        self._take(self._server.read_buffer[:nbytes])

    def _take(self, data: memoryview) -> None:
        if self._phase is LINGER:
            self._drop(len(data))
            return
        self._buffer += data
        self._advance()

    def eof_received(self) -> bool:
        """The client sends no more; it still gets its answers.

        Returns:
            Whether the transport stays open for them.
        """
        self._eof = True
        exchange = self._exchange
        if self._phase is HEAD:
            self._advance()
        elif exchange is not None:
            self._cut_short(HTTPError(400, "The body is incomplete"))
            if exchange.responded or exchange.request.is_handshake:
                return False
        # Without half-close (TLS) the transport closes whatever is returned, and warns of True.
        return (
            self._phase in (HEAD, BUSY)
            and not self._transport.is_closing()
            and self._transport.can_write_eof()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: a handshake's handler is cancelled, and the body that is on its way
        out; another handler runs on."""
        exchange = self._exchange
        self._cut_short(HTTPError(400, "The body is incomplete"))
        self._leave()
        if exchange is None or exchange.task is None:
            return
        if exchange.request.is_handshake or exchange.stream is not None:
            exchange.task.cancel()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._write_paused = False
        if self._phase is HEAD:
            # Not now: it is called amid a write of asyncio's transport, which ends twice, with a
            # traceback for its loop, if another write fails in there.
            self.deadline = math.inf
            self._loop.call_soon(self._go_on)
        elif self._phase is BUSY:
            # Also where the response is out, and the rest of the request's body is still to come.
            exchange, writable = self._exchange, self._writable
            self.deadline = math.inf if exchange is None else exchange.body_deadline
            self._writable = None
            if writable is not None and not writable.done():
                writable.set_result(None)
            self._regulate()

    def _go_on(self) -> None:
        if self._phase is HEAD and not self._write_paused:
            self._await_request()
            self._advance()

    # --- reading ---

    def _advance(self) -> None:
        """Serve what is complete in the buffer, a few requests at a time."""
        for _ in range(PIPELINED_AT_ONCE):
            if self._phase is HEAD:
                if self._write_paused or not self._read_head():
                    break
            elif not self._read_body():
                break
        else:
            if not self._advance_due:
                self._advance_due = True
                self._loop.call_soon(self._advance_later)
        self._regulate()

    def _advance_later(self) -> None:
        self._advance_due = False
        self._advance()

    def _read_body(self) -> bool:
        """Read some of a body; False when there is nothing more to do now."""
        exchange = self._exchange
        if exchange is not None and exchange.body is not None and exchange.body.pending:
            exchange.body.feed(self._buffer)
            if not exchange.body.pending:
                self._body_ended(exchange)
                return True
        return False

    def _read_proxy_header(self) -> bool:
        """Read what a trusted proxy sends before all else; False while it is incomplete."""
        try:
            header = take_proxy_header(self._buffer)
        except ProxyHeaderError as error:
            address = escape(self._peer.address or "?")
            self._server.warnings.warning(
                logger, "%s: connection of %s closed: %s", self._server.name, address, error
            )
            self._close()
            return False
        if header is None:
            self._await_head()
            return False
        self._peer.stands_for(header)
        self._awaits_proxy_header = False
        return True

    def _read_head(self) -> bool:
        """Read one head, and serve it; False where it is incomplete."""
        head = None
        if self._awaits_proxy_header and not self._read_proxy_header():
            return False
        try:
            head = self._take_head()
            if head is None:
                self._await_head()
                return False
            self._begin(head)
        except HTTPError as error:
            self._refuse(error, head)
        return True

    def _take_head(self) -> Head | None:
        heads = self._heads
        if heads is None:
            head = take_whole(self._buffer, self._limits)
            if head is not None:
                return head
            heads = self._heads = HeadReader(self._limits)
        return heads.take(self._buffer)

    def _await_head(self) -> None:
        if self._eof:
            self._close()
        elif self._buffer and not self._head_begun:
            # Set once: a trickle of bytes does not extend it.
            self._head_begun = True
            self.deadline = self._server.clock() + self._timeouts.header

    def _await_request(self) -> None:
        """Between requests: the next one may take its time to begin, but not to end."""
        self._phase = HEAD
        self._exchange = None
        self._head_begun = bool(self._buffer)
        limit = self._timeouts.header if self._head_begun else self._timeouts.idle
        self.deadline = self._server.clock() + limit
        if self._write_paused:
            self._pace()

    def _body_ended(self, exchange: Exchange) -> None:
        exchange.body_deadline = math.inf
        if self._writable is None:  # else it is the pace of the client's reading
            self.deadline = math.inf
        if exchange.responded:
            if exchange.body_failed:
                self._linger()
            else:
                self._await_request()

    def _cut_short(self, error: HTTPError) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.body is not None and exchange.body.pending:
            exchange.body.fail(error)

    def _overdue(self) -> None:
        if self._exchange is not None:
            self._cut_short(HTTPError(408))
            if self._exchange.responded:
                self._linger()
        elif self._buffer and not self._awaits_proxy_header:
            self._refuse(HTTPError(408))
        else:
            self._close()

    # --- one request ---

    def _begin(self, head: Head) -> None:
        self._phase = BUSY
        self.deadline = math.inf
        self._server.requests += 1
        body = None if head.content_length == 0 else self._open_body(head)
        request = Request(head.method, head.target, head.headers)
        request.http_version = head.http_version
        request.server = self._server
        if body is not None:
            request._body = body
        self._peer.introduce(request)
        started = self._server.clock() if access.enabled() else None
        exchange = self._exchange = Exchange(head, request, body, started)
        exchange.body_deadline = self.deadline
        if body is not None:
            body.feed(self._buffer)
        self._run(exchange)

    def _open_body(self, head: Head) -> RequestBody:
        length = head.content_length
        if length is not None and length > self._limits.body:
            raise HTTPError(413)
        if not head.expects_continue:
            self.deadline = self._server.clock() + self._timeouts.read
        reader = ChunkedReader(self._limits.body) if length is None else LengthReader(length)
        return RequestBody(reader, self._body_awaited)

    def _body_awaited(self) -> None:
        """A handler waits for the body: now the client may send it (RFC 9110 10.1.1)."""
        exchange = self._exchange
        if exchange is not None and exchange.head.expects_continue and not exchange.continued:
            exchange.continued = True
            self.deadline = exchange.body_deadline = self._server.clock() + self._timeouts.read
            self._transport.write(CONTINUE)

    def _run(self, exchange: Exchange) -> None:
        """Call the handler: inline where it can be, else in a task."""
        own = self._context
        context = own.copy() if own is not None else contextvars.copy_context()
        work = self._serve
        if self._dispatch_sync is not None:
            try:
                response = context.run(self._dispatch_sync, exchange.request)
            except Exception as error:
                response = failure_response(exchange.request, error)
            if response is not None:
                self._answer(exchange, response)
                if exchange.stream is None:
                    return
                work = self._stream
        task = start_task(self._loop, work(exchange), context)
        exchange.task = task
        self._server.track(task)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            response = await self._handler(exchange.request)
        except asyncio.CancelledError:
            self._answer(exchange, error_response(HTTPError(503)))
            raise
        except Exception as error:
            response = failure_response(exchange.request, error)
        self._answer(exchange, response)
        if exchange.stream is not None:
            await self._stream(exchange)
        elif exchange.task is not None:  # else it ended before it was a task: `_advance` runs
            self._advance()

    def _answer(self, exchange: Exchange, response: Response) -> None:
        if self._exchange is not exchange or self._transport.is_closing():
            abandon(response, exchange.request)
            self._log(exchange, access.CLIENT_GONE)
            return
        if isinstance(response, Upgrade):
            self._switch(exchange, response)
            return
        head_only = exchange.request.method == "HEAD"
        common = self._server.common_headers()
        try:
            close = self._closes_after(exchange, response)
            if isinstance(response, StreamingResponse):
                self._begin_stream(exchange, response, common, close)
                return
            data = encode_response(response, common, head=head_only, close=close)
        except Exception as error:
            abandon(response, exchange.request)
            response = failure_response(exchange.request, error)
            close = self._closes_after(exchange, response)
            data = encode_response(response, common, head=head_only, close=close)
        self._write(data)
        size = body_size(response, head=head_only)
        self._answered(exchange, response.status_code, size, close)

    def _answered(self, exchange: Exchange, status: int, size: int, close: bool) -> None:
        exchange.responded = True
        self._log(exchange, status, size)
        if close:
            self._linger()
        elif exchange.body is None or not exchange.body.pending:
            self._await_request()

    def _begin_stream(
        self, exchange: Exchange, response: StreamingResponse, common: bytes, close: bool
    ) -> None:
        """Write the head of a response; `_stream` is to write its body, if it has one."""
        # Of HTTP/1.0 each connection is closed, which then is the end of the body.
        chunked = response.content_length is None and exchange.request.http_version == "1.1"
        with_body = exchange.request.method != "HEAD" and has_content(response)
        data = encode_stream_head(response, common, chunked=chunked, close=close)
        self._transport.write(data)
        if with_body:
            exchange.stream = response
            exchange.closes = close
        else:
            abandon(response)
            self._answered(exchange, response.status_code, 0, close)

    async def _stream(self, exchange: Exchange) -> None:
        """Write a body as it is made, no faster than the client takes it."""
        response = exchange.stream
        assert response is not None
        chunked = response.content_length is None and exchange.request.http_version == "1.1"
        size = 0
        complete = False
        try:
            async with aclosing(framed(response, chunked=chunked)) as pieces:
                async for piece in pieces:
                    if self._exchange is not exchange:
                        break  # the client is gone, and the body took no notice of the cancel
                    size += len(piece)
                    self._write(piece, size)
                    await self._until_writable()
            complete = self._exchange is exchange
        except ShortStream as error:
            method, path = escape(exchange.request.method), escape(exchange.request.raw_path)
            self._server.warnings.warning(logger, "%s %s: connection cut: %s", method, path, error)
        except (asyncio.CancelledError, *ORDERS):
            raise
        except BaseException as error:  # `wsrelay.exit()` is no Exception
            failure_response(exchange.request, error)  # logs it
        finally:
            if not complete:
                if self._exchange is exchange:  # then it must not look whole
                    if response.content_length is None and not chunked:
                        reset_on_close(self._transport)
                    self._transport.abort()
                self._log(exchange, response.status_code, size)
        if complete:
            closes = exchange.closes or self._server.draining or exchange.body_failed
            self._answered(exchange, response.status_code, size, closes)
            if exchange.task is not None:
                self._advance()

    async def _until_writable(self) -> None:
        """Give the others their turn, and wait until the client has taken what is written."""
        if self._write_paused:
            self._writable = self._loop.create_future()
            await self._writable
        else:
            await asyncio.sleep(0)

    def _closes_after(self, exchange: Exchange, response: Response) -> bool:
        return (
            not exchange.head.keep_alive
            or self._server.draining
            or exchange.request.is_handshake
            or (self._eof and not self._buffer)
            or exchange.body_failed
            # The client waits for 100 and gets the final answer: whether the body comes is open.
            or exchange.awaits_continue
            or says_close(response)
        )

    def _switch(self, exchange: Exchange, upgrade: Upgrade) -> None:
        """Hand the connection over; the bytes behind the handshake go with it."""
        request = exchange.request
        try:
            if exchange.body is not None or not request.is_handshake or self._eof:
                raise ValueError("an Upgrade answers a handshake without a body")
            head = upgrade.head()
        except Exception as error:
            abandon(upgrade, request)
            self._answer(exchange, failure_response(request, error))
            return
        transport = self._transport
        transport.write(head)
        trailing = bytes(self._buffer)
        self._server.upgrades += 1
        self._log(exchange, upgrade.status_code)
        self._leave()
        transport.set_protocol(upgrade.connection)  # type: ignore[arg-type]
        try:
            upgrade.connection.start(transport, trailing, self._descriptor)
        except Exception as error:
            logger.error("A WebSocket could not be started", exc_info=error)
            transport.abort()
        if self._read_paused and not transport.is_closing():
            transport.resume_reading()

    def _log(self, exchange: Exchange, status: int, size: int = 0) -> None:
        if exchange.started is not None:
            seconds = self._server.clock() - exchange.started
            access.log_request(exchange.request, status, size, seconds)

    # --- ends ---

    def _refuse(self, error: HTTPError, head: Head | None = None) -> None:
        """Answer what is no request, or none that is served, and end."""
        common = self._server.common_headers()
        response = error_response(error)
        self._write(encode_response(response, common, close=True))
        if access.enabled():
            access.log_refusal(self._peer.client, head, response.status_code, body_size(response))
        self._linger()

    def _release(self) -> None:
        self._exchange = None
