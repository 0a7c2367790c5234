"""Coverage-guided fuzzing: `python tests/fuzz/run.py TARGET|all --seconds N`.

It needs atheris (`pip install -e '.[fuzz]'`), and sees into the compiled core only where that was
built for it; docs/conformance.md has the commands. Inputs that reach something new are added to a
copy of the corpus (`--work`, by default build/fuzz), and one that fails is kept there as `crash-…`.
"""

import argparse
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE.parent), str(HERE)]

from fuzz_input import CORPUS, TARGETS  # noqa: E402 - this file is a command

MISSING = "atheris is not installed: pip install -e '.[fuzz]' (Linux)"
# The Python modules whose branches count; others would only cost time.
INSTRUMENTED = {
    "frames": ["wsrelay"],
    "relay_header": ["wsrelay.relay_command", "wsrelay.config.durations"],
    "pid": ["wsrelay"],
    "http": ["wsrelay.http", "wsrelay.relay", "wsrelay.relay_command", "wsrelay.relay_connection"],
    "config": ["wsrelay.config"],
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="do not fuzz, but take into tests/fuzz/corpus what reaches further lines",
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options, flags = parser.parse_known_args(arguments)
    if flags and not options.inside:
        parser.error(f"unknown: {' '.join(flags)}")
    if importlib.util.find_spec("atheris") is None:
        print(MISSING, file=sys.stderr)
        return 2
    if options.inside:
        fuzz(options.target, flags or flags_of(options))
        return 0
    names = TARGETS if options.target == "all" else [options.target]
    failed = [name for name in names if spawn(name, options) != 0]
    for name in failed:
        print(f"{name}: FAILED, see {options.work / name}")
    return 1 if failed else 0


def spawn(name: str, options: argparse.Namespace) -> int:
    """Fuzz one target in an OS process of its own, with the fuzzer's hooks there from its start."""
    folder = options.work / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    for file in (CORPUS / name).glob("*"):
        shutil.copy(file, folder / "corpus" / file.name)
    command = [sys.executable, __file__, name, "--inside", "--work", str(options.work)]
    command += ["--seconds", str(options.seconds), *["--keep"] * options.keep]
    return subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode


def flags_of(options: argparse.Namespace) -> list[str]:
    """The command line of libFuzzer, as https://llvm.org/docs/LibFuzzer.html#options has it."""
    name, folder = options.target, options.work / options.target
    flags = [f"-max_len={TARGETS[name]}", "-timeout=20", "-detect_leaks=0"]
    if not options.keep:
        flags += [f"-max_total_time={options.seconds}", f"-artifact_prefix={folder}/"]
        return [itself(name, folder), *flags, "-print_final_stats=1", f"{folder}/corpus"]
    merge = ["-set_cover_merge=1", "-use_counters=0", f"{CORPUS / name}", f"{folder}/corpus"]
    return [itself(name, folder), *flags, *merge]


def itself(name: str, folder: Path) -> str:
    """A program that libFuzzer can start as itself, as it does to merge."""
    program = folder / "again.sh"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} --inside "$0" "$@"\n')
    program.chmod(0o755)
    return str(program)


def environment() -> dict[str, str]:
    """A core that was built for the fuzzer wants its hooks, and AddressSanitizer, before it is
    loaded; Python's objects are then allocated where AddressSanitizer sees them."""
    core = next((ROOT / "wsrelay_core").glob("_frame.*.so"))
    if b"__sanitizer_cov" not in core.read_bytes():
        print("The core is not instrumented: only Python's branches count.", file=sys.stderr)
        return dict(os.environ)
    origin = importlib.util.find_spec("atheris").origin  # type: ignore[union-attr]
    assert origin is not None
    return {
        **os.environ,
        "LD_PRELOAD": str(Path(origin).parent.parent / "asan_with_fuzzer.so"),
        "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=64",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",
    }


def fuzz(name: str, command: Sequence[str]) -> None:
    """Run libFuzzer over a target; it ends this OS process."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED[name]):
        target = importlib.import_module(f"fuzz_{name}").target
    atheris.Setup(list(command), target, enable_python_coverage=True)
    atheris.Fuzz()


if __name__ == "__main__":
    raise SystemExit(main())
