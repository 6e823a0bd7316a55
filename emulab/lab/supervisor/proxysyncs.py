"""What the proxies of the nodes would tell of their work: a pass of the reconciler is a sync of each of them.

Changes of Services and EndpointSlices are counted as they come; when their rules have been written, how long that took,
and how long they had to wait, becomes a message to the server that speaks for the proxies. It is never waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from time import time
from typing import Any

from emulab.cluster.history import Event
from emulab.cluster.store import Store
from emulab.kernel.network import Sync
from emulab.kinds.registry import ENDPOINT_SLICE, SERVICE
from emulab.lab.hosts.serverhosts import ServerHosts
from emulab.model.families import FAMILIES
from emulab.model.keys import GroupKind, Key
from emulab.plan.persistent import change_between
from emulab.plan.proxy.health import NAME
from emulab.plan.proxy.modes import is_of_proxies
from emulab.plan.state import Iptables, Rules


class ProxySyncs:
    """Collects messages for the server `NAME`."""

    def __init__(self, store: Store) -> None:
        self._changes: dict[GroupKind, int] = {SERVICE: 0, ENDPOINT_SLICE: 0}
        self._pending: dict[Key, float] = {}  # slices that changed, and when first since the last sync
        self._queued = 0.0
        self._messages: list[dict[str, Any]] = []
        store.watch(self._changed)

    def _changed(self, event: Event) -> None:
        kind = event.object.type
        if kind in self._changes:
            self._changes[kind] += 1
            self._queued = time()
            if kind == ENDPOINT_SLICE:
                self._pending.setdefault(event.object.key, self._queued)

    def note(self, syncs: Iterable[Sync], now: float) -> None:
        """Takes note of what was written in a pass; `now` is Unix time."""
        found = _by_node(syncs)
        if not found and not self._queued:
            return
        failed = any(sync["failed"] for sync in found.values())
        self._messages.append(
            {
                "at": now,
                "services": self._changes[SERVICE],
                "endpoints": self._changes[ENDPOINT_SLICE],
                "queued": self._queued,
                "programmed": {} if failed else _latencies(now - since for since in self._pending.values()),
                "nodes": found,
            }
        )
        self._changes = dict.fromkeys(self._changes, 0)
        self._queued = 0.0
        if not failed:
            self._pending.clear()

    def tell(self, servers: ServerHosts) -> None:
        """Sends what was noted."""
        for message in self._messages:
            servers.tell(NAME, message)
        self._messages.clear()


def _by_node(syncs: Iterable[Sync]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for sync in syncs:
        if not is_of_proxies(sync.kind) and sync.kind != "udp-backends":
            continue
        node = found.setdefault(sync.namespace, {"failed": False, "families": {}})
        node["failed"] = node["failed"] or sync.seconds is None
        there = tuple(node["families"]) if sync.kind == "udp-backends" else ()  # which comes after the rules
        for family in there or _families(sync.kind):
            one = node["families"].setdefault(
                family,
                {"seconds": 0.0, "conntrack": 0.0, "forgotten": 0, "full": False, "written": {}},
            )
            one["seconds"] += sync.seconds or 0.0
            if sync.kind == "udp-backends":
                one["conntrack"] += sync.seconds or 0.0
                one["forgotten"] += sync.forgotten.get(_VERSIONS[family], 0)
            else:
                one["full"] = one["full"] or sync.before is None
                one["written"].update(
                    _written(sync.before, sync.after)
                )  # the former mode's rules go after that
    return found


_VERSIONS = {family.name: family.version for family in FAMILIES}


def _families(kind: str) -> tuple[str, ...]:
    """Those that rules of a kind are for: `ip kube-proxy` is IPv4's, `ip6tables` IPv6's; IPVS and conntrack both's."""
    name = kind.partition(" ")[0]
    return tuple(f.name for f in FAMILIES if name in (f.nft, f.iptables)) or tuple(_VERSIONS)


def _written(before: Rules | None, after: Rules | None) -> Mapping[str, int]:
    """How many rules of each table of iptables are in chains that changed: those that had to be written."""
    if not isinstance(after, Iptables):
        return {}
    old = before.tables if isinstance(before, Iptables) else {}
    return {
        table: sum(map(len, change_between(old.get(table, {}), chains).added.values()))
        for table, chains in after.tables.items()
    }


def _latencies(seconds: Iterable[float]) -> dict[str, int]:
    """How often each latency was met, in hundredths of a second, so that thousands fit into a message."""
    return dict(Counter(f"{max(0.0, s):.2f}" if s < 10 else f"{s:.0f}" for s in seconds))
