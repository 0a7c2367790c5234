"""Texts that the tests of this room load.

The folder `broken` holds configurations that must be refused, with every message they must give:

    === what is broken
    the text
    >>> a message
"""

from collections.abc import Iterable
from pathlib import Path

import pytest

from wsrelay.config import Config, ConfigError, load_text

Case = tuple[str, str, list[str]]


def text(*lines: str) -> str:
    """The lines as a text."""
    return "".join(line + "\n" for line in lines)


def app(*lines: str) -> str:
    """A configuration with the given lines under `entries`; they begin in line 4, column 3."""
    return text('version: "1.0"', "namespace: app", "entries:", *("  " + line for line in lines))


def load(source: str, **environment: str) -> Config:
    """Load with nothing in the environment but what is given."""
    return load_text(source, "app.yaml", environment=environment)


def problems(source: str, **environment: str) -> list[str]:
    """All messages that a broken text gives."""
    with pytest.raises(ConfigError) as raised:
        load(source, **environment)
    assert str(raised.value) == "\n".join(map(str, raised.value.problems))
    return [str(problem) for problem in raised.value.problems]


def broken(*files: str, extra: Iterable[Case] = ()) -> pytest.MarkDecorator:
    """Parametrise over the cases in files of the folder `broken`, and over more cases."""
    cases = [case for file in files for case in _cases(file)]
    assert cases
    return pytest.mark.parametrize(
        ("source", "messages"), [pytest.param(*case[1:], id=case[0]) for case in [*cases, *extra]]
    )


def _cases(file: str) -> list[Case]:
    content = Path(__file__).with_name("broken").joinpath(f"{file}.txt").read_text("utf-8")
    return [_case(block) for block in content.removeprefix("=== ").split("\n=== ")]


def _case(block: str) -> Case:
    name, *lines = block.rstrip("\n").split("\n")
    messages = [line.removeprefix(">>> ") for line in lines if line.startswith(">>> ")]
    return name, text(*lines[: len(lines) - len(messages)]), messages
