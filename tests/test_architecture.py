"""The order of the rooms (imports go down only), and the sizes that keep files readable."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("wsrelay_core", "wsrelay")
SUFFIXES = (".py", ".pyx", ".pxd")

# From low to high. A module imports only what stands before it; a package's own name is its
# `__init__`, which stands behind what it brings together.
CORE = {
    "debug": "_live",
    "constants": "_flag _wire _slots _mask _prefetch _errors _context",
    "pid": "_pid",
    "mailbox": "_mailbox",
    "process": "_scheduler _process _hint _park _hand _inbox _mail _coroutine _send _spawn",
    "frame": "_gather _encode _wsproto _frame",
    "head": "_head",
    "connection": (
        "_deadlines _socket _outbox _gate _payload _ending _sending _receiving _connection"
    ),
}
THIN = {
    "errors": "_late _text errors log log_format",
    "config": (
        "config.problems config.durations config.locations config.environment config.nodes "
        "config.schema config.values config.fields config.references config.entries config.yaml "
        "config.load config"
    ),
    "process": "process_info process_options starting process",
    "http": (
        "http.logs http.limits http.authority http.addresses http.headers http.head http.body "
        "http.request http.response http.streaming http.chain http.routes http.static_types "
        "http.static_conditions http.static_files http.static http.router http.origin "
        "http.extensions http.handshake http.upgrade http.access http.exchange http.forwarded "
        "http.proxy_protocol http.server http.peer http.link http.writer http.protocol http"
    ),
    "names": "registry imports",
    "middleware, relay": (
        "middleware middleware.options middleware.functions middleware.own middleware.cors "
        "middleware.ratelimit middleware.compress middleware.real_ip middleware.token_auth "
        "middleware.require_actor relay_tally relay_command relay_connection spawned relay "
        "middleware.app_metrics middleware.metrics middleware.table schema reference listing"
    ),
    "app": (
        "backoff supervised supervisor tls unix_socket listener service server serving "
        "declarations build lifecycle app"
    ),
}
# What users see, and what stands on it as a user would.
ABOVE = (
    "demo demo.pages demo.chat benchmark benchmark.errors benchmark.target benchmark.client "
    "benchmark.histogram benchmark.works benchmark.report benchmark.command tuning cli __main__"
)

ORDER = [
    *(f"wsrelay_core.{name}" for names in CORE.values() for name in names.split()),
    "wsrelay_core",
    *(f"wsrelay.{name}" for names in THIN.values() for name in names.split()),
    "wsrelay",
    *(f"wsrelay.{name}" for name in ABOVE.split()),
]

# What a room does not know, though the order would let it.
UNKNOWN = {
    "wsrelay_core": ("wsrelay", "h11", "yaml", "logging", "click"),
    "wsrelay.config": ("wsrelay_core", "h11", "logging", "click"),
    "wsrelay.http": ("wsrelay.process", "wsrelay.config", "yaml", "click"),
    "wsrelay.relay": ("wsrelay.http.protocol", "wsrelay.http.server", "yaml", "click"),
    "wsrelay.middleware": ("wsrelay.http.protocol", "wsrelay.http.server", "yaml", "click"),
}

LONGEST_FUNCTION = 60
LONGEST_FILE = 600


@dataclass(frozen=True)
class Import:
    """`module` is what stands after `from` or `import`; `names`, what is taken out of it."""

    module: str
    names: tuple[str, ...]
    line: int


# -- reading ---------------------------------------------------------------------------------------


def sources() -> list[Path]:
    return sorted(
        path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.suffix in SUFFIXES
    )


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> list[Import]:
    text = path.read_text()
    if path.suffix != ".py":
        return list(cython_imports(text))
    package = module_of(path) if path.stem == "__init__" else module_of(path).rpartition(".")[0]
    return list(python_imports(ast.parse(text), package))


def python_imports(node: ast.AST, package: str) -> Iterator[Import]:
    """Also those inside functions; not those for the type checker only."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, (), node.lineno)
    elif isinstance(node, ast.ImportFrom):
        base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        yield Import(module, tuple(alias.name for alias in node.names), node.lineno)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.orelse:
            yield from python_imports(child, package)
        return
    for child in ast.iter_child_nodes(node):
        yield from python_imports(child, package)


CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import[ \t]+(?:\(([^)]*)\)|([^\n]*))"
    r"|c?import[ \t]+([^\n]*))",
    re.MULTILINE,
)


def cython_imports(text: str) -> Iterator[Import]:
    code = re.sub(r'"""[\s\S]*?"""', lambda found: "\n" * found[0].count("\n"), text)
    code = re.sub(r"#.*", "", code)
    for found in CYTHON_IMPORT.finditer(code):
        line = code.count("\n", 0, found.start()) + 1
        module, block, rest, plain = found.groups()
        if module is None:
            for name in plain.split(","):
                yield Import(name.split()[0], (), line)
        else:
            names = [name.split()[0] for name in (block or rest or "").split(",") if name.strip()]
            yield Import(module, tuple(names), line)


def modules_in(found: Import, importer: str) -> set[str]:
    """Our modules that an import runs: the named ones, and the package's `__init__` around them.

    That of the importer's own package is under way already, and so is `wsrelay/__init__.py`.
    """
    named = {f"{found.module}.{name}" for name in found.names} & set(ORDER)
    if not named or not found.names or set(found.names) - {one.rpartition(".")[2] for one in named}:
        named.add(found.module)
    named = {name for name in named if name.split(".")[0] in PACKAGES}
    around = {name.rpartition(".")[0] for name in named} - {"", "wsrelay"}
    return named | {name for name in around if not f"{importer}.".startswith(f"{name}.")}


def within(module: str, room: str) -> bool:
    """`wsrelay.relay` is also `wsrelay.relay_command`: the room is more than one file."""
    return module == room or (module.startswith((f"{room}.", f"{room}_")) and room != "wsrelay")


# -- the order -------------------------------------------------------------------------------------


def test_each_module_has_its_place():
    assert len(ORDER) == len(set(ORDER))
    assert set(ORDER) == {module_of(path) for path in sources()}, "place a new file in the order"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path):
    importer = module_of(path)
    place = ORDER.index(importer)
    wrong = [
        f"line {found.line}: {importer} imports {module}"
        for found in imports_of(path)
        for module in modules_in(found, importer) - {importer}
        if module not in ORDER[:place]
    ]
    assert not wrong


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_does_not_know(path):
    importer = module_of(path)
    for room, unknown in UNKNOWN.items():
        if not within(importer, room):
            continue
        for found in imports_of(path):
            taken = {found.module, *(f"{found.module}.{name}" for name in found.names)}
            for name in unknown:
                assert not any(f"{one}.".startswith(f"{name}.") for one in taken), (
                    f"line {found.line}: {importer} imports {name}"
                )


@pytest.mark.parametrize(
    "path",
    [*(ROOT / "wsrelay").rglob("*.py"), *(ROOT / "examples").rglob("*.py")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_nothing_private_of_h11_is_used(path):
    for found in imports_of(path):
        if found.module.split(".")[0] == "h11":
            assert "._" not in f"{found.module}.{'.'.join(found.names)}", f"line {found.line}"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[0] == "h11":
            assert not node.attr.startswith("_"), f"line {node.lineno}"


def test_how_imports_are_read(tmp_path):
    code = """
import os, wsrelay.app
from . import log
from .http import link as l
if TYPE_CHECKING:
    from up import A
else:
    import down
def f():
    from wsrelay.config import values, Config
"""
    found = list(python_imports(ast.parse(code), "wsrelay"))
    assert [(one.module, one.names) for one in found] == [
        ("os", ()),
        ("wsrelay.app", ()),
        ("wsrelay", ("log",)),
        ("wsrelay.http", ("link",)),
        ("down", ()),
        ("wsrelay.config", ("values", "Config")),
    ]
    assert modules_in(found[2], "wsrelay.app") == {"wsrelay.log"}
    assert modules_in(found[3], "wsrelay.http.server") == {"wsrelay.http.link"}
    assert modules_in(found[5], "wsrelay.app") == {"wsrelay.config", "wsrelay.config.values"}
    text = '"""\nimport no\n"""\nimport a, b\nfrom c.d cimport (  # why\n    E, f as g,\n)\n'
    text += "    from h import i\ncimport cython\ncdef important = 1\n# import no\n"
    assert [(one.module, one.names, one.line) for one in cython_imports(text)] == [
        ("a", (), 4),
        ("b", (), 4),
        ("c.d", ("E", "f"), 5),
        ("h", ("i",), 8),
        ("cython", (), 9),
    ]


# -- sizes -----------------------------------------------------------------------------------------

CYTHON_FUNCTION = re.compile(r"( *)(?:def|cp?def(?! (?:class|extern|enum|struct)\b)) .*\(")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """First line of each function, and its length."""
    text = path.read_text()
    lines = text.splitlines()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield lines[node.lineno - 1], node.end_lineno - node.lineno + 1
        return
    for start, line in enumerate(lines):
        found = CYTHON_FUNCTION.match(line)
        if found is None:
            continue
        end = start + 1
        for index in range(start + 1, len(lines)):
            rest = lines[index][len(found[1]) :]
            if lines[index].strip() and not rest.startswith((" ", ")")):
                break
            if lines[index].strip():
                end = index + 1
        yield line, end - start


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path):
    assert not [(head, size) for head, size in functions(path) if size > LONGEST_FUNCTION]
    assert path.read_text().count("\n") <= LONGEST_FILE


def test_how_functions_are_measured(tmp_path):
    path = tmp_path / "one.pyx"
    path.write_text(
        "cdef class A:\n"
        "    cdef int f(\n        self\n    ) except -1:\n        return 0\n\n"
        "    def g(self):\n\n        return 1\n\n\n"
        "x = 1\n"
    )
    assert list(functions(path)) == [("    cdef int f(", 4), ("    def g(self):", 3)]
