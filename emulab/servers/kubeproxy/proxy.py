"""One node's proxy as it appears from outside: its metrics and whether it is healthy. Pure, time is an argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.servers.kubeproxy.metrics import Metrics

HEALTH_TIMEOUT = 60.0
"""Seconds for which a change may wait until the proxy counts as unhealthy: twice kube-proxy's sync period."""


NOTHING: Mapping[str, Any] = {
    "seconds": 0.0,
    "conntrack": 0.0,
    "forgotten": 0,
    "full": False,
    "written": {},
}
"""The sync of a change that asked for no other rule of a family on a node."""


class Proxy:
    """The state of one node's proxy. It begins anew with its process, as kube-proxy's does.

    As kube-proxy it is one for each family of addresses, which are told of apart.
    """

    def __init__(self, mode: str, families: Sequence[str]) -> None:
        self.mode, self.families = mode, tuple(families)
        self.metrics = Metrics(mode, families)
        self.updated = 0.0  # Unix time of the last sync that succeeded; 0: none yet
        self._waiting = 0.0  # since when a change waits to be synced; 0: none does

    def configure(
        self, no_local: Mapping[str, Mapping[str, int]], rules: Mapping[str, Mapping[str, int]]
    ) -> None:
        """Takes what follows from the plan, by family: Services without a local endpoint by policy, rules by table."""
        for family in self.families:
            for policy in ("internal", "external"):
                number, labels = no_local.get(family, {}).get(policy, 0), (("traffic_policy", policy),)
                self.metrics.set("sync_proxy_rules_no_local_endpoints_total", number, labels, family)
            for table, number in rules.get(family, {}).items():
                self.metrics.set("sync_proxy_rules_iptables_total", number, (("table", table),), family)

    def changed(self, message: Mapping[str, Any]) -> None:
        """Takes note of changes of objects: `services` and `endpoints` (numbers) and when they were `queued`."""
        metrics = self.metrics
        metrics.count("sync_proxy_rules_service_changes_total", number=message["services"])
        metrics.count("sync_proxy_rules_endpoint_changes_total", number=message["endpoints"])
        for family in self.families if message["queued"] else ():
            metrics.set("sync_proxy_rules_last_queued_timestamp_seconds", message["queued"], family=family)

    def failed(self, now: float) -> None:
        """A sync has failed."""
        self._waiting = self._waiting or now
        for program in ("nftables_sync", "iptables_restore"):
            for family in self.families:
                self.metrics.count(f"sync_proxy_rules_{program}_failures_total", family=family)

    def synced(self, sync: Mapping[str, Any], programmed: Mapping[str, int], now: float) -> None:
        """Takes note of a sync that succeeded; `programmed` says how often changes had waited how many seconds for it.

        `sync` has for each family that anything was done in: `seconds`, whether it was `full`, rules `written` by
        table, and for the UDP flows in conntrack the seconds (`conntrack`) and how many were `forgotten`.
        """
        self.updated, self._waiting = now, 0.0
        for family in self.families:
            self._synced(family, sync["families"].get(family, NOTHING), programmed, now)

    def _synced(
        self, family: str, sync: Mapping[str, Any], programmed: Mapping[str, int], now: float
    ) -> None:
        metrics = self.metrics
        metrics.set("sync_proxy_rules_last_timestamp_seconds", now, family=family)
        part = "full" if sync["full"] else "partial"
        for name in ("sync_proxy_rules", f"sync_{part}_proxy_rules"):
            if histogram := metrics.histogram(f"{name}_duration_seconds", family):
                histogram.observe(sync["seconds"])
        if latencies := metrics.histogram("network_programming_duration_seconds", family):
            for seconds, times in programmed.items():
                latencies.observe(float(seconds), times)
        flows = metrics.histogram("conntrack_reconciler_sync_duration_seconds", family)
        if sync["conntrack"] and flows:
            flows.observe(sync["conntrack"])
        metrics.count("conntrack_reconciler_deleted_entries_total", number=sync["forgotten"], family=family)
        for table, number in sync["written"].items():
            metrics.set("sync_proxy_rules_iptables_last", number, (("table", table),), family)

    def healthy(self, now: float) -> bool:
        return not self._waiting or now - self._waiting < HEALTH_TIMEOUT
