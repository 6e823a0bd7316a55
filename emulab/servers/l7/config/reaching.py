"""How the servers of a route are reached: in which protocol, and what is said and asked over TLS.

The words of `protocol` are those of ingress-nginx' annotation `backend-protocol`, and the rest are nginx's
`proxy_ssl_*`, with its defaults: over TLS nothing is asked of a server.
"""

from __future__ import annotations

from emulab.dataclass import dataclass, field

HTTP, HTTPS, AUTO_HTTP, GRPC, GRPCS = "HTTP", "HTTPS", "AUTO_HTTP", "GRPC", "GRPCS"


@dataclass(frozen=True, slots=True)
class UpstreamTLS:
    """What is said to servers over TLS, and asked of their certificates. Certificates and keys are PEM."""

    verify: bool = (
        False  # whether a server's certificate has to be signed by one of `authorities`, for `name`
    )
    authorities: str = ""
    depth: int = 1  # how many certificates there may be between the server's and the authority's
    name: str = "upstream_balancer"  # how ingress-nginx calls all servers, unless it is told otherwise
    server_name: bool = False  # whether the name is told (SNI)
    protocols: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")
    ciphers: str = "DEFAULT"
    certificate: str = ""  # ours, for who asks for it
    key: str = ""


@dataclass(frozen=True, slots=True)
class Reach:
    """How servers are reached."""

    protocol: str = HTTP  # AUTO_HTTP: HTTPS for clients that came over TLS
    tls: UpstreamTLS = field(default_factory=UpstreamTLS)
