"""What an upstream is spared, and whom of its servers: the words of Istio's DestinationRule, with Envoy's meaning."""

from __future__ import annotations

from emulab.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How much a proxy asks of an upstream at once; None: as much as comes. What is more is a 503."""

    connections: int | None = None  # each carries one request at a time; more requests wait for one
    pending: int | None = None  # requests that may wait
    requests: int | None = None  # under way or waiting
    requests_per_connection: int = 0  # 0: any number
    retries: int | None = None  # requests that may be at a second try
    connect_timeout: float = 0.0  # 0: the route's


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When a server is left out for a while.

    A failure to connect or to answer counts as a gateway's error, unless such failures are counted by themselves.
    """

    consecutive_5xx: int = 5  # 0: don't count
    consecutive_gateway_errors: int = 0  # 502, 503 and 504
    interval: float = 10.0  # between looks at who comes back
    base_ejection_time: float = 30.0  # times the number of times that it was left out
    max_ejection_time: float = 300.0
    max_ejection_percent: int = 10
    min_health_percent: int = 0  # with fewer left all are asked
    consecutive_local_failures: int = 0  # to connect, or to answer; 0: not by themselves
    error_codes: tuple[int, ...] = ()  # statuses that are errors in the place of all 5xx
