"""UpstreamWays to servers other than plain HTTP/1.1. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import Reach, UpstreamTLS
from emulab.servers.l7.config.reaching import AUTO_HTTP, GRPC, GRPCS, HTTP, HTTPS

PROTOCOLS = frozenset({"TLSv1.2", "TLSv1.3"})


class UpstreamWay(NamedTuple):
    """How a server is reached; connections that were opened on one way carry requests of this way alone."""

    tls: UpstreamTLS | None
    http2: bool = False


UpstreamWays = Mapping[str, UpstreamWay | None]
"""The way for a client, by its scheme; None: plain HTTP/1.1."""


def ways_of(reach: Reach) -> UpstreamWays | None:
    """The ways of a route, None where all of them are plain HTTP/1.1. Raises `BadConfiguration`."""
    tls = reach.tls
    if not tls.protocols or not PROTOCOLS.issuperset(tls.protocols):
        raise BadConfiguration(
            f"policy.reach.tls.protocols: {tls.protocols!r} are not of {', '.join(sorted(PROTOCOLS))}"
        )
    if tls.verify and not tls.authorities:
        raise BadConfiguration("policy.reach.tls.authorities: without any no certificate can be verified")
    secure, secure2, http2 = UpstreamWay(tls), UpstreamWay(tls, True), UpstreamWay(None, True)
    known: dict[str, UpstreamWays | None] = {
        HTTP: None,
        HTTPS: {"http": secure, "https": secure},
        AUTO_HTTP: {"http": None, "https": secure},
        GRPC: {"http": http2, "https": http2},
        GRPCS: {"http": secure2, "https": secure2},
    }
    if reach.protocol not in known:
        raise BadConfiguration(f"policy.reach.protocol: {reach.protocol!r} is not one of {', '.join(known)}")
    return known[reach.protocol]
