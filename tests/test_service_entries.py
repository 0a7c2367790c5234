"""`process.service` in a file: a description of `App.supervise`; and how `wsrelay run` takes it."""

import re
import signal
import sys
import urllib.request

import pytest
from commands import Command, finish, serving

from wsrelay import App, ConfigError, Restart, process
from wsrelay.config import Lifecycle

MODULE = """\
import asyncio
import sys

from wsrelay import process

steps = []


async def counts(begin):
    count = begin["at"]
    async for message in process.inbox():
        if message.topic == "break":
            raise ValueError("broken by a client\\x1b[31m")
        count += 1
        message.reply(count)


async def waits():
    steps.append("waits")
    await process.inbox().receive()


async def connects():
    with process.starting():
        await asyncio.sleep(0)
        steps.append("connected")
    await process.inbox().receive()


async def hangs():
    with process.starting():
        print("hanging", flush=True)
        await asyncio.Event().wait()


async def fails():
    raise ConnectionError("no database at db:5432")


async def leaves():
    sys.exit(3)


async def count(request):
    return {"count": await process.call("counter", "next"), "pid": process.lookup("app:counter")}


async def break_it(request):
    process.send("counter", "break")


def plain():
    pass
"""


@pytest.fixture(autouse=True)
def imports():
    """What a test imports and puts on the path is gone after it."""
    path, modules = sys.path[:], set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the entries of an app, and its module `s`, into the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.py").write_text(MODULE)

    def write_entries(*entries):
        lines = ['version: "1.0"', "namespace: app", "entries:", *(f"  - {{{e}}}" for e in entries)]
        (tmp_path / "app.yaml").write_text("\n".join(lines) + "\n")
        return tmp_path

    return write_entries


def service(name, function, *more):
    return ", ".join((f'name: {name}, kind: process.service, process: "{function}"', *more))


def at(line, text):
    """The place of a value in a line of the file; its quote, if it has one, is a part of it."""
    with open("app.yaml") as file:
        found = file.read().split("\n")[line - 1]
    column = found.index(text) + 1
    return f"app.yaml:{line}:{column - (found[column - 2] == chr(34))}"


def problems():
    with pytest.raises(ConfigError) as raised:
        App.from_file("app.yaml")
    return str(raised.value).split("\n")


# -- the file --------------------------------------------------------------------------------------


def test_the_fields_are_those_of_the_call(write, run):
    write(
        "name: pool, kind: process.host",
        "name: other, kind: process.host",
        service(
            "waits",
            "s:waits",
            "host: other",
            "lifecycle: {requires: [connects], start_timeout: 1m, stop_timeout: 2s, "
            "stable_threshold: 3s, restart: {initial_delay: 4s, max_delay: 5s, max_attempts: 6}}",
        ),
        service("connects", "function", "lifecycle: {auto_start: false}"),
        "name: function, kind: process.python, source: s:connects",
        service("counter", "s:counts", "input: {at: 5}"),
    )

    async def main():
        app = App.from_file("app.yaml")
        made = app.supervisor._services["app:waits"].lifecycle
        assert made == Lifecycle(
            requires=["app:connects"],
            start_timeout=60,
            stop_timeout=2,
            stable_threshold=3,
            restart=Restart(initial_delay=4, max_delay=5, max_attempts=6),
        )
        async with app:
            assert sys.modules["s"].steps == ["connected", "waits"]
            assert process.lookup("waits").host == "app:other"
            assert process.info("connects").entry == "app:function"
            assert await process.call("counter", "next") == 6

    run(main())


def test_an_import_path_that_is_one_entry_is_that_entry(write, run):
    write(
        "name: function, kind: process.python, source: s:waits",
        service("it", "s:waits"),
    )

    async def main():
        async with App.from_file("app.yaml"):
            assert process.info("it").entry == "app:function"

    run(main())


def test_all_that_is_wrong_is_told_at_its_place(write):
    write(
        service("typo", "s:wait"),
        service("missing", "nowhere:f"),
        service("plain", "s:plain"),
        service("lacks", "s:counts"),
        service("useless", "s:waits", "input: {at: 5}"),
        service("named", "function", "input: 1"),
        "name: function, kind: process.python, source: s:waits",
        service("silent", "bad"),
        "name: bad, kind: process.python, source: s:nothing",
    )
    assert problems() == [
        f'{at(4, "s:w")}: process.service "typo": process: module "s" has no "wait", '
        'did you mean "waits"?',
        f'{at(5, "now")}: process.service "missing": process: '
        'there is no module "nowhere" to import',
        f'{at(6, "s:p")}: process.service "plain": process: "s:plain" is no async function; '
        "write `async def`",
        f'{at(7, "s:c")}: process.service "lacks": process: s:counts needs an input: '
        "missing a required argument: 'begin'",
        f'{at(8, "{at")}: process.service "useless": input: s:waits does not take this input: '
        "too many positional arguments",
        f'{at(9, "1")}: process.service "named": input: function does not take this input: '
        "too many positional arguments",
        f'{at(12, "s:n")}: process.python "bad": source: module "s" has no "nothing"',
    ]


# -- the command line ------------------------------------------------------------------------------

GATEWAY = "name: gateway, kind: http.service, addr: 127.0.0.1:0"


def errors(text):
    return [line for line in text.splitlines() if line.startswith("Error")]


def test_a_service_that_fails_ends_the_command(write):
    folder = write(GATEWAY, service("first", "s:waits"), service("db", "s:fails"))
    done = finish("run", "app.yaml", cwd=folder)
    assert done.returncode == 1
    assert errors(done.stderr) == [
        'Error: process.service "app:db" did not start: ConnectionError: no database at db:5432'
    ]
    assert done.stderr.count("Traceback") == 1
    assert re.search(
        r"ERROR   wsrelay.process: process \{app:processes\|0x\w+\} \(s:fails\) failed", done.stderr
    )
    assert "listening" not in done.stderr
    assert finish("check", "app.yaml", cwd=folder).returncode == 0


def test_a_service_that_takes_too_long_ends_the_command(write):
    folder = write(GATEWAY, service("slow", "s:hangs", "lifecycle: {start_timeout: 50ms}"))
    done = finish("run", "app.yaml", cwd=folder)
    assert done.returncode == 1
    assert errors(done.stderr) == [
        'Error: process.service "app:slow" did not start: '
        "not started within its start_timeout of 50ms"
    ]
    assert "Traceback" not in done.stderr


def test_a_mistake_in_the_file_ends_the_command(write):
    folder = write(GATEWAY, service("slow", "s:hang"))
    done = finish("run", "app.yaml", cwd=folder)
    assert done.returncode == 2
    assert 'has no "hang", did you mean "hangs"?' in done.stderr
    assert "Traceback" not in done.stderr


def test_sys_exit_of_a_service_is_the_exit_status(write):
    folder = write(GATEWAY, service("it", "s:leaves"))
    done = finish("run", "app.yaml", cwd=folder)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_a_signal_ends_a_start(write):
    folder = write(GATEWAY, service("slow", "s:hangs", "lifecycle: {start_timeout: 0}"))
    with Command("-m", "wsrelay", "run", "app.yaml", cwd=folder) as command:
        command.line("hanging")
        command.signal(signal.SIGTERM)
        assert command.status() == 0
    log = "\n".join(command.lines)
    assert "listening" not in log
    assert "Traceback" not in log


def test_a_service_comes_back_while_clients_go_on(write):
    endpoint = "kind: http.endpoint, meta: {router: r}, method: GET"
    folder = write(
        GATEWAY,
        "name: r, kind: http.router",
        f'name: a, {endpoint}, path: /count, func: "s:count"',
        f'name: b, {endpoint}, path: /break, func: "s:break_it"',
        service(
            "counter",
            "s:counts",
            "input: {at: 5}",
            "lifecycle: {restart: {initial_delay: 1ms, max_delay: 1ms, jitter: 0}}",
        ),
    )
    with serving("run", "app.yaml", cwd=folder) as command:

        def get(path):
            url = f"http://127.0.0.1:{command.port}/{path}"
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.read().decode()

        first, second = get("count"), get("count")
        get("break")
        command.line(
            r"WARNING wsrelay.service: service app:counter failed "
            r"\(ValueError: broken by a client\\x1b\[31m\): restart 1 in 0.001 s$"
        )
        command.line(r"INFO    wsrelay.service: service app:counter started: \{app:processes\|0x")
        third = get("count")
        command.signal(signal.SIGTERM)
        assert command.status() == 0
    pids = [re.search(r"\{app:[^}]+\}", each)[0] for each in (first, second, third)]
    assert ['"count":6' in first, '"count":7' in second, '"count":6' in third] == [True] * 3
    assert pids[0] == pids[1] != pids[2]
