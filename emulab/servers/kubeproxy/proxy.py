"""One node's proxy as it appears from outside: its metrics and whether it is healthy. Pure, time is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.servers.kubeproxy.metrics import FAMILY, NO_LABELS, Metrics

HEALTH_TIMEOUT = 60.0
"""Seconds for which a change may wait until the proxy counts as unhealthy: twice kube-proxy's sync period."""


class Proxy:
    """The state of one node's proxy. It begins anew with its process, as kube-proxy's does."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.metrics = Metrics(mode)
        self.updated = 0.0  # Unix time of the last sync that succeeded; 0: none yet
        self._waiting = 0.0  # since when a change waits to be synced; 0: none does

    def configure(self, no_local: Mapping[str, int], rules: Mapping[str, int]) -> None:
        """Takes what follows from the plan: Services without a local endpoint by policy, rules by table."""
        for policy in ("internal", "external"):
            labels = (*FAMILY, ("traffic_policy", policy))
            self.metrics.set("sync_proxy_rules_no_local_endpoints_total", no_local.get(policy, 0), labels)
        for table, number in rules.items():
            self.metrics.set("sync_proxy_rules_iptables_total", number, (*FAMILY, ("table", table)))

    def changed(self, message: Mapping[str, Any]) -> None:
        """Takes note of changes of objects: `services` and `endpoints` (numbers) and when they were `queued`."""
        metrics = self.metrics
        metrics.count("sync_proxy_rules_service_changes_total", NO_LABELS, message["services"])
        metrics.count("sync_proxy_rules_endpoint_changes_total", NO_LABELS, message["endpoints"])
        if message["queued"]:
            metrics.set("sync_proxy_rules_last_queued_timestamp_seconds", message["queued"])

    def failed(self, now: float) -> None:
        """A sync has failed."""
        self._waiting = self._waiting or now
        for program in ("nftables_sync", "iptables_restore"):
            self.metrics.count(f"sync_proxy_rules_{program}_failures_total")

    def synced(self, sync: Mapping[str, Any], programmed: Mapping[str, int], now: float) -> None:
        """Takes note of a sync that succeeded; `programmed` says how often changes had waited how many seconds for it.

        `sync` has: `seconds`, whether it was `full`, rules `written` by table, and for the UDP flows in conntrack the
        seconds (`conntrack`) and how many were `forgotten`.
        """
        self.updated, self._waiting = now, 0.0
        metrics = self.metrics
        metrics.set("sync_proxy_rules_last_timestamp_seconds", now)
        part = "full" if sync["full"] else "partial"
        for name in ("sync_proxy_rules", f"sync_{part}_proxy_rules"):
            if histogram := metrics.histogram(f"{name}_duration_seconds"):
                histogram.observe(sync["seconds"])
        if latencies := metrics.histogram("network_programming_duration_seconds"):
            for seconds, times in programmed.items():
                latencies.observe(float(seconds), times)
        if sync["conntrack"] and (flows := metrics.histogram("conntrack_reconciler_sync_duration_seconds")):
            flows.observe(sync["conntrack"])
        metrics.count("conntrack_reconciler_deleted_entries_total", FAMILY, sync["forgotten"])
        for table, number in sync["written"].items():
            metrics.set("sync_proxy_rules_iptables_last", number, (*FAMILY, ("table", table)))

    def healthy(self, now: float) -> bool:
        return not self._waiting or now - self._waiting < HEALTH_TIMEOUT
