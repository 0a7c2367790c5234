"""The compiled core of wsrelay: PIDs, mailboxes, processes, frames and connections.

It knows bytes, mailboxes and PIDs; no HTTP, no YAML, no logging. Users import from `wsrelay`.
"""

from wsrelay_core._connection import Connection
from wsrelay_core._context import process_var, scheduler_var
from wsrelay_core._coroutine import CoroutineProcess
from wsrelay_core._frame import FrameCodec
from wsrelay_core._inbox import Inbox, receive_matching, select, set_duration_reader
from wsrelay_core._mailbox import Message
from wsrelay_core._pid import PID
from wsrelay_core._process import Event, Host, Process, Ref, Result, Timer
from wsrelay_core._scheduler import Scheduler
from wsrelay_core._send import (
    broadcast,
    check_topic,
    current_process,
    current_scheduler,
    give_up_watch,
    resolve,
    scheduler_for_thread,
    send,
    send_as_system,
    send_later,
    watch_exit,
)
from wsrelay_core._socket import reset_on_close

__all__ = [
    "PID",
    "Connection",
    "CoroutineProcess",
    "Event",
    "FrameCodec",
    "Host",
    "Inbox",
    "Message",
    "Process",
    "Ref",
    "Result",
    "Scheduler",
    "Timer",
    "broadcast",
    "check_topic",
    "current_process",
    "current_scheduler",
    "give_up_watch",
    "process_var",
    "receive_matching",
    "reset_on_close",
    "resolve",
    "scheduler_for_thread",
    "scheduler_var",
    "select",
    "send",
    "send_as_system",
    "send_later",
    "set_duration_reader",
    "watch_exit",
]
