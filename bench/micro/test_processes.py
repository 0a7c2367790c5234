"""Processes: mailbox, PID table, birth and end, messages, relations.

Each call does many of a thing, so that the price of entering the loop is small in it.
"""

from typing import Any

from bench.micro.conftest import Run, RunInside
from wsrelay import App, Event, process
from wsrelay_core import PID, watch_exit

MANY = 1000

Benchmark = Any  # the fixture of pytest-benchmark, which has no types


async def idle() -> None:
    """Take messages and do nothing with them."""
    async for _ in process.inbox():
        pass


async def echo() -> None:
    """Answer each message."""
    async for msg in process.inbox():
        process.send(msg.sender, "pong", msg.payload)


async def nothing() -> None:
    """End at once."""


# -- mailbox, PIDs and names -----------------------------------------------------------------------


def test_mailbox_filled_and_emptied(benchmark: Benchmark, run_inside: RunInside) -> None:
    async def main() -> int:
        inbox, me = process.inbox(), process.pid()
        for number in range(MANY):
            process.send(me, "n", number)
        return sum(inbox.receive_nowait().payload for _ in range(MANY))

    assert benchmark(run_inside, main) == sum(range(MANY))


def test_selective_receive_behind_others(benchmark: Benchmark, run_inside: RunInside) -> None:
    async def main() -> tuple[int, int]:
        me = process.pid()
        for number in range(MANY):
            process.send(me, "n", number)
        message = await process.receive(lambda msg: msg.payload == MANY - 1)
        return int(message.payload), len(process.inbox())

    assert benchmark(run_inside, main) == (MANY - 1, MANY - 1)


def test_pid_parsed(benchmark: Benchmark) -> None:
    assert benchmark(PID.parse, "{bench:processes|0x1f}").uniq == "0x1f"


def test_pid_table_asked_by_text(benchmark: Benchmark, app: App, run: Run) -> None:
    async def prepare() -> list[str]:
        return [str.__str__(process.spawn(idle)) for _ in range(MANY)]

    async def ask() -> int:
        return sum(process.send(text, "t") for text in texts)

    texts = run(prepare())
    assert benchmark(lambda: run(ask())) == MANY


def test_names(benchmark: Benchmark, run: Run) -> None:
    async def prepare() -> PID:
        return process.spawn(idle)

    async def use() -> bool:
        good = True
        for _ in range(MANY):
            process.register("name", pid)
            good &= process.lookup("name") is pid
            process.unregister("name")
        return good

    pid = run(prepare())
    assert benchmark(lambda: run(use())) is True


# -- birth and end ---------------------------------------------------------------------------------


def test_spawn_and_exit(benchmark: Benchmark, run_inside: RunInside) -> None:
    async def main() -> bool:
        events, good = process.events(), True
        for _ in range(MANY):
            pid, _ref = process.spawn_monitored(nothing)
            good &= (await events.receive()).sender is pid
        return good

    assert benchmark(run_inside, main) is True


def test_spawn_many_at_once(benchmark: Benchmark, app: App, run_inside: RunInside) -> None:
    async def main() -> int:
        events = process.events()
        for _ in range(MANY):
            process.spawn_monitored(nothing)
        return sum([(await events.receive()).reason == "normal" for _ in range(MANY)])

    assert benchmark(run_inside, main) == MANY


# -- messages --------------------------------------------------------------------------------------


def test_ping_pong(benchmark: Benchmark, run_inside: RunInside) -> None:
    async def main() -> int:
        inbox, other, total = process.inbox(), process.spawn(echo), 0
        for number in range(MANY):
            process.send(other, "ping", number)
            total += (await inbox.receive()).payload
        process.terminate(other)
        return total

    assert benchmark(run_inside, main) == sum(range(MANY))


def test_call(benchmark: Benchmark, run_inside: RunInside) -> None:
    async def answer() -> None:
        async for msg in process.inbox():
            msg.reply(msg.payload)

    async def main() -> int:
        other = process.spawn(answer)
        replies = [await process.call(other, "c", number) for number in range(100)]
        process.terminate(other)
        return sum(replies)

    assert benchmark(run_inside, main) == sum(range(100))


def test_send(benchmark: Benchmark, run: Run) -> None:
    async def prepare() -> PID:
        return process.spawn(idle)

    async def main() -> int:
        return sum([process.send(pid, "t", number) for number in range(MANY)])

    pid = run(prepare())
    assert benchmark(lambda: run(main())) == MANY


def test_broadcast(benchmark: Benchmark, run: Run) -> None:
    async def prepare() -> list[PID]:
        return [process.spawn(idle) for _ in range(MANY)]

    async def main() -> int:
        return process.broadcast(pids, "t", {"data": "x" * 64})

    pids = run(prepare())
    assert benchmark(lambda: run(main())) == MANY


# -- relations -------------------------------------------------------------------------------------


def test_monitor_and_unmonitor(benchmark: Benchmark, run_inside: RunInside) -> None:
    async def main() -> int:
        other, live = process.spawn(idle), 0
        for _ in range(MANY):
            ref = process.monitor(other)
            live += ref.active
            process.unmonitor(ref)
        process.terminate(other)
        return live

    assert benchmark(run_inside, main) == MANY


def test_an_exit_told_to_many_monitors(benchmark: Benchmark, app: App, run: Run) -> None:
    async def main() -> int:
        assert app.scheduler is not None
        told: list[Event] = []
        pid = process.spawn(idle)
        for _ in range(MANY):
            watch_exit(app.scheduler, pid, told.append)
        process.terminate(pid)
        await process.wait(pid)
        return len(told)

    assert benchmark(lambda: run(main())) == MANY


def test_link_and_unlink(benchmark: Benchmark, run_inside: RunInside) -> None:
    async def main() -> bool:
        other = process.spawn(idle)
        for _ in range(MANY):
            process.link(other)
            process.unlink(other)
        return process.terminate(other)

    assert benchmark(run_inside, main) is True
