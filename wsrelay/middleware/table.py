"""Middleware by name, and the chains of a router."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isclass
from types import MappingProxyType
from typing import Any

from wsrelay._text import did_you_mean, nearest, quoted
from wsrelay.http.router import Router
from wsrelay.imports import load
from wsrelay.middleware import (
    compress,
    cors,
    metrics,
    ratelimit,
    real_ip,
    require_actor,
    token_auth,
)
from wsrelay.middleware.options import Option, OptionError
from wsrelay.middleware.own import OwnError, import_own, make_own, prefix_of
from wsrelay.middleware.real_ip import RealIP
from wsrelay.relay import OPTIONS, PREFIXES, Relay
from wsrelay.spawned import SpawnScope

__all__ = ["MIDDLEWARE", "ChainError", "add_pages", "build_chain"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A middleware that can be named: how it is made, and which options are its own.

    Attributes:
        make: called with all options of the router, and what it wants of the App.
        options, prefixes: of its own.
        wants: keywords of `make`, see the argument `lent` of `build_chain`.
    """

    make: Callable[..., Any]
    options: tuple[Option, ...]
    prefixes: tuple[str, ...]
    wants: tuple[str, ...] = ()

    def claims(self, option: str) -> bool:
        """Whether an option is this middleware's, known to it or not."""
        return option.startswith(self.prefixes) or any(one.name == option for one in self.options)


MIDDLEWARE = {
    "websocket_relay": Kind(Relay, OPTIONS, PREFIXES),
    "cors": Kind(cors.Cors, cors.OPTIONS, cors.PREFIXES),
    "ratelimit": Kind(ratelimit.RateLimit, ratelimit.OPTIONS, ratelimit.PREFIXES),
    "compress": Kind(compress.Compress, compress.OPTIONS, compress.PREFIXES),
    "real_ip": Kind(RealIP, real_ip.OPTIONS, real_ip.PREFIXES),
    "token_auth": Kind(
        token_auth.TokenAuth, token_auth.OPTIONS, token_auth.PREFIXES, wants=("load",)
    ),
    "require_actor": Kind(
        require_actor.RequireActor, require_actor.OPTIONS, require_actor.PREFIXES, wants=("load",)
    ),
    "metrics": Kind(metrics.Metrics, metrics.OPTIONS, metrics.PREFIXES, wants=("load", "shared")),
}


class ChainError(ValueError):
    """Everything that is wrong with the middleware of one router.

    Attributes:
        problems: pairs of a path into the router's entry and what is wrong there.
    """

    def __init__(self, problems: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = problems


Problems = dict[tuple[str | int, ...], str]


def build_chain(
    middleware: Sequence[Any],
    options: Mapping[str, str] | None,
    post_middleware: Sequence[Any],
    post_options: Mapping[str, str] | None,
    lent: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[list[Any], list[Any]]:
    """The middleware objects of a router: those around everything, and those behind the match.

    Args:
        middleware, options, post_middleware, post_options: see `App.router`.
        lent: what the App lends to middleware that it makes by name. `load`: finds what an import
            path names, from the app's folder first; `shared`: what middleware of one App share.

    Raises:
        ChainError: unknown names, unknown or unreadable options.
    """
    outer = _Half("middleware", middleware, "options", options or {}, lent)
    inner = _Half("post_middleware", post_middleware, "post_options", post_options or {}, lent)
    outer.build(inner)
    inner.build(outer)
    problems = outer.problems | inner.problems
    if problems:
        raise ChainError(list(problems.items()))
    if any(isinstance(one, Relay) for one in (*outer.built, *inner.built)):
        outer.built.insert(0, SpawnScope())
    return outer.built, inner.built


def add_pages(router: Router) -> None:
    """Add the routes that its middleware brings to a router: what has a page of its own has a
    method `add_pages(router)`, which raises OptionError where there is no place for it.

    Raises:
        ChainError: as above.
    """
    problems: list[tuple[tuple[str | int, ...], str]] = []
    halves = {"options": router.middleware, "post_options": router.post_middleware}
    for key, layers in halves.items():
        for layer in layers:
            add = getattr(layer, "add_pages", None)
            try:
                if add is not None:
                    add(router)
            except OptionError as error:
                problems += [((key, option), text) for option, text in error.problems]
    if problems:
        raise ChainError(problems)


class _Half:
    """One of a router's two lists of middleware, with its options."""

    def __init__(
        self,
        key: str,
        layers: Sequence[Any],
        options_key: str,
        options: Mapping[str, str],
        lent: Mapping[str, Any],
    ) -> None:
        self.key = key
        self.options_key = options_key
        self.options = options
        self.lent = lent
        self.built: list[Any] = []
        self.problems: Problems = {}
        if isinstance(layers, str):  # a sequence, but of letters
            self.problems[key,] = f"{key} is a list, such as [{quoted(layers)}], not a text"
            layers = [layers]
        names = {kind.make: name for name, kind in MIDDLEWARE.items()}
        self.layers = [names.get(one, one) if isclass(one) else one for one in layers]
        # A misspelt name counts as the one that was meant: its options are checked, not disowned.
        meant = [_meant(name) for name in self.layers if isinstance(name, str)]
        self.kinds = {name: MIDDLEWARE[name] for name in meant if name is not None}
        self.prefixes: list[str] = []  # of what the application brings

    def build(self, other: "_Half") -> None:
        """Make the middleware; `other` is where options may belong that are not this list's."""
        for at, layer in enumerate(self.layers):
            if isinstance(layer, str) and ":" not in layer:
                self._make(at, layer)
            elif isinstance(layer, str) or callable(layer):
                self._take(at, layer)
            else:
                kind = type(layer).__name__
                text = f"a middleware is a name or an async function, not {kind}"
                self.problems[self.key, at] = text
        for option in self.options:
            if option.startswith(tuple(self.prefixes)):
                continue
            if not any(kind.claims(option) for kind in self.kinds.values()):
                self.problems[self.options_key, option] = self._unclaimed(option, other)

    def _make(self, at: int, name: str) -> None:
        meant = _meant(name)
        if meant != name:
            hint = f", did you mean {quoted(meant)}?" if meant is not None else ""
            self.problems[self.key, at] = f"unknown middleware {quoted(name)}{hint}"
        if meant is None:
            return
        kind = MIDDLEWARE[meant]
        wanted = {key: self.lent[key] for key in kind.wants if key in self.lent}
        try:
            self.built.append(kind.make(self.options, **wanted))
        except OptionError as error:
            for option, text in error.problems:
                # What is missing has no place of its own. A misspelt name there is told first.
                given = option in self.options
                self.problems.setdefault(
                    (self.options_key, option) if given else (self.key, at), text
                )

    def _take(self, at: int, layer: Any) -> None:
        """Take what the application brings: an object, or its import path."""
        try:
            found = (
                import_own(layer, self.lent.get("load", load)) if isinstance(layer, str) else layer
            )
            if (prefix := prefix_of(found)) is not None:
                self.prefixes.append(prefix)
            self.built.append(make_own(found, self.options))
        except OptionError as error:
            for option, text in error.problems:
                self.problems[self.options_key, option] = text
        except OwnError as error:
            shown = layer if isinstance(layer, str) else getattr(layer, "__name__", repr(layer))
            self.problems[self.key, at] = f"middleware {quoted(shown)}: {error}"

    def _unclaimed(self, option: str, other: "_Half") -> str:
        owner = next((name for name, kind in MIDDLEWARE.items() if kind.claims(option)), None)
        if owner is None:
            known = [each.name for kind in self.kinds.values() for each in kind.options]
            return f"unknown option {quoted(option)}{did_you_mean(option, known)}"
        mend = f"put it under {other.options_key}" if owner in other.kinds else "add it there"
        return f"option {quoted(option)} belongs to {owner}, which is not in {self.key}: {mend}"


def _meant(name: str) -> str | None:
    """The name of the table that is nearest to this one; None for what is nothing like it."""
    if ":" in name:
        return None
    return name if name in MIDDLEWARE else nearest(name, MIDDLEWARE)
