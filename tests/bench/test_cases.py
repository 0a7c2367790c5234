"""Every case against every installed server, with a few messages of which each byte is compared."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest

from bench import load, memory
from bench.bars import BARS, CASES, Case
from bench.compare import Server, running
from bench.kinds import FAN_KINDS, KINDS, missing

Key = tuple[bool, str]
ALL: dict[Key, object] = {
    **{(False, name): kind for name, kind in KINDS.items()},
    **{(True, name): kind for name, kind in FAN_KINDS.items()},
}


def lacking(key: Key) -> list[str]:
    """Name the packages that a server needs and that are not here."""
    fan, name = key
    return missing([name], FAN_KINDS if fan else KINDS).get(name, [])


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[Key, Server]]:
    """Start all servers that are installed, at once."""
    core = min(os.sched_getaffinity(0))

    def start(key: Key) -> Server:
        fan, name = key
        return stack.enter_context(running(name, (FAN_KINDS if fan else KINDS)[name], core))

    with ExitStack() as stack:
        installed = [key for key in ALL if not lacking(key)]
        with ThreadPoolExecutor(8) as pool:
            started = list(pool.map(start, installed))
        yield dict(zip(installed, started, strict=True))


def names_in(case: Case) -> list[str]:
    """Name who takes part in a case."""
    kinds = FAN_KINDS if case.fan else KINDS
    rivals = (name for name in kinds if not name.startswith("wsrelay"))
    return [*case.subjects, *(name for name in rivals if name not in case.without)]


# The rivals are not among what the tests install; those that are here take part.
PAIRS = [
    (name, who)
    for name, case in CASES.items()
    for who in names_in(case)
    if not lacking((case.fan, who))
]


@pytest.mark.parametrize(("case_name", "who"), PAIRS)
def test_a_server_does_what_a_case_asks(
    servers: dict[Key, Server], case_name: str, who: str
) -> None:
    case = CASES[case_name]
    server = servers[case.fan, who]
    if case.work is None:
        assert all(size > 1 << 20 for size in memory.one_round(server, (1, 3)))
        return
    few = replace(case.work, connections=3, max_messages=48, seconds=20.0, warmup=0.0)
    few = replace(few, rate=1000.0 if few.rate else 0.0, raw=server.kind.raw)
    assert load.run(server.port, few).messages == 48


def test_every_bar_names_a_case_its_subject_and_a_rival() -> None:
    for bar in BARS:
        names = names_in(CASES[bar.case])
        assert bar.subject in CASES[bar.case].subjects
        assert bar.against in names


def test_all_processes_of_a_server_are_watched(servers: dict[Key, Server]) -> None:
    for server in servers.values():
        assert server.pids[0] == server.process.pid
        assert (len(server.pids) > 1) is (server.label == "granian")
