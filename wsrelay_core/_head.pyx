# cython: auto_pickle=False, autotestdict=False
"""Plain heads of HTTP requests, read in one pass. Whatever is odd in the least is left to h11.

It is to h11 what the native lane of frames is to wsproto: most requests take it, and a property
test holds that h11 reads each of them the same way.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp

# What a byte may be part of (RFC 9110 5.5 and 5.6.2, RFC 9112 3).
cdef enum:
    TOKEN = 1
    TARGET = 2
    VALUE = 4

cdef unsigned char kinds[256]

cdef const char* VERSION = b" HTTP/1.1\r\n"
cdef Py_ssize_t VERSION_SIZE = 11
# Their meaning depends on one another, and on the version.
cdef frozenset FRAMING = frozenset((b"content-length", b"expect", b"transfer-encoding"))
cdef str GET = "GET"


cdef int fill_kinds() except -1:
    cdef int byte
    for byte in range(256):
        kinds[byte] = 0
        if 0x21 <= byte <= 0x7E:
            kinds[byte] |= TARGET
        if byte == 9 or 0x20 <= byte <= 0x7E or byte >= 0x80:
            kinds[byte] |= VALUE
    for byte in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz":
        kinds[byte] |= TOKEN
    for byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        kinds[byte] |= TOKEN
    return 0


fill_kinds()


cdef inline Py_ssize_t span(
    const unsigned char* data, Py_ssize_t start, Py_ssize_t size, int kind
) noexcept:
    """Where the bytes of a kind end that begin at `start`."""
    while start < size and kinds[data[start]] & kind:
        start += 1
    return start


cdef bytes lowered(const unsigned char* data, Py_ssize_t size):
    # Not made of `data` and changed then: bytes of one character are CPython's own, for everybody.
    cdef bytes name = PyBytes_FromStringAndSize(NULL, size)
    cdef char* out = PyBytes_AS_STRING(name)
    cdef Py_ssize_t i
    for i in range(size):
        out[i] = data[i] + 32 if c"A" <= data[i] <= c"Z" else data[i]
    return name


cdef object text(const unsigned char* data, Py_ssize_t size):
    if size == 3 and memcmp(data, b"GET", 3) == 0:
        return GET
    return data[:size].decode("ascii")


cdef dict fields(
    const unsigned char* data, Py_ssize_t start, Py_ssize_t size, Py_ssize_t most, list pairs
):
    """Read the field lines and the empty line behind them into `pairs`; None where one is odd."""
    cdef Py_ssize_t colon, first, end, last
    cdef dict index = {}
    while data[start] != c"\r":
        colon = span(data, start, size, TOKEN)
        if colon == start or colon >= size or data[colon] != c":" or len(pairs) == most:
            return None
        end = span(data, colon + 1, size, VALUE)
        if end + 2 >= size or data[end] != c"\r" or data[end + 1] != c"\n":
            return None
        first = colon + 1
        while first < end and (data[first] == c" " or data[first] == c"\t"):
            first += 1
        last = end
        while last > first and (data[last - 1] == c" " or data[last - 1] == c"\t"):
            last -= 1
        name = lowered(data + start, colon - start)
        if name in FRAMING:
            return None
        value = PyBytes_FromStringAndSize(<const char*>data + first, last - first)
        pairs.append((name, value))
        known = index.get(name)
        if known is None:
            index[name] = [value]
        else:
            (<list>known).append(value)
        start = end + 2
    return index if start + 2 == size and data[start + 1] == c"\n" else None


def read_plain_head(
    bytes block not None, Py_ssize_t request_line, Py_ssize_t header_bytes, Py_ssize_t most
):
    """Read a head of HTTP/1.1 with one `Host` and without a body (RFC 9112 2 to 5).

    Args:
        block: the bytes from the method up to and with the empty line.
        request_line: bytes that the request line may have.
        header_bytes: bytes that the field lines may have.
        most: how many fields there may be.

    Returns:
        `(method, target, pairs, index)`: pairs of name in lower case and value without blanks
        around it, and the values by name. None where the head has more, less or too much, or
        anything that is not plain: h11, and the checks before it, are to read it then.
    """
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(block)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(block)
    cdef Py_ssize_t method = span(data, 0, size, TOKEN)
    cdef Py_ssize_t target, line
    cdef list pairs = []
    cdef dict index
    if method == 0 or method >= size or data[method] != c" ":
        return None
    target = span(data, method + 1, size, TARGET)
    if target == method + 1 or target + VERSION_SIZE + 2 > size:
        return None
    if memcmp(data + target, VERSION, VERSION_SIZE) != 0:
        return None
    line = target + VERSION_SIZE - 2
    if line > request_line or size - line - 4 > header_bytes:
        return None
    index = fields(data, line + 2, size, most, pairs)
    if index is None or len(index.get(b"host", ())) != 1:
        return None
    return text(data, method), block[method + 1:target], pairs, index
