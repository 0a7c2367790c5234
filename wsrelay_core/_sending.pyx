"""What is sent to a connection becomes frames at once.

The second room of the class `Connection`: messages of processes in, frames into the outbox, one
write at the end of each drain.
"""

from wsrelay_core._errors import NoProcess

from wsrelay_core._ending cimport LOCAL_CLOSING, Ending
from wsrelay_core._outbox cimport ACCEPTED, OVERFULL
from wsrelay_core._payload cimport close_of, envelope_of, frame_of, may_send_code
from wsrelay_core._pid cimport PID
from wsrelay_core._process cimport Shared

cdef str WS_SEND = "ws.send"
cdef str WS_CLOSE = "ws.close"
cdef str WS_CONTROL = "ws.control"


cdef class Sending(Ending):
    """The road from processes to the client."""

    # Hooks of the relay, in Python: none of them runs once per message.

    def on_control_message(self, payload, sender) -> None:
        """`ws.control` came from `sender` (a PID or None)."""

    def on_dropped(self, topic: str, error) -> None:
        """A message to this connection was malformed, late, or of a refused topic (error None)."""

    def on_overflow(self) -> None:
        """The queue's policy drops messages, the first since the client last caught up."""

    # -- messages ------------------------------------------------------------------------------

    cdef bint deliver(self, str topic, object payload, Py_ssize_t many, PID sender,
                      Shared shared) except -1:
        if not self.accepting:
            return self.refuse(topic)
        if topic == WS_SEND:
            if many == 1:
                return self.send_data(payload, shared)
            return self.send_several(payload)
        if topic == WS_CLOSE:
            return self.send_close(payload)
        if topic == WS_CONTROL:
            return self.send_control(payload, sender)
        if topic.startswith(("ws.", "@")):
            return self.drop(topic, None)
        return self.send_envelope(topic, payload, shared if many < 2 else None)

    cdef bint send_data(self, object payload, Shared shared) except -1:
        cdef bytes frame
        if payload is None:
            return self.drop(WS_SEND, TypeError("ws.send needs a payload"))
        try:
            frame = frame_of(payload, self.codec, self.plain, shared)
        except Exception as error:
            return self.drop(WS_SEND, error)
        return self.queue_frame(frame)

    def send_several(self, payloads) -> bool:
        """Several payloads of one `ws.send` are several frames, in order."""
        accepted = True
        if payloads is None:
            return self.drop(WS_SEND, TypeError("ws.send needs a payload"))
        for payload in payloads:
            accepted = self.accepting and self.send_data(payload, None) and accepted
        return accepted

    cdef bint send_envelope(self, str topic, object payload, Shared shared) except -1:
        cdef bytes frame
        try:
            frame = envelope_of(topic, payload, self.codec, self.plain, shared)
        except Exception as error:
            return self.drop(topic, error)
        return self.queue_frame(frame)

    cdef bint send_close(self, object payload) except -1:
        try:
            code, reason = close_of(payload)
            sendable = may_send_code(code)
        except Exception as error:
            return self.drop(WS_CLOSE, error)
        if not sendable:
            shown = code if 0 <= code <= 0xFFFF else "out of range"
            self.drop(WS_CLOSE, ValueError(f"close code {shown} may not be sent, 1000 is"))
            code = 1000
        self.begin_close(code, reason, "closed_by_process", "server", "normal")
        return True

    cdef bint send_control(self, object payload, PID sender) except -1:
        try:
            self.on_control_message(payload, sender)
        except Exception as error:
            return self.drop(WS_CONTROL, error)
        return True

    cdef bint refuse(self, str topic) except -1:
        """The connection is closing; of a lost `ws.control` somebody may want to know."""
        if topic == WS_CONTROL:
            self.tell_dropped(topic, NoProcess("the connection is closing"))
        return False

    cdef bint drop(self, str topic, object error) except -1:
        """Log and count what cannot be sent; it ends nothing, and the sender sees True."""
        self.malformed += 1
        self.tell_dropped(topic, error)
        return True

    cdef int tell_dropped(self, str topic, object error) except -1:
        try:
            self.on_dropped(topic, error)
        except Exception as failure:
            self.scheduler.say("fault", self, failure)
        return 0

    # -- frames --------------------------------------------------------------------------------

    cdef bint queue_frame(self, bytes frame) except -1:
        cdef int verdict = self.outbox.put(frame)
        if self.outbox.untold:
            self.tell_overflow()
        if verdict == ACCEPTED:
            self.accepted += 1
            if not self.dirty:
                self.mark_dirty()
            return True
        if verdict == OVERFULL:
            self.begin_close(1013, "slow consumer", "slow_consumer", "server", "error")
        return False

    cdef int tell_overflow(self) except -1:
        self.outbox.untold = False
        try:
            self.on_overflow()
        except Exception as failure:
            self.scheduler.say("fault", self, failure)
        return 0

    cdef int flush(self) except -1:
        self.dirty = False
        if not self.lost:
            self.outbox.flush()
            if self.outbox.broken is not None and self.alive:
                self.break_off(self.outbox.broken)
        return 0

    def drained(self, below=None):
        """A future that is done when fewer than `below` bytes are queued; None if that is so now.

        It fails with NoProcess when the connection ends before.
        """
        cdef Py_ssize_t limit = max(1, self.outbox.limit // 2 if below is None else below)
        future = self.scheduler.loop.create_future()
        return None if self.outbox.below(limit, future) else future

    # -- asyncio.BaseProtocol ------------------------------------------------------------------

    def pause_writing(self):
        self.outbox.pause()

    def resume_writing(self):
        # Not now: it is called amid a write of asyncio's transport, which ends twice, with a
        # traceback for its loop, if another write fails in there.
        self.scheduler.loop.call_soon(self.go_on_writing, context=self.scheduler.context)

    def go_on_writing(self) -> None:
        """The transport has written its backlog."""
        if self.transport is None or self.transport.is_closing():
            return
        self.outbox.resume()
        if self.outbox.broken is not None:
            self.flush()
        elif self.state == LOCAL_CLOSING:
            self.shut_down_writing()
