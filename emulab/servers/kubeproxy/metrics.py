"""kube-proxy's metrics: their names, labels and buckets. Pure.

The table is pkg/proxy/metrics/metrics.go. Every family that a mode has is shown from the start, as zero.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.dataclass import dataclass
from emulab.servers.exposition import Histogram, Labels, heading, sample

SYNC_BUCKETS = tuple(0.001 * 2**n for n in range(15))
PROGRAMMING_BUCKETS = (
    *(0.0, 0.25, 0.5),  # MergeBuckets begins with a zero
    *(float(n) for n in range(1, 60)),
    *(float(n) for n in range(60, 120, 5)),
    *(float(n) for n in range(120, 301, 30)),
)

NO_LABELS: Labels = ()


@dataclass(frozen=True)
class MetricFamily:
    """A metric: its name without `kubeproxy_`, its labels with all their values, the modes that have it (none: all)."""

    name: str
    type: str  # counter | gauge | histogram
    help: str
    labels: tuple[Labels, ...] = (NO_LABELS,)
    by_family: bool = True  # whether there is one of each family of addresses, told by the label `ip_family`
    buckets: tuple[float, ...] = ()
    modes: frozenset[str] = frozenset()


def _codes(*codes: int) -> tuple[Labels, ...]:
    return tuple((("code", str(code)),) for code in codes)


_POLICIES = tuple((("traffic_policy", policy),) for policy in ("external", "internal"))
_TABLES = tuple((("table", table),) for table in ("filter", "nat"))
_IPTABLES, _NFTABLES = frozenset({"iptables"}), frozenset({"nftables"})
_BOTH = _IPTABLES | _NFTABLES

FAMILIES = tuple(
    sorted(
        (
            MetricFamily(
                "sync_proxy_rules_duration_seconds",
                "histogram",
                "SyncProxyRules latency in seconds",
                buckets=SYNC_BUCKETS,
            ),
            MetricFamily(
                "sync_full_proxy_rules_duration_seconds",
                "histogram",
                "SyncProxyRules latency in seconds for full resyncs",
                buckets=SYNC_BUCKETS,
                modes=_BOTH,
            ),
            MetricFamily(
                "sync_partial_proxy_rules_duration_seconds",
                "histogram",
                "SyncProxyRules latency in seconds for partial resyncs",
                buckets=SYNC_BUCKETS,
                modes=_BOTH,
            ),
            MetricFamily(
                "network_programming_duration_seconds",
                "histogram",
                "In Cluster Network Programming Latency in seconds",
                buckets=PROGRAMMING_BUCKETS,
            ),
            MetricFamily(
                "conntrack_reconciler_sync_duration_seconds",
                "histogram",
                "ReconcileConntrackFlowsLatency latency in seconds",
                buckets=SYNC_BUCKETS,
            ),
            MetricFamily(
                "conntrack_reconciler_deleted_entries_total",
                "counter",
                "Cumulative conntrack flows deleted by conntrack reconciler",
            ),
            MetricFamily(
                "sync_proxy_rules_last_timestamp_seconds",
                "gauge",
                "The last time proxy rules were successfully synced",
            ),
            MetricFamily(
                "sync_proxy_rules_last_queued_timestamp_seconds",
                "gauge",
                "The last time a sync of proxy rules was queued",
            ),
            MetricFamily(
                "sync_proxy_rules_endpoint_changes_pending",
                "gauge",
                "Pending proxy rules Endpoint changes",
                by_family=False,
            ),
            MetricFamily(
                "sync_proxy_rules_endpoint_changes_total",
                "counter",
                "Cumulative proxy rules Endpoint changes",
                by_family=False,
            ),
            MetricFamily(
                "sync_proxy_rules_service_changes_pending",
                "gauge",
                "Pending proxy rules Service changes",
                by_family=False,
            ),
            MetricFamily(
                "sync_proxy_rules_service_changes_total",
                "counter",
                "Cumulative proxy rules Service changes",
                by_family=False,
            ),
            MetricFamily(
                "sync_proxy_rules_no_local_endpoints_total",
                "gauge",
                "Number of services with a Local traffic policy and no endpoints",
                _POLICIES,
            ),
            MetricFamily(
                "sync_proxy_rules_iptables_total",
                "gauge",
                "Total number of iptables rules owned by kube-proxy",
                _TABLES,
                modes=_IPTABLES,
            ),
            MetricFamily(
                "sync_proxy_rules_iptables_last",
                "gauge",
                "Number of iptables rules written by kube-proxy in last sync",
                _TABLES,
                modes=_IPTABLES,
            ),
            MetricFamily(
                "sync_proxy_rules_iptables_restore_failures_total",
                "counter",
                "Cumulative proxy iptables restore failures",
                modes=frozenset({"iptables", "ipvs"}),
            ),
            MetricFamily(
                "sync_proxy_rules_iptables_partial_restore_failures_total",
                "counter",
                "Cumulative proxy iptables partial restore failures",
                modes=_IPTABLES,
            ),
            MetricFamily(
                "sync_proxy_rules_nftables_sync_failures_total",
                "counter",
                "Cumulative proxy nftables sync failures",
                modes=_NFTABLES,
            ),
            MetricFamily(
                "sync_proxy_rules_nftables_cleanup_failures_total",
                "counter",
                "Cumulative proxy nftables cleanup failures",
                modes=_NFTABLES,
            ),
            MetricFamily(
                "proxy_healthz_total",
                "counter",
                "Cumulative proxy healthz HTTP status",
                _codes(200, 503),
                by_family=False,
            ),
            MetricFamily(
                "proxy_livez_total",
                "counter",
                "Cumulative proxy livez HTTP status",
                _codes(200, 503),
                by_family=False,
            ),
        ),
        key=lambda f: f.name,
    )
)
"""In the order in which they are written: by name."""


class Metrics:
    """The metrics of one proxy, with those of each of its families."""

    def __init__(self, mode: str, families: Sequence[str]) -> None:
        self._shown = [f for f in FAMILIES if not f.modes or mode in f.modes]
        self._families = sorted(families)
        self._values: dict[tuple[str, Labels], float] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}
        for shown in self._shown:
            if shown.buckets:
                self._histograms.update(
                    {(shown.name, family): Histogram(shown.buckets) for family in self._families}
                )
            else:
                self._values.update(dict.fromkeys([(shown.name, labels) for labels in self._of(shown)], 0.0))

    def _of(self, shown: MetricFamily) -> list[Labels]:
        """All labels of a metric, in the order in which they are written."""
        if not shown.by_family:
            return list(shown.labels)
        return [(*_label(family), *labels) for family in self._families for labels in shown.labels]

    def count(self, name: str, labels: Labels = NO_LABELS, number: float = 1, family: str = "") -> None:
        """Adds to a counter; a mode that doesn't have it ignores that."""
        key = name, (*_label(family), *labels)
        if key in self._values:
            self._values[key] += number

    def set(self, name: str, value: float, labels: Labels = NO_LABELS, family: str = "") -> None:
        """Sets a gauge; a mode that doesn't have it ignores that."""
        key = name, (*_label(family), *labels)
        if key in self._values:
            self._values[key] = value

    def histogram(self, name: str, family: str) -> Histogram | None:
        return self._histograms.get((name, family))

    def text(self) -> str:
        """The metrics in Prometheus' text format, version 0.0.4."""
        lines: list[str] = []
        for shown in self._shown:
            name = f"kubeproxy_{shown.name}"
            lines += heading(name, shown.type, f"[ALPHA] {shown.help}")
            if shown.buckets:
                for family in self._families:
                    lines += self._histograms[shown.name, family].lines(name, _label(family))
            else:
                lines += [
                    sample(name, labels, self._values[shown.name, labels]) for labels in self._of(shown)
                ]
        return "\n".join(lines) + "\n"


def _label(family: str) -> Labels:
    return (("ip_family", family),) if family else NO_LABELS
