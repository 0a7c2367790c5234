"""Any text as a PID. Input: UTF-8; bytes that are none become lone surrogates."""

import pickle
from contextlib import suppress

from wsrelay_core import PID
from wsrelay_core._errors import InvalidPID
from wsrelay_core._pid import ProcessTable

__all__ = ["target"]

LONGEST_MESSAGE = 1000  # characters; 80 of the text, each escaped with up to 10


def target(data: bytes) -> None:
    """Parse a text; what is accepted survives the way back, and as parts."""
    text = data.decode("utf-8", "surrogateescape")
    with suppress(InvalidPID):
        assert ProcessTable().lookup(text) is None
    try:
        pid = PID.parse(text)
    except InvalidPID as error:
        assert len(str(error)) < LONGEST_MESSAGE and str(error).isprintable()
        assert not (text.startswith("{") and text.endswith("}") and is_well_formed(text))
        return
    assert is_well_formed(text), text
    check(text, pid)


def is_well_formed(text: str) -> bool:
    """The rule, written another way: `{[node@]host|uniq}` with a host and a uniq."""
    place, pipe, uniq = text[1:-1].partition("|")
    return bool(pipe and uniq and place.split("@")[-1])


def check(text: str, pid: PID) -> None:
    plain = str(pid)
    assert type(pid) is PID and type(plain) is str
    assert pid == plain and hash(pid) == hash(plain)
    node = pid.node + "@" if pid.node else ""
    assert plain == f"{{{node}{pid.host}|{pid.uniq}}}", (plain, pid.node, pid.host, pid.uniq)
    assert pid.node != "this" and "@" not in pid.host and "|" not in pid.host
    assert plain == text or text.startswith(("{@", "{this@"))
    again = PID.parse(plain)
    assert again == pid and (again.node, again.host, again.uniq) == (pid.node, pid.host, pid.uniq)
    assert pickle.loads(pickle.dumps(pid)) == pid
