"""A WebSocket connection: a process whose mailbox is a socket.

What is sent to it becomes frames at once; what its client sends becomes messages of its target. It
implements asyncio's BufferedProtocol (`wsrelay.relay` adds that base class), so the HTTP protocol
hands its transport over after the 101.
"""

from wsrelay_core._errors import NoProcess

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from wsrelay_core._coroutine cimport CoroutineProcess
from wsrelay_core._deadlines cimport (
    CLOSE_TIMEOUT, HEARTBEAT, IDLE_TIMEOUT, MESSAGE_TIMEOUT, NOTHING, PING_TIMEOUT, SEND_PING,
    Deadlines,
)
from wsrelay_core._frame cimport FrameCodec, close_body, server_frame
from wsrelay_core._gate cimport Gate, gate_of
from wsrelay_core._outbox cimport ACCEPTED, OVERFULL, Outbox
from wsrelay_core._payload cimport close_of, envelope_of, frame_of
from wsrelay_core._pid cimport PID
from wsrelay_core._process cimport Event, Host, Process, Ref, Shared, give_up, watch
from wsrelay_core._scheduler cimport Scheduler
from wsrelay_core._wire cimport (
    ABNORMAL_CLOSURE, CLOSE, FAILED, INVALID_DATA, MESSAGE_TOO_BIG, NEED_MORE, NO_STATUS, PING,
    PONG, TEXT,
)

# What all unfinished client messages of one server may pin together, bytes.
cdef Py_ssize_t PINNED_MAX = 64 * 1024 * 1024

cdef str WS_SEND = "ws.send"
cdef str WS_CLOSE = "ws.close"
cdef str WS_CONTROL = "ws.control"
cdef str WS_JOIN = "ws.join"
cdef str WS_LEAVE = "ws.leave"
cdef str WS_HEARTBEAT = "ws.heartbeat"
cdef str CLIENT_PID = "client_pid"
cdef str TYPE = "type"
cdef str DATA = "data"
cdef str METADATA = "metadata"
cdef str TEXT_NAME = "text"
cdef str BINARY_NAME = "binary"

cdef extern from *:
    """
    /* Bytes that the characters of a str occupy. */
    static inline Py_ssize_t wsrelay_str_size(PyObject* text) {
        return PyUnicode_GET_LENGTH(text) * (Py_ssize_t) PyUnicode_KIND(text);
    }
    """
    Py_ssize_t str_size "wsrelay_str_size"(object text)


cdef class Connection(Process):
    """A WebSocket connection as a process.

    Args:
        scheduler, host, entry: as for every process.
        queue_max: bytes queued towards the client; `queue_policy`: `close`, `drop_newest`,
            `drop_oldest`.
        message_max: largest client message in bytes, after decompression.
        ping_interval, ping_timeout, idle_timeout, message_timeout, close_timeout: seconds, 0 off.
        deflate: a negotiated wsproto PerMessageDeflate, or None.
        raw: client messages carry just the data, not the dict.
    """

    def __init__(self, Scheduler scheduler not None, Host host not None, str entry, *,
                 Py_ssize_t queue_max=1048576, str queue_policy="close",
                 Py_ssize_t message_max=1048576, double message_timeout=60,
                 double ping_interval=20, double ping_timeout=20, double idle_timeout=0,
                 double close_timeout=5, deflate=None, bint raw=False):
        self.codec = FrameCodec(max_message=message_max, deflate=deflate)
        self.outbox = Outbox(queue_max, queue_policy)
        self.deadlines = Deadlines(ping_interval, ping_timeout, idle_timeout, message_timeout,
                                   close_timeout)
        self.plain = deflate is None
        self.raw = raw
        self.state = OPEN
        self.accepting = True
        self._admit(scheduler, host, entry)

    # -- hooks of the relay, in Python: none of them runs once per message ---------------------

    def on_control_message(self, payload, sender) -> None:
        """`ws.control` came from `sender` (a PID or None)."""

    def on_ended(self, record: dict) -> None:
        """The connection has ended; `record` is its close record."""

    def on_dropped(self, topic: str, error) -> None:
        """A message to this connection was malformed or of a refused topic."""

    # -- birth ---------------------------------------------------------------------------------

    def watch_target(self, dest) -> bool:
        """Monitor the target before the 101; returns False if it is dead or unknown."""
        cdef Ref ref = watch(self.scheduler, dest, self, None)
        if ref.watched is None:
            return False
        self.target_ref = ref
        self.target = <CoroutineProcess>ref.watched
        return True

    def configure(self, str topic, metadata, double heartbeat) -> None:
        """Set topic, metadata and heartbeat interval (seconds, 0 is never)."""
        self.topic = topic
        self.metadata = metadata
        if heartbeat != self.deadlines.heartbeat:
            self.deadlines.set_heartbeat(heartbeat, self.scheduler.now())
            if self.opened:
                self.arm()

    def start(self, transport, trailing_data=b"") -> None:
        """The 101 is written: join the target, then read what came with the handshake."""
        cdef bytes rest = bytes(trailing_data)
        self.transport = transport
        self.opened = self.scheduler.now()
        self.outbox.start(transport)
        self.deadlines.start(self.opened)
        if self.state != OPEN:
            # The target ended between the answer of the handler and the 101.
            self.deadlines.closing(self.opened)
            self.mark_dirty()
        elif self.target_ref is None or self.target_ref.watched is None:
            self.target_gone("noproc")
        else:
            self.join()
        self.arm()
        if rest:
            self.read(<const unsigned char*>PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest))

    def abandon(self) -> None:
        """The 101 could not be sent: nobody ever knew this PID."""
        self.state = CLOSED
        self.accepting = False
        self.forget_target()
        self.end("error", None, None)

    def join(self) -> None:
        """Tell the target that the client is there."""
        self.joined = True
        self.target.post(WS_JOIN, {CLIENT_PID: self.pid, METADATA: self.metadata}, self.pid, 0,
                         True)

    def transfer(self, dest) -> bool:
        """Move to another target: leave the old one, join the new one; False if that is dead."""
        cdef Ref ref = watch(self.scheduler, dest, self, None)
        if ref.watched is None:
            if self.refs is not None:
                self.refs.pop(ref, None)
            return False
        self.leave("transferred")
        self.target_ref = ref
        self.target = <CoroutineProcess>ref.watched
        return True

    # -- out: process -> client ----------------------------------------------------------------

    cdef bint deliver(self, str topic, object payload, Py_ssize_t many, PID sender,
                      Shared shared) except -1:
        if not self.accepting:
            return False
        if topic == WS_SEND:
            if many == 1:
                return self.send_data(payload, shared)
            return self.send_several(payload)
        if topic == WS_CLOSE:
            return self.send_close(payload)
        if topic == WS_CONTROL:
            self.on_control_message(payload, sender)
            return True
        if topic.startswith("ws."):
            return self.drop(topic, None)
        return self.send_envelope(topic, payload, shared if many < 2 else None)

    cdef bint send_data(self, object payload, Shared shared) except -1:
        cdef bytes frame
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
        except TypeError as error:
            return self.drop(WS_CLOSE, error)
        if not may_send_code(code):
            self.drop(WS_CLOSE, ValueError(f"close code {code!s:.20} may not be sent, 1000 is"))
            code = 1000
        self.begin_close(code, reason, "closed_by_process", "server", "normal")
        return True

    cdef int drop(self, str topic, object error) except -1:
        """Log and count what cannot be sent; it ends nothing, and the sender sees True."""
        self.malformed += 1
        try:
            self.on_dropped(topic, error)
        except Exception as failure:
            self.scheduler.say("fault", self, failure)
        return True

    cdef bint queue_frame(self, bytes frame) except -1:
        cdef int verdict = self.outbox.put(frame)
        if verdict == ACCEPTED:
            self.accepted += 1
            if not self.dirty:
                self.mark_dirty()
            return True
        if verdict == OVERFULL:
            self.begin_close(1013, "slow consumer", "slow_consumer", "server", "error")
        return False

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

    cdef int flush(self) except -1:
        self.dirty = False
        if not self.lost:
            self.outbox.flush()
        return 0

    def drained(self, below=None):
        """A future that is done when fewer than `below` bytes are queued; None if that is so now.

        It fails with NoProcess when the connection ends before.
        """
        cdef Py_ssize_t limit = max(1, self.outbox.limit // 2 if below is None else below)
        future = self.scheduler.loop.create_future()
        return None if self.outbox.below(limit, future) else future

    # -- in: client -> process (asyncio.BufferedProtocol) --------------------------------------

    def get_buffer(self, sizehint):
        return self.scheduler.read_view

    def buffer_updated(self, Py_ssize_t nbytes):
        self.read(<const unsigned char*>PyByteArray_AS_STRING(self.scheduler.read_buffer), nbytes)

    cdef int read(self, const unsigned char* data, Py_ssize_t size) except -1:
        self.bytes_in += size
        if self.state == CLOSED:
            return 0
        try:
            self.codec.give(data, size)
            if self.paused:
                # Read although paused: it waits behind what is held.
                self.codec.hold()
                self.transport.pause_reading()
            elif (self.target is not None and self.target.meter.gate is not None
                    and self.state == OPEN):
                self.codec.hold()
                self.wait_for_room()  # others do already
            else:
                self.read_frames()
        except Exception as error:
            self.fault(error)
        return 0

    def fault(self, error) -> None:
        """A fault of the server: it ends this connection and no other."""
        self.scheduler.say("fault", self, error)
        self.begin_close(1011, "internal error", "internal_error", "server", "error")

    cdef int read_frames(self) except -1:
        """Decode until the bytes are used up or the target has enough."""
        cdef double when = self.scheduler.now()
        cdef int kind
        while True:
            if self.target is not None and self.target.meter.is_high() and self.state == OPEN:
                self.codec.hold()
                self.wait_for_room()
                break
            kind = self.codec.next()
            if kind == NEED_MORE:
                break
            if 0 < kind < CLOSE:
                self.to_target(kind, when)
            else:
                self.on_control(kind, when)
                if kind == CLOSE or kind == FAILED:
                    break
        if self.codec.in_message or self.pinned:
            self.account_unfinished(when)
        return 0

    cdef int to_target(self, int kind, double when) except -1:
        cdef object data = self.codec.payload
        cdef object payload = data
        cdef Py_ssize_t size
        if self.state != OPEN or self.target is None:
            return 0
        size = str_size(data) if kind == TEXT else PyBytes_GET_SIZE(data)
        self.messages_in += 1
        self.deadlines.message(when)
        if not self.raw:
            payload = {CLIENT_PID: self.pid, TYPE: TEXT_NAME if kind == TEXT else BINARY_NAME,
                       DATA: data, METADATA: self.metadata}
        self.target.post(self.topic, payload, self.pid, size, True)
        return 0

    cdef int on_control(self, int kind, double when) except -1:
        if kind == PING:
            if self.state == OPEN:
                self.queue_control(PONG, self.codec.payload)
        elif kind == PONG:
            self.on_pong(when)
        elif kind == CLOSE:
            self.client_closes()
        elif kind == FAILED:
            self.client_fails()
        return 0

    cdef int on_pong(self, double when) except -1:
        if self.ping_sent and self.codec.payload == self.ping_serial.to_bytes(4, "big"):
            self.last_rtt_ms = round((when - self.ping_sent) * 1000, 3)
            self.ping_sent = 0
            self.deadlines.ponged(when)
            self.arm()
        return 0

    def client_closes(self) -> None:
        """The peer's close frame came (RFC 6455 5.5.1)."""
        if self.state == LOCAL_CLOSING:
            self.finish(True)
        elif self.state == OPEN:
            # Answered at the end of the drain, so that what the target answers to a message in
            # the same segment still reaches the client.
            self.state = REMOTE_CLOSING
            self.set_cause(self.codec.close_code, self.codec.close_reason, "client_close",
                           "client", "normal")
            self.scheduler.mark_ending(self)

    cdef int after_drain(self) except -1:
        """Answer the client's close frame with its code; the closing handshake is complete."""
        if self.state == REMOTE_CLOSING and not self.lost:
            self.accepting = False
            self.queue_control(CLOSE, b"" if self.code == NO_STATUS else close_body(self.code, ""))
            self.finish(True)
        elif self.state == LOCAL_CLOSING:
            self.shut_down_writing()
        return 0

    def client_fails(self) -> None:
        """The client broke the protocol: nothing that it sends now can be understood."""
        code = self.codec.error_code
        cause = {MESSAGE_TOO_BIG: "message_too_big", INVALID_DATA: "invalid_data"}.get(
            code, "protocol_error")
        if self.state == OPEN:
            self.begin_close(code, self.codec.error_reason, cause, "server", "error")
        self.scheduler.mark_ending(self)

    def shut_down_writing(self) -> None:
        """After a failure no close frame can be read: send ours, then the end of the stream."""
        if (self.codec.error_code == 0 or self.transport is None or self.outbox.paused
                or self.transport.is_closing()):
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    cdef int account_unfinished(self, double when) except -1:
        """Age and memory of an unfinished message; the server's memory has one common limit."""
        cdef Scheduler scheduler = self.scheduler
        if self.codec.in_message and self.state == OPEN:
            self.deadlines.unfinished(when)
            self.arm()
        scheduler.pinned += self.codec.pinned - self.pinned
        self.pinned = self.codec.pinned
        if self.pinned:
            scheduler.pinning[self] = None
            if scheduler.pinned > PINNED_MAX:
                end_biggest(scheduler)
        else:
            scheduler.pinning.pop(self, None)
        return 0

    cdef int unpin(self) except -1:
        self.scheduler.pinned -= self.pinned
        self.pinned = 0
        self.scheduler.pinning.pop(self, None)
        return 0

    # -- back-pressure -------------------------------------------------------------------------

    cdef int wait_for_room(self) except -1:
        """The target has enough mail: stop decoding and reading until it is below half."""
        self.gate = gate_of(self.target.meter, self.scheduler)
        self.gate.add(self)
        if not self.paused:
            self.paused = True
            self.deadlines.pause(self.scheduler.now())
            if self.transport is not None:
                self.transport.pause_reading()
        return 0

    cdef int go_on(self) except -1:
        """The target matters no more: do not wait for it, but leave the work to the drain."""
        if self.gate is not None:
            self.gate.drop(self)
            self.gate = None
            self.scheduler.enqueue(self)
        return 0

    cdef int step(self) except -1:
        """Go on with what is held, then with the socket."""
        self.gate = None
        if not self.paused:
            return 0
        self.paused = False
        if self.state == CLOSED:
            return 0
        try:
            self.read_frames()
        except Exception as error:
            self.fault(error)
        if not self.paused:
            self.resume_reading()
        return 0

    cdef int resume_reading(self) except -1:
        self.deadlines.resume(self.scheduler.now())
        if self.transport is not None and not self.lost:
            self.transport.resume_reading()
        self.arm()
        return 0

    def pause_writing(self):
        self.outbox.pause()

    def resume_writing(self):
        self.outbox.resume()
        if self.state == LOCAL_CLOSING:
            self.shut_down_writing()

    # -- ends ----------------------------------------------------------------------------------

    def close(self, int code, str reason, str cause, str exit_reason="normal") -> None:
        """Begin the closing handshake, as the server."""
        self.begin_close(code, reason, cause, "server", exit_reason)

    def cancel(self, reason=None, deadline=None) -> None:
        """Close politely with 1001, EXIT `cancelled`; at `deadline` (seconds) it is terminated."""
        self.begin_close(1001, "" if reason is None else reason, "cancelled", "server",
                         "cancelled")
        if deadline is not None and self.alive:
            self.scheduler.loop.call_later(deadline, self.terminate)

    def terminate(self) -> None:
        """End at once: no close frame, TCP aborted, EXIT `killed`."""
        if not self.alive:
            return
        self.accepting = False
        self.state = CLOSED
        self.cause = None  # the order to end at once stands before a close under way
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
        if self.state != OPEN:
            return 0
        self.state = LOCAL_CLOSING
        self.accepting = False
        self.set_cause(code, reason, cause, initiator, exit_reason)
        self.queue_control(CLOSE, close_body(code, reason))
        self.deadlines.closing(self.scheduler.now())
        self.arm()
        return self.go_on()  # to see the client's close frame

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

    def eof_received(self):
        """The client's end of TCP: there is no half-open WebSocket."""
        self.network_end()
        return False

    def connection_lost(self, error):
        self.lost = True
        self.network_end()
        self.transport = None
        self.outbox.close()
        if self.armed_tick:
            self.scheduler.timers.remove(self, self.armed_tick)
            self.armed_tick = 0

    def network_end(self) -> None:
        """TCP has ended, or its reading half: deliver what was held back, then end."""
        if not self.alive:
            return
        if self.paused and self.state == OPEN:
            self.deliver_held()
        if self.state == OPEN:
            self.accepting = False
            self.set_cause(ABNORMAL_CLOSURE, "", "connection_lost", "network", "error")
        self.finish(False)

    def deliver_held(self) -> None:
        """What was received before the end of TCP belongs to the target, be it full or not."""
        cdef double when = self.scheduler.now()
        cdef int kind = self.codec.next()
        while kind > NEED_MORE and self.state == OPEN:
            if kind < CLOSE:
                self.to_target(kind, when)
            elif kind == CLOSE:
                self.set_cause(self.codec.close_code, self.codec.close_reason, "client_close",
                               "client", "normal")
            kind = self.codec.next()

    cdef int finish(self, bint clean) except -1:
        """`ws.leave`, then EXIT with the close record, once; then TCP ends."""
        if not self.alive:
            return 0
        self.state = CLOSED
        self.accepting = False
        self.clean = clean
        record = self.record()
        self.leave(self.cause)
        self.unpin()
        self.outbox.fail_waiting(NoProcess(f"{self.pid} ended"))
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

    def uptime_ms(self) -> int:
        """Milliseconds since the 101."""
        return int((self.scheduler.now() - self.opened) * 1000) if self.opened else 0

    cdef int leave(self, str reason) except -1:
        """The last message from this client to its target."""
        if self.joined and self.target is not None and self.target.alive:
            self.target.post(WS_LEAVE, {
                CLIENT_PID: self.pid, "reason": reason,
                "code": self.code if self.cause is not None else ABNORMAL_CLOSURE,
                "clean": self.clean or self.cause is None, METADATA: self.metadata},
                self.pid, 0, True)
        return self.forget_target()

    cdef int forget_target(self) except -1:
        self.joined = False
        self.target = None
        if self.target_ref is not None:
            if self.refs is not None:
                self.refs.pop(self.target_ref, None)
            give_up(self.target_ref)
            self.target_ref = None
        return self.go_on()

    cdef int close_transport(self) except -1:
        """Let what is queued go out, then end TCP; a client that does not read is cut off."""
        if self.transport is None or self.lost:
            return 0
        if not self.transport.is_closing():
            self.outbox.write_out()
            self.transport.close()
        self.deadlines.closing(self.scheduler.now())
        return self.arm()

    cdef int abort(self) except -1:
        if self.transport is not None and not self.lost:
            self.transport.abort()
        return 0

    # -- time ----------------------------------------------------------------------------------

    cdef int arm(self) except -1:
        """Be called at the nearest deadline; a later one than armed needs nothing."""
        cdef double when = self.deadlines.next()
        if when == 0 or (self.armed_tick and self.armed_for <= when) or self.lost:
            return 0
        if self.armed_tick:
            self.scheduler.timers.remove(self, self.armed_tick)
        self.armed_for = when
        self.armed_tick = self.scheduler.timers.add(self, when)
        return 0

    cdef int on_time(self, double when) except -1:
        cdef int action
        self.armed_tick = 0
        action = self.deadlines.due(when)
        while action != NOTHING:
            self.act(action, when)
            action = self.deadlines.due(when)
        return self.arm()

    cdef int act(self, int action, double when) except -1:
        if action == SEND_PING:
            self.send_ping(when)
        elif action == HEARTBEAT:
            self.heartbeat()
        elif action == PING_TIMEOUT:
            self.begin_close(1011, "ping timeout", "ping_timeout", "server", "error")
        elif action == IDLE_TIMEOUT:
            self.begin_close(1001, "idle timeout", "idle_timeout", "server", "normal")
        elif action == MESSAGE_TIMEOUT:
            self.begin_close(1008, "message timeout", "message_timeout", "server", "error")
        elif action == CLOSE_TIMEOUT:
            self.abort()
            self.finish(False)
        return 0

    cdef int send_ping(self, double when) except -1:
        self.ping_serial += 1
        self.ping_sent = when
        return self.queue_control(PING, self.ping_serial.to_bytes(4, "big"))

    def heartbeat(self) -> None:
        """`ws.heartbeat` to the target."""
        if self.target is None or not self.joined:
            return
        self.target.post(WS_HEARTBEAT, {
            CLIENT_PID: self.pid, "uptime": self.uptime(), "uptime_ms": self.uptime_ms(),
            "message_count": self.messages_in, METADATA: self.metadata}, self.pid, 0, True)

    def uptime(self) -> str:
        """The age of the connection as text; the relay gives it Go's form."""
        return f"{self.uptime_ms()}ms"

    @property
    def messages_out(self) -> int:
        """Messages accepted for the client and not dropped again by `drop_oldest`."""
        return self.accepted - self.outbox.withdrawn

    @property
    def target_pid(self):
        """PID of the current target, or None."""
        return None if self.target is None else self.target.pid

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between heartbeats, 0 for never."""
        return self.deadlines.heartbeat

    @property
    def is_open(self) -> bool:
        """Whether no closing handshake has begun."""
        return self.state == OPEN

    def describe(self) -> dict:
        cdef dict info = Process.describe(self)
        info.update(
            state="running" if self.state == OPEN else "closing",
            queue_length=len(self.outbox.frames), queue_bytes=self.outbox.queued(),
            handled=self.messages_out, dropped=self.outbox.dropped + self.malformed,
            target=self.target_pid, last_rtt_ms=self.last_rtt_ms)
        return info


cdef int end_biggest(Scheduler scheduler) except -1:
    """All unfinished messages together pin too much: the connection that pins most must go."""
    cdef Connection biggest = max(scheduler.pinning, key=pinned_of)
    biggest.begin_close(1009, "message too big", "message_too_big", "server", "error")
    biggest.codec._fail(MESSAGE_TOO_BIG, "message too big")
    biggest.unpin()
    return 0


def pinned_of(Connection connection) -> int:
    return connection.pinned


cdef bint may_send_code(object code) except -1:
    """Close codes that an endpoint may put on the wire (RFC 6455 7.4)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
