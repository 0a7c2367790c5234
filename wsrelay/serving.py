"""Everything that a running App may need and `import wsrelay` leaves out.

A module that only has handlers or processes, or a tool that looks at them, has no App; so what
serves is imported when one is made: h11, wsproto, the middleware. It is all of it, and long
before there is a listener: an import opens a file, for which a server may have no descriptor left.
"""

from wsrelay.config import entries
from wsrelay.http import static
from wsrelay.middleware import table
from wsrelay.relay import warn_of_origins
from wsrelay.server import Server, ServerList

__all__ = ["Server", "ServerList", "entries", "static", "table", "warn_of_origins"]
