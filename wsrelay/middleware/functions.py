"""Options that name an object of the user's: `module:attribute`."""

import inspect
from collections.abc import Callable
from typing import Any

from wsrelay._text import quoted
from wsrelay.config import ImportPath
from wsrelay.errors import UnknownEntry
from wsrelay.imports import ImportFailed
from wsrelay.middleware.options import OptionError

__all__ = ["Load", "load_function", "load_object", "not_awaitable"]

Load = Callable[[ImportPath], Any]
"""Finds the object at an import path, as `wsrelay.imports.load` does."""


def load_object(option: str, path: ImportPath, load: Load) -> Any:
    """The object that an option names; raises OptionError where there is none."""
    try:
        return load(path)
    except (UnknownEntry, ImportFailed) as error:
        raise OptionError([(option, f"{option}: {error}")]) from None


def load_function(option: str, path: ImportPath, load: Load) -> Callable[..., Any]:
    """The function that an option names; raises OptionError where there is none."""
    found = load_object(option, path, load)
    if not callable(found):
        kind = type(found).__name__
        text = f"{option}: {quoted(str(path))} is no function, but of type {kind}"
        raise OptionError([(option, text)])
    function: Callable[..., Any] = found
    return function


def not_awaitable(function: Callable[..., Any], value: Any) -> Any:
    """What a synchronous function returned; raises TypeError for what would have to be awaited.

    A coroutine is no answer, and true whatever it would say.
    """
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError(f"{function!r} returned an awaitable: declare it `async def`")
    return value
