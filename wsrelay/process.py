"""The process API: spawn, send, monitor, link, and the rest, for code in and around processes.

A process is a coroutine with a PID and a mailbox (Erlang/OTP's model). Inside a process every call
acts as that process; outside, as the system, and calls that need a self raise `NotAProcess`.
Durations are seconds as a number, or Go duration text such as `"30s"`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

from wsrelay.config.durations import seconds
from wsrelay.errors import (
    NoApp,
    NoProcess,
    NotAProcess,
    ProcessExit,
    ProcessFailed,
    WSRelayError,
)
from wsrelay.process_info import ProcessInfo, info_of
from wsrelay.process_options import check_options
from wsrelay.starting import starting
from wsrelay_core import (
    PID,
    Connection,
    CoroutineProcess,
    Event,
    Inbox,
    Message,
    Ref,
    Result,
    Timer,
    broadcast,
    check_topic,
    current_process,
    current_scheduler,
    give_up_watch,
    prepare_process,
    receive_matching,
    resolve,
    scheduler_for_thread,
    select,
    send,
    send_as_system,
    send_later,
    set_duration_reader,
    spawn,
    spawn_linked,
    spawn_linked_monitored,
    spawn_monitored,
    watch_exit,
)

if TYPE_CHECKING:
    from wsrelay_core import Process

__all__ = [
    "PID",
    "Event",
    "Inbox",
    "Message",
    "ProcessInfo",
    "Ref",
    "Result",
    "Timer",
    "broadcast",
    "call",
    "cancel",
    "drained",
    "events",
    "exec",
    "exit",
    "get_options",
    "inbox",
    "info",
    "link",
    "listen",
    "lookup",
    "monitor",
    "pid",
    "receive",
    "register",
    "select",
    "self_task",
    "send",
    "send_after",
    "send_threadsafe",
    "set_options",
    "spawn",
    "spawn_linked",
    "spawn_linked_monitored",
    "spawn_monitored",
    "starting",
    "terminate",
    "unlink",
    "unlisten",
    "unmonitor",
    "unregister",
    "wait",
]

set_duration_reader(seconds)

Destination = PID | str
Target = str | Callable[..., Awaitable[Any]]

# -- self ------------------------------------------------------------------------------------------


def _self() -> CoroutineProcess:
    process = current_process()
    if process is None:
        raise NotAProcess("this call needs a process around it: make it inside a spawned function")
    assert isinstance(process, CoroutineProcess)
    return process


def pid() -> PID:
    """The caller's own PID; raises `NotAProcess` outside a process."""
    return _self().pid


def self_task() -> asyncio.Task[Any]:
    """The process's own `asyncio.Task`, for code that needs one."""
    return _self().task


def exit(reason: str = "normal") -> NoReturn:
    """End the calling process with `reason` (OTP: `exit/1`).

    `normal` and `cancelled` are no errors to links and supervisors, every other text is.
    """
    if not isinstance(reason, str) or not reason:
        raise TypeError("an exit reason is a text that is not empty")
    _self()
    raise ProcessExit(reason)


# -- messages --------------------------------------------------------------------------------------


def inbox() -> Inbox:
    """The caller's inbox: `async for msg in inbox()`, `await inbox().receive(timeout=…)`."""
    return _self().inbox()


def events() -> Inbox:
    """The caller's events (EXIT, LINK_DOWN, CANCEL); from now on a cancel comes as an event."""
    return _self().events()


def listen(topic: str) -> Inbox:
    """Send messages of exactly this topic to an inbox of their own."""
    return _self().listen(check_topic(topic))


def unlisten(topic: str) -> None:
    """End `listen`; what waits in its inbox goes to the end of the ordinary one."""
    _self().unlisten(check_topic(topic))


def receive(
    match: Callable[[Message], object] | None = None, timeout: float | str | None = None
) -> Awaitable[Message]:
    """Selective receive: the first message for which `match` is true; the others stay, in order.

    Raises:
        TimeoutError: nothing fitting came in time.
        InboxClosed: the inbox is closed, and nothing in it fits.
    """
    limit = _limit(timeout)
    if match is None:
        return inbox().receive(limit)
    return receive_matching(inbox(), match, limit)


def send_threadsafe(dest: Destination, topic: str, *payloads: Any) -> None:
    """`send` from another thread; whether somebody took the message is not known here.

    Raises:
        TypeError, ValueError: `topic` or `dest` is none.
        InvalidPID: `dest` looks like a PID and is malformed.
        NoApp: `dest` is a name, and no App (or several) runs in this OS process; or the loop of
            its App is closed.
    """
    topic = check_topic(topic)
    scheduler = scheduler_for_thread(dest)
    try:
        scheduler.loop.call_soon_threadsafe(
            send_as_system, scheduler, dest, topic, payloads, context=scheduler.context
        )
    except RuntimeError:
        raise NoApp("the loop of this App is closed") from None


def send_after(delay: float | str, dest: Destination, topic: str, *payloads: Any) -> Timer:
    """Send after `delay`; `timer.cancel()` takes it back, and so does the end of the caller."""
    topic = check_topic(topic)
    process = current_process()
    if process is not None:
        return process.send_after(seconds(delay), dest, topic, payloads)
    return send_later(current_scheduler(), seconds(delay), dest, topic, payloads)


async def call(
    dest: Destination,
    topic: str,
    payload: Any = None,
    timeout: float | str | None = 5.0,  # noqa: ASYNC109 - part of the contract
) -> Any:
    """Request and reply: the receiver answers with `msg.reply(value)` (OTP: `gen_server:call`).

    Raises:
        NoProcess: `dest` is dead, unknown, or ends before it answers.
        TimeoutError: no answer within `timeout`.
    """
    topic = check_topic(topic)
    limit = _limit(timeout)
    scheduler = current_scheduler()
    target = resolve(dest)
    if target is None:
        raise NoProcess(f"cannot call {dest}: no such process")
    if not isinstance(target, CoroutineProcess):
        raise WSRelayError(f"cannot call {dest}: a WebSocket connection answers no calls")
    caller = current_process()
    reply: asyncio.Future[Any] = scheduler.loop.create_future()
    ref = watch_exit(scheduler, target.pid, lambda event: _fail_call(reply, event))
    try:
        if not target.ask(topic, payload, None if caller is None else caller.pid, reply):
            raise NoProcess(f"cannot call {dest}: its mailbox is full or closed")
        async with asyncio.timeout(limit):
            return await reply
    finally:
        give_up_watch(ref)
        reply.cancel()


def _limit(timeout: float | str | None) -> float | None:
    return None if timeout is None else seconds(timeout)


def _fail_call(reply: asyncio.Future[Any], event: Event) -> None:
    if not reply.done():
        reply.set_exception(NoProcess(f"{event.sender} ended ({event.reason}) before it replied"))


async def drained(
    ws_pid: Destination,
    below: int | None = None,
    timeout: float | str | None = None,  # noqa: ASYNC109 - part of the contract
) -> None:
    """Wait until fewer than `below` bytes are queued towards a client: back-pressure for streams.

    Args:
        ws_pid: a WebSocket connection.
        below: bytes; None is half of its `wsrelay.queue.max`.

    Raises:
        NoProcess: it is no living connection, or ends before.
        TimeoutError: not within `timeout`.
    """
    limit = _limit(timeout)
    connection = resolve(ws_pid)
    if not isinstance(connection, Connection):
        raise NoProcess(f"{ws_pid} is no living WebSocket connection")
    future = connection.drained(below)
    if future is None:
        await asyncio.sleep(0)  # a client that reads fast must not keep the others waiting
    else:
        async with asyncio.timeout(limit):
            await future


# -- birth -----------------------------------------------------------------------------------------


async def exec(
    target: Target,
    host: str | None = None,
    /,
    *args: Any,
    timeout: float | str | None = None,  # noqa: ASYNC109 - part of the API's contract
    name: str | None = None,
    **kwargs: Any,
) -> Any:
    """Spawn, wait, and return the process's value or raise its error.

    The process is terminated when the wait is cancelled or times out.

    Raises:
        TimeoutError: not ended within `timeout`.
        ProcessFailed: it ended with a reason other than `normal` and no exception.
    """
    limit = _limit(timeout)
    process = prepare_process(target, host, args, kwargs, name)
    return _value_of(await _run(process, limit))


async def _run(process: CoroutineProcess, limit: float | None) -> Event:
    done = _exit_of(process.pid)
    process.start()
    try:
        async with asyncio.timeout(limit):
            return await done
    finally:
        process.terminate()


def _value_of(event: Event) -> Any:
    try:
        if event.result.error is not None:
            raise event.result.error
        if event.reason != "normal":
            raise ProcessFailed(event.sender, event.reason)
        return event.result.value
    finally:
        del event  # the error's traceback holds this frame: together they would be a cycle


async def wait(
    dest: Destination,
    timeout: float | str | None = None,  # noqa: ASYNC109 - part of the contract
) -> Event:
    """The EXIT of a process, also from outside one; of a dead one at once, reason `noproc`."""
    async with asyncio.timeout(_limit(timeout)):
        return await _exit_of(dest)


def _exit_of(dest: Destination) -> asyncio.Future[Event]:
    scheduler = current_scheduler()
    done: asyncio.Future[Event] = scheduler.loop.create_future()
    ref = watch_exit(scheduler, dest, lambda event: None if done.done() else done.set_result(event))
    done.add_done_callback(lambda _: give_up_watch(ref))
    return done


# -- relations -------------------------------------------------------------------------------------


def monitor(dest: Destination) -> Ref:
    """Get an EXIT event when `dest` ends; of a dead or unknown process at once, reason `noproc`.

    Several monitors are several events, told apart by `event.ref`.
    """
    return _self().monitor(dest)


def unmonitor(ref_or_dest: Ref | Destination) -> None:
    """Give up one monitor, or all of the caller's on `dest`; no late event comes after it."""
    me = _self()
    if isinstance(ref_or_dest, Ref):
        me.unmonitor(ref_or_dest)
        me.forget_events(ref_or_dest)
        return
    target = resolve(ref_or_dest)
    # `{this@h|x}` and `{h|x}` are one PID; a name stands for its process, dead or alive.
    shaped = ref_or_dest[:1] == "{"
    asked = PID.parse(ref_or_dest) if shaped else ref_or_dest
    for dest in {asked, asked if target is None else target.pid}:
        for ref in me.refs_to(dest):
            me.unmonitor(ref)
        me.forget_events(dest)


def link(dest: Destination) -> None:
    """Link both ways, idempotent (OTP: `link/1`); raises `NoProcess` if `dest` is dead.

    When one ends with an error, the other is taken down with reason `link_failed`, unless it
    traps (`set_options(trap_links=True)`): then it gets a LINK_DOWN event.
    """
    _self().link(dest)


def unlink(dest: Destination) -> None:
    """Take a link away, both ways; none is no error."""
    _self().unlink(dest)


def cancel(
    dest: Destination, reason: str | None = None, deadline: float | str | None = None
) -> bool:
    """Ask a process to end; returns False if there is none.

    It gets a CANCEL event, or, if it never opened `events()`, `CancelledError` at its await. At
    `deadline` it is terminated. A WebSocket connection is closed with 1001.

    Raises:
        TypeError: the reason is no text.
    """
    text = None if reason is None else _exact_text(reason, "a reason to cancel")
    process = resolve(dest)
    if process is None:
        return False
    limit = None if deadline is None else seconds(deadline)
    if isinstance(process, CoroutineProcess):
        me = current_process()
        process.cancel(text, limit, None if me is None else me.pid)
    else:
        process.cancel(text, limit)
    return True


def terminate(dest: Destination) -> bool:
    """End a process at once, EXIT `killed`; returns False if there is none."""
    process = resolve(dest)
    if process is None:
        return False
    process.terminate()
    return True


# -- names and options -----------------------------------------------------------------------------


def register(name: str, pid: Destination | None = None) -> None:
    """Give the caller (or `pid`) a local name, released at its exit.

    Raises:
        NameTaken: a living process has it.
        NoProcess: `pid` is dead.
        ValueError: the text can be no name.
    """
    text = _checked_name(name)
    process: Process | None = _self() if pid is None else resolve(pid)
    if process is None:
        raise NoProcess(f"cannot register {name!r} for {pid}: no such process")
    process.register(text)


def _checked_name(name: object) -> str:
    return _exact_text(name, "a name")


def _exact_text(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} is a str, not {type(text).__name__}")
    return str.__str__(text)  # of an enum's member str() is something else


def lookup(name: str) -> PID | None:
    """The PID of a registered name, or None."""
    process = current_scheduler().table.lookup(_checked_name(name))
    return None if process is None else process.pid


def unregister(name: str) -> None:
    """Give a name back; an unknown name is no error."""
    text = _checked_name(name)
    process = current_scheduler().table.lookup(text)
    if process is not None:
        process.unregister(text)


def set_options(**options: Any) -> None:
    """Set options of the caller.

    Args:
        trap_links: get LINK_DOWN events instead of being taken down.
        mailbox_max: messages that may wait in its inboxes together; 0 is no bound.

    Raises:
        TypeError, ValueError: an unknown option, or a bad value; the message names it.
    """
    me = _self()
    check_options(options)
    if "trap_links" in options:
        me.trap_links = options["trap_links"]
    if "mailbox_max" in options:
        me.set_mailbox_max(options["mailbox_max"])


def get_options() -> dict[str, Any]:
    """The caller's options."""
    me = _self()
    return {"mailbox_max": me.mailbox_max, "trap_links": bool(me.trap_links)}


def info(dest: Destination) -> ProcessInfo:
    """What is known of a living process; raises `NoProcess` if there is none."""
    process = resolve(dest)
    if process is None:
        raise NoProcess(f"no information on {dest}: no such process")
    return info_of(process)
