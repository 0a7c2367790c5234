"""Every input that fuzzing kept, and mutations of them.

The runs that look for new ones are a command, `run.py`. What it found has a test where it was
mended as well.
"""

import importlib
import runpy
import sys
from collections.abc import Callable

import pytest
from fuzz_input import CORPUS, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

MOST_FILES, MOST_BYTES = 64, 100 * 1024
FILES = {name: sorted((CORPUS / name).iterdir()) for name in TARGETS}
EXAMPLES = {"frames": 200, "relay_header": 300, "pid": 300, "http": 60, "config": 80}

Target = Callable[[bytes], None]


def target_of(name: str) -> Target:
    target: Target = importlib.import_module(f"fuzz_{name}").target
    return target


@pytest.mark.parametrize("name", TARGETS)
def test_each_input_of_the_corpus(name: str) -> None:
    target = target_of(name)
    for file in FILES[name]:
        try:
            target(file.read_bytes())
        except BaseException as error:
            error.add_note(str(file))
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_small(name: str) -> None:
    sizes = [file.stat().st_size for file in FILES[name]]
    assert 0 < len(sizes) <= MOST_FILES
    assert sum(sizes) <= MOST_BYTES and max(sizes) <= TARGETS[name]


@st.composite
def mutated(draw: st.DrawFn, name: str) -> bytes:
    """An input of the corpus with a few changes, or with the end of another one."""
    inputs = st.sampled_from(FILES[name]).map(lambda file: file.read_bytes())
    data = draw(inputs)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "drop", "insert", "repeat", "join"])):
            case "change" if at < len(data):
                data = data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
            case "drop":
                data = data[:at] + data[at + draw(st.integers(1, 9)) :]
            case "insert":
                data = data[:at] + draw(st.binary(min_size=1, max_size=9)) + data[at:]
            case "repeat":
                data = data[:at] + data[max(0, at - draw(st.integers(1, 30))) :]
            case "join":
                data = data[:at] + draw(inputs)[at:]
    return data[: TARGETS[name]]


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_the_corpus(name: str) -> None:
    target = target_of(name)
    settings(max_examples=EXAMPLES[name])(given(mutated(name))(target))()


def test_without_atheris_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setitem(sys.modules, "atheris", None)
    command = runpy.run_path(str(CORPUS.with_name("run.py")))
    assert command["INSTRUMENTED"].keys() == TARGETS.keys()
    assert command["main"](["pid"]) == 2
    assert capsys.readouterr().err == (
        "atheris is not installed: pip install -e '.[fuzz]' (Linux)\n"
    )
