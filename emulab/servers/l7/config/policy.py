"""By what a request is served: sizes, times and tries."""

from __future__ import annotations

from emulab.dataclass import dataclass, field
from emulab.servers.l7.config.reaching import Reach


@dataclass(frozen=True, slots=True)
class Policy:
    """How a request is served."""

    ssl_redirect: bool = False  # plain HTTP is told to come back over TLS
    force_ssl_redirect: bool = False  # whether there is a certificate or not
    redirect_status: int = 308  # with which it is told
    redirect_port: int = 0  # the port that it is told; 0: none
    keep_slash: bool = False  # whether a slash at the target's end is told
    body_max: int = 1 << 20  # of the request; 0: unlimited
    request_buffer: int = 1 << 20
    """Bytes of a body that are gathered before an upstream is asked; 0: it goes on as it comes."""
    body_timeout: float = 60.0  # between two pieces of the request's body
    connect_timeout: float = 5.0
    read_timeout: float = 60.0  # between two pieces of the response
    send_timeout: float = 60.0  # for which either side may take nothing
    tries: int = (
        3  # with servers, not with connections that were kept and are closed; 0: as many as there are servers
    )
    next_upstream: tuple[str, ...] = ("error", "timeout")  # after what another try is made, in nginx' words
    retry_non_idempotent: bool = False  # whatever `next_upstream` says of that
    next_upstream_timeout: float = 0.0  # seconds after which no other try is made; 0: for ever
    affinity_cookie: bool = False  # whether a client without the upstream's cookie gets one here
    limit_rate: int = 0  # bytes of a response a second; 0: as fast as it goes
    limit_rate_after: int = 0  # bytes that go before that holds
    response_head_max: int = 4096  # proxy-buffer-size: a larger head is a 502
    http_version: str = "1.1"  # in which servers are asked, but for those of gRPC
    reach: Reach = field(default_factory=Reach)  # how servers are reached
    response_buffer: int = (
        0  # bytes of a response that may wait for a slow client; 0: the upstream waits with them
    )
    access_log: bool = True  # whether requests have a line in the access log
