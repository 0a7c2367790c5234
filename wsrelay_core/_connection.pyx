"""A WebSocket connection: a process whose mailbox is a socket.

What is sent to it becomes frames at once (`_sending`); what its client sends becomes messages of
its target (`_receiving`); `_ending` has the closing handshake. Here are its birth, its target and
its time. It implements asyncio's BufferedProtocol (`wsrelay.relay` adds that base class), so the
HTTP protocol hands its transport over after the 101.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from wsrelay_core._coroutine cimport CoroutineProcess
from wsrelay_core._deadlines cimport (
    CLOSE_TIMEOUT, HEARTBEAT, IDLE_TIMEOUT, KILL, MESSAGE_TIMEOUT, NOTHING, PING_TIMEOUT,
    SEND_PING, Deadlines,
)
from wsrelay_core._ending cimport CLOSED, OPEN
from wsrelay_core._frame cimport FrameCodec
from wsrelay_core._outbox cimport Outbox
from wsrelay_core._process cimport Host, Process, Ref, find_process, watch
from wsrelay_core._receiving cimport Receiving
from wsrelay_core._scheduler cimport Scheduler
from wsrelay_core._wire cimport ABNORMAL_CLOSURE, PING

cdef str WS_JOIN = "ws.join"
cdef str WS_HEARTBEAT = "ws.heartbeat"
cdef str CLIENT_PID = "client_pid"
cdef str METADATA = "metadata"

# Drains that are cut short before the answer to a client's close is waited for no longer.
cdef int PATIENCE = 16


@cython.final
cdef class ConnectionSettings:
    """What the connections of one relay have in common, read once for all of them.

    Args:
        queue_max: bytes queued towards the client; `queue_policy`: `close`, `drop_newest`,
            `drop_oldest`.
        message_max: largest client message in bytes, after decompression.
        ping_interval, ping_timeout, idle_timeout, message_timeout: seconds, 0 off.
        close_timeout: seconds to wait for the client's close frame.
        raw: client messages carry just the data, not the dict.
    """

    def __init__(self, *, Py_ssize_t queue_max=1048576, str queue_policy="close",
                 Py_ssize_t message_max=1048576, double message_timeout=60,
                 double ping_interval=20, double ping_timeout=20, double idle_timeout=0,
                 double close_timeout=5, bint raw=False):
        self.queue_max = queue_max
        self.queue_policy = queue_policy
        self.message_max = message_max
        self.message_timeout = message_timeout
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.idle_timeout = idle_timeout
        self.close_timeout = close_timeout
        self.raw = raw


cdef ConnectionSettings DEFAULTS = ConnectionSettings()


cdef class Connection(Receiving):
    """A WebSocket connection as a process.

    Args:
        scheduler, host, entry: as for every process.
        settings: what it has in common with others; None: the defaults.
        deflate: a negotiated wsproto PerMessageDeflate, or None.
    """

    def __init__(self, Scheduler scheduler not None, Host host not None, str entry,
                 ConnectionSettings settings=None, deflate=None):
        if settings is None:
            settings = DEFAULTS
        self.codec = FrameCodec(max_message=settings.message_max, deflate=deflate)
        self.outbox = Outbox(settings.queue_max, settings.queue_policy)
        self.deadlines = Deadlines(settings.ping_interval, settings.ping_timeout,
                                   settings.idle_timeout, settings.message_timeout,
                                   settings.close_timeout)
        self.plain = deflate is None
        self.raw = settings.raw
        self.topic = "ws.message"
        self.metadata = {}
        self.state = OPEN
        self.accepting = True
        self.patience = PATIENCE
        self.admit(scheduler, host, entry)

    # -- birth and target ----------------------------------------------------------------------

    def watch_target(self, dest) -> bool:
        """Monitor the target before the 101; returns False if it is dead or unknown.

        Raises:
            TypeError: it is a connection.
        """
        cdef Process found = find_process(self.scheduler, dest)
        cdef Ref ref
        if found is None:
            return False
        if not isinstance(found, CoroutineProcess):
            raise TypeError("the target of a connection is no connection")
        ref = watch(self.scheduler, found.pid, self, None)
        self.target_ref = ref
        self.target = <CoroutineProcess>found
        return True

    def configure(self, str topic, metadata, double heartbeat) -> None:
        """Set topic, metadata and heartbeat interval (seconds, 0 is never)."""
        self.topic = topic
        self.metadata = metadata
        self.template = None
        if heartbeat != self.deadlines.heartbeat:
            self.deadlines.set_heartbeat(heartbeat, self.scheduler.now())
            if self.opened:
                self.arm()

    def start(self, transport, trailing_data=b"", int descriptor=-1) -> None:
        """The 101 is written: join the target, then read what came with the handshake.

        `descriptor` is that of the transport's socket, where it is known and there is no TLS.
        """
        cdef bytes rest = bytes(trailing_data)
        self.transport = transport
        self.outbox.start(transport, descriptor)
        self.insatiable = type(transport).__module__.startswith("uvloop")
        if not self.alive:
            self.close_transport()
            return
        self.opened = self.scheduler.now()
        if self.state == OPEN and self.target is None:
            self.target_gone("noproc")
        elif self.state == OPEN:
            self.deadlines.start(self.opened)
            self.join()
            if self.outbox.count():
                self.mark_dirty()  # somebody who found it among the processes was faster
        else:
            # The target ended between the answer of the handler and the 101.
            self.deadlines.closing(self.opened)
            self.mark_dirty()
        self.arm()
        if rest:
            self.read(<const unsigned char*>PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest))

    def abandon(self) -> None:
        """The 101 could not be sent: nobody ever knew this PID."""
        if not self.alive:
            return
        self.state = CLOSED
        self.accepting = False
        self.set_cause(ABNORMAL_CLOSURE, "", "connection_lost", "network", "error")
        self.leave(self.cause, self.code, False)
        self.outbox.fail_waiting(f"{self.pid} ended")
        self.disarm()
        self.end(self.exit_reason, self.record(), None)

    def join(self) -> None:
        """Tell the target that the client is there; once for each target."""
        if self.joined or self.target is None:
            return
        self.joined = True
        self.target.post(WS_JOIN, {CLIENT_PID: self.pid, METADATA: self.metadata}, self.pid, 0,
                         True)

    def transfer(self, dest) -> bool:
        """Leave the target for another one, to be joined then.

        Returns False, and changes nothing, if that is dead or unknown, or the connection closing.

        Raises:
            TypeError: it is a connection.
        """
        cdef Process found = find_process(self.scheduler, dest)
        if found is None or not self.accepting:
            return False
        if not isinstance(found, CoroutineProcess):
            raise TypeError("the target of a connection is no connection")
        self.leave("transferred", ABNORMAL_CLOSURE, True)
        return self.watch_target(found.pid)

    # -- time ----------------------------------------------------------------------------------

    cdef int on_time(self, double when) except -1:
        cdef int action
        self.armed_tick = 0
        try:
            action = self.deadlines.due(when)
            while action != NOTHING:
                self.act(action, when)
                action = self.deadlines.due(when)
        except Exception as error:
            self.fault(error)
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
        elif action == KILL:
            self.terminate()
        elif action == CLOSE_TIMEOUT:
            self.cut_off()
        return 0

    cdef int send_ping(self, double when) except -1:
        if self.outbox.paused and self.ping_sent:
            return 0  # one waits to be written already
        self.ping_serial += 1
        self.ping_sent = when
        return self.queue_control(PING, self.ping_serial.to_bytes(4, "big"))

    def heartbeat(self) -> None:
        """`ws.heartbeat` to the target; of what a full mailbox refuses the next one tells more."""
        if self.target is None or not self.joined:
            return
        self.target.post(WS_HEARTBEAT, {
            CLIENT_PID: self.pid, "uptime": self.uptime(), "uptime_ms": self.uptime_ms(),
            "message_count": self.messages_in, METADATA: self.metadata}, self.pid, 0, False)

    def uptime(self) -> str:
        """The age of the connection as text; the relay gives it Go's form."""
        return f"{self.uptime_ms()}ms"

    # -- what is known of it -------------------------------------------------------------------

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
            queue_length=self.outbox.count(), queue_bytes=self.outbox.queued(),
            handled=self.messages_out, dropped=self.outbox.dropped + self.malformed,
            target=self.target_pid, last_rtt_ms=self.last_rtt_ms)
        return info
