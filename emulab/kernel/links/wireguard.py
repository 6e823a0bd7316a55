"""WireGuard devices as the kernel is told of them; what they are told themselves is `rules.wireguard`'s."""

from __future__ import annotations

from emulab.kernel.links.encoding import CREATE, Encoding, Handles
from emulab.kernel.links.link import remove_link
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.rtnetlink import IFF_UP, LINK, RTM_NEWLINK
from emulab.plan.links import Wireguard


def _add(item: Wireguard, handles: Handles) -> Message:
    values = {
        "index": handles[item.namespace].allocate_index(item.name),
        "flags": IFF_UP,
        "change": IFF_UP,
        "IFLA_IFNAME": item.name,
        "IFLA_MTU": item.mtu,
        "IFLA_LINKINFO": {"IFLA_INFO_KIND": "wireguard"},
    }
    return Message(RTM_NEWLINK, CREATE, LINK.encode(values))


ENCODING = Encoding(_add, remove_link)
"""A link without a MAC address: packets on it begin with their IP header."""
