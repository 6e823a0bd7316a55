"""Events: what happened to an object, told once and then counted.

The rules are those of client-go's EventCorrelator (tools/record/events_cache.go), through which the components of
Kubernetes tell their events, with its defaults:

* Of MAX_SIMILAR messages and more that a component has of one object for one reason, with no more than INTERVAL
  seconds between two, the first ones are told one by one, and all others are one Event that has the last message.
* What is told again, of the same object by the same component in the same words, is counted in the Event that there is.
* A component may tell of one object BURST times, and once more every REFILL seconds. What is more is counted, but seen
  only with the next time that is told.

Events go after TTL seconds, as with the API server's --event-ttl.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from emulab.cluster.store import Store, timestamp
from emulab.dataclass import dataclass
from emulab.kinds.core.namespace import is_ending
from emulab.kinds.registry import EVENT, NAMESPACE
from emulab.model.collection import Tell
from emulab.model.objects import Object

MAX_SIMILAR = 10
INTERVAL = 600.0  # seconds
BURST = 25
REFILL = 300.0  # seconds
TTL = 3600.0  # seconds
_KNOWN = 4096  # of each table

K = TypeVar("K")
V = TypeVar("V")


class _Source(NamedTuple):
    """Who tells of what. `about` has kind, namespace, name and uid: an object of that name may be another one."""

    component: str
    host: str
    about: tuple[str, str, str, str]


class _Similar(NamedTuple):
    source: _Source
    type: str
    reason: str


@dataclass(slots=True)
class _Group:
    """The messages that are similar, and when the last one came."""

    messages: set[str]
    last: float


@dataclass(slots=True)
class _Observed:
    """An Event as it has been counted so far."""

    name: str
    first: str
    count: int = 0


@dataclass(slots=True)
class _Allowance:
    tokens: float
    last: float


class Recorder:
    """Turns what is told into Event objects of a store. Not thread-safe, as stores aren't."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._groups = _Latest[_Similar, _Group]()
        self._observed = _Latest[tuple[_Similar, str | None], _Observed]()
        self._allowances = _Latest[_Source, _Allowance]()
        self._serial = 0

    def tell(self, given: Iterable[Tell], now: float) -> None:
        """Writes Events; `now` is Unix time."""
        for one in given:
            self._tell(one, now)

    def _tell(self, told: Tell, now: float) -> None:
        # With the uid and the version that the store gave it.
        about = self._store.get(told.about.key) or told.about
        uid = str(about.metadata.get("uid") or "")
        source = _Source(told.component, told.host, (about.kind, about.namespace, about.name, uid))
        similar, message = _Similar(source, told.type, told.reason), told.message
        combined = self._is_one_of_many(similar, message, now)
        if combined:
            message = f"(combined from similar events): {message}"
        observed = self._observe(similar, None if combined else message, about.name, now)
        if not self._allowed(source, now):
            return
        namespace = about.namespace or "default"
        there = self._store.get(EVENT.key(namespace, observed.name))
        if there is None:
            if self._is_ending(namespace):
                return
            self._store.put(_event(told, about, message, namespace, observed, now))
        else:
            again = {"message": message, "count": observed.count, "lastTimestamp": timestamp(now)}
            self._store.put(there.replace(**again))

    def _is_ending(self, namespace: str) -> bool:
        """Whether the Namespace is ending, in which an API server would refuse to create an Event like all else."""
        there = self._store.get(NAMESPACE.key("", namespace))
        return there is not None and is_ending(there)

    def _is_one_of_many(self, similar: _Similar, message: str, now: float) -> bool:
        group = self._groups.get(similar)
        if group is None or now - group.last > INTERVAL:
            group = self._groups.put(similar, _Group(set(), now))
        group.last = now
        group.messages.add(message)
        if len(group.messages) < MAX_SIMILAR:
            return False
        group.messages.pop()  # it need not grow any more
        return True

    def _observe(self, similar: _Similar, message: str | None, about: str, now: float) -> _Observed:
        observed = self._observed.get((similar, message))
        if observed is None:
            self._serial += 1
            name = f"{about}.{int(now * 1e9) + self._serial:x}"
            observed = self._observed.put((similar, message), _Observed(name, timestamp(now)))
        observed.count += 1
        return observed

    def _allowed(self, source: _Source, now: float) -> bool:
        allowance = self._allowances.get(source) or self._allowances.put(source, _Allowance(BURST, now))
        allowance.tokens = min(BURST, allowance.tokens + max(0.0, now - allowance.last) / REFILL)
        allowance.last = now
        if allowance.tokens < 1:
            return False
        allowance.tokens -= 1
        return True

    def sweep(self, now: float) -> None:
        """Removes the Events that nothing was added to for too long."""
        for o in self._store.objects().kind(EVENT):
            told = o.raw.get("lastTimestamp") or o.raw.get("eventTime") or o.metadata["creationTimestamp"]
            if now - datetime.fromisoformat(str(told)).timestamp() > TTL:
                self._store.remove(o.key)


class _Latest(Generic[K, V]):
    """A mapping that forgets what wasn't asked for the longest."""

    def __init__(self) -> None:
        self._known: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        if key in self._known:
            self._known.move_to_end(key)
        return self._known.get(key)

    def put(self, key: K, value: V) -> V:
        self._known[key] = value
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return value


def _event(
    told: Tell, about: Object, message: str, namespace: str, observed: _Observed, now: float
) -> Object:
    involved = {
        "apiVersion": about.raw["apiVersion"],
        "kind": about.kind,
        "namespace": about.namespace,
        "name": about.name,
        "uid": about.metadata.get("uid"),
        "resourceVersion": about.metadata.get("resourceVersion"),
        "fieldPath": told.field,
    }
    source = {"component": told.component, "host": told.host}
    raw: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": observed.name, "namespace": namespace},
        "involvedObject": {field: value for field, value in involved.items() if value},
        "type": told.type,
        "reason": told.reason,
        "message": message,
        "source": {field: value for field, value in source.items() if value},
        "reportingComponent": told.component,
        "reportingInstance": told.host,
        "firstTimestamp": observed.first,
        "lastTimestamp": timestamp(now),
        "count": observed.count,
    }
    return Object(raw)
