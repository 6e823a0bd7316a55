"""CoreDNS' metrics: their names, labels and buckets (plugin/metrics, plugin/cache, plugin/pkg/proxy). Pure.

A query costs one count, by all that its labels and buckets need; what they come to is made when somebody reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from emulab.servers.dns import rdata, wire
from emulab.servers.exposition import Histogram, Labels, heading, sample

_SERVER = ("server", "dns://:53")
_VIEW = ("view", "")
_SIZES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3)
_TIMES = tuple(0.00025 * 2**n for n in range(16))
_TYPES = frozenset(
    (
        "AAAA",
        "A",
        "CNAME",
        "DNSKEY",
        "DS",
        "MX",
        "NSEC3",
        "NSEC",
        "NS",
        "PTR",
        "RRSIG",
        "SOA",
        "SRV",
        "TXT",
        "HTTPS",
    )
) | {"SVCB", "IXFR", "AXFR", "ANY"}
_MOST = 4096  # kinds of queries that are counted by themselves

VERSION = "1.12.1"
"""The CoreDNS whose names these are."""


_SETUP = "coredns_nodecache_setup_errors_total"
_SETUP_ERRORS = ("configmap", "interface_add", "interface_check", "iptables", "iptables_lock")


def setup_errors() -> str:
    """What node-cache counts of its own (cmd/node-cache/app/metrics.go). Its network is planned here, and is set up."""
    lines = heading(_SETUP, "counter", "The number of errors during periodic network setup for node-cache")
    lines += (sample(_SETUP, (("errortype", kind),), 0) for kind in _SETUP_ERRORS)
    return "\n".join(lines) + "\n"


class CountedQuery(NamedTuple):
    """What is counted of a query besides its sizes: all that is the same whenever the same is asked."""

    zone: str
    stream: bool
    type: str
    do: bool
    rcode: int
    plugin: str  # who answered
    denial: bool  # of a cached answer: that there is nothing
    size: int


def type_word(rtype: int) -> str:
    name = rdata.type_name(rtype)
    return name if name in _TYPES else "other"


class DnsMetrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self._pending: Counter[tuple[CountedQuery, bool, int, float]] = Counter()
        self._requests: Counter[Labels] = Counter()
        self._do: Counter[Labels] = Counter()
        self._responses: Counter[Labels] = Counter()
        self._times: dict[Labels, Histogram] = {}
        self._asked_sizes: dict[Labels, Histogram] = {}
        self._sizes: dict[Labels, Histogram] = {}
        self._hits: Counter[str] = Counter()
        self._upstream: dict[Labels, Histogram] = {}
        self.failed_reloads = 0
        self.searched = 0  # answers that were found along search domains

    def add(self, served: CountedQuery, inet6: bool, size: int, seconds: float, times: int = 1) -> None:
        """Counts an answer of that many octets, given so many times; `seconds` 0 for one that was there already."""
        self._pending[served, inet6, size, seconds] += times
        if len(self._pending) > _MOST:
            self._fold()

    def asked(self, server: str, rcode: int, seconds: float) -> None:
        """Counts an answer of an upstream server."""
        labels = (("proxy_name", "forward"), ("rcode", wire.rcode_name(rcode)), ("to", server))
        self._upstream.setdefault(labels, Histogram(_TIMES)).observe(seconds)

    def _fold(self) -> None:
        for (served, inet6, size, seconds), times in self._pending.items():
            base = (_SERVER, _VIEW, ("zone", served.zone))
            proto = ("proto", "tcp" if served.stream else "udp")
            family = ("family", "2" if inet6 else "1")
            self._requests[(family, proto, _SERVER, ("type", served.type), *base[1:])] += times
            answered = (("plugin", served.plugin), ("rcode", wire.rcode_name(served.rcode)), *base)
            self._responses[answered] += times
            if served.do:
                self._do[base] += times
            if served.plugin == "cache":
                self._hits["denial" if served.denial else "success"] += times
            sized = (proto, *base)
            self._times.setdefault(base, Histogram(_TIMES)).observe(seconds, times)
            self._asked_sizes.setdefault(sized, Histogram(_SIZES)).observe(served.size, times)
            self._sizes.setdefault(sized, Histogram(_SIZES)).observe(size, times)
        self._pending.clear()

    def text(self, entries: Mapping[str, int], misses: int, stale: int) -> str:
        """All metrics. `entries`: how many answers are cached, by `success` and `denial`."""
        self._fold()
        parts = (
            self._autopath(),
            self._dns(),
            self._cache(entries, misses, stale),
            self._proxy(),
            self._reload(),
        )
        return "\n".join(line for part in parts for line in part) + "\n"

    def _autopath(self) -> Iterator[str]:
        counts: dict[Labels, int] = {(_SERVER,): self.searched} if self.searched else {}
        yield from _counters(
            "coredns_autopath_success_total", "Counter of requests that did autopath.", counts
        )

    def _reload(self) -> Iterator[str]:
        about = "Counter of the number of failed reload attempts."
        yield from heading("coredns_reload_failed_total", "counter", about)
        yield sample("coredns_reload_failed_total", (), self.failed_reloads)

    def _dns(self) -> Iterator[str]:
        build = (("goversion", "go1.24.1"), ("revision", "emulab"), ("version", VERSION))
        yield from heading(
            "coredns_build_info",
            "gauge",
            "A metric with a constant '1' value labeled by version, revision, and goversion from which CoreDNS "
            "was built.",
        )
        yield sample("coredns_build_info", build, 1)
        yield from _counters(
            "coredns_dns_do_requests_total", "Counter of DNS requests with DO bit set per zone.", self._do
        )
        yield from _histograms(
            "coredns_dns_request_duration_seconds",
            "Histogram of the time (in seconds) each request took per zone.",
            self._times,
        )
        yield from _histograms(
            "coredns_dns_request_size_bytes",
            "Size of the EDNS0 UDP buffer in bytes (64K for TCP) per zone and protocol.",
            self._asked_sizes,
        )
        yield from _counters(
            "coredns_dns_requests_total",
            "Counter of DNS requests made per zone, protocol and family.",
            self._requests,
        )
        yield from _histograms(
            "coredns_dns_response_size_bytes", "Size of the returned response in bytes.", self._sizes
        )
        yield from _counters(
            "coredns_dns_responses_total", "Counter of response status codes.", self._responses
        )
        yield from heading("coredns_panics_total", "counter", "A metrics that counts the number of panics.")
        yield sample("coredns_panics_total", (), 0)

    def _cache(self, entries: Mapping[str, int], misses: int, stale: int) -> Iterator[str]:
        rest = (_VIEW, ("zones", "."))
        hits = {(_SERVER, ("type", kind), *rest): count for kind, count in self._hits.items()}
        gauge = "The number of elements in the cache."
        yield from heading("coredns_cache_entries", "gauge", gauge)
        for kind, count in sorted(entries.items()):
            yield sample("coredns_cache_entries", (_SERVER, ("type", kind), *rest), count)
        yield from _counters("coredns_cache_hits_total", "The count of cache hits.", Counter(hits))
        all_of = (_SERVER, *rest)
        about = "The count of cache misses. Deprecated, derive misses from cache hits/requests counters."
        yield from _counters("coredns_cache_misses_total", about, Counter({all_of: misses}))
        requests = misses + sum(self._hits.values())
        yield from _counters(
            "coredns_cache_requests_total", "The count of cache requests.", Counter({all_of: requests})
        )
        about = "The number of requests served from stale cache entries."
        yield from _counters("coredns_cache_served_stale_total", about, Counter({all_of: stale}))

    def _proxy(self) -> Iterator[str]:
        yield from _histograms(
            "coredns_proxy_request_duration_seconds",
            "Histogram of the time each request took.",
            self._upstream,
        )


def _counters(name: str, about: str, counts: Mapping[Labels, int]) -> Iterator[str]:
    if counts:
        yield from heading(name, "counter", about)
        yield from (sample(name, labels, count) for labels, count in sorted(counts.items()))


def _histograms(name: str, about: str, found: Mapping[Labels, Histogram]) -> Iterator[str]:
    if found:
        yield from heading(name, "histogram", about)
        for labels, histogram in sorted(found.items(), key=lambda item: item[0]):
            yield from histogram.lines(name, labels)
