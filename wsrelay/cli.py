"""The command line: `wsrelay run`, `check` and `demo`.

Exit status: 0 all is well, 1 it could not listen, 2 a mistake in the call or in the file.
"""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from wsrelay import App, ConfigError, __version__
from wsrelay._text import listed
from wsrelay.config import Config, load_file

__all__ = ["main"]

F = TypeVar("F", bound=Callable[..., Any])

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
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
    wsrelay run app.yaml       serve it
    """


def _listening(command: F) -> F:
    """The options of every command that listens."""
    for option in (
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


@main.command()
@click.argument("file", type=click.Path())
@_listening
def run(file: str, host: str | None, port: int | None, log_level: str) -> None:
    """Serve the app that FILE describes.

    \b
    SIGTERM, Ctrl-C   stop in order: clients are told 1001 (a second one: at once)
    SIGUSR2           the same, and clients are told 1012: service restart
    SIGHUP            with tls: new handshakes use the files as they are now

    \b
    Examples:
      wsrelay run app.yaml
      wsrelay run app.yaml --host 0.0.0.0 --port 80
      LOG=x wsrelay run app.yaml         ${env:LOG} in the file is "x"
    """
    _serve(_load(file)[1], host, port, log_level)


@main.command()
@_listening
def demo(host: str | None, port: int | None, log_level: str) -> None:
    """Serve a chat with rooms, at http://127.0.0.1:8080.

    Open it in two windows. Its source is in the folder wsrelay/demo, and is there to be copied.

    \b
    Examples:
      wsrelay demo
      wsrelay demo --port 0              any free port; the log names it
    """
    file = str(Path(__file__).with_name("demo") / "app.yaml")
    _serve(_load(file)[1], host, port, log_level)


@main.command()
@click.argument("file", type=click.Path())
def check(file: str) -> None:
    """Tell everything that is wrong with FILE, and start nothing.

    It imports the functions that the file names. Exit status 2 if anything is wrong.

    \b
    Examples:
      wsrelay check app.yaml
      wsrelay check app.yaml && wsrelay run app.yaml
    """
    config, _ = _load(file)
    click.echo(f"{file}: ok ({_counts(config)})")


def _load(file: str) -> tuple[Config, App]:
    """The app of a file; all that is wrong with it goes to stderr, and the command ends."""
    try:
        config = load_file(file)
        return config, App.from_config(config)
    except ConfigError as error:
        count = len(error.problems)
        click.echo(str(error), err=True)
        click.echo(f"{count} problem{'s' * (count > 1)} in {file}; nothing was started", err=True)
        raise SystemExit(2) from None


def _counts(config: Config) -> str:
    counts = Counter(entry.kind for entry in config.entries)
    return listed(f"{count} {kind}" for kind, count in counts.items()) if counts else "no entries"


def _serve(app: App, host: str | None, port: int | None, log_level: str) -> None:
    logging.basicConfig(level=log_level.upper(), format=LOG_FORMAT)
    try:
        app.addresses(port=port, host=host)
    except ValueError as error:
        raise click.UsageError(f"--host or --port: {error}") from None
    try:
        app.run(port=port, host=host)
    except OSError as error:
        raise click.ClickException(_told(error, len(app.services) > 1)) from None
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
