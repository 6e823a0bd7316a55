"""Who gets requests."""

from __future__ import annotations

from emulab.dataclass import dataclass, field
from emulab.servers.l7.config.balance import Balance, InTurn
from emulab.servers.l7.config.resilience import ConnectionLimits, OutlierDetection


@dataclass(frozen=True, slots=True)
class WeightedUpstream:
    """An upstream by its name, and its share of a route's requests."""

    upstream: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Canary:
    """Another upstream for some of a route's requests.

    The header decides before the cookie, and the cookie before the weight; `always` and `never` are their words, unless
    the header has a value or a pattern of its own.
    """

    upstream: str
    weight: int = 0
    weight_total: int = 100
    header: str = ""
    header_value: str = ""
    header_pattern: str = ""
    cookie: str = ""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Servers that do the same: `10.96.12.7:80`, `[fd00::7]:80`, or a name with a port. None of them: a 503.

    `endpoints`: how many there are behind each of the servers where that is an address of many, as a cluster IP is; a
    connection is with one of them for as long as it lives. 0: the server is none but itself.
    """

    servers: tuple[str, ...] = ()
    balance: Balance = field(default_factory=InTurn)
    endpoints: int = 0
    limits: ConnectionLimits | None = None
    outliers: OutlierDetection | None = None
