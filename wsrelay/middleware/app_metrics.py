"""What the page of `metrics` tells of an App: nothing is counted for it, a scrape looks it up."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from wsrelay.errors import NoApp
from wsrelay.relay import Relay
from wsrelay.relay_connection import RelayConnection
from wsrelay_core import Connection, Scheduler, current_scheduler

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

__all__ = ["AppMetrics"]


class AppMetrics:
    """A registry, and the App that is running, as one collector.

    It is no part of the registry, which may be read in another thread, or serve several Apps.

    Args:
        families: the module `prometheus_client.core`.
        registry: what comes first.
    """

    def __init__(self, families: Any, registry: "CollectorRegistry") -> None:
        self._families = families
        self._registry = registry
        self._told_out = 0

    def collect(self) -> Iterator["Metric"]:
        """All metrics; of the App only inside one, as in a handler."""
        yield from self._registry.collect()
        try:
            scheduler = current_scheduler()
        except NoApp:
            return
        yield from self._of_app(scheduler)

    def _of_app(self, scheduler: Scheduler) -> Iterator["Metric"]:
        app = scheduler.app
        relays = list(_relays(app))
        # One look at each connection; 50 000 of them take about 10 ms.
        connections: Counter[str] = Counter()
        processes: Counter[str] = Counter()
        messages_in = sum(relay.tally.messages_in for relay in relays)
        messages_out = sum(relay.tally.messages_out for relay in relays)
        # A relay that never drops has no series: it closes, which `connections_ended` counts.
        dropped: Counter[str] = Counter()
        for relay in relays:
            if relay.may_drop:
                dropped[relay.queue_policy] += relay.tally.messages_dropped
        for one in scheduler.table.processes():
            if isinstance(one, RelayConnection) and one.messages_dropped:
                dropped[one.relay.queue_policy] += one.messages_dropped
            if isinstance(one, Connection):
                connections[one.host.id] += 1
                messages_in += one.messages_in
                messages_out += one.messages_out
            else:
                processes[one.host.id] += 1
        # A frame that `drop_oldest` takes back is no longer one that went out, but a counter that
        # goes down looks like one that began anew.
        self._told_out = max(self._told_out, messages_out)
        http = {one.service.id: len(one.state.connections) for one in app.servers}
        none = dict.fromkeys(http, 0)
        yield self._gauge("wsrelay_http_connections", "Open connections, HTTP.", "service", http)
        yield self._gauge(
            "wsrelay_connections", "Open connections, WebSocket.", "service", none | connections
        )
        yield self._gauge("wsrelay_processes", "Living processes.", "host", processes)
        yield self._ends(relays)
        yield self._dropped(dropped)
        for name, help, value in (
            ("wsrelay_messages_in", "WebSocket messages of clients.", messages_in),
            ("wsrelay_messages_out", "WebSocket messages to clients.", self._told_out),
        ):
            yield self._families.CounterMetricFamily(name, help, value)

    def _gauge(self, name: str, help: str, label: str, values: dict[str, int]) -> "Metric":
        family: Metric = self._families.GaugeMetricFamily(name, help, labels=(label,))
        for key, value in values.items():
            family.add_sample(name, {label: key}, value)
        return family

    def _dropped(self, dropped: Mapping[str, int]) -> "Metric":
        family: Metric = self._families.CounterMetricFamily(
            "wsrelay_messages_dropped",
            "WebSocket messages to clients that `wsrelay.queue.policy` dropped.",
            labels=("policy",),
        )
        for policy, value in dropped.items():
            family.add_sample("wsrelay_messages_dropped_total", {"policy": policy}, value)
        return family

    def _ends(self, relays: Iterable[Relay]) -> "Metric":
        family: Metric = self._families.CounterMetricFamily(
            "wsrelay_connections_ended",
            "Ended WebSocket connections, by cause and close code.",
            labels=("cause", "code"),
        )
        ends: Counter[tuple[str, str]] = Counter()
        for relay in relays:
            ends += relay.tally.ends
        for (cause, code), value in ends.items():
            labels = {"cause": cause, "code": code}
            family.add_sample("wsrelay_connections_ended_total", labels, value)
        return family


def _relays(app: Any) -> Iterator[Relay]:
    found = (
        layer
        for service in app.services.values()
        for router in service.routers
        for layer in (*router.middleware, *router.post_middleware)
        if isinstance(layer, Relay)
    )
    return iter(dict.fromkeys(found))  # one object may serve several routers
