"""What `import wsrelay` leaves out, and that an App has all of it before it listens."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import wsrelay
import wsrelay.config
import wsrelay.http
from wsrelay._late import late

APP = Path(__file__).with_name("imports_app.py")
SERVING = {
    "h11",
    "wsproto",
    "email.utils",
    "wsrelay.config.entries",
    "wsrelay.http.head",
    "wsrelay.http.protocol",
    "wsrelay.http.static",
    "wsrelay.middleware.table",
    "wsrelay.relay",
    "wsrelay.server",
}
OTHERS = {"yaml", "click", "uvloop", "wsrelay.build", "wsrelay.config.yaml", "wsrelay.config.load"}
# asyncio imports its pool with the first thread, which a file of `app.static` needs.
OF_THREADS = {"concurrent.futures.thread", "queue", "_queue"}


def run(*arguments: str) -> list[str]:
    """Lines of what a fresh interpreter prints."""
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def modules_of_app(*arguments: str) -> tuple[list[str], dict[str, set[str]]]:
    *answers, modules = run(str(APP), *arguments)
    return answers, {when: set(loaded) for when, loaded in json.loads(modules).items()}


def test_what_an_import_leaves_out():
    (loaded,) = run("-c", "import sys, wsrelay; print(*sys.modules)")
    assert "wsrelay.app" in loaded.split()
    assert not (SERVING | OTHERS) & set(loaded.split())


def test_an_app_brings_what_serves():
    _, modules = modules_of_app()
    assert not SERVING & modules["imported"]
    assert modules["made"] >= SERVING
    assert modules["listening"] == modules["served"]


def test_nothing_is_imported_while_an_app_serves(tmp_path):
    """An import opens a file, for which a server may have no descriptor left."""
    (tmp_path / "a.txt").write_text("abc")
    answers, modules = modules_of_app(str(tmp_path))
    statuses = [line.split()[1] for line in answers[:-1]]
    assert statuses == ["200", "200", "500", "200", "206", "200", "400", "101"]
    assert answers[-1] == "compressed"
    assert modules["served"] - modules["listening"] <= OF_THREADS


@pytest.mark.parametrize("package", [wsrelay, wsrelay.config, wsrelay.http])
def test_a_package_has_all_its_names(package):
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is vars(package)[name]


def test_names_that_come_late():
    get, names = late("wsrelay.http", static=("StaticFiles",))
    assert get("StaticFiles") is wsrelay.http.StaticFiles
    assert {"StaticFiles", "Router"} <= set(names())
    with pytest.raises(AttributeError, match=r"module 'wsrelay.http' has no attribute 'Static'"):
        get("Static")
    with pytest.raises(ImportError, match="cannot import name 'Apple'"):
        from wsrelay import Apple  # noqa: F401
