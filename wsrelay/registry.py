"""Names of an App: functions and processes by id, import paths, and process hosts."""

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

from wsrelay._text import did_you_mean, quoted
from wsrelay.config import ImportPath, parse_import_path
from wsrelay.errors import UnknownEntry
from wsrelay_core import Host

__all__ = ["Registry", "checked_name", "import_object"]

# The namespace of a file whose own can't be read is empty: its entries are looked at all the same.
_NAME = re.compile(r"([A-Za-z0-9_.-]*:)?[A-Za-z0-9_.-]+")

Function = Callable[..., Any]


def checked_name(name: str) -> str:
    """The name of an entry, with or without its namespace; it is a part of PIDs.

    Raises:
        TypeError: it is no text.
        ValueError: it has other characters than a file allows.
    """
    if not isinstance(name, str):
        raise TypeError(f"a name is a text, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise ValueError(f'{quoted(name)} may only have letters, digits, "_", "-" and "."')
    return name


def import_object(path: ImportPath) -> Any:
    """The object at `package.module:attribute`.

    Raises:
        UnknownEntry: there is no such module or attribute. An error inside the module is raised
            as it is.
    """
    try:
        module = importlib.import_module(path.module)
    except ModuleNotFoundError as error:
        if error.name is None or not (path.module + ".").startswith(error.name + "."):
            raise
        hint = did_you_mean(error.name, _modules_beside(error.name))
        raise UnknownEntry(f"there is no module {quoted(error.name)} to import{hint}") from None
    found: Any = module
    for name in path.attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            hint = did_you_mean(name, [word for word in vars(module) if word[:1] != "_"])
            raise UnknownEntry(
                f"module {quoted(path.module)} has no {quoted(path.attribute)}{hint}"
            ) from None
    return found


def _modules_beside(name: str) -> list[str]:
    """The modules that a missing one may have been: of its package, or of the first folder."""
    package, dot, _ = name.rpartition(".")
    places = getattr(sys.modules.get(package), "__path__", []) if dot else sys.path[:1]
    return [package + dot + module.name for module in pkgutil.iter_modules(places)]


class Registry:
    """What an App knows by name.

    Args:
        namespace: put in front of bare names.

    Attributes:
        importer: finds the object of an import path that `spawn` was given.
        spawned: qualified name -> module and entry name, of functions that were spawned: kept by
            the core, forgotten here when another entry may be the right one.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._implicit_host = f"{namespace}:processes"
        self.importer: Callable[[ImportPath], Any] = import_object
        self.functions: dict[str, Function] = {}  # function.python, by id
        self.processes: dict[str, Function] = {}  # process.python, by id
        self.spawned: dict[str, tuple[str, str]] = {}
        self.hosts: dict[str, Host] = {}  # process.host and http.service, by id
        self._sources: dict[str, list[str]] = {}  # import path -> ids of process.python
        self._imported: dict[str, tuple[str, Function]] = {}
        self._declared_hosts: list[str] = []

    def id_of(self, name: str) -> str:
        """The id of a name: `namespace:name`, or the name if it has a namespace."""
        return name if ":" in name else f"{self.namespace}:{name}"

    # -- processes -------------------------------------------------------------------------------

    def add_process(self, name: str, function: Function, source: str | None = None) -> None:
        """Add a process function; raises ValueError for a name that is taken or is none."""
        entry = self.id_of(checked_name(name))
        if entry in self.processes:
            raise ValueError(f"there is already a process {quoted(entry)}")
        if not inspect.iscoroutinefunction(inspect.unwrap(function)):
            raise TypeError(f"process {quoted(entry)} needs an async function")
        self.processes[entry] = function
        self._sources.setdefault(source or source_of(function), []).append(entry)
        self.spawned.clear()

    def find_process(self, target: str | Function) -> tuple[str, Function]:
        """Entry name and function of what `spawn` was given.

        Raises:
            UnknownEntry: neither a registry id nor something to import.
            TypeError: neither a text nor a function.
        """
        if not isinstance(target, str):
            if inspect.iscoroutine(target):
                target.close()
                name = target.__name__
                raise TypeError(f"spawn calls the function itself: write {name}, not {name}(…)")
            if not callable(target):
                raise TypeError(
                    f"a process is an async function or its name, not {type(target).__name__}"
                )
            source = source_of(target)
            return self._entry_of_source(source), target
        found = self.processes.get(self.id_of(target))
        if found is not None:
            return self.id_of(target), found
        return self._import_process(target)

    def _import_process(self, target: str) -> tuple[str, Function]:
        cached = self._imported.get(target)
        if cached is not None:
            return cached
        try:
            path = parse_import_path(target)
        except ValueError:
            raise self._unknown(target, "no import path either") from None
        try:
            function = self.importer(path)
        except UnknownEntry as error:
            raise self._unknown(target, str(error)) from None
        if not callable(function):
            raise UnknownEntry(f"{quoted(target)} is no function")
        found = self._entry_of_source(target), function
        self._imported[target] = found
        return found

    def _entry_of_source(self, source: str) -> str:
        entries = self._sources.get(source, ())
        return entries[0] if len(entries) == 1 else source

    def _unknown(self, target: str, why: str) -> UnknownEntry:
        hint = did_you_mean(self.id_of(target), self.processes)
        return UnknownEntry(f"there is no process {quoted(target)} ({why}){hint}")

    # -- hosts -----------------------------------------------------------------------------------

    def add_host(self, name: str, max_processes: int = 0) -> Host:
        """Declare a `process.host`; raises ValueError for a name that is taken or is none."""
        entry = self.id_of(checked_name(name))
        if not isinstance(max_processes, int) or max_processes < 0:
            raise ValueError(f"max_processes is a whole number from 0 up, not {max_processes!r}")
        if entry in self._declared_hosts:
            raise ValueError(f"there is already a process host {quoted(entry)}")
        host = Host(entry, max_processes)
        self.hosts[entry] = host
        self._declared_hosts.append(entry)
        return host

    def find_host(self, name: str | None, spawner: Host | None) -> Host:
        """The host of a new process: the named one, the spawner's, the only one, the implicit one.

        Raises:
            UnknownEntry: no host of that name.
        """
        implicit = self._implicit_host
        if name is None:
            if spawner is not None:
                return spawner
            only = self._declared_hosts[0] if len(self._declared_hosts) == 1 else implicit
            return self.hosts.get(only) or self._host(only)
        entry = self.id_of(str(name))
        if entry != implicit and entry not in self._declared_hosts:
            known = [*self._declared_hosts, implicit]
            hint = did_you_mean(entry, known) or (
                "; arguments of the function come behind the host, which may be None, or by name"
            )
            raise UnknownEntry(f"there is no process host {quoted(entry)}{hint}")
        return self._host(entry)

    def server_host(self, entry: str) -> Host:
        """The host under which the connections of an HTTP server run."""
        return self.hosts.get(entry) or self._host(entry)

    def _host(self, entry: str) -> Host:
        host = self.hosts.get(entry)
        if host is None:
            host = self.hosts[entry] = Host(entry)
        return host


def source_of(function: Function) -> str:
    """`module:qualname` of a function, as an import path names it."""
    if type(function) is FunctionType and not function.__dict__:  # plain: nothing to look behind
        return f"{function.__module__}:{function.__qualname__}"
    inner = inspect.unwrap(function)
    inner = getattr(inner, "func", inner)  # functools.partial
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{getattr(inner, '__module__', '?')}:{name}"
