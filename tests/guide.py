"""A reader of the guide: types what a page says, runs it, and sees what the page says it sees.

What a page of `docs/` holds, for this reader:

- A block of Python, YAML or HTML that begins with the name of a file in a comment is that file.
- Other blocks of Python are run in order with one namespace, as the body of a process or of a
  coroutine, so that `await` stands where a reader would write it. What a block prints must be what
  its comments `# → …` say, in order.
- A block `console` is commands (`$ …`) with what they show. A line of a server or a command is
  part of one line of its output; `> ` is sent by a client, `< ` received.
- A comment `<!-- edit FILE: OLD → NEW -->` is a change that the text asks for.
"""

import ast
import asyncio
import builtins
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from commands import PATIENCE, Command, environment
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from wsrelay import App, process
from wsrelay_core import scheduler_var

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
ADDRESS = "127.0.0.1:8080"  # of every server in the guide

_PART = re.compile(
    r"```(\w+)\n(.*?)^```$|<!-- edit (\S+): (.*?) → (.*?) -->", re.DOTALL | re.MULTILINE
)
_FILE = re.compile(r"(?:# |<!-- )(\S+\.(?:py|yaml|html))(?: -->)?\n")


@dataclass(frozen=True)
class Block:
    """Something on a page that a reader acts on.

    Attributes:
        line: of the page.
        language: of the block; `edit` for a change, whose text is the old and the new one.
        file: that it is, or changes.
        joins: whether nothing stands between it and the one before.
    """

    line: int
    language: str
    text: str
    file: str | None = None
    joins: bool = False


def blocks(page: Path) -> list[Block]:
    """What a reader of a page acts on, in order."""
    text = page.read_text("utf-8")
    found_here = []
    end = 0
    for found in _PART.finditer(text):
        joins = end > 0 and not text[end : found.start()].strip()
        found_here.append(_block(found, text.count("\n", 0, found.start()) + 1, joins))
        end = found.end()
    return found_here


def together(parts: Iterable[Block]) -> Iterator[list[Block]]:
    """Blocks of one language with nothing between them, which are one to the reader."""
    group: list[Block] = []
    for part in parts:
        if group and not (part.joins and part.language == group[-1].language):
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _block(found: re.Match[str], line: int, joins: bool) -> Block:
    language, text, edited, old, new = found.groups()
    if edited is not None:
        return Block(line, "edit", f"{old}\n{new}", edited, joins)
    named = _FILE.match(text)
    return Block(line, language, text, named[1] if named else None, joins)


# -- Python in the page ----------------------------------------------------------------------------


def _code(block: Block, page: Path) -> CodeType:
    text = "\n" * block.line + block.text
    return compile(text, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


async def run_python(block: Block, page: Path, names: dict[str, Any]) -> None:
    """Run a block, and look at what it prints; where an App runs, as the body of a process."""
    printed: list[str] = []
    names["print"] = lambda *values: printed.append(" ".join(map(str, values)))

    async def body() -> None:
        result = FunctionType(_code(block, page), names)()
        if result is not None:
            await result

    try:
        if scheduler_var.get(None) is None:
            await body()
        else:
            await process.exec(body, timeout=PATIENCE)
    except BaseException as error:
        error.add_note(f"{page.name}, block of line {block.line}")
        raise
    names["print"] = builtins.print
    assert printed == re.findall(r"# → (.*)", block.text), f"{page.name}, line {block.line}"


# -- consoles --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A command, and the lines that a page shows below it."""

    command: str
    lines: tuple[str, ...]

    @property
    def url(self) -> str | None:
        """What it connects to, if it is a client."""
        words = shlex.split(self.command)
        return words[3] if words[:3] == ["python", "-m", "websockets"] else None


def commands_of(block: Block) -> Iterator[Shown]:
    """The commands of a console."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        yield Shown(command, tuple(lines))


async def talk(shown: Shown, client: ClientConnection) -> None:
    """What a page shows of a client."""
    for line in shown.lines:
        if line.startswith("> "):
            await client.send(line[2:])
        elif line.startswith("< "):
            assert await client.recv() == line[2:]
        elif line.startswith("Connected to "):
            assert line == f"Connected to {shown.url}."
        else:
            told = re.fullmatch(r"Connection closed: (\d+) \([\w ]+\)(?: (.*))?\.", line)
            assert told is not None, line
            try:
                raise AssertionError(f"it is not closed, but says {await client.recv()!r}")
            except ConnectionClosed as closed:
                assert closed.rcvd is not None
                assert (closed.rcvd.code, closed.rcvd.reason) == (int(told[1]), told[2] or "")


async def talk_all(clients: list[Shown], port: int) -> None:
    """Clients of one moment: all connect in order, then each does what the page shows."""
    opened: list[ClientConnection] = []
    try:
        for shown in clients:
            assert shown.url is not None
            opened.append(await connect(shown.url.replace(ADDRESS, f"127.0.0.1:{port}")))
        async with asyncio.TaskGroup() as group:
            for shown, client in zip(clients, opened, strict=True):
                group.create_task(talk(shown, client))
    finally:
        for client in opened:
            await client.close()


class Reader:
    """Follows a page in a folder of its own; every server listens on a free port.

    Args:
        folder: where the files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Command | None = None
        self.commands = 0

    @property
    def port(self) -> int:
        """Of the server that runs."""
        assert self._server is not None
        return self._server.port

    def follow(self, parts: list[Block]) -> None:
        """Do what the blocks say; clients in neighbouring consoles are there together."""
        for group in together(parts):
            if group[0].language == "console":
                self._use(group)
            else:
                for part in group:
                    self._write(part)

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.__exit__()
        self._server = None

    def _write(self, part: Block) -> None:
        if part.file is None:
            return
        path = self._folder / part.file
        path.parent.mkdir(exist_ok=True)
        text = part.text
        if part.language == "edit":
            old, new = part.text.split("\n")
            text = path.read_text("utf-8")
            assert old in text
            text = text.replace(old, new)
        path.write_text(text, "utf-8")

    def _use(self, consoles: list[Block]) -> None:
        for are_clients, group in groupby(
            (shown for console in consoles for shown in commands_of(console)),
            lambda shown: shown.url is not None,
        ):
            here = list(group)
            self.commands += len(here)
            if not are_clients:
                for shown in here:
                    self._type(shown)
                continue
            try:
                asyncio.run(talk_all(here, self.port))
            except BaseException as error:
                error.add_note("\n".join([*map(str, here), *self._log()]))
                raise

    def _log(self) -> list[str]:
        assert self._server is not None
        self._server.signal(signal.SIGTERM)
        self._server.status()
        return self._server.lines

    def _type(self, shown: Shown) -> None:
        words = shlex.split(shown.command)
        if words == ["python", "chat.py"]:
            path = self._folder / "chat.py"
            free = path.with_name("on_a_free_port.py")
            free.write_text(path.read_text("utf-8").replace(ADDRESS, "127.0.0.1:0"), "utf-8")
            self._serve(shown, "on_a_free_port.py")
        elif words[:2] == ["wsrelay", "run"]:
            self._serve(shown, "-m", "wsrelay", *words[1:], "--port", "0")
        else:
            self._finish(shown, words)

    def _serve(self, shown: Shown, *args: str) -> None:
        self.close()
        self._server = Command(*args, cwd=self._folder, PYTHONDONTWRITEBYTECODE="1").listening()
        for line in shown.lines:
            part = line.removesuffix(f":{ADDRESS.rpartition(':')[2]}")
            assert any(part in said for said in self._server.lines), (part, self._server.lines)

    def _finish(self, shown: Shown, words: list[str]) -> None:
        done = subprocess.run(
            [sys.executable, *(words[1:] if words[0] == "python" else ["-m", *words])],
            cwd=self._folder,
            env=environment(PYTHONDONTWRITEBYTECODE="1", PYTHONPATH=_paths()),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        said = done.stdout.splitlines()
        for line in shown.lines:
            assert any(line in one for one in said), (line, said)


def _paths() -> str:
    return os.pathsep.join(["", environment()["PYTHONPATH"]])


# -- an app in the page ----------------------------------------------------------------------------


async def follow_here(page: Path) -> int:
    """Run the Python of a page; clients in its consoles connect to the `app` of that moment.

    Returns:
        How many blocks were acted on.
    """
    names: dict[str, Any] = {"__name__": page.stem}
    done = 0
    for group in together(blocks(page)):
        language = group[0].language
        if language == "python":
            for part in group:
                await run_python(part, page, names)
        elif language == "console":
            shown = [one for part in group for one in commands_of(part)]
            async with names["app"].running() as server:
                await talk_all(shown, server.port)
        else:
            continue
        done += len(group)
    return done


async def follow_in_process(page: Path) -> int:
    """The same, each block being the body of a process."""
    async with App():
        return await follow_here(page)
