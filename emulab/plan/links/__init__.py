"""The kinds of items that make a network: links, and what is on them. A module each, and a line in `KINDS`.

A kind's module has its value, what of it the kernel lets exist once, what it is built on and goes with, and how a plan
prints it; `kernel/links/` has a module of the same name with what the kernel is told.
"""

from __future__ import annotations

from emulab.plan.links.address import Address
from emulab.plan.links.announced import AnnouncedLink
from emulab.plan.links.bridge import Bridge
from emulab.plan.links.checksums import Checksums
from emulab.plan.links.delayline import DelayLine
from emulab.plan.links.detached import Detached
from emulab.plan.links.dummy import Dummy
from emulab.plan.links.forwarding import ForwardingEntry
from emulab.plan.links.hairpin import Hairpin
from emulab.plan.links.ipip import Ipip
from emulab.plan.links.ipipend import IpipEnd
from emulab.plan.links.item import Item
from emulab.plan.links.neighbour import Neighbour
from emulab.plan.links.proxyarp import ProxyArp
from emulab.plan.links.reversepath import ReversePath
from emulab.plan.links.route import LOCAL, NextHop, Route, RouteTunnel
from emulab.plan.links.rule import RoutingRule
from emulab.plan.links.segmentation import Segmentation
from emulab.plan.links.shaper import Shaper
from emulab.plan.links.translated import Translated
from emulab.plan.links.tunnelvxlan import TunnelVxlan
from emulab.plan.links.veth import Veth
from emulab.plan.links.vxlan import Vxlan
from emulab.plan.links.wireguard import Wireguard

__all__ = [
    "KINDS",
    "LOCAL",
    "Address",
    "AnnouncedLink",
    "Bridge",
    "Checksums",
    "DelayLine",
    "Detached",
    "Dummy",
    "ForwardingEntry",
    "Hairpin",
    "Ipip",
    "IpipEnd",
    "Item",
    "Neighbour",
    "NextHop",
    "ProxyArp",
    "ReversePath",
    "Route",
    "RouteTunnel",
    "RoutingRule",
    "Segmentation",
    "Shaper",
    "Translated",
    "TunnelVxlan",
    "Veth",
    "Vxlan",
    "Wireguard",
    "rank",
]

KINDS: list[type[Item]] = [
    Bridge,  # a veth names its bridge when it is born
    Veth,
    Vxlan,  # names its underlay device
    TunnelVxlan,
    Ipip,
    IpipEnd,
    Wireguard,
    Dummy,
    Segmentation,
    Checksums,
    DelayLine,
    Shaper,
    Translated,
    Hairpin,
    Detached,  # once there is what stands in its stead
    ReversePath,
    ProxyArp,
    Address,
    Neighbour,
    ForwardingEntry,
    Route,  # needs the link up and, with a gateway, an address in the gateway's network
    AnnouncedLink,  # of all addresses
    RoutingRule,  # leads to a table, which has its routes by then
]
"""In the order of making: an item may need those of kinds before it. Adding goes down the list, removing goes up."""


def rank(item: Item) -> tuple[bool, int]:
    """Where an item stands in the order of making: the underlay's links, and then the others by their kinds."""
    return not item.first(), KINDS.index(type(item))
