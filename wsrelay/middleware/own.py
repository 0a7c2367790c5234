"""Middleware that an application brings: an async function, or a factory that takes its options."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from wsrelay._text import quoted
from wsrelay.config import parse_import_path
from wsrelay.errors import UnknownEntry
from wsrelay.imports import ImportFailed
from wsrelay.middleware.functions import Load
from wsrelay.middleware.options import OptionError

__all__ = ["OwnError", "import_own", "is_factory", "make_own", "prefix_of"]


class OwnError(ValueError):
    """A middleware of the application can't be found or made; the text says why."""


def import_own(path: str, load: Load) -> Any:
    """The object at `module:attribute`; raises OwnError where there is none."""
    try:
        return load(parse_import_path(path))
    except (UnknownEntry, ImportFailed, ValueError) as error:
        raise OwnError(str(error)) from None


def is_factory(found: Any) -> bool:
    """Whether it makes a middleware: a class, or an ordinary function of one argument.

    What takes two arguments, a request and what comes next, is the middleware itself.
    """
    if inspect.isclass(found):
        return True
    if not inspect.isfunction(found) or inspect.iscoroutinefunction(found):
        return False
    try:
        inspect.signature(found).bind(None)
    except TypeError:
        return False
    return True


def prefix_of(found: Any) -> str | None:
    """What the keys of a factory's options begin with: its attribute `prefix`; None: it has none.

    Raises:
        OwnError: it is no text that ends in a dot.
    """
    prefix = getattr(found, "prefix", None) if is_factory(found) else None
    if prefix is not None and not (isinstance(prefix, str) and re.fullmatch(r"[^.]+\.", prefix)):
        raise OwnError(f'prefix is {prefix!r}; write a text that ends in a dot, such as "tenant."')
    return prefix


def make_own(found: Any, options: Mapping[str, str]) -> Callable[..., Any]:
    """The middleware: the object itself, or what a factory makes of its options.

    Args:
        found: the function or factory.
        options: all of the router; a factory is given those that begin with its `prefix`.

    Raises:
        OwnError: it is none; or the factory refused its options with a ValueError.
        OptionError: the factory refused some of them by name.
    """
    made = found
    if is_factory(found):
        prefix = prefix_of(found)
        mine = {key: text for key, text in options.items() if prefix and key.startswith(prefix)}
        try:
            made = found(mine)
        except OptionError:
            raise
        except ValueError as error:
            raise OwnError(str(error)) from None
    if not callable(made):
        kind = type(made).__name__
        raise OwnError(f"a middleware is an async function or makes one, not {quoted(kind)}")
    own: Callable[..., Any] = made
    return own
