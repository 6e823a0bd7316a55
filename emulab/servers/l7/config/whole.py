"""A proxy's whole configuration: its routes, and what is decided before a request has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import Configuration
from emulab.servers.l7.config.filters import Filter
from emulab.servers.l7.config.matching import Match
from emulab.servers.l7.config.policy import Policy
from emulab.servers.l7.config.upstreams import Upstream, WeightedUpstream

ANY_HOST = "_"
"""Among the hosts of a certificate: those that have none, and who names none (nginx's name for its default server)."""


@dataclass(frozen=True, slots=True)
class RequestRoute:
    """A route: requests that match go to one of the backends."""

    match: Match
    backends: tuple[WeightedUpstream, ...]
    origin: str = ""  # what the route comes from, in records
    filters: tuple[Filter, ...] = ()
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate chain with its key, both PEM, for the names in `hosts`; SNI picks.

    Without both it is the default certificate: that of `ANY_HOST`, or one that the proxy makes itself.
    """

    hosts: tuple[str, ...]
    certificate: str
    key: str
    secret: str = ""  # where it comes from, NAMESPACE/NAME
    expires: float = 0.0  # Unix time; 0: unknown


@dataclass(frozen=True, slots=True)
class Notice:
    """What is wrong with what a configuration was made of, from one time (Unix time) to another; 0 for neither.

    With a `secret` it is so of each host that shows its certificate; `{host}` in the text stands for that.
    """

    text: str
    since: float = 0.0
    until: float = 0.0
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What is decided before a request has a route."""

    keepalive_timeout: float = 75.0
    header_timeout: float = 60.0
    upstream_keepalive: int = 320  # idle connections kept to one server
    upstream_keepalive_timeout: float = 60.0
    trust_forwarded: bool = False
    http2: bool = True  # with clients: over TLS where they want it, and without for those who begin so
    http2_streams: int = 128  # requests at once of one connection
    keepalive_requests: int = 1000  # of one connection of HTTP/2, which ends then
    log_format: str = ""  # of the access log, as nginx's `log_format`; empty: the personality's own
    log_escape: str = "default"  # or `json`, or `none`, as nginx has them
    hsts: str = "max-age=31536000; includeSubDomains"  # on every answer over TLS; empty: none


@dataclass(frozen=True, slots=True)
class MeasuredAs:
    """What is counted of requests, for who reads metrics. Bounds are those of histograms: seconds and bytes."""

    labels: Mapping[str, str]  # of every sample: who counts
    per_host: bool = True
    per_undefined_host: bool = False  # hosts that no route names, too
    status_classes: bool = False  # 2xx instead of 200
    time_bounds: tuple[float, ...] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
    length_bounds: tuple[float, ...] = tuple(float(10 * n) for n in range(1, 11))
    size_bounds: tuple[float, ...] = tuple(10.0**n for n in range(1, 8))
    excluded: tuple[str, ...] = ()  # names of metrics


@dataclass(frozen=True, slots=True)
class L7Config(Configuration):
    """The configuration of a proxy.

    `tls_listen` names those of `listen` that speak TLS. `default_upstream` takes what no route takes; without one that
    is a 404. `resolv_conf` and `hosts` are texts as of resolv.conf(5) and hosts(5), by which servers that are names are
    resolved; they are asked anew for each connection. `policy` is that of requests without a route.

    `notices` go into the log, each once when it comes or its time has come.

    `pages` are sockets of `listen` at which the proxy answers by itself: with the text of a path, and 404 elsewhere. At
    those of them that are in `metrics_at` the path `/metrics` has the metrics of `measured`, or of the process alone.
    """

    PATCHED: ClassVar[frozenset[str]] = frozenset({"routes"})

    tls_listen: tuple[str, ...] = ()
    personality: str = "ingress-nginx"
    routes: tuple[RequestRoute, ...] = ()
    default_upstream: str | None = None
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    certificates: tuple[Certificate, ...] = ()
    options: Options = field(default_factory=Options)
    policy: Policy = field(default_factory=Policy)
    pages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    metrics_at: tuple[str, ...] = ()
    measured: MeasuredAs | None = None  # None: requests aren't counted
    resolv_conf: str = ""
    hosts: str = ""
    notices: tuple[Notice, ...] = ()
