"""ingress-nginx's metrics: their names, labels and buckets (internal/ingress/metric/collectors). Pure.

Rules:

* A request is counted once it is over, by its host, route and status. As there, hosts that no Ingress names are not
  counted unless they are asked for, so a stranger can't make as many samples as there are names.
* A request costs no more than to keep its row. What rows are counted as is found out for `ROWS` of them together, or
  when somebody reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

from emulab.servers.exposition import Labels, heading, sample
from emulab.servers.l7.config import Certificate, MeasuredAs
from emulab.servers.l7.engine.entry import RequestEntry, measured
from emulab.servers.l7.engine.routes import DEFAULT_BACKEND, ReadyRoute
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.messages.targets import without_port
from emulab.servers.l7.personalities.figures import (
    Connections,
    Figures,
    ProcessUse,
    SeriesFigures,
    SeriesKey,
)
from emulab.servers.l7.personalities.ingress_nginx.accesslines import ingress_of, served_as
from emulab.servers.l7.personalities.ingress_nginx.series import (
    RequestSeries,
    layout_of,
    lines_of,
)

ROWS = 64  # of a thousand, whoever comes last would wait for half a millisecond
KNOWN_MAX = 16384
"""Kinds of requests of which is remembered where they are counted."""
_EXPIRE_HELP = (
    "Number of seconds since 1970 to the SSL Certificate expire.\n\t\t\tAn example to check if this certificate will "
    'expire in 10 days is: "nginx_ingress_controller_ssl_expire_time_seconds < (time() + (10 * 24 * 3600))"'
)
PREFIX = "nginx_ingress_controller_"
_rounds = count(1)


class _Measure(NamedTuple):
    """A histogram: its name, its help, which bounds it has, and which of the values that a row has."""

    name: str
    help: str
    bounds: str
    value: int


_MEASURES = (
    _Measure(
        "connect_duration_seconds",
        "The time spent on establishing a connection with the upstream server",
        "time",
        0,
    ),
    _Measure(
        "header_duration_seconds",
        "The time spent on receiving first header from the upstream server",
        "time",
        1,
    ),
    _Measure(
        "response_duration_seconds",
        "The time spent on receiving the response from the upstream server",
        "time",
        2,
    ),
    _Measure("request_duration_seconds", "The request processing time in milliseconds", "time", 3),
    _Measure(
        "request_size", "The request length (including request line, header, and request body)", "length", 4
    ),
    _Measure(
        "response_size", "The response length (including request line, header, and request body)", "length", 5
    ),
    _Measure("bytes_sent", "DEPRECATED The number of bytes sent to a client", "size", 5),
)
_Key = tuple[str, str, str, str, str, str, str]
"""Host, the route's origin and path, upstream, the alternative one (a canary), method, status."""
_Kind = tuple[ReadyRoute, bytes | None, bytes, int, str]
"""By what requests are counted: their route, host, method, status and upstream."""


class IngressMetrics:
    """What one controller counts."""

    def __init__(self) -> None:
        self._rows: list[Any] = []
        self._series: dict[_Key, RequestSeries] = {}
        self._known: dict[Any, RequestSeries | None] = {}  # by `_Kind`
        self._told = MeasuredAs({})
        self._round = 0  # the number of what heads remember now
        self._places: list[
            RequestSeries
        ] = []  # what they remember by its place, so that nothing is kept by them
        self._origins: frozenset[str] = frozenset()
        self._hosts: frozenset[str] = frozenset()
        self._reloads = -1
        self.configure(MeasuredAs({}), (), ())

    def configure(self, told: MeasuredAs, hosts: Iterable[str], origins: Iterable[str]) -> None:
        """What is counted from now on, with the hosts and origins of the routes that there are. What was counted of an
        origin that is gone is forgotten, as ingress-nginx does it; the rest stays."""
        self._fold()
        self._forget()
        self._reloads += 1
        there, names = frozenset(origins), frozenset(hosts)  # which are what they were, if they are such sets
        if told != self._told or not (there is self._origins or there >= self._origins):
            kept = {*there, "", DEFAULT_BACKEND}
            self._series = {key: one for key, one in self._series.items() if key[1] in kept}
        self._told, self._origins, self._hosts = told, there, names
        self._own = tuple(sorted(told.labels.items()))
        bounds = {"time": told.time_bounds, "length": told.length_bounds, "size": told.size_bounds}
        self._layout = layout_of([(one.value, bounds[one.bounds]) for one in _MEASURES])

    def add(self, row: Any) -> None:
        """A request is over. `row`: `Measured`, which machine code would look into for its type."""
        self._rows.append(row)
        if len(self._rows) >= ROWS:
            self._fold()

    def add_entry(self, entry: RequestEntry) -> None:
        """A request is over that all is known of."""
        self.add(measured(entry))

    def _fold(self) -> None:
        """Counts what waits."""
        rows, self._rows = self._rows, []
        last: RequestSeries | None = None
        together: list[Any] = []  # often many that follow each other are of one series
        for row in rows:
            series = self._series_of(row)
            if series is not last:
                if last is not None:
                    last.take(together)
                last, together = series, []
            together.append(row)
        if last is not None:
            last.take(together)

    def _series_of(self, row: Any) -> RequestSeries | None:
        """Where a request is counted, if it is: its head, which may be many requests', remembers it."""
        head: RequestHead = row[0]
        rule: Any = row[1]
        status: int = row[2]
        upstream: str = row[3]
        if head.round == self._round:
            last = self._places[head.counted]
            if last.rule is rule and last.status == status and last.upstream == upstream:
                return last
        kind: Any = (rule, head.host, head.method, status, upstream)
        try:
            series = self._known[kind]
        except KeyError:
            series = self._find(kind)
        if series is not None and head.shared:
            series.rule, series.status, series.upstream = rule, status, upstream
            if head.round == self._round:
                self._places[head.counted] = series
            else:
                if len(self._places) >= KNOWN_MAX:
                    self._forget()
                head.round, head.counted = self._round, len(self._places)
                self._places.append(series)
        return series

    def _forget(self) -> None:
        """Forgets where requests are counted, and with that the routes that they had."""
        for series in self._series.values():
            series.rule = None
        self._places.clear()
        self._known.clear()
        self._round = next(_rounds)

    def _find(self, kind: Any) -> RequestSeries | None:
        """Where requests of this kind are counted, if they are."""
        series = None
        if (key := self._key(*kind)) is not None:
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = RequestSeries(self._layout)
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[kind] = series
        return series

    def _key(
        self, rule: ReadyRoute, host: bytes | None, method: bytes, status: int, upstream: str
    ) -> _Key | None:
        """What such requests are counted as, None where they aren't."""
        told, route = self._told, rule.route
        name = without_port(host or b"_").decode("latin-1").lower()
        if told.per_host and name not in self._hosts and not told.per_undefined_host:
            return None
        return (
            name if told.per_host else "",
            route.origin,
            route.match.path,
            *served_as(rule, upstream),
            method.decode("latin-1"),
            f"{status // 100}xx" if told.status_classes else str(status),
        )

    def figures(self, connections: Connections, process: ProcessUse) -> Figures:
        """What was counted, with what else is known."""
        self._fold()
        return Figures(connections, process, {key: one.figures() for key, one in self._series.items()})

    def text(self, figures: Figures, certificates: Iterable[Certificate], reloaded: float) -> str:
        """All metrics; `reloaded` is when the configuration was taken, as Unix time."""
        families = [
            *self._of_requests(figures.series),
            *self._of_controller(certificates, reloaded),
            *_of_connections(figures.connections, self._own),
            *_of_process(figures.process, self._own),
        ]
        return "".join(line + "\n" for _, lines in sorted(families) for line in lines)

    def _of_requests(self, counted: Mapping[SeriesKey, SeriesFigures]) -> Iterator[tuple[str, list[str]]]:
        series = sorted(((self._labels(key), one) for key, one in counted.items()), key=lambda pair: pair[0])
        if not series:
            return
        for index, measure in enumerate(_MEASURES):
            name = PREFIX + measure.name
            if not self._excludes(name):
                lines = heading(name, "histogram", measure.help)
                for labels, one in series:
                    lines += lines_of(self._layout, one, index, name, labels)
                yield name, lines
        name = PREFIX + "requests"
        if not self._excludes(name):
            samples = [sample(name, labels, one.requests) for labels, one in series]
            yield name, [*heading(name, "counter", "The total number of client requests"), *samples]

    def _excludes(self, name: str) -> bool:
        return name in self._told.excluded or name.removeprefix(PREFIX) in self._told.excluded

    def _labels(self, key: SeriesKey) -> Labels:
        host, origin, path, upstream, alternative, method, status = key
        namespace, ingress = ingress_of(origin)
        labels = {
            **dict(self._own),
            "canary": alternative.replace("/", "-"),
            "ingress": ingress or "-",
            "method": method,
            "namespace": namespace or "-",
            "path": path or "-",
            "service": upstream.split("/")[1] if "/" in upstream else "-",
            "status": status,
        }
        if host:
            labels["host"] = host
        return tuple(sorted(labels.items()))

    def _of_controller(
        self, certificates: Iterable[Certificate], reloaded: float
    ) -> Iterator[tuple[str, list[str]]]:
        for name, kind, help_text, value in (
            (
                "config_last_reload_successful",
                "gauge",
                "Whether the last configuration reload attempt was successful",
                1.0,
            ),
            (
                "config_last_reload_successful_timestamp_seconds",
                "gauge",
                "Timestamp of the last successful configuration reload.",
                float(int(reloaded)),
            ),
            (
                "success",
                "counter",
                "Cumulative number of Ingress controller reload operations",
                float(self._reloads),
            ),
        ):
            yield (
                PREFIX + name,
                [*heading(PREFIX + name, kind, help_text), sample(PREFIX + name, self._own, value)],
            )
        name = PREFIX + "ssl_expire_time_seconds"
        told = dict(self._own)
        expiring = []
        for one in certificates:
            namespace, _, secret = one.secret.partition("/")
            for host in one.hosts if one.expires else ():
                labels = {"class": told.get("controller_class", ""), "host": host, "namespace": namespace}
                expiring.append(
                    sample(name, tuple(sorted({**labels, "secret_name": secret}.items())), one.expires)
                )
        if expiring:
            yield name, [*heading(name, "gauge", _EXPIRE_HELP), *expiring]


def _of_connections(there: Connections, own: Labels) -> Iterator[tuple[str, list[str]]]:
    name = PREFIX + "nginx_process_connections"
    busy = there.active - there.waiting
    states = (("active", there.active), ("reading", 0), ("waiting", there.waiting), ("writing", busy))
    yield (
        name,
        [
            *heading(
                name,
                "gauge",
                "current number of client connections with state {active, reading, writing, waiting}",
            ),
            *(sample(name, (*own, ("state", state)), value) for state, value in states),
        ],
    )
    name = PREFIX + "nginx_process_connections_total"
    yield (
        name,
        [
            *heading(name, "counter", "total number of connections with state {accepted, handled}"),
            *(sample(name, (*own, ("state", state)), there.accepted) for state in ("accepted", "handled")),
        ],
    )
    name = PREFIX + "nginx_process_requests_total"
    yield (
        name,
        [*heading(name, "counter", "total number of client requests"), sample(name, own, there.requests)],
    )


def _of_process(process: ProcessUse, own: Labels) -> Iterator[tuple[str, list[str]]]:
    for name, kind, help_text, value in (
        ("num_procs", "gauge", "number of processes", process.number),
        ("cpu_seconds_total", "counter", "Cpu usage in seconds", process.cpu),
        ("resident_memory_bytes", "gauge", "number of bytes of memory in use", process.resident),
        ("virtual_memory_bytes", "gauge", "number of bytes of memory in use", process.virtual),
        ("oldest_start_time_seconds", "gauge", "start time in seconds since 1970/01/01", process.started),
    ):
        full = f"{PREFIX}nginx_process_{name}"
        yield full, [*heading(full, kind, help_text), sample(full, own, value)]
