"""Proxy ARP as the kernel is told of it: `net.ipv4.conf.LINK.proxy_arp` and `net.ipv4.neigh.LINK.proxy_delay`.

By rtnetlink, without /proc/sys. The kernel's delay is up to 0.8 s, which a pod's first packet would wait for.
"""

from __future__ import annotations

from collections.abc import Iterable

from emulab.kernel.links.encoding import Encoding, Handles, index
from emulab.kernel.netlink.codec import STRING, U32, U64, AttributeTable, HeadedTable, Header
from emulab.kernel.netlink.messages import FAMILIES, Message
from emulab.kernel.netlink.rtnetlink import LINK, RTM_SETLINK
from emulab.kernel.netns import Handle
from emulab.plan.links import ProxyArp

# linux/neighbour.h, linux/rtnetlink.h
_RTM_SETNEIGHTBL = 67
_PARAMETERS = AttributeTable({"NDTPA_IFINDEX": (1, U32), "NDTPA_PROXY_DELAY": (13, U64)})
_TABLE = HeadedTable(
    Header("=Bxxx", "family"),  # struct ndtmsg
    {"NDTA_NAME": (1, STRING), "NDTA_PARMS": (6, _PARAMETERS)},
)


def _message(item: ProxyArp, handles: Handles, on: int) -> Message:
    family = {"AF_INET": {"IFLA_INET_CONF": {"IPV4_DEVCONF_PROXY_ARP": on}}}
    return Message(RTM_SETLINK, 0, LINK.encode({"index": index(item, handles), "IFLA_AF_SPEC": family}))


def _add(item: ProxyArp, handles: Handles) -> Message:
    return _message(item, handles, 1)


def _remove(item: ProxyArp, handles: Handles) -> Message:
    return _message(item, handles, 0)


def _finish(item: ProxyArp, handles: Handles) -> Iterable[tuple[Handle, Message]]:
    parameters = {"NDTPA_IFINDEX": index(item, handles), "NDTPA_PROXY_DELAY": 0}
    values = {"family": FAMILIES[4], "NDTA_NAME": "arp_cache", "NDTA_PARMS": parameters}
    yield (
        handles[item.namespace],
        Message(_RTM_SETNEIGHTBL, 0, _TABLE.encode(values), "have proxy ARP answer at once"),
    )


ENCODING = Encoding(_add, _remove, _finish)
