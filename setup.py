"""Build of the compiled core; everything else about the package is in pyproject.toml.

Environment:
    WSRELAY_DEBUG=1     checked indexing and None checks, and a count of the core's live objects
    WSRELAY_SANITIZE=1  AddressSanitizer and UndefinedBehaviorSanitizer
    WSRELAY_FUZZ=1      coverage for libFuzzer, which only clang can build (CC=clang)
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.sdist import sdist

DEBUG = os.environ.get("WSRELAY_DEBUG") == "1"
SANITIZE = os.environ.get("WSRELAY_SANITIZE") == "1"
FUZZ = os.environ.get("WSRELAY_FUZZ") == "1"

DIRECTIVES = {
    "language_level": 3,
    "binding": True,
    "embedsignature": False,
    "auto_pickle": False,
    "autotestdict": False,
    "boundscheck": DEBUG,
    "wraparound": False,
    "nonecheck": DEBUG,
    "cdivision": True,
    "initializedcheck": DEBUG,
    "freethreading_compatible": False,
}


def extensions() -> list[Extension]:
    """One extension module for each .pyx of the core, in the order of their imports."""
    flags = ["-O3"]
    link = []
    if DEBUG or SANITIZE or FUZZ:
        # Without freelists each object is allocated and freed where the count and the sanitizers
        # see it.
        flags = ["-O1", "-g", "-UNDEBUG", "-DCYTHON_USE_FREELISTS=0"]
    if SANITIZE:
        flags += ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
        link = ["-fsanitize=address,undefined"]
    if FUZZ:
        # The hooks stay undefined: the fuzzer that imports the core has them.
        flags += ["-fsanitize=fuzzer-no-link", "-fno-sanitize-coverage=stack-depth"]
    return [
        Extension(
            f"wsrelay_core.{path.stem}",
            [path.as_posix()],
            extra_compile_args=flags,
            extra_link_args=link,
        )
        for path in sorted(Path("wsrelay_core").glob("*.pyx"))
        if DEBUG or path.stem != "_live"  # which counts
    ]


# What the sdist has beside Python and stubs: who builds from it can also test and measure.
BESIDE = ("wsrelay_core", "tests", "bench", "docs", "examples", "CHANGELOG.md")
LEFTOVERS = {".pyc", ".so", ".o"}


class SourceDistribution(sdist):
    """The sdist, with all of `BESIDE` but hidden files, caches and what was compiled."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        beside = [
            path.as_posix()
            for top in map(Path, BESIDE)
            for path in ([top] if top.is_file() else sorted(top.rglob("*")))
            if path.is_file()
            and path.suffix not in LEFTOVERS
            and not any(part.startswith((".", "__pycache__")) for part in path.parts)
        ]
        super().make_release_tree(base_dir, list(dict.fromkeys([*files, *beside])))


setup(
    cmdclass={"sdist": SourceDistribution},
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",  # C files stay out of the tree and of the sdist
        compiler_directives=DIRECTIVES,
    ),
)
