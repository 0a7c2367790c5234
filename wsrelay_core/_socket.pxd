"""Writing to the socket of a transport."""

cdef extern from *:
    """
    #include <sys/socket.h>
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0  /* Python ignores SIGPIPE */
    #endif
    #ifndef MSG_MORE
    #define MSG_MORE 0
    #endif
    static inline Py_ssize_t wsrelay_send_now(int socket, PyObject* data, int last) {
        Py_ssize_t sent = send(socket, PyBytes_AS_STRING(data), (size_t) PyBytes_GET_SIZE(data),
                               MSG_DONTWAIT | MSG_NOSIGNAL | (last ? MSG_MORE : 0));
        if (last && sent == PyBytes_GET_SIZE(data)) shutdown(socket, SHUT_WR);
        return sent < 0 ? 0 : sent;
    }
    """
    # How many bytes the kernel takes now; an error is 0, for the transport to meet it itself.
    # Behind the `last` ones the stream ends: they go out with its end, in one segment.
    Py_ssize_t send_now "wsrelay_send_now"(int socket, bytes data, bint last)


cdef int plain_socket(object transport, int known) except? -2
