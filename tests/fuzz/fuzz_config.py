"""Any bytes as a configuration file. Input: the file."""

import atexit
import tempfile
import time
from pathlib import Path

from wsrelay.config import Config, ConfigError, Problem, load_file, read_file

__all__ = ["target"]

ENVIRONMENT = {"NAME": "value", "PORT": "8080", "LONG": "x" * 300, "HALF": "\ud800", "EMPTY": ""}
LONGEST = 10.0  # seconds of the processor, for at most 1 MiB and under a sanitizer too
LONGEST_MESSAGE = 2000  # characters


def target(data: bytes) -> None:
    """Read a file: a configuration, or one ConfigError with the place of each problem."""
    name = _file()
    Path(name).write_bytes(data)
    began = time.process_time()
    config, problems = read_file(name, environment=ENVIRONMENT)
    for problem in problems:
        check_problem(problem, name, data)
    try:
        loaded = load_file(name, environment=ENVIRONMENT)
    except ConfigError as error:
        assert problems and [str(one) for one in error.problems] == sorted_texts(problems)
        assert str(error) == "\n".join(str(one) for one in error.problems)
    else:
        assert not problems
        check_entries(loaded)
        assert [entry.id for entry in loaded.entries] == [entry.id for entry in config.entries]
    assert time.process_time() - began < LONGEST


_files: list[str] = []


def _file() -> str:
    """One file for all inputs of this OS process, which is gone after it."""
    if not _files:
        folder = tempfile.TemporaryDirectory(prefix="wsrelay-fuzz-")
        atexit.register(folder.cleanup)
        _files.append(f"{folder.name}/app.yaml")
    return _files[0]


def sorted_texts(problems: list[Problem]) -> list[str]:
    """As a ConfigError sorts them."""
    return [str(one) for one in ConfigError(problems).problems]


def check_problem(problem: Problem, name: str, data: bytes) -> None:
    """It is one readable line, and its place is in the file."""
    assert problem.file == name
    text = f"{problem.where}: {problem.message}"
    assert problem.message and text.isprintable() and len(text) < LONGEST_MESSAGE, text
    if problem.line is None:
        assert problem.column is None and not problem.where
        return
    # YAML has line ends of its own (U+0085, U+2028), so the bytes only bound the place.
    assert problem.column is not None
    assert 1 <= problem.line <= len(data) + 1, problem
    assert 1 <= problem.column <= len(data) + 1, problem


def check_entries(config: Config) -> None:
    assert config.namespace and config.version == "1.0"
    assert len({entry.id for entry in config.entries}) == len(config.entries)
    for entry in config.entries:
        assert entry.id == f"{config.namespace}:{entry.name}"
        assert config.get(entry.id) is entry
        assert entry.place() and entry.where.isprintable()
