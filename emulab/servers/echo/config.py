"""What the stand-in is told."""

from __future__ import annotations

from collections.abc import Mapping

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import Configuration


@dataclass(frozen=True, slots=True)
class PortConfig:
    """The Service that leads to a port, and the Ingress that leads to that, as answers tell them.

    `says` is what is spoken there, of those in `images`, with its `options`: an image's program is played, which is
    that of `container`, whose life began at `began` (Unix time).
    """

    service: str = ""
    ingress: str = ""
    says: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    container: str = ""
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class PodConfig:
    """The pod that a socket stands in for, as answers tell it; `ports` by their numbers, as `80` or `udp/53`.

    `addresses` and `hostname` are told where they aren't `pod_ip` and `pod`, and somebody is played who tells them.
    """

    namespace: str = ""
    pod: str = ""
    node: str = ""
    pod_ip: str = ""  # the socket's address where it isn't said
    ports: Mapping[str, PortConfig] = field(default_factory=dict)
    hostname: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EchoConfig(Configuration):
    """The configuration of the one server for all pods.

    `identities` are by address, or by a socket's key where pods share an address. `draining` are the keys of TCP
    sockets whose connections are to go elsewhere; they go on accepting. `logs` are the names of the logs that requests
    are written to, by a socket's key or its address. A connection of which an address is in `idle` takes no request
    after so many seconds without one: it is reset.
    """

    identities: Mapping[str, PodConfig] = field(default_factory=dict)
    draining: tuple[str, ...] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    idle: Mapping[str, float] = field(default_factory=dict)
