"""What a request spawned, so that an upgrade that fails leaves nothing behind."""

from collections.abc import Callable, Iterable
from contextvars import Token
from functools import partial
from typing import Any

from wsrelay.errors import NoApp
from wsrelay.http.chain import Handler, SyncHandler
from wsrelay.http.request import Request
from wsrelay.http.response import Response
from wsrelay.http.upgrade import Upgrade
from wsrelay.relay_command import RELAY_FIELD
from wsrelay_core import PID, resolve, spawn_scope

__all__ = ["SpawnScope", "cancel_spawned", "note_upgrade"]


class Spawned(list[PID]):
    """What one request spawned, and the upgrades that it led to.

    Tasks that the request leaves behind keep its context, and with it this object, for as long as
    they live; so it is emptied when the request is over, and takes in nothing more.
    """

    __slots__ = ("over", "upgrades")

    over: bool
    upgrades: list[Upgrade]

    @classmethod
    def begin(cls) -> "Spawned":
        """Of a request that begins."""
        spawned = cls()
        spawned.over = False
        spawned.upgrades = []
        return spawned

    def append(self, pid: PID) -> None:
        """Note a process; tasks that the request left behind may still spawn, unnoted."""
        if not self.over:
            super().append(pid)

    def settle(self, request: Request, response: Response | None) -> None:
        """The request is over: abandon the upgrades that `response` is not, and cancel what was
        spawned if there were any, or if a handshake failed.

        Args:
            request: that the response answers.
            response: what goes out; None: an exception goes up instead.
        """
        upgrades, self.upgrades, self.over = self.upgrades, [], True
        for upgrade in upgrades:
            if upgrade is not response:
                upgrade.abandon()
        if isinstance(response, Upgrade):
            response.abandon = partial(_abandon, response.abandon, tuple(self))
        else:
            failed = response is None or response.exception is not None
            if self and not failed and request.is_handshake:
                request.unsent = partial(cancel_all, tuple(self))
            if upgrades or (failed and request.is_handshake):
                cancel_all(self)
        self.clear()


def _abandon(abandon: Callable[[], None], pids: tuple[PID, ...]) -> None:
    """The 101 could not be sent."""
    abandon()
    cancel_all(pids)


class SpawnScope:
    """Outermost middleware of a router with a relay: what it spawns, and what may leave it.

    If an upgrade does not happen after all, because another middleware failed or replaced it, its
    connection is abandoned and what was spawned for it is cancelled. The relay's header goes out
    with no response, whoever set it.
    """

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Around an asynchronous chain."""
        spawned, response = Spawned.begin(), None
        token = spawn_scope.set(spawned)
        try:
            response = _public(await call_next(request))
            return response
        finally:
            _step_out(token)
            spawned.settle(request, response)

    def call_sync(self, request: Request, call_next: SyncHandler) -> Response:
        """Around a synchronous chain."""
        spawned, response = Spawned.begin(), None
        token = spawn_scope.set(spawned)
        try:
            response = _public(call_next(request))
            return response
        finally:
            _step_out(token)
            spawned.settle(request, response)


def _step_out(token: Token[Any]) -> None:
    """Give the scope around this one its place back. Where there is none, this one may stay: once
    it is settled it is empty and takes nothing in, and the context is that of one request."""
    if token.old_value is not Token.MISSING:
        spawn_scope.reset(token)


def _public(response: Response) -> Response:
    """A response without the relay's header."""
    if response.headers.raw:
        response.headers.take(RELAY_FIELD)
    return response


def note_upgrade(upgrade: Upgrade) -> None:
    """Remember an upgrade that this request may become."""
    spawned = spawn_scope.get()
    if isinstance(spawned, Spawned) and not spawned.over:
        spawned.upgrades.append(upgrade)


def cancel_spawned() -> None:
    """Cancel what this request has spawned and nobody else knows of."""
    cancel_all(spawn_scope.get() or ())


def cancel_all(pids: Iterable[Any]) -> None:
    """Cancel processes without monitor, link and name."""
    for pid in pids:
        try:
            process = resolve(pid)
        except NoApp:
            continue  # it has ended, and nothing tells in which App
        if process is not None and not process.has_relations():
            process.cancel("the upgrade failed")
