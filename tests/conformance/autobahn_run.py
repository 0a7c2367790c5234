"""Run the fuzzing client of Autobahn|Testsuite against the relay, and judge its report.

    python tests/conformance/autobahn_run.py [--wstest PATH] [--loop asyncio] [--cases 1.* 12.1.*]

`wstest` is a program of Python 2.7: docs/conformance.md tells how to install it. The exit status
is 0 when every case passed strictly, 1 when one did not, 2 when there was no run.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import uvloop
from echo_app import echo_app

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}
GOOD = {"OK", "INFORMATIONAL"}  # all else is NON-STRICT, UNIMPLEMENTED, FAILED, UNCLEAN or worse
OUTCOMES = ("OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED")

# What runs against which path; 11 is empty, 8 is of the handshake and was never written.
CASES = {
    "plain": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"],
    "deflate": ["12.*", "13.*"],
}
SECTIONS = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing handshake",
    "9": "limits and performance",
    "10": "automatic fragmentation",
    "12": "compression, different payloads",
    "13": "compression, different parameters",
}
NO_WSTEST = """\
{path}: there is no such program, so nothing was run.
wstest is a program of Python 2.7: make it with
    python2.7 -m pip install 'virtualenv<20.22' && python2.7 -m virtualenv .venv-autobahn
    .venv-autobahn/bin/pip install autobahntestsuite
and name it by --wstest .venv-autobahn/bin/wstest, or by WSTEST in the environment."""


class NoRun(Exception):
    """There is no verdict: `wstest` is not there, or did not report."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the suite says of one case: how messages went, and how the connection closed."""

    case: str
    behavior: str
    close: str
    milliseconds: int

    @property
    def good(self) -> bool:
        """Whether it passed strictly, or judges nothing."""
        return self.behavior in GOOD and self.close in GOOD

    @property
    def section(self) -> str:
        """Number of its section."""
        return self.case.split(".")[0]


def find_wstest(name: str) -> str:
    """The program's path; raises NoRun where there is none."""
    found = shutil.which(name)
    if found is None:
        raise NoRun(NO_WSTEST.format(path=name))
    return found


def verdicts(report: Path, agent: str) -> list[Verdict]:
    """Read the `index.json` of a report; raises NoRun if it says nothing of the agent."""
    try:
        cases = json.loads(report.read_bytes())[agent]
    except (OSError, KeyError, ValueError) as error:
        raise NoRun(f"wstest left no report of {agent}: {error!r}") from error
    found = [
        Verdict(case, said["behavior"], said["behaviorClose"], said["duration"])
        for case, said in cases.items()
    ]
    if not found:
        raise NoRun(f"wstest ran no case of {agent}")
    return sorted(found, key=lambda one: [int(part) for part in one.case.split(".")])


def table(found: Sequence[Verdict]) -> Iterator[str]:
    """A line of Markdown for each section, and one for all."""
    yield "| Cases | What | Run | " + " | ".join(OUTCOMES) + " | Other close |"
    yield "|---|---|" + "---:|" * (len(OUTCOMES) + 2)
    for section in dict.fromkeys(one.section for one in found):
        rows = [one for one in found if one.section == section]
        yield f"| {section} | {SECTIONS[section]} | {_counts(rows)} |"
    yield f"| all | | {_counts(found)} |"


def _counts(rows: Sequence[Verdict]) -> str:
    outcomes = Counter(one.behavior for one in rows)
    closed_otherwise = sum(one.close not in GOOD for one in rows)
    numbers = [len(rows), *(outcomes[name] for name in OUTCOMES), closed_otherwise]
    return " | ".join(str(number) for number in numbers)


def failures(found: Sequence[Verdict]) -> list[str]:
    """A line for each case that did not pass strictly."""
    return [f"{one.case}: {one.behavior}, close {one.close}" for one in found if not one.good]


async def fuzz(wstest: str, port: int, path: str, cases: Sequence[str], out: Path) -> list[Verdict]:
    """One run of `wstest` against one path of the server.

    Args:
        wstest: the program.
        port: of the server on loopback.
        path: `plain` or `deflate`; it also names the agent in the report.
        cases: patterns of case numbers.
        out: folder for its specification, its report and its output.

    Raises:
        NoRun: it failed, or left no report.
    """
    folder = out / path
    folder.mkdir(parents=True, exist_ok=True)
    server = {"agent": path, "url": f"ws://127.0.0.1:{port}/{path}"}
    spec = {
        "outdir": str(folder / "report"),
        "servers": [server],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(spec, indent=2), "utf-8")
    with (folder / "wstest.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            wstest, "-m", "fuzzingclient", "-s", "spec.json", cwd=folder, stdout=log, stderr=log
        )
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
    if status:
        raise NoRun(f"wstest failed with status {status}: see {folder / 'wstest.log'}")
    return verdicts(folder / "report" / "index.json", path)


async def run_all(wstest: str, cases: dict[str, list[str]], out: Path) -> list[Verdict]:
    """Serve, and run all cases, one path after the other."""
    found: list[Verdict] = []
    async with echo_app().running() as server:
        for path, patterns in cases.items():
            if patterns:
                found += await fuzz(wstest, server.port, path, patterns, out)
    return found


def split_cases(patterns: Sequence[str]) -> dict[str, list[str]]:
    """Which patterns are for which path: 12 and 13 need compression."""
    needs = [one.split(".")[0] in ("12", "13") for one in patterns]
    return {
        "plain": [one for one, deflate in zip(patterns, needs, strict=True) if not deflate],
        "deflate": [one for one, deflate in zip(patterns, needs, strict=True) if deflate],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wstest", default=os.environ.get("WSTEST", "wstest"))
    parser.add_argument("--loop", choices=LOOPS, default="uvloop", help="of the server (uvloop)")
    parser.add_argument("--out", type=Path, help="folder for the reports (default: a new one)")
    parser.add_argument("--cases", nargs="+", metavar="PATTERN", help="only these, as 6.* or 1.1.1")
    asked = parser.parse_args(arguments)
    cases = split_cases(asked.cases) if asked.cases else CASES
    try:
        wstest = find_wstest(asked.wstest)
        out = (asked.out or Path(tempfile.mkdtemp(prefix="autobahn-"))).resolve()
        began = time.monotonic()
        with asyncio.Runner(loop_factory=LOOPS[asked.loop]) as runner:
            found = runner.run(run_all(str(Path(wstest).absolute()), cases, out))
    except NoRun as error:
        print(error, file=sys.stderr)
        return 2
    packages = [f"{name} {version(name)}" for name in ("wsproto", "h11")]
    packages.append(
        f"uvloop {version('uvloop')}" if asked.loop == "uvloop" else "asyncio's own loop"
    )
    seconds = time.monotonic() - began
    print(f"CPython {platform.python_version()}, {', '.join(packages)}; {seconds:.0f} s")
    print("\n".join(table(found)))
    bad = failures(found)
    print("\n".join(["", "Not passed strictly:", *bad] if bad else ["", "All passed strictly."]))
    print(f"Reports: {out}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
