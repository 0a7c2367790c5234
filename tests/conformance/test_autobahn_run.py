"""The run of Autobahn|Testsuite: its server, its judgement, and what it says without `wstest`."""

import asyncio
import json
import stat
import sys
from pathlib import Path
from typing import Any

import autobahn_run
import pytest
from echo_app import PATHS, echo_app
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import PerMessageDeflate

# A stand-in that leaves the report that it is told to.
WSTEST = """#!{python}
import json, pathlib, sys
spec = json.loads(pathlib.Path(sys.argv[sys.argv.index("-s") + 1]).read_text())
(server,) = spec["servers"]
said = {{"behavior": "{behavior}", "behaviorClose": "{close}", "duration": 5}}
report = {{server["agent"]: {{case.replace("*", "1"): said for case in spec["cases"]}}}}
folder = pathlib.Path(spec["outdir"])
folder.mkdir()
(folder / "index.json").write_text(json.dumps(report))
sys.exit({status})
"""


def stand_in(path: Path, behavior: str = "OK", close: str = "OK", status: int = 0) -> list[str]:
    """The arguments for a run with a stand-in for wstest."""
    wstest = path / "wstest"
    script = WSTEST.format(python=sys.executable, behavior=behavior, close=close, status=status)
    wstest.write_text(script)
    wstest.chmod(wstest.stat().st_mode | stat.S_IXUSR)
    return ["--wstest", str(wstest), "--out", str(path / "out")]


@pytest.mark.parametrize("path", PATHS)
def test_the_server_echoes_with_the_compression_of_its_path(run_both, path: str) -> None:
    async def main() -> None:
        async with echo_app().running() as server:
            url = f"ws://127.0.0.1:{server.port}{path}"
            async with connect(url, max_size=None) as client:
                compressed = any(
                    isinstance(one, PerMessageDeflate) for one in client.protocol.extensions
                )
                assert compressed == (path == "/deflate")
                for message in ("", "text ✓", b"", bytes(range(256)), "x" * 2_000_000):
                    await client.send(message)
                    assert await client.recv() == message

    run_both(main())


def test_all_strict_is_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert autobahn_run.main(stand_in(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert "All passed strictly." in shown
    every = sum(map(len, autobahn_run.CASES.values()))
    assert f"| all | | {every} | {every} | 0 | 0 | 0 | 0 | 0 |" in shown


@pytest.mark.parametrize(
    ("behavior", "close"),
    [("NON-STRICT", "OK"), ("UNIMPLEMENTED", "OK"), ("FAILED", "OK"), ("OK", "UNCLEAN")],
)
def test_anything_less_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], behavior: str, close: str
) -> None:
    arguments = [*stand_in(tmp_path, behavior, close), "--cases", "3.*", "12.1.*"]
    assert autobahn_run.main(arguments) == 1
    shown = capsys.readouterr().out
    assert f"3.1: {behavior}, close {close}\n12.1.1: {behavior}, close {close}\n" in shown


def test_only_the_cases_that_are_asked_for_run_on_the_path_that_they_need(tmp_path: Path) -> None:
    assert autobahn_run.main([*stand_in(tmp_path), "--cases", "13.1.1"]) == 0
    specs = {spec.parent.name: spec for spec in (tmp_path / "out").glob("*/spec.json")}
    assert list(specs) == ["deflate"]
    spec = json.loads(specs["deflate"].read_text())
    assert spec["cases"] == ["13.1.1"] and spec["servers"][0]["url"].endswith("/deflate")


@pytest.mark.parametrize(
    ("arguments", "module", "told"),
    [
        ([], "uvloop", "uvloop 0."),
        (["--loop", "uvloop"], "uvloop", "uvloop 0."),
        (["--loop", "asyncio"], "asyncio.unix_events", "asyncio's own loop"),
    ],
)
def test_the_server_runs_on_the_loop_that_is_asked_for(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    module: str,
    told: str,
) -> None:
    fuzz, seen = autobahn_run.fuzz, []

    async def spied(*given: Any) -> list[autobahn_run.Verdict]:
        seen.append(type(asyncio.get_running_loop()).__module__)
        return await fuzz(*given)

    monkeypatch.setattr(autobahn_run, "fuzz", spied)
    assert autobahn_run.main([*stand_in(tmp_path), "--cases", "1.*", *arguments]) == 0
    assert seen == [module]
    assert told in capsys.readouterr().out.splitlines()[0]


def test_without_wstest_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert autobahn_run.main(["--wstest", "/nowhere/wstest"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("/nowhere/wstest: there is no such program, so nothing was run.")
    assert "pip install autobahntestsuite" in shown.err


def test_a_wstest_that_fails_is_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert autobahn_run.main(stand_in(tmp_path, status=3)) == 2
    assert "wstest failed with status 3" in capsys.readouterr().err


def test_a_report_without_cases_is_no_verdict(tmp_path: Path) -> None:
    report = tmp_path / "index.json"
    for text in ('{"plain": {}}', '{"other": {"1.1.1": {}}}', "no JSON"):
        report.write_text(text)
        with pytest.raises(autobahn_run.NoRun):
            autobahn_run.verdicts(report, "plain")
