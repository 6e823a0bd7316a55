"""What a network of pods says of itself (`Plugin`), and what planners know of a node (`Node`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network

from emulab.dataclass import dataclass, field
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.underlay import underlay_addresses
from emulab.model.addresses import IPAddress, IPInterface, IPNetwork
from emulab.model.families import Family, first
from emulab.model.objects import Object
from emulab.plan.draft import Draft
from emulab.plan.kept import PlanSource
from emulab.plan.state import Place, Ruleset


@dataclass(frozen=True, slots=True)
class Node:
    """What the planners need to know of a Node object; of each family one address and one range."""

    name: str
    addresses: tuple[IPAddress, ...]
    pod_ranges: tuple[IPNetwork, ...]

    @staticmethod
    def of(o: Object) -> Node:
        return Node(o.name, underlay_addresses(o), tuple(ip_network(c) for c in o.spec["podCIDRs"]))

    def address(self, family: Family) -> IPAddress:
        found = first(self.addresses, family)
        assert found is not None, f"{self.name} has no address of {family}"
        return found

    def pod_range(self, family: Family) -> IPNetwork:
        found = first(self.pod_ranges, family)
        assert found is not None, f"{self.name} has no pod range of {family}"
        return found


@dataclass(frozen=True, slots=True)
class NetworkMode:
    """How what pods send each other travels between nodes, in one mode of a plug-in."""

    plan_nodes: Callable[[Draft, Sequence[Node], Cluster, Family], None]
    """Adds what each node needs to reach the pods of the others, in one family."""
    plan_blocks: Callable[[Draft, PlanSource, Sequence[Node], Cluster, Family], None] | None = None
    """Adds what follows from the addresses that pods have."""
    ports: frozenset[int] = frozenset()
    """UDP ports whose packets carry others."""
    protocols: frozenset[int] = frozenset()
    """Protocols of IP whose packets carry others."""
    needs: tuple[str, ...] = ()
    """What of the kernel beside what every lab needs, as `emulab.kernel.probe` calls it."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """Programs that nodes run, each with Debian's package that has it."""

    def packets(self) -> list[str]:
        """How rules say what carries others."""
        by_port = [f"meta l4proto udp udp dport {port}" for port in sorted(self.ports)]
        return [*by_port, *(f"meta l4proto {protocol}" for protocol in sorted(self.protocols))]


@dataclass(frozen=True, slots=True)
class Plugin:
    """How the pods of a cluster reach each other. What other rooms do about such a network is named here."""

    name: str
    modes: Mapping[str, NetworkMode]
    """By mode: those that the Cluster's schema has (`emulab.kinds.emulab.podnetworks`)."""
    plan_pod: Callable[[Draft, Place, Node, str, Cluster, int], None]
    """Adds the link of a pod: its place, its node, what tells the pod from others of its name, and the MTU in bytes.
    Places and items alone: rules are a node's, and those of a pod would be left out of the sum (`plan.pods`)."""
    link_name: Callable[[str], str]
    """The node's end of a pod's link, by what tells the pod from others."""
    link_mac: Callable[[str, str], str]
    """The MAC address of the node's end, by the names of node and link."""
    pod_interface: Callable[[Node, IPAddress], IPInterface]
    """A pod's address, with the network that it takes for its link's."""
    gateway: Callable[[Node, Family], IPAddress]
    """What a pod takes for its router."""
    way_in: Callable[[str], str]
    """The link over which a node reaches a pod, by what tells the pod from others."""
    masquerade: Callable[[Cluster, Family, Sequence[Node]], Ruleset]
    """What becomes on a node of what pods send out of the cluster."""
    tables: frozenset[str]
    """The names of its tables of nftables."""
    masquerades_global: bool = False
    """Whether pods are masqueraded though their addresses hold outside of the cluster, too."""
    bridged: bool = False
    """Whether its pods are on a bridge of their node, which then has to be filtered (`emulab.kernel.plugins`)."""
