"""Everything that a running App may need and `import wsrelay` leaves out.

A program may only look at an App, or have none; so what serves is imported when an App starts: h11,
wsproto, orjson, the middleware. It is all of it, and before there is a listener: an import opens a
file, for which a server under load may have no descriptor left.
"""

import orjson

from wsrelay.config import entries
from wsrelay.http import static
from wsrelay.middleware import table
from wsrelay.relay import warn_of_origins
from wsrelay.server import Server, ServerList

__all__ = ["Server", "ServerList", "entries", "orjson", "static", "table", "warn_of_origins"]
