"""Services: kept alive, restarted after a back-off, found by name."""

import asyncio
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_helpers import EXACT, Time, new_app, obeys, settle

from wsrelay import App, Restart, ServiceStatus, StartFailed, UnknownEntry, process


@pytest.fixture
def lines(caplog):
    """`lines()` is what the services' log has said since the last call."""
    caplog.set_level(logging.INFO, "wsrelay.service")

    def take():
        found = [
            f"{one.levelname} {one.getMessage()}"
            for one in caplog.records
            if one.name == "wsrelay.service"
        ]
        caplog.clear()
        return found

    return take


def status(app, at=0):
    return app.supervisor.status()[at]


async def tell(topic, payload=None, name="it"):
    """Send to the service, and let it act."""
    assert process.send(name, topic, payload)
    await settle()


# -- ends and restarts -----------------------------------------------------------------------------


def test_an_error_is_followed_by_a_restart(run_everywhere, lines):
    async def main():
        time = Time()
        app = new_app(time)
        app.supervise("it", obeys, restart=EXACT)
        assert status(app) == ServiceStatus("app:it", "stopped", None, 0, None)
        async with app:
            first = process.lookup("it")
            assert status(app) == ServiceStatus("app:it", "running", first, 0, None)
            await tell("raise", "boom")
            why = "ValueError: boom"
            assert status(app) == ServiceStatus("app:it", "waiting", None, 1, why)
            assert not process.send("it", "t")
            await time.pass_by(0.999)
            assert process.lookup("it") is None
            await time.pass_by(0.001)
            second = process.lookup("it")
            assert second not in (None, first)
            assert status(app) == ServiceStatus("app:it", "running", second, 1, why)
        assert status(app).state == "stopped"
        assert time.due == []
        assert lines() == [
            f"INFO service app:it started: {first}",
            "WARNING service app:it failed (ValueError: boom): restart 1 in 1 s",
            f"INFO service app:it started: {second}",
        ]

    run_everywhere(main())


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("exit", "tired", "tired"),
        ("exit", "two\nlines", "two\\nlines"),
        ("terminate", None, "killed"),
    ],
)
def test_other_ends_that_are_errors(run, topic, payload, reason):
    async def main():
        time = Time()
        app = new_app(time)
        app.supervise("it", obeys, restart=EXACT)
        async with app:
            if topic == "terminate":
                process.terminate("it")
            else:
                await tell(topic, payload)
            assert (status(app).state, status(app).reason) == ("waiting", reason)
            await time.pass_by(1)
            assert await process.call("it", "hello")

    run(main())


def test_a_link_that_fails_is_an_error(run):
    async def fails():
        await asyncio.sleep(0)
        raise ValueError("boom")

    async def links(calls):
        process.spawn_linked(fails) if not calls else None
        calls.append(1)
        await obeys()

    async def main():
        time, calls = Time(), []
        app = new_app(time)
        app.supervise("it", lambda: links(calls), restart=EXACT)
        async with app:
            await settle()
            assert status(app).reason.startswith("link_failed: LinkFailed: linked process {app:pro")
            await time.pass_by(1)
            assert status(app).state == "running"

    run(main())


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda: process.send("it", "return"), "normal"),
        (lambda: process.send("it", "exit", "normal"), "normal"),
        (lambda: process.send("it", "exit", "cancelled"), "cancelled"),
        (lambda: process.cancel("it"), "cancelled"),
    ],
)
def test_a_normal_or_cancelled_end_stays_one(run, lines, end, reason):
    async def main():
        time = Time()
        app = new_app(time)
        app.supervise("it", obeys)
        async with app:
            assert end()
            await settle()
            assert status(app) == ServiceStatus("app:it", "stopped", None, 0, reason)
            assert time.due == []
            assert lines()[1:] == [f"INFO service app:it ended ({reason})"]
            await app.supervisor.start("it")
            assert status(app).state == "running"

    run(main())


def test_delays_grow_and_the_last_attempt_is_told_once(run, lines):
    async def main():
        time = Time()
        app = new_app(time)
        rule = Restart(initial_delay=1, max_delay=3, backoff_factor=2, jitter=0, max_attempts=3)
        app.supervise("it", obeys, restart=rule)
        async with app:
            for delay in (1, 2, 3):
                await tell("raise", "boom")
                assert time.due == [delay]
                await time.pass_by(delay)
            lines()
            await tell("raise", "boom")
            assert status(app) == ServiceStatus("app:it", "failed", None, 3, "ValueError: boom")
            assert time.due == []
            assert lines() == [
                "ERROR service app:it failed (ValueError: boom): given up after 3 restarts"
            ]
            await app.supervisor.start("it")  # by hand, from the beginning
            assert status(app).attempts == 0
            await tell("raise", "boom")
            assert time.due == [1]

    run(main())


def test_jitter_is_drawn_for_each_delay(run):
    async def main():
        time, draws = Time(), []
        app = new_app(time, lambda least, most: draws.append((least, most)) or most)
        app.supervise("it", obeys, restart=Restart(jitter=0.5))
        async with app:
            await tell("raise")
            assert (draws, time.due) == ([(0.5, 1.5)], [1.5])

    run(main())


def test_a_stable_life_resets_the_count(run):
    async def main():
        time = Time()
        app = new_app(time)
        app.supervise("it", obeys, restart=EXACT, stable_threshold="5s")
        async with app:
            await tell("raise")
            await time.pass_by(1)
            await time.pass_by(4.9)
            await tell("raise")
            assert (status(app).attempts, time.due) == (2, [2])
            await time.pass_by(2)
            await time.pass_by(5)
            assert status(app).attempts == 0
            await tell("raise")
            assert (status(app).attempts, time.due) == (1, [1])

    run(main())


def test_one_that_fails_at_once_is_tried_again_and_again(run, lines):
    """Once it has been up, a start that fails is one more attempt."""

    async def main():
        time, broken = Time(), []

        async def sometimes():
            if broken:
                raise ValueError("no database")
            await obeys()

        app = new_app(time)
        app.supervise("it", sometimes, restart=EXACT)
        async with app:
            broken.append(1)
            await tell("raise", "boom")
            await time.pass_by(1 + 2 + 4)
            assert (status(app).state, status(app).attempts, time.due) == ("waiting", 4, [8])
            assert lines()[-1] == (
                "WARNING service app:it failed (ValueError: no database): restart 4 in 8 s"
            )
            broken.clear()
            await time.pass_by(8)
            assert status(app).state == "running"

    run(main())


def test_what_can_not_be_made_is_an_attempt_too(run, lines):
    async def main():
        time = Time()
        app = new_app(time)
        app.host("small", max_processes=1)
        app.supervise("it", obeys, restart=EXACT, host="small")
        async with app:
            await tell("raise")
            other = process.spawn(obeys, "small")
            await time.pass_by(1)
            assert status(app).reason == (
                "HostFull: host 'app:small' runs its 1 processes; raise max_processes or end one"
            )
            assert (status(app).state, time.due) == ("waiting", [2])
            process.terminate(other)
            other = process.spawn(obeys, "processes", name="it")
            await time.pass_by(2)
            assert status(app).reason.startswith("NameTaken: the name 'it' is registered to {app:")
            process.terminate(other)
            await time.pass_by(4)
            assert (status(app).state, process.lookup("it").host) == ("running", "app:small")

    run(main())


def test_sys_exit_in_a_service_ends_the_app(run, lines):
    async def leaves():
        await process.inbox().receive()
        raise SystemExit(3)

    async def main():
        time = Time()
        app = new_app(time)
        app.supervise("it", leaves)
        with pytest.raises(SystemExit) as left:
            async with app:
                process.send("it", "go")
                await asyncio.Event().wait()
        assert left.value.code == 3
        assert time.due == []
        assert len(lines()) == 1, "of its start, and none of a restart"

    run(main())


# -- what a process gets ---------------------------------------------------------------------------


def test_it_is_found_by_both_names_and_by_no_other_of_its_apps(run):
    async def main():
        app = new_app()
        app.supervise("it", obeys)
        app.supervise("other:it", obeys)
        async with app:
            assert process.lookup("it") == process.lookup("app:it")
            assert process.lookup("other:it") not in (None, process.lookup("it"))
            assert [one.name for one in app.supervisor.status()] == ["app:it", "other:it"]

    run(main())


def test_input_is_fresh_for_each_start(run):
    async def main():
        time, seen, thing = Time(), [], object()

        async def spoils(given):
            seen.append((dict(given), list(given["list"])))
            given["list"].append(1)
            given["more"] = given["thing"]
            await obeys()

        app = new_app(time)
        app.supervise("it", spoils, input={"list": [], "thing": thing}, restart=EXACT)
        async with app:
            await tell("raise")
            await time.pass_by(1)
        assert [(given["thing"] is thing, "more" in given, rest) for given, rest in seen] == [
            (True, False, [])
        ] * 2

    run(main())


def test_what_does_not_fit_is_told_at_the_declaration():
    async def takes_one(given): ...

    app = App()
    app.process("one")(takes_one)
    with pytest.raises(TypeError, match=r'service "app:a": missing a required argument: \'given\''):
        app.supervise("a", takes_one)
    with pytest.raises(TypeError, match=r'service "app:a": missing a required argument'):
        app.supervise("a", "one")
    with pytest.raises(TypeError, match=r'service "app:a": too many positional arguments'):
        app.supervise("a", obeys, input=0)
    app.supervise("a", obeys)
    with pytest.raises(ValueError, match=r'there is already a process\.service "app:a"'):
        app.supervise("app:a", obeys)
    for name in ("", "@b", "{b", "b}", "a:b:c", "app:", "b c"):
        with pytest.raises(ValueError, match=r"may only have letters, digits"):
            app.supervise(name, obeys)
    with pytest.raises(ValueError, match="no unit"):
        app.supervise("b", obeys, stop_timeout="5")


def test_each_process_is_its_own_whoever_starts_it(run):
    """Started from a process's step, it still has the App's context and host."""

    async def main():
        time, seen = Time(), []

        async def looks():
            seen.append((process.pid(), process.pid().host))
            await obeys()

        async def starts():
            await process.inbox().receive()  # on in a step of the scheduler
            await app.supervisor.start("it")

        app = new_app(time)
        app.host("one")
        app.host("two")
        app.supervise("it", looks, auto_start=False, restart=EXACT)
        async with app:
            pid = process.spawn(starts, "two")
            await settle()
            process.send(pid, "go")
            await process.wait(pid)
            await tell("raise")
            await time.pass_by(1)
        assert [host for _, host in seen] == ["app:processes"] * 2
        assert len({pid for pid, _ in seen}) == 2

    run(main())


# -- by hand ---------------------------------------------------------------------------------------


def test_start_stop_and_restart(run):
    async def main():
        time = Time()
        app = new_app(time)
        app.supervise("it", obeys, auto_start=False, restart=EXACT)
        async with app:
            assert status(app).state == "stopped"
            await app.supervisor.start("it")
            first = status(app).pid
            await app.supervisor.start("it")
            assert status(app).pid == first, "it runs: nothing to do"
            await app.supervisor.restart("it")
            assert status(app).pid not in (None, first)
            await app.supervisor.stop("app:it")
            assert (status(app).state, status(app).reason) == ("stopped", "cancelled")
            await app.supervisor.stop("it")
            await app.supervisor.restart("it")
            assert status(app).state == "running"
            await tell("raise")
            await app.supervisor.stop("it")
            assert (status(app).state, time.due) == ("stopped", [])
            with pytest.raises(UnknownEntry, match=r'"app:its", did you mean "app:it"\?'):
                await app.supervisor.stop("its")

    run(main())


def test_a_start_does_not_wait_for_the_delay(run):
    async def main():
        time = Time()
        app = new_app(time)
        app.supervise("it", obeys, restart=EXACT)
        async with app:
            await tell("raise")
            await app.supervisor.start("it")
            assert (status(app).state, status(app).attempts) == ("running", 1)
            await tell("raise")
            process.spawn(obeys, None, name="it")
            with pytest.raises(StartFailed, match="NameTaken"):
                await app.supervisor.start("it")
            assert (status(app).state, time.due) == ("waiting", [4]), "it goes on trying"

    run(main())


def test_a_failed_one_can_be_stopped_and_stays_so(run):
    async def fails():
        raise ValueError("boom")

    async def main():
        app = new_app()
        app.supervise("it", fails, auto_start=False)
        async with app:
            with pytest.raises(StartFailed):
                await app.supervisor.start("it")
            assert status(app).state == "failed"
            await app.supervisor.stop("it")
            assert (status(app).state, status(app).reason) == ("stopped", "ValueError: boom")

    run(main())


def test_a_stop_without_limit(run):
    async def deaf():
        async for _ in process.events():
            pass

    async def main():
        time = Time()
        app = new_app(time)
        app.supervise("it", deaf, stop_timeout=0)
        async with app:
            stop = asyncio.ensure_future(app.supervisor.stop("it"))
            await time.pass_by(1e9)
            assert (status(app).state, time.due) == ("stopping", [])
            process.terminate("it")
            await stop

    run(main())


def test_without_a_running_app(run):
    async def main():
        app = App()
        app.supervise("it", obeys)
        for _ in range(2):
            with pytest.raises(StartFailed, match='"app:it" did not start: the App is not running'):
                await app.supervisor.start("it")
            await app.supervisor.stop("it")
            async with app:
                app.supervise(f"late{_}", obeys)
                await app.supervisor.start(f"late{_}")
                assert all(one.state == "running" for one in app.supervisor.status())

    run(main())


def test_a_service_can_not_wait_for_its_own_end(run):
    async def main():
        errors = []

        async def stops_itself():
            await asyncio.sleep(0)
            for act in (app.supervisor.stop, app.supervisor.restart):
                try:
                    await act("it")
                except RuntimeError as error:
                    errors.append(str(error))
            await obeys()

        app = new_app()
        app.supervise("it", stops_itself)
        async with app:
            await settle()
            assert status(app).state == "running"
        assert len(errors) == 2
        assert errors[0].startswith("service app:it can't wait for its own end")

    run(main())


def test_one_that_does_not_stop_is_terminated(run, lines):
    async def deaf():
        async for _ in process.events():
            pass

    async def main():
        time = Time()
        app = new_app(time)
        app.supervise("it", deaf, stop_timeout=7)
        async with app:
            first = process.lookup("it")
            stop = asyncio.ensure_future(app.supervisor.stop("it"))
            await time.pass_by(6.9)
            assert status(app).state == "stopping"
            with pytest.raises(StartFailed, match="it is being stopped"):
                await app.supervisor.start("it")
            second = asyncio.ensure_future(app.supervisor.stop("it"))
            await time.pass_by(7)
            await asyncio.gather(stop, second)
            assert (status(app).state, status(app).reason) == ("stopped", "killed")
            assert not process.send(first, "t")
        assert lines()[1:] == [
            "WARNING service app:it did not stop within 7s: terminated",
        ]

    run(main())


# -- random programs -------------------------------------------------------------------------------


class Model:
    """What a service should be: back-off 1, 2, 4 seconds, at most three times, stable after 5."""

    def __init__(self):
        self.now = 0
        self.attempts = 0
        self.run()

    def run(self):
        self.state, self.since = "running", self.now

    def act(self, act, seconds):
        up = self.state == "running"
        if act == "pass":
            self.pass_by(seconds)
        elif act in ("return", "cancel") and up:
            self.state = "stopped"
        elif act in ("raise", "kill") and up:
            self.state = "failed" if self.attempts == 3 else "waiting"
            if self.state == "waiting":
                self.due = self.now + 2**self.attempts
                self.attempts += 1
        elif act == "start" and not up:
            self.attempts = self.attempts if self.state == "waiting" else 0
            self.run()
        elif act == "stop":
            self.state = "stopped"
        elif act == "restart":
            self.attempts = 0
            self.run()

    def pass_by(self, seconds):
        for _ in range(seconds):
            self.now += 1
            if self.state == "waiting" and self.due == self.now:
                self.run()
            if self.state == "running" and self.now - self.since >= 5:
                self.attempts = 0


ACTS = ("pass", "return", "cancel", "raise", "kill", "start", "stop", "restart")


async def act_on(app, time, act, seconds):
    if act == "pass":
        await time.pass_by(seconds)
    elif act in ("return", "raise"):
        process.send("it", act)
    elif act == "cancel":
        process.cancel("it")
    elif act == "kill":
        process.terminate("it")
    else:
        await getattr(app.supervisor, act)("it")
    await settle()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([*ACTS, "raise", "pass"]), st.integers(1, 6))))
def test_random_programs(program):
    async def main():
        time, model = Time(), Model()
        app = new_app(time)
        rule = Restart(initial_delay=1, max_delay=4, backoff_factor=2, jitter=0, max_attempts=3)
        app.supervise("it", obeys, restart=rule)
        async with app:
            for act, seconds in program:
                await act_on(app, time, act, seconds)
                model.act(act, seconds)
                now = status(app)
                assert (now.state, now.attempts) == (model.state, model.attempts)
                assert now.pid == process.lookup("it")
                assert (now.pid is None) == (model.state != "running")
                assert len(app.processes()) == (model.state == "running")
                assert len(time.due) <= 1
        assert time.due == []

    logging.disable()
    try:
        asyncio.run(main())
    finally:
        logging.disable(logging.NOTSET)
