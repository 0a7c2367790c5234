"""What the connections of a benchmark do together: echo, fan-out, or nothing."""

import asyncio
import errno
import ssl
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial

from wsrelay.benchmark.client import Client, Message, shown, unlike
from wsrelay.benchmark.errors import BenchmarkError
from wsrelay.benchmark.histogram import Histogram
from wsrelay.benchmark.target import Answer, Target, addresses_of, tls_context

__all__ = ["WORKS", "Plan", "Progress", "Result", "run"]

AT_A_TIME = 64  # handshakes
GOODBYE = 2.0  # seconds for all closing handshakes
GRACE = 0.2  # seconds in which a server may still add clients to what it sends to
OWN_COPIES = 1000  # messages of a sender that its own copies may be behind
TICK = 0.05  # seconds between looks at the progress
BUSY = 0.9  # above this share of a core the command itself may be the limit

Progress = Callable[[str, float], None]
"""Called with what is done now, and which share of it is over."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        work: a key of `WORKS`.
        seconds: of the measured part.
        size: bytes of a message.
        in_flight: messages of each connection under way (echo).
        binary: binary messages instead of texts.
        timeout: seconds for a handshake.
        patience: seconds for the last replies, after the measured part.
        remote: whether the server may be on another machine.
        ca: PEM file of the authority that a `wss` server's certificate is from.
    """

    target: Target
    work: str = "echo"
    connections: int = 100
    seconds: float = 10.0
    size: int = 64
    in_flight: int = 1
    binary: bool = False
    timeout: float = 10.0
    patience: float = 10.0
    remote: bool = False
    ca: str | None = None


@dataclass(slots=True)
class Result:
    """What came of it. `messages` are replies, deliveries, or pongs; each was compared whole."""

    plan: Plan
    messages: int = 0
    sent: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    handshakes: Histogram = field(default_factory=Histogram)
    latencies: Histogram = field(default_factory=Histogram)

    @property
    def own_share(self) -> float:
        """The share of a core that this command used while it measured."""
        return self.cpu / self.seconds if self.seconds else 0.0

    @property
    def was_limit(self) -> bool:
        """Whether the command may have been slower than the server."""
        return self.own_share > BUSY


class Crowd:
    """The open connections, and the first thing that went wrong with any of them."""

    def __init__(self, plan: Plan, result: Result, progress: Progress) -> None:
        self.plan = plan
        self.result = result
        self.progress = progress
        self.clients: list[Client] = []
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, error: BenchmarkError) -> None:
        """Keep the first error; `hold` raises it."""
        if not self.failure.done():
            self.failure.set_exception(error)

    async def hold(
        self, done: Callable[[], bool], limit: float, phase: str = "", moving: bool = True
    ) -> bool:
        """Wait until something is so, or until `limit` seconds are over; tell the progress.

        Raises:
            BenchmarkError: a connection failed.
        """
        start = time.perf_counter()
        while not done() and (spent := time.perf_counter() - start) < limit:
            if phase:
                self.progress(phase, spent / limit if moving else 0.0)
            await asyncio.wait([self.failure], timeout=min(TICK, limit - spent))
            self.check()
        return done()

    def check(self) -> None:
        """Raise what went wrong, if anything."""
        if self.failure.done():
            self.failure.result()

    def text(self, client: int, turn: int) -> Message:
        """A message that tells its connection and turn, so that no two can be confused."""
        label = f"{turn:x}.{client:x} "
        size = self.plan.size
        text = (label + "x" * (size - len(label)))[:size]
        return text.encode() if self.plan.binary else text


def run(plan: Plan, progress: Progress = lambda phase, share: None) -> Result:
    """Do it, on uvloop where there is one.

    Raises:
        BenchmarkError: there is no measurement.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(measure(plan, progress))


async def measure(plan: Plan, progress: Progress) -> Result:
    """Open the connections, let them work, and close them."""
    result = Result(plan)
    crowd = Crowd(plan, result, progress)
    async with opened(crowd):
        await WORKS[plan.work](crowd)
    crowd.check()
    return result


@contextmanager
def clock(result: Result) -> Iterator[None]:
    """Time the body: wall and CPU seconds go to the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        result.seconds, result.cpu = time.perf_counter() - wall, time.process_time() - cpu


# -- opening and closing ---------------------------------------------------------------------------


@asynccontextmanager
async def opened(crowd: Crowd) -> AsyncIterator[None]:
    """Hold all connections open; the first one shows which address answers."""
    plan = crowd.plan
    context = tls_context(plan.ca) if plan.target.tls else None
    addresses = await addresses_of(plan.target, plan.remote)
    gate = asyncio.Semaphore(AT_A_TIME)

    async def open_one(number: int, to: list[str]) -> str:
        async with gate:
            address = await connect(crowd, number, to, context)
            crowd.progress("connecting", len(crowd.clients) / plan.connections)
            return address

    try:
        address = await open_one(0, addresses)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(1, plan.connections):
                    group.create_task(open_one(number, [address]))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        yield
        for client in crowd.clients:
            client.close()
        await asyncio.wait([client.closed for client in crowd.clients], timeout=GOODBYE)
    finally:
        for client in crowd.clients:
            client.abort()
        await asyncio.sleep(0)
        if crowd.failure.done():
            crowd.failure.exception()  # another one is told already


async def connect(
    crowd: Crowd, number: int, addresses: list[str], context: ssl.SSLContext | None
) -> str:
    """Open one connection, and return the address that answered."""
    plan, loop = crowd.plan, asyncio.get_running_loop()
    refusals: list[str] = []
    start = time.perf_counter()
    for address in addresses:
        try:
            async with asyncio.timeout(plan.timeout):
                _, client = await loop.create_connection(
                    lambda: Client(number, Answer(plan.target), 2 * plan.size + 1024, crowd.fail),
                    address,
                    plan.target.port,
                    ssl=context,
                    server_hostname=plan.target.host if context else None,
                )
                crowd.clients.append(client)
                await client.opened
            crowd.result.handshakes.record(time.perf_counter() - start)
            return address
        except TimeoutError:
            raise BenchmarkError(
                f"connection {number}: no answer to the handshake within {plan.timeout:g} s"
            ) from None
        except OSError as error:
            refusals.append(why_not(error))
    raise BenchmarkError(f"connection {number}: {plan.target.authority}: {refusals[0]}")


def why_not(error: OSError) -> str:
    """Why there is no connection, and the mend."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); name its authority: --ca"
    # Loops tell the end of a connection during the TLS handshake without a number.
    if isinstance(error, ssl.SSLError) or (isinstance(error, ConnectionError) and not error.errno):
        return "it does not speak TLS as it must; is it a ws:// server?"
    if error.errno == errno.EMFILE:
        return "too many open files; raise the limit (ulimit -n), or take fewer --connections"
    if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET):
        return "connection refused or reset; does the server run, and listen at this port?"
    return error.strerror or str(error)


# -- echo ------------------------------------------------------------------------------------------


class Echo:
    """One connection that expects its messages back, in order."""

    def __init__(self, crowd: Crowd, client: Client) -> None:
        self._crowd = crowd
        self._client = client
        self._turn = 0
        self._repeats = True
        self.waiting: deque[tuple[Message, float]] = deque()
        client.on_message = self.receive

    def send(self) -> None:
        """Send the next message."""
        message = self._crowd.text(self._client.number, self._turn)
        self._turn += 1
        self._crowd.result.sent += 1
        self.waiting.append((message, time.perf_counter()))
        self._client.send(message)

    def receive(self, message: Message) -> None:
        """Compare a reply with what was sent."""
        now = time.perf_counter()
        if not self.waiting:
            self._client.fail(f"sent a reply too many: {shown(message)}")
            return
        expected, since = self.waiting.popleft()
        if message != expected:
            self._client.fail(f"sent back {unlike(message, expected)}")
            return
        result = self._crowd.result
        result.messages += 1
        result.latencies.record(now - since)
        if self._repeats:
            self.send()

    def stop(self) -> None:
        """Send no more."""
        self._repeats = False


async def echo(crowd: Crowd) -> None:
    """Each connection sends, and gets back what it sent."""
    plan = crowd.plan
    pairs = [Echo(crowd, client) for client in crowd.clients]
    with clock(crowd.result):
        for pair in pairs:
            for _ in range(plan.in_flight):
                pair.send()
        await crowd.hold(lambda: False, plan.seconds, "echo")
    for pair in pairs:
        pair.stop()
    await all_answered(crowd, lambda: sum(len(pair.waiting) for pair in pairs), "replies")


async def all_answered(crowd: Crowd, missing: Callable[[], int], what: str) -> None:
    """Wait for the last replies; they are compared, and count no more."""
    counted = crowd.result.messages  # in the time that was measured
    if not await crowd.hold(lambda: not missing(), crowd.plan.patience, "last replies", False):
        raise BenchmarkError(
            f"after {crowd.plan.patience:g} s some {what} are missing: {missing()}"
        )
    crowd.result.messages = counted


# -- fan-out ---------------------------------------------------------------------------------------


class FanOut:
    """The first connection sends, the others all get it; it may get its own back, or not."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._sender, *self._receivers = crowd.clients
        self._message: Message = ""
        self._since = 0.0
        self._own: deque[Message] = deque()
        self._turn = -1
        self._seen = [-1] * len(crowd.clients)  # turn of the last message of each connection
        self._missing = 0
        self._repeats = True
        self._sender.on_message = self.receive_own
        for client in self._receivers:
            client.on_message = self._receiver(client)

    @property
    def missing(self) -> int:
        """How many connections have not got the message yet."""
        return self._missing

    def publish(self) -> None:
        """Send the next message."""
        self._turn += 1
        self._message = self._crowd.text(0, self._turn)
        self._own.append(self._message)
        if len(self._own) > OWN_COPIES:
            self._own.popleft()  # a server that does not send it back to its sender
        self._missing = len(self._receivers)
        self._crowd.result.sent += 1
        self._since = time.perf_counter()
        self._sender.send(self._message)

    def _receiver(self, client: Client) -> Callable[[Message], None]:
        number = client.number

        def receive(message: Message) -> None:
            now = time.perf_counter()
            if message != self._message:
                client.fail(
                    f"sent {unlike(message, self._message)}; fan-out needs a server that sends "
                    "each message unchanged to all of its clients"
                )
                return
            if self._seen[number] == self._turn:
                client.fail(f"sent a message twice: {shown(message)}")
                return
            self._seen[number] = self._turn
            result = self._crowd.result
            result.messages += 1
            result.latencies.record(now - self._since)
            self._missing -= 1
            if not self._missing and self._repeats:
                self.publish()

        return receive

    def receive_own(self, message: Message) -> None:
        """The sender's own copy, which may be late: in order, or not at all."""
        if not self._own or message != self._own.popleft():
            self._sender.fail(f"sent the sender what it had not sent: {shown(message)}")

    def stop(self) -> None:
        """Send no more."""
        self._repeats = False


async def fan_out(crowd: Crowd) -> None:
    """One connection sends, all others get it, then comes the next message."""
    fan = FanOut(crowd)
    await crowd.hold(lambda: False, GRACE)
    with clock(crowd.result):
        fan.publish()
        await crowd.hold(lambda: False, crowd.plan.seconds, "fan-out")
    fan.stop()
    await all_answered(crowd, lambda: fan.missing, "copies of a message")


# -- idle ------------------------------------------------------------------------------------------


async def idle(crowd: Crowd) -> None:
    """Nothing is sent; at the end each connection is pinged, and must answer."""
    await crowd.hold(lambda: False, crowd.plan.seconds, "idle")
    waiting: dict[int, bytes] = {}

    def ponged(client: Client, since: float, payload: bytes) -> None:
        if waiting.get(client.number) != payload:
            return  # RFC 6455 section 5.5.3: pongs that nobody asked for are allowed
        del waiting[client.number]
        crowd.result.messages += 1
        crowd.result.latencies.record(time.perf_counter() - since)

    with clock(crowd.result):
        for client in crowd.clients:
            waiting[client.number] = f"idle {client.number}".encode()
            since = time.perf_counter()
            client.on_pong = partial(ponged, client, since)
            client.ping(waiting[client.number])
            crowd.result.sent += 1
        done = await crowd.hold(lambda: not waiting, crowd.plan.patience, "pings", False)
    if not done:
        raise BenchmarkError(
            f"{len(waiting)} of {len(crowd.clients)} connections answered no ping within "
            f"{crowd.plan.patience:g} s"
        )


WORKS = {"echo": echo, "fan-out": fan_out, "idle": idle}
