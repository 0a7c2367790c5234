"""HTTP/1.1 on h11: the protocol class, requests and responses, routers, handshake checks.

It knows no relay and no process: a middleware returns an `Upgrade`, and the protocol class hands
the connection over to what is in it.
"""

from typing import TYPE_CHECKING

from wsrelay._late import late
from wsrelay.errors import HandshakeError, HTTPError

from .chain import Handler, Middleware, SyncHandler
from .headers import Headers, MutableHeaders, QueryParams
from .limits import Limits, Timeouts
from .request import Request
from .response import JSONResponse, PlainTextResponse, Response, error_response, to_response
from .router import Dispatcher, Router
from .routes import Route, RouteConflict
from .streaming import StreamingResponse
from .upgrade import Upgrade, UpgradeTarget

# What only a server needs, h11 and wsproto among it, is imported when it is asked for.
if TYPE_CHECKING:
    from .handshake import (
        Offer,
        Opening,
        OriginPolicy,
        check_opening,
        choose_subprotocol,
        negotiate_deflate,
    )
    from .protocol import HTTPProtocol
    from .server import ServerState
    from .static import StaticFiles
else:
    __getattr__, __dir__ = late(
        __name__,
        handshake=(
            "Offer",
            "Opening",
            "OriginPolicy",
            "check_opening",
            "choose_subprotocol",
            "negotiate_deflate",
        ),
        protocol=("HTTPProtocol",),
        server=("ServerState",),
        static=("StaticFiles",),
    )

__all__ = [
    "Dispatcher",
    "HTTPError",
    "HTTPProtocol",
    "Handler",
    "HandshakeError",
    "Headers",
    "JSONResponse",
    "Limits",
    "Middleware",
    "MutableHeaders",
    "Offer",
    "Opening",
    "OriginPolicy",
    "PlainTextResponse",
    "QueryParams",
    "Request",
    "Response",
    "Route",
    "RouteConflict",
    "Router",
    "ServerState",
    "StaticFiles",
    "StreamingResponse",
    "SyncHandler",
    "Timeouts",
    "Upgrade",
    "UpgradeTarget",
    "check_opening",
    "choose_subprotocol",
    "error_response",
    "negotiate_deflate",
    "to_response",
]
