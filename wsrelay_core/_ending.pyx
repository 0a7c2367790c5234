"""How a connection ends: causes, the closing handshake, the close record.

The first room of the class `Connection`, which `_sending`, `_receiving` and `_connection` complete.
Whatever ends a connection first sets the cause (`begin_close`, `client_closes`, `network_end`); the
end itself, `finish`, comes once: with the peer's close frame, with TCP's end, or in time.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from wsrelay_core._socket import abort_transport

from wsrelay_core._frame cimport close_body, server_frame
from wsrelay_core._pid cimport PID
from wsrelay_core._process cimport Event, Process, give_up, without_ref
from wsrelay_core._wire cimport (
    ABNORMAL_CLOSURE, CLOSE, INVALID_DATA, MESSAGE_TOO_BIG, PONG,
)

cdef str WS_LEAVE = "ws.leave"
cdef dict CAUSE_OF_FAILURE = {MESSAGE_TOO_BIG: "message_too_big", INVALID_DATA: "invalid_data"}


cdef class Ending(Process):
    """The ends of a `Connection`."""

    def on_ended(self, record: dict) -> None:
        """The connection has ended; `record` is its close record."""

    # -- causes that the server has ------------------------------------------------------------

    def close(self, int code, str reason, str cause, str exit_reason="normal") -> None:
        """Begin the closing handshake, as the server."""
        self.begin_close(code, reason, cause, "server", exit_reason)

    def cancel(self, reason=None, deadline=None) -> None:
        """Close politely with 1001, EXIT `cancelled`; at `deadline` (seconds) it is terminated."""
        self.begin_close(1001, "" if reason is None else str(reason), "cancelled", "server",
                         "cancelled")
        if deadline is not None and self.alive:
            self.deadlines.kill_at(self.scheduler.now() + deadline)
            self.arm()

    def terminate(self) -> None:
        """End at once: no close frame, TCP aborted, EXIT `killed`."""
        if not self.alive:
            return
        if self.cause is None:
            self.code = ABNORMAL_CLOSURE
            self.reason = ""
        # The order to end at once stands before a close under way.
        self.cause = "terminated"
        self.initiator = "server"
        self.exit_reason = "killed"
        self.cut_off()

    def cut_off(self) -> None:
        """Wait no longer for the client: TCP is aborted, and the end is not clean."""
        self.set_cause(ABNORMAL_CLOSURE, "", "terminated", "server", "killed")
        self.abort()
        self.finish(False)

    cdef int set_cause(self, int code, str reason, str cause, str initiator,
                       str exit_reason) except -1:
        """The first cause stands."""
        if self.cause is None:
            self.code = code
            self.reason = reason
            self.cause = cause
            self.initiator = initiator
            self.exit_reason = exit_reason
        return 0

    cdef int begin_close(self, int code, str reason, str cause, str initiator,
                         str exit_reason) except -1:
        """Queue a close frame; the end comes with the client's, with TCP's end, or in time."""
        cdef bytes body
        if self.state != OPEN:
            return 0
        self.state = LOCAL_CLOSING
        self.accepting = False
        body = close_body(code, reason)
        self.set_cause(code, body[2:].decode(), cause, initiator, exit_reason)
        self.queue_control(CLOSE, body)
        self.deadlines.closing(self.scheduler.now())
        self.arm()
        return self.go_on()  # to see the client's close frame

    cdef int fault(self, object error) except -1:
        """A fault of the server: it ends this connection and no other."""
        self.scheduler.say("fault", self, error)
        return self.begin_close(1011, "internal error", "internal_error", "server", "error")

    cdef int break_off(self, object error) except -1:
        """A fault on the way out: not even a close frame can be written."""
        self.scheduler.say("fault", self, error)
        self.set_cause(ABNORMAL_CLOSURE, "", "internal_error", "server", "error")
        self.abort()
        return self.finish(False)

    # -- causes that other processes are -------------------------------------------------------

    cdef int deliver_event(self, Event event) except -1:
        if event.ref is self.target_ref:
            self.target_gone(event.reason)
        return 0

    def target_gone(self, str reason) -> None:
        """The target has ended: so does the connection."""
        self.joined = False
        self.target = None
        self.target_ref = None
        if reason == "noconnection":
            self.begin_close(1012, "", "target_exited", "server", "noconnection")
        elif reason == "normal" or reason == "cancelled":
            self.begin_close(1000, "target process exited", "target_exited", "server", "normal")
        else:
            self.begin_close(1011, "target process failed", "target_exited", "server", "normal")

    cdef int on_signal(self, PID source, str reason, object result) except -1:
        if self.alive:
            self.begin_close(1011, "linked process failed", "link_failed", "server",
                             "link_failed")
        return 0

    # -- causes that the client has ------------------------------------------------------------

    cdef int client_closes(self) except -1:
        """The peer's close frame came (RFC 6455 5.5.1)."""
        if self.state == LOCAL_CLOSING:
            return self.finish(True)
        if self.state == OPEN:
            # Answered at the end of the drain, so that what the target answers to a message in
            # the same segment still reaches the client.
            self.state = REMOTE_CLOSING
            self.set_cause(self.codec.close_code, self.codec.close_reason, "client_close",
                           "client", "normal")
            self.scheduler.mark_ending(self)
        return 0

    cdef int client_fails(self) except -1:
        """The client broke the protocol: nothing that it sends now can be understood.

        It is told at the end of the drain, as a close frame is answered then: what it sent before
        was in order, and is answered in order.
        """
        return self.scheduler.mark_ending(self)

    cdef int tell_failure(self) except -1:
        """Close with the code of what the client did, unless something else was faster."""
        cdef int code = self.codec.error_code
        if code == 0:
            return 0
        return self.begin_close(code, self.codec.error_reason,
                                CAUSE_OF_FAILURE.get(code, "protocol_error"), "server", "error")

    def eof_received(self):
        """The client's end of TCP: there is no half-open WebSocket, but a close gets its answer."""
        if self.state != REMOTE_CLOSING:
            self.network_end()
        elif self.transport.can_write_eof():
            return True
        else:
            self.answer_close()  # TLS ends with its client's half
        return False

    def connection_lost(self, error):
        self.lost = True
        try:
            self.network_end()
        finally:
            self.transport = None
            self.outbox.close()
            self.disarm()
            self.scheduler.lingering.pop(self, None)

    cdef int network_end(self) except -1:
        """TCP has ended, or its reading half: deliver what was held back, then end."""
        if not self.alive:
            return 0
        self.tell_failure()
        if self.paused and self.state == OPEN:
            try:
                if self.deliver_held():
                    self.accepting = False
                    return 0  # it comes back here in its next turn
            except Exception as error:
                self.scheduler.say("fault", self, error)
        self.set_cause(ABNORMAL_CLOSURE, "", "connection_lost", "network", "error")
        return self.finish(False)

    cdef int deliver_held(self) except -1:
        return 0

    # -- the closing handshake goes on ---------------------------------------------------------

    cdef int after_drain(self) except -1:
        try:
            if self.state == LOCAL_CLOSING:
                self.shut_down_writing()
            elif self.state == CLOSED or self.lost:
                pass
            elif self.scheduler.has_ready() and self.patience > 0:
                # The drain was cut short: the target may not have had its turn.
                self.patience -= 1
                self.scheduler.mark_ending(self)
            elif self.state == REMOTE_CLOSING:
                self.answer_close()
            else:
                self.tell_failure()
                self.flush()
                self.shut_down_writing()
        except Exception as error:
            self.break_off(error)
        return 0

    cdef int answer_close(self) except -1:
        """Answer the client's close frame with its code; the closing handshake is complete."""
        self.accepting = False
        self.queue_control(CLOSE, close_body(self.code, ""))
        self.outbox.last = True
        self.outbox.flush()  # so that the record counts it
        return self.finish(True)

    cdef int shut_down_writing(self) except -1:
        """After a failure no close frame can be read: send ours, then the end of the stream."""
        if (self.codec.error_code == 0 or self.transport is None or self.outbox.paused
                or self.transport.is_closing()):
            return 0
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()
        return 0

    # -- the end -------------------------------------------------------------------------------

    cdef int finish(self, bint clean) except -1:
        """`ws.leave`, then EXIT with the close record, once; then TCP ends."""
        if not self.alive:
            return 0
        self.state = CLOSED
        self.accepting = False
        self.clean = clean
        record = self.record()
        self.leave(self.cause, self.code, clean)
        self.unpin()
        self.outbox.fail_waiting(f"{self.pid} ended")
        self.end(self.exit_reason, record, None)
        try:
            self.on_ended(record)
        except Exception as error:
            self.scheduler.say("fault", self, error)
        return self.close_transport()

    def record(self) -> dict:
        """The close record."""
        return {
            "code": self.code, "reason": self.reason, "clean": self.clean, "cause": self.cause,
            "initiator": self.initiator, "uptime_ms": self.uptime_ms(),
            "messages_in": self.messages_in, "messages_out": self.messages_out,
            "bytes_in": self.bytes_in, "bytes_out": self.outbox.written,
            "queue_high_water": self.outbox.high_water, "last_rtt_ms": self.last_rtt_ms,
        }

    @property
    def messages_out(self) -> int:
        """Messages accepted for the client and not dropped again by `drop_oldest`."""
        return self.accepted - self.outbox.withdrawn

    @property
    def messages_dropped(self) -> int:
        """Messages that the policy of the queue towards the client dropped."""
        return self.outbox.dropped

    def uptime_ms(self) -> int:
        """Milliseconds since the 101."""
        return int((self.scheduler.now() - self.opened) * 1000) if self.opened else 0

    cdef int leave(self, str reason, int code, bint clean) except -1:
        """The last message from this client to its target."""
        if self.joined and self.target is not None and self.target.alive:
            self.target.post(WS_LEAVE, {
                "client_pid": self.pid, "reason": reason, "code": code, "clean": clean,
                "metadata": self.metadata}, self.pid, 0, True)
        return self.forget_target()

    cdef int forget_target(self) except -1:
        self.joined = False
        self.target = None
        if self.target_ref is not None:
            self.refs = without_ref(self.refs, self.target_ref)
            give_up(self.target_ref)
            self.target_ref = None
        return self.go_on()

    cdef int go_on(self) except -1:
        """The target matters no more: do not wait for it, but leave the work to the drain."""
        if self.gate is not None:
            self.gate.drop(self)
            self.gate = None
            self.scheduler.enqueue(self)
        return 0

    cdef int unpin(self) except -1:
        self.scheduler.pinned -= self.pinned
        self.pinned = 0
        self.scheduler.pinning.pop(self, None)
        return 0

    cdef int close_transport(self) except -1:
        """Let what is queued go out, then end TCP; a client that does not read is cut off."""
        if self.transport is None or self.lost:
            return 0
        self.scheduler.lingering[self] = None
        if not self.transport.is_closing():
            self.outbox.write_out()
            self.transport.close()
        self.deadlines.closing(self.scheduler.now())
        return self.arm()

    cdef int abort(self) except -1:
        if self.transport is not None and not self.lost:
            abort_transport(self.transport)
        return 0

    # -- what all rooms use --------------------------------------------------------------------

    cdef int mark_dirty(self) except -1:
        self.dirty = True
        return self.scheduler.mark_dirty(self)

    cdef int queue_control(self, int opcode, bytes body) except -1:
        cdef bytes frame = server_frame(
            opcode, <const unsigned char*>PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        if opcode == PONG:
            self.outbox.put_pong(frame)
        else:
            self.outbox.put_control(frame)
        if not self.dirty:
            self.mark_dirty()
        return 0

    cdef int arm(self) except -1:
        """Be called at the nearest deadline; a later one than armed needs nothing."""
        cdef double when = self.deadlines.next()
        if when == 0 or (self.armed_tick and self.armed_for <= when) or self.lost:
            return 0
        self.disarm()
        self.armed_for = when
        self.armed_tick = self.scheduler.timers.add(self, when)
        return 0

    cdef int disarm(self) except -1:
        """Leave the timer wheel, which would keep what has ended alive."""
        if self.armed_tick:
            self.scheduler.timers.remove(self, self.armed_tick)
            self.armed_tick = 0
        return 0
