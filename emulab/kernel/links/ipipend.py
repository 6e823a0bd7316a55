"""Ends of IP in IP as the kernel is told of them (linux/if_tunnel.h, IFLA_IPTUN_…): devices of `ipip` and `ip6tnl`."""

from __future__ import annotations

from emulab.kernel.links.encoding import CREATE, Encoding, Handles
from emulab.kernel.links.link import remove_link
from emulab.kernel.netlink.codec import ADDRESS, AttributeTable
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.rtnetlink import IFF_UP, LINK, RTM_NEWLINK
from emulab.plan.links import IpipEnd

DATA = AttributeTable({"IFLA_IPTUN_LOCAL": (2, ADDRESS)})
_KINDS = {4: "ipip", 6: "ip6tnl"}


def _add(item: IpipEnd, handles: Handles) -> Message:
    own = DATA.encode({"IFLA_IPTUN_LOCAL": item.local})
    values = {
        "index": handles[item.namespace].allocate_index(item.name),
        "flags": IFF_UP,
        "change": IFF_UP,
        "IFLA_IFNAME": item.name,
        "IFLA_LINKINFO": {"IFLA_INFO_KIND": _KINDS[item.local.version], "IFLA_INFO_DATA": own},
    }
    return Message(RTM_NEWLINK, CREATE, LINK.encode(values))


ENCODING = Encoding(_add, remove_link)
