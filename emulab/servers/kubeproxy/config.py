"""What the server of all nodes' proxies is told."""

from __future__ import annotations

from collections.abc import Mapping

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import Configuration


@dataclass(frozen=True, slots=True)
class SiteConfig:
    """What a socket answers: a set of pages, of a node, and for `service` whose health."""

    node: str
    page: str  # metrics | healthz | service
    service: str = ""  # NAMESPACE/NAME


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What of a node's proxy isn't zero."""

    # Numbers of Service ports by family and policy, and of rules by family and table of iptables.
    no_local: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rules: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    endpoints: Mapping[str, int] = field(default_factory=dict)  # ready ones on the node by NAMESPACE/NAME


@dataclass(frozen=True, slots=True)
class KubeProxyConfig(Configuration):
    """The configuration of the server: the proxies' mode and families, what each socket (by key) answers, and the
    nodes by name."""

    mode: str
    sockets: Mapping[str, SiteConfig]
    nodes: Mapping[str, NodeConfig]
    families: tuple[str, ...] = ("IPv4",)
