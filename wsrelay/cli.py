"""The command line: `wsrelay run`, `check`, `routes`, `schema`, `demo` and `bench`.

Exit status: 0 all is well, 1 it could not listen, a service did not start or `bench` has measured
nothing, 2 a mistake in the call or in the file.
"""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from wsrelay import App, ConfigError, StartFailed, __version__
from wsrelay._text import listed
from wsrelay.benchmark.command import bench
from wsrelay.config import Config, Problem, read_file
from wsrelay.listing import RouteLine, ServiceLine, route_lines, service_lines
from wsrelay.log import printable
from wsrelay.log_format import FORMATS, configure
from wsrelay.schema import file_schema
from wsrelay.tuning import GC_THRESHOLD, tune

__all__ = ["main"]

F = TypeVar("F", bound=Callable[..., Any])

LEVELS = ("debug", "info", "warning", "error")
MENDS = {
    errno.EADDRINUSE: "stop the program that has it, or take another port (--port)",
    errno.EACCES: "ports below 1024 are for root; take a higher one (--port)",
    errno.EADDRNOTAVAIL: "this machine has no such address; take another one (--host)",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="wsrelay", message="%(prog)s %(version)s")
def main() -> None:
    """WebSocket connections as processes.

    \b
    wsrelay demo               a chat, to try it out
    wsrelay check app.yaml     is the file right?
    wsrelay routes app.yaml    what does it serve?
    wsrelay run app.yaml       serve it
    wsrelay schema             the JSON Schema of such a file, for editors
    wsrelay bench ws://…       load for any WebSocket server
    """


main.add_command(bench)


def _listening(command: F) -> F:
    """The options of every command that listens."""
    for option in (
        click.option(
            "--access-log/--no-access-log",
            default=True,
            help="Whether each HTTP request is logged (level info).  [default: yes]",
        ),
        click.option(
            "--gc-threshold",
            type=click.IntRange(0, 2**31 - 1),
            help="New objects until garbage is collected (gc.set_threshold); 0: never.  "
            f"[default: {GC_THRESHOLD}, unless the app has set one]",
        ),
        click.option(
            "--log-format",
            type=click.Choice(list(FORMATS)),
            default="text",
            show_default=True,
            help="Form of the log: for people, or one JSON object in each line.",
        ),
        click.option(
            "--log-level",
            type=click.Choice(LEVELS, case_sensitive=False),
            default="info",
            show_default=True,
            help="Least weight of a line in the log, which goes to stderr.",
        ),
        click.option(
            "--port", type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one."
        ),
        click.option("--host", help="Host name or IP address to listen on."),
    ):
        command = option(command)
    return command


def _as_text_or_json(command: F) -> F:
    """The option of every command that tells something."""
    option = click.option(
        "--format",
        "form",
        type=click.Choice(("text", "json")),
        default="text",
        show_default=True,
        help="For people, or for programs.",
    )
    return option(command)


@main.command()
@click.argument("file", type=click.Path())
@_listening
def run(file: str, host: str | None, port: int | None, **log: Any) -> None:
    """Serve the app that FILE describes.

    \b
    SIGTERM, Ctrl-C   stop in order: clients are told 1001 (a second one: at once)
    SIGUSR2           the same, and clients are told 1012: service restart
    SIGHUP            with tls: new handshakes use the files as they are now

    \b
    Examples:
      wsrelay run app.yaml
      wsrelay run app.yaml --host 0.0.0.0 --port 80
      wsrelay run app.yaml --log-format json 2> log.jsonl
      LOG=x wsrelay run app.yaml         ${env:LOG} in the file is "x"
    """
    _serve(_load(file)[1], host, port, **log)


@main.command()
@_listening
def demo(host: str | None, port: int | None, **log: Any) -> None:
    """Serve a chat with rooms, at http://127.0.0.1:8080.

    Open it in two windows. Its source is in the folder wsrelay/demo, and is there to be copied.

    \b
    Examples:
      wsrelay demo
      wsrelay demo --port 0              any free port; the log names it
    """
    file = str(Path(__file__).with_name("demo") / "app.yaml")
    _serve(_load(file)[1], host, port, **log)


@main.command()
@click.argument("file", type=click.Path())
@_as_text_or_json
def check(file: str, form: str) -> None:
    """Tell everything that is wrong with FILE, and start nothing.

    It imports the functions that the file names. Exit status 0 if all is right, 2 if anything is
    wrong.

    \b
    --format json writes one JSON list to stdout, [] if all is right. Each problem is an object:
      file      as FILE was written; null for what has no place in a file
      line      from 1; null if the whole file is meant
      column    in characters, from 1; null with line
      severity  "error"; others may come
      entry     the entry, as in: http.router "ws_router"; null outside of entries
      message   what is wrong, and how to mend it

    \b
    Examples:
      wsrelay check app.yaml
      wsrelay check app.yaml --format json
      wsrelay check app.yaml && wsrelay run app.yaml
    """
    if form == "json":
        problems = _problems(file)
        _print_json([_as_object(problem) for problem in problems])
        raise SystemExit(2 if problems else 0)
    config, _ = _load(file)
    click.echo(f"{file}: ok ({_counts(config)})")


@main.command()
@click.argument("file", type=click.Path())
@_as_text_or_json
def routes(file: str, form: str) -> None:
    """Tell what FILE serves: its routes, folders and services.

    In the column MIDDLEWARE, what stands before the bar runs for every request under the prefix,
    what stands behind it after the match; the first is outermost.

    \b
    --format json writes one object to stdout:
      routes    a list of objects with kind, name, method, path, function, router, middleware,
                post_middleware, service and address
      services  a list of objects with kind, name, process, host, auto_start and requires

    \b
    Examples:
      wsrelay routes app.yaml
      wsrelay routes app.yaml --format json
    """
    config, _ = _load(file)
    lines, services = route_lines(config), service_lines(config)
    if form == "json":
        _print_json({"routes": list(map(asdict, lines)), "services": list(map(asdict, services))})
        return
    click.echo(_table(_ROUTE_HEAD, map(_route_cells, lines)) if lines else "no routes")
    if services:
        click.echo("\n" + _table(_SERVICE_HEAD, map(_service_cells, services)))


_ROUTE_HEAD = ("METHOD", "PATH", "FUNCTION", "ROUTER", "MIDDLEWARE", "SERVICE")
_SERVICE_HEAD = ("SERVICE", "PROCESS", "HOST", "AUTO START", "REQUIRES")


def _route_cells(line: RouteLine) -> tuple[str, ...]:
    before, after = ", ".join(line.middleware), ", ".join(line.post_middleware)
    chain = f"{before} | {after}".strip() if after else before
    service = f"{line.service} ({line.address})"
    return line.method, line.path, line.function, line.router or "-", chain or "-", service


def _service_cells(line: ServiceLine) -> tuple[str, ...]:
    starts = "yes" if line.auto_start else "no"
    return line.name, line.process, line.host or "-", starts, ", ".join(line.requires) or "-"


def _table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell."""
    rows = [head, *(tuple(map(printable, line)) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


@main.command()
def schema() -> None:
    """Write the JSON Schema of the file to stdout, for editors.

    It knows all kinds, fields, defaults, middleware and options; see docs/editor.md.

    \b
    Examples:
      wsrelay schema > wsrelay.schema.json
      # yaml-language-server: $schema=wsrelay.schema.json      (first line of app.yaml)
    """
    _print_json(file_schema())


def _load(file: str) -> tuple[Config, App]:
    """The app of a file; all that is wrong with it goes to stderr, and the command ends."""
    try:
        return _read(file)
    except ConfigError as error:
        count = len(error.problems)
        click.echo(str(error), err=True)
        click.echo(f"{count} problem{'s' * (count > 1)} in {file}; nothing was started", err=True)
        raise SystemExit(2) from None


def _problems(file: str) -> list[Problem]:
    try:
        _read(file)
    except ConfigError as error:
        return error.problems
    return []


def _read(file: str) -> tuple[Config, App]:
    config, problems = read_file(file)
    return config, App.from_config(config, problems)


def _as_object(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "severity": "error",
        "entry": problem.where or None,
        "message": problem.message,
    }


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def _counts(config: Config) -> str:
    counts = Counter(entry.kind for entry in config.entries)
    return listed(f"{count} {kind}" for kind, count in counts.items()) if counts else "no entries"


def _serve(
    app: App,
    host: str | None,
    port: int | None,
    *,
    log_level: str,
    log_format: str,
    access_log: bool,
    gc_threshold: int | None,
) -> None:
    configure(log_level, log_format, access_log)
    try:
        app.addresses(port=port, host=host)
    except ValueError as error:
        raise click.UsageError(f"--host or --port: {error}") from None
    tune(gc_threshold)
    try:
        app.run(port=port, host=host)
    except OSError as error:
        raise click.ClickException(_told(error, len(app.services) > 1)) from None
    except StartFailed as error:
        raise click.ClickException(str(error)) from None
    except ConfigError as error:  # files of TLS that were good a moment ago
        raise click.UsageError(str(error)) from None


def _told(error: OSError, several: bool = False) -> str:
    """Why it can't listen, and the mend; of several services the options can't be the mend."""
    number = error.errno or 0
    # The numbers of look-ups of hosts are negative.
    mend = MENDS.get(number) if number > 0 else "take another host (--host)"
    if mend and several:
        mend = mend.partition(" (")[0]
    return f"{error.strerror}; {mend}" if mend else str(error.strerror)
