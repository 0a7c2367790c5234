"""The socket behind a transport, for writes that need nothing of the transport.

A transport of uvloop or asyncio whose write buffer is empty does no more for a write than a `send`,
and a call and its own accounts around it, for every write. The descriptor stays the transport's: it
is open until `connection_lost` has been called, and is not used after that.
"""

import fcntl
import socket
import struct
import termios

cdef bytes AT_ONCE = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds

# Only the transports known to send what they are given, as it is, to the socket that they name.
cdef tuple PLAIN = ("uvloop.loop", "asyncio.selector_events")


cdef int plain_socket(object transport, int known) except? -2:
    """The descriptor of a transport's socket; -1 if writes must go through the transport.

    Where it is `known` to be a socket without TLS, the transport is not asked: uvloop makes an
    object for that and keeps it.
    """
    if type(transport).__module__ not in PLAIN:
        return -1
    if known >= 0:
        return known
    if transport.get_extra_info("sslcontext") is not None:
        return -1
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else sock.fileno()


def reset_on_close(transport) -> None:
    """Let a close of this transport be a TCP reset (RFC 9293 3.10.5, ABORT).

    What the kernel holds for the peer is thrown away then.
    """
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    except OSError:  # it is closed already
        return


def abort_transport(transport) -> None:
    """End a transport, and all that is under way to the peer.

    To a peer that does not read, the kernel would go on to offer what it holds, for minutes, and
    keep the memory: then the end is a reset. Where the peer has all, it is an ordinary one.
    """
    if transport.get_write_buffer_size() or unsent(transport.get_extra_info("socket")):
        reset_on_close(transport)
    transport.abort()


cdef bint unsent(object sock) except -1:
    """Whether the kernel holds bytes that the peer's has not taken; where it can't tell, it may."""
    if sock is None:
        return False
    try:
        return fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)) != bytes(4)
    except OSError:
        return True
