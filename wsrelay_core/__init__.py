"""The compiled core of wsrelay: PIDs, mailboxes, processes, frames and connections.

It knows bytes, mailboxes and PIDs; no YAML, no logging, and of HTTP only the bytes of a plain head.
Users import from `wsrelay`.
"""

from wsrelay_core._connection import Connection, ConnectionSettings
from wsrelay_core._context import process_var, scheduler_var, spawn_scope, start_var
from wsrelay_core._coroutine import CoroutineProcess
from wsrelay_core._frame import FrameCodec
from wsrelay_core._head import read_plain_head
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
from wsrelay_core._spawn import (
    prepare_process,
    spawn,
    spawn_linked,
    spawn_linked_monitored,
    spawn_monitored,
)

__all__ = [
    "PID",
    "Connection",
    "ConnectionSettings",
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
    "prepare_process",
    "process_var",
    "read_plain_head",
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
    "spawn",
    "spawn_linked",
    "spawn_linked_monitored",
    "spawn_monitored",
    "spawn_scope",
    "start_var",
    "watch_exit",
]
