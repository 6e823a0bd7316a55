"""By what a request is served: sizes, times and tries."""

from __future__ import annotations

from emulab.dataclass import dataclass, field
from emulab.servers.l7.config.reaching import Reach


@dataclass(frozen=True, slots=True)
class Policy:
    """How a request is served."""

    ssl_redirect: bool = False  # plain HTTP is told to come back over TLS
    body_max: int = 1 << 20  # of the request; 0: unlimited
    request_buffer: int = 0  # a body of at most so much has to be whole first; 0: it goes on as it comes
    body_timeout: float = 60.0  # between two pieces of the request's body
    connect_timeout: float = 5.0
    read_timeout: float = 60.0  # between two pieces of the response
    send_timeout: float = 60.0  # for which either side may take nothing
    tries: int = 3  # with servers, not with connections that were kept and are closed
    response_head_max: int = 4096  # proxy-buffer-size: a larger head is a 502

    http_version: str = "1.1"  # in which servers are asked, but for those of gRPC
    reach: Reach = field(default_factory=Reach)  # how servers are reached

    @property
    def body_limit(self) -> int:
        """The largest body of a request that is taken; 0: any."""
        return min((one for one in (self.body_max, self.request_buffer) if one), default=0)
