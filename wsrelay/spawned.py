"""What a request spawned, so that an upgrade that fails leaves nothing behind."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from wsrelay.errors import NoApp
from wsrelay.http.chain import Handler, SyncHandler
from wsrelay.http.request import Request
from wsrelay.http.response import Response
from wsrelay.http.upgrade import Upgrade
from wsrelay.relay_command import RELAY_HEADER
from wsrelay_core import PID, resolve, spawn_scope

__all__ = ["SpawnScope", "cancel_spawned", "note_upgrade"]


class Spawned(list[PID]):
    """What one request spawned, and the upgrades that it led to.

    Tasks that the request leaves behind keep its context, and with it this object, for as long as
    they live; so it is emptied when the request is over, and takes in nothing more.
    """

    __slots__ = ("upgrades",)

    def __init__(self) -> None:
        super().__init__()
        self.upgrades: list[Upgrade] | None = []  # None once the request is over

    def append(self, pid: PID) -> None:
        """Note a process; tasks that the request left behind may still spawn, unnoted."""
        if self.upgrades is not None:
            super().append(pid)

    def settle(self, response: Response | None, failed: bool) -> None:
        """Abandon the upgrades that `response` is not; cancel what was spawned if there were any.

        Args:
            response: what goes out.
            failed: cancel in any case.
        """
        lost = [upgrade for upgrade in self.upgrades or () if upgrade is not response]
        for upgrade in lost:
            upgrade.abandon()
        if isinstance(response, Upgrade):
            response.abandon = partial(_abandon, response.abandon, tuple(self))
        elif failed or lost:
            cancel_all(self)
        self.upgrades = None
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
        with _Scope(request) as scope:
            return scope.leave(await call_next(request))

    def call_sync(self, request: Request, call_next: SyncHandler) -> Response:
        """Around a synchronous chain."""
        with _Scope(request) as scope:
            return scope.leave(call_next(request))


class _Scope:
    __slots__ = ("_request", "_response", "_spawned", "_token")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._response: Response | None = None
        self._spawned = Spawned()

    def __enter__(self) -> "_Scope":
        self._token = spawn_scope.set(self._spawned)
        return self

    def leave(self, response: Response) -> Response:
        if RELAY_HEADER in response.headers:
            del response.headers[RELAY_HEADER]
        self._response = response
        return response

    def __exit__(self, *_: object) -> None:
        spawn_scope.reset(self._token)
        response = self._response
        failed = response is None or response.exception is not None
        plain = response is not None and not isinstance(response, Upgrade)
        if plain and not failed and self._spawned and self._request.is_handshake:
            self._request.unsent = partial(cancel_all, tuple(self._spawned))
        self._spawned.settle(response, failed and self._request.is_handshake)


def note_upgrade(upgrade: Upgrade) -> None:
    """Remember an upgrade that this request may become."""
    spawned = spawn_scope.get()
    if isinstance(spawned, Spawned) and spawned.upgrades is not None:
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
