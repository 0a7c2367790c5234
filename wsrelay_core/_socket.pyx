"""The socket behind a transport, for writes that need nothing of the transport.

A transport of uvloop or asyncio whose write buffer is empty does no more for a write than a `send`,
and a call and its own accounts around it, for every write. The descriptor stays the transport's: it
is open until `connection_lost` has been called, and is not used after that.
"""

# Only the transports known to send what they are given, as it is, to the socket that they name.
cdef tuple PLAIN = ("uvloop.loop", "asyncio.selector_events")


cdef int plain_socket(object transport) except? -2:
    """The descriptor of a transport's socket; -1 if writes must go through the transport."""
    if type(transport).__module__ not in PLAIN:
        return -1
    if transport.get_extra_info("sslcontext") is not None:
        return -1
    socket = transport.get_extra_info("socket")
    return -1 if socket is None else socket.fileno()
