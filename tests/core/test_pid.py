"""PIDs as text, and the table that finds processes."""

import asyncio
import copy
import json
import pickle
import subprocess
import sys

import orjson
import pytest
from core_helpers import Core
from hypothesis import given
from hypothesis import strategies as st

from wsrelay_core import PID, Host
from wsrelay_core._errors import InvalidPID, NameTaken
from wsrelay_core._pid import ProcessTable

PART = st.text(st.characters(exclude_characters="|@{}", exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize(
    ("text", "node", "host", "uniq"),
    [
        ("{app:processes|0x1f}", "", "app:processes", "0x1f"),
        ("{n1@app:gateway|0x1f}", "n1", "app:gateway", "0x1f"),
        ("{a@b@app:gateway|0x1f}", "a@b", "app:gateway", "0x1f"),
    ],
)
def test_parts(text: str, node: str, host: str, uniq: str) -> None:
    pid = PID.parse(text)
    assert type(pid) is PID
    assert (pid, pid.node, pid.host, pid.uniq) == (text, node, host, uniq)
    assert repr(pid) == f"PID({text!r})"
    assert str(pid) == text
    assert type(str(pid)) is str


@pytest.mark.parametrize("text", ["{this@h|0x1}", "{@h|0x1}", "{h|0x1}"])
def test_this_node_is_left_out(text: str) -> None:
    assert PID.parse(text) == "{h|0x1}"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "missing braces"),
        ("{", "missing braces"),
        ("h|1}", "missing braces"),
        ("{h|1", "missing braces"),
        ("{}", "missing pipe"),
        ("{h}", "missing pipe"),
        ("{|}", "empty part"),
        ("{h|}", "empty part"),
        ("{|1}", "empty part"),
        ("{n@|1}", "empty part"),
    ],
)
def test_invalid(text: str, rule: str) -> None:
    with pytest.raises(InvalidPID, match=f"^{rule} in ") as caught:
        PID.parse(text)
    assert isinstance(caught.value, ValueError)


def test_the_message_of_an_invalid_one_is_short() -> None:
    with pytest.raises(InvalidPID) as caught:
        PID.parse("{" + "x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [None, 1, b"{h|1}"])
def test_only_text_is_parsed(value: object) -> None:
    with pytest.raises(TypeError):
        PID.parse(value)


@given(node=PART, host=PART, uniq=PART)
def test_round_trip(node: str, host: str, uniq: str) -> None:
    pid = PID.parse(f"{{{node}@{host}|{uniq}}}")
    assert (pid.node, pid.host, pid.uniq) == ("" if node == "this" else node, host, uniq)


@given(st.text())
def test_any_text_is_a_pid_or_refused(text: str) -> None:
    try:
        pid = PID.parse(text)
    except InvalidPID:
        return
    assert PID.parse(str(pid)) == pid
    assert pid.host
    assert pid.uniq


def test_it_is_its_text() -> None:
    pid = PID.parse("{h|0x1}")
    assert pid == "{h|0x1}"
    assert hash(pid) == hash("{h|0x1}")
    assert {pid: 1}["{h|0x1}"] == 1
    assert json.loads(json.dumps({"pid": pid})) == {"pid": "{h|0x1}"}
    assert orjson.dumps(pid) == b'"{h|0x1}"'
    assert orjson.dumps({pid: 1}, option=orjson.OPT_NON_STR_KEYS) == b'{"{h|0x1}":1}'


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol: int) -> None:
    pid = PID.parse("{h|0x1}")
    back = pickle.loads(pickle.dumps(pid, protocol))
    assert type(back) is PID
    assert back == pid


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_copies(copier) -> None:
    back = copier(PID.parse("{h|0x1}"))
    assert type(back) is PID
    assert back == "{h|0x1}"


def test_never_reused(run) -> None:
    """Not in a process, not after a restart, not in a forked child."""

    async def main() -> set[str]:
        async def nothing() -> None:
            pass

        async with Core() as core:
            processes = [core.spawn(nothing) for _ in range(1000)]
            pids = {process.pid for process in processes}
            assert len(pids) == 1000
            for pid in pids:
                assert pid.host == "app:processes"
                assert int(pid.uniq, 16) > 0
                assert pid.uniq == pid.uniq.lower()
                assert pid.uniq[:2] == "0x"
            return pids

    pids = run(main())
    script = (
        "import asyncio, sys; sys.path.insert(0, 'tests/core');"
        "from core_helpers import Core\n"
        "async def nothing(): pass\n"
        "async def main():\n"
        "    async with Core() as core: print(core.spawn(nothing).pid)\n"
        "asyncio.run(main())"
    )
    later = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    starts = {pid[:-1][:-8] for pid in pids}
    assert later.stdout.strip()[:-1][:-8] not in starts


def test_a_forked_child_has_an_incarnation_of_its_own() -> None:
    script = (
        "import asyncio, os, sys; sys.path.insert(0, 'tests/core')\n"
        "from core_helpers import Core\n"
        "async def nothing(): pass\n"
        "async def main():\n"
        "    async with Core() as core: print(core.spawn(nothing).pid, flush=True)\n"
        "asyncio.run(main())\n"
        "child = os.fork()\n"
        "if child: os.waitpid(child, 0)\n"
        "asyncio.run(main())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    before, *after = result.stdout.split()
    assert len({before, *after}) == 3


# -- the table -------------------------------------------------------------------------------------


class Holder:
    pid = "{h|0x1}"


def test_names() -> None:
    table, first, second = ProcessTable(), Holder(), Holder()
    table.register("a", first)
    table.register("a", first)
    with pytest.raises(NameTaken, match=r"'a' is registered to \{h\|0x1\}"):
        table.register("a", second)
    assert table.lookup("a") is first
    assert table.lookup("b") is None
    table.unregister("a")
    table.unregister("a")
    assert table.lookup("a") is None
    assert len(table) == 0
    assert table.processes() == []


@pytest.mark.parametrize("name", ["", "@x", "{x", "x}", "{h|0x1}"])
def test_texts_that_are_no_names(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        ProcessTable().register(name, Holder())


@pytest.mark.parametrize("host", ["app:processes", "æ", "主", "\N{SNAKE}", ""])
def test_the_text_of_new_pids(run, host: str) -> None:
    async def main() -> None:
        async def ends() -> None:
            pass

        async with Core() as core:
            core.host = Host(host)
            pids = [core.spawn(ends).pid for _ in range(300)]
            boot = pids[0].uniq[: len("0x") + 13 + 8]
            serial = int(pids[0].uniq.removeprefix(boot), 16)
            for number, pid in enumerate(pids):
                assert pid == f"{{{host}|{boot}{serial + number:x}}}"

    run(main())


def test_pids_of_many_hosts(run) -> None:
    async def main() -> None:
        async def ends() -> None:
            pass

        async with Core() as core:
            for number in [*range(600), *range(600)]:
                core.host = Host(f"h{number}")
                assert core.spawn(ends).pid.host == f"h{number}"
                await asyncio.sleep(0)

    run(main())
