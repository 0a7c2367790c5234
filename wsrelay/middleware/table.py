"""Middleware by name, and the chains of a router."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsrelay._text import did_you_mean, quoted
from wsrelay.middleware.options import Option, OptionError
from wsrelay.relay import OPTIONS, PREFIXES, Relay
from wsrelay.spawned import SpawnScope

__all__ = ["MIDDLEWARE", "ChainError", "build_chain"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A middleware that can be named: how it is made, and which options are its own."""

    make: Callable[[Mapping[str, str]], Any]
    options: tuple[Option, ...]
    prefixes: tuple[str, ...]


MIDDLEWARE = {"websocket_relay": Kind(Relay, OPTIONS, PREFIXES)}


class ChainError(ValueError):
    """Everything that is wrong with the middleware of one router.

    Attributes:
        problems: pairs of a path into the router's entry and what is wrong there.
    """

    def __init__(self, problems: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = problems


def build_chain(
    middleware: Sequence[Any],
    options: Mapping[str, str] | None,
    post_middleware: Sequence[Any],
    post_options: Mapping[str, str] | None,
) -> tuple[list[Any], list[Any]]:
    """The middleware objects of a router: those around everything, and those behind the match.

    Raises:
        ChainError: unknown names, unknown or unreadable options.
    """
    problems: list[tuple[tuple[str | int, ...], str]] = []
    outer = _build("middleware", middleware, "options", options or {}, problems)
    inner = _build("post_middleware", post_middleware, "post_options", post_options or {}, problems)
    if problems:
        raise ChainError(problems)
    if any(isinstance(one, Relay) for one in (*outer, *inner)):
        outer.insert(0, SpawnScope())
    return outer, inner


def _build(
    key: str,
    names: Sequence[Any],
    options_key: str,
    options: Mapping[str, str],
    problems: list[tuple[tuple[str | int, ...], str]],
) -> list[Any]:
    built = []
    for at, name in enumerate(names):
        if not isinstance(name, str):
            built.append(name)
            continue
        kind = MIDDLEWARE.get(name)
        if kind is None:
            hint = did_you_mean(name, MIDDLEWARE)
            problems.append(((key, at), f"unknown middleware {quoted(name)}{hint}"))
            continue
        try:
            built.append(kind.make(options))
        except OptionError as error:
            problems.extend(((options_key, option), text) for option, text in error.problems)
    known = [MIDDLEWARE[name] for name in names if isinstance(name, str) and name in MIDDLEWARE]
    problems.extend(((options_key, option), text) for option, text in _unclaimed(options, known))
    return built


def _unclaimed(options: Mapping[str, str], kinds: Iterable[Kind]) -> list[tuple[str, str]]:
    """Options that none of the chain's middleware knows."""
    kinds = list(kinds)
    names = {option.name for kind in kinds for option in kind.options}
    prefixes = tuple(prefix for kind in kinds for prefix in kind.prefixes)
    return [
        (key, f"unknown option {quoted(key)}{did_you_mean(key, names)}")
        for key in options
        if key not in names and not key.startswith(prefixes)
    ]
