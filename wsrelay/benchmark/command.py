"""The command `wsrelay bench`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from wsrelay.benchmark.works import Plan, Result

__all__ = ["bench"]

UNDER_WAY_MAX = 256 * 1024 * 1024  # bytes of all messages under way
MODES = ("echo", "fan-out", "idle")


@click.command()
@click.argument("url")
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="echo",
    show_default=True,
    help="What the connections do; see above.",
)
@click.option(
    "-c",
    "--connections",
    type=click.IntRange(1, 20_000),
    default=100,
    show_default=True,
    help="Connections, all open at the same time.",
)
@click.option(
    "-t",
    "--seconds",
    type=click.FloatRange(0.05, 600),
    default=10.0,
    show_default=True,
    help="Length of the measured part.",
)
@click.option(
    "--size",
    type=click.IntRange(1, 1024 * 1024),
    default=64,
    show_default=True,
    help="Bytes of a message.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Messages of each connection under way (echo).",
)
@click.option("--binary", is_flag=True, help="Binary messages instead of texts.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.05, 60),
    default=10.0,
    show_default=True,
    help="Seconds for a handshake, and for the last replies.",
)
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Further field of the handshake, such as Origin; may be repeated.",
)
@click.option(
    "--ca",
    metavar="FILE",
    help="Authority of the server's certificate (PEM); by default the system's list.",
)
@click.option("--remote", is_flag=True, help="The server may be on another machine.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object to stdout.")
def bench(url: str, headers: tuple[str, ...], mode: str, as_json: bool, **options: Any) -> None:
    """Put load on the WebSocket server at URL (ws:// or wss://), any server.

    \b
    echo      each connection sends, and must get back what it sent (several in flight: in order)
    fan-out   the first connection sends, and all others must get it, unchanged
    idle      nothing is sent; at the end each connection must answer a ping

    Every reply is compared byte for byte; the first wrong one, or a connection that fails, ends it
    with one line and status 1. A reply brings the next message (a closed loop), so the latencies
    are those under this load; compare servers by them, and promise them to nobody.

    A server that is not on this machine needs --remote: load only what is yours to load. The table
    needs rich: pip install 'wsrelay[bench]'. --json needs nothing; its times are microseconds.

    \b
    Examples:
      wsrelay bench ws://127.0.0.1:8080/ws/echo
      wsrelay bench ws://localhost:8080/ws/echo -c 1000 --in-flight 16 --json
      wsrelay bench ws://127.0.0.1:8080/ws/rooms/a --mode fan-out -H 'Origin: http://localhost'
      wsrelay bench wss://localhost:8443/ws --mode idle -c 5000 -t 60 --ca authority.pem
    """
    from wsrelay.benchmark.errors import BenchmarkError
    from wsrelay.benchmark.report import as_json as report_of
    from wsrelay.benchmark.report import need_rich, show
    from wsrelay.benchmark.target import parse_target
    from wsrelay.benchmark.works import Plan

    try:
        target = parse_target(url, headers)
    except BenchmarkError as error:
        raise click.UsageError(str(error)) from None
    plan = Plan(target, mode, patience=options["timeout"], **options)
    _check(plan)
    try:
        if not as_json:
            need_rich()
        result = _run(plan, as_json)
    except BenchmarkError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(report_of(result), indent=2))
    else:
        show(result)


def _check(plan: Plan) -> None:
    if plan.work == "fan-out" and plan.connections < 2:
        raise click.UsageError("--connections: fan-out needs a sender and a receiver at least")
    messages = plan.connections * (plan.in_flight if plan.work == "echo" else 1)
    if plan.work != "idle" and messages * plan.size > UNDER_WAY_MAX:
        raise click.UsageError(
            f"{messages} messages of {plan.size} bytes would be under way at a time, more than "
            f"{UNDER_WAY_MAX >> 20} MiB; take less of --connections, --in-flight or --size"
        )


def _run(plan: Plan, quiet: bool) -> Result:
    from wsrelay.benchmark.report import progress_bar
    from wsrelay.benchmark.works import run

    if quiet:
        return run(plan)
    with progress_bar(plan) as progress:
        return run(plan, progress)
