"""Imports of an app that is a folder: what is in the folder comes first, wherever it stands."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from wsrelay._text import quoted
from wsrelay.config import ImportPath
from wsrelay.errors import UnknownEntry
from wsrelay.log import escape
from wsrelay.registry import import_object

__all__ = ["AppFolder", "ImportFailed", "load"]


class ImportFailed(Exception):
    """A module of the user raised on import; the text is one line: what, and where."""


def load(path: ImportPath, folder: AppFolder | None = None) -> Any:
    """The object at an import path.

    Args:
        path: what to import.
        folder: looked into before `sys.path`; None: there is none.

    Raises:
        UnknownEntry: there is no such module or attribute; the message suggests one.
        ImportFailed: the module is there, and raised.
    """
    try:
        return import_object(path) if folder is None else folder.load(path)
    except UnknownEntry:
        raise
    except (Exception, SystemExit) as error:
        raise ImportFailed(_told(path.module, error, folder)) from error


class AppFolder:
    """The folder of an app, first on `sys.path` while its modules are imported.

    Two apps may have modules of the same name: each gets its own. `sys.modules` then holds those
    of the app that imported last, and the others wait here until their app imports again.
    """

    _all: ClassVar[dict[Path, AppFolder]] = {}

    def __init__(self, path: Path) -> None:
        self.path = path
        self._aside: dict[str, ModuleType] = {}

    @classmethod
    def of(cls, path: Path) -> AppFolder:
        """The object of this folder; there is one, however often its app is loaded."""
        real = path.resolve()
        return cls._all.setdefault(real, cls(real))

    def load(self, path: ImportPath) -> Any:
        """The object at an import path; raises UnknownEntry, and whatever the module raises."""
        self._come_first()
        found = import_object(path)
        top = path.module.partition(".")[0]
        module = sys.modules[top]
        if top in self._modules() and self._owner(module) is not self:
            other = getattr(module, "__file__", None) or "Python itself"
            raise UnknownEntry(
                f"{quoted(top)} was already imported from {other}, and is not the one in this "
                "folder; give the one here another name"
            )
        return found

    def _come_first(self) -> None:
        folder = str(self.path)
        sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
        importlib.invalidate_caches()
        for other in self._all.values():
            if other is not self:
                other._step_aside(self._names())
        sys.modules.update(self._aside)
        self._aside.clear()

    def _step_aside(self, names: set[str]) -> None:
        """Take this app's modules whose top level is in `names` out of `sys.modules`."""
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in names and self._owner(module) is self:
                self._aside[name] = sys.modules.pop(name)

    def _modules(self) -> set[str]:
        return {module.name for module in pkgutil.iter_modules([str(self.path)])}

    def _names(self) -> set[str]:
        """What can be imported from here: modules, and folders, which need no `__init__.py`."""
        return self._modules() | {entry.name for entry in os.scandir(self.path) if entry.is_dir()}

    @classmethod
    def _owner(cls, module: ModuleType) -> AppFolder | None:
        """The innermost app folder that a module is from."""
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        place = next((Path(place) for place in places if place), None)
        if place is None:
            return None
        return next((cls._all[each] for each in place.parents if each in cls._all), None)


def _told(module: str, error: BaseException, folder: AppFolder | None) -> str:
    """What a module raised, with the last line of the user's code on the way there."""
    if isinstance(error, SyntaxError) and error.filename:
        where, what = (error.filename, error.lineno or 0), error.msg
    else:
        where, what = _last_line(error, folder), str(error)
    file, line = where
    if folder is not None and Path(file).is_relative_to(folder.path):
        file = str(Path(file).relative_to(folder.path))
    shown = escape(f"{type(error).__name__}: {what}" if what else type(error).__name__)
    return f"importing {quoted(module)} failed: {shown} ({file}, line {line})"


def _last_line(error: BaseException, folder: AppFolder | None) -> tuple[str, int]:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen importlib")
    ]
    own = [f for f in frames if folder and Path(f.filename).is_relative_to(folder.path)]
    last = (own or frames)[-1]
    return last.filename, last.lineno or 0
