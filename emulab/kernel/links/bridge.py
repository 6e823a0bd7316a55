"""Bridges as the kernel is told of them (linux/if_link.h, IFLA_BR_…)."""

from __future__ import annotations

from emulab.kernel.links.encoding import Handles
from emulab.kernel.links.link import Values, link_encoding
from emulab.kernel.netlink.codec import U8, U32, AttributeTable
from emulab.plan.links import Bridge

DATA = AttributeTable(
    {
        "IFLA_BR_FORWARD_DELAY": (1, U32),
        "IFLA_BR_STP_STATE": (5, U32),
        "IFLA_BR_MCAST_SNOOPING": (23, U8),
    }
)


def _describe(item: Bridge, _: Handles) -> tuple[Values, Values]:
    # No STP and no forwarding delay: a port passes frames from its first moment on.
    return {"IFLA_MTU": item.mtu}, dict.fromkeys(DATA.attributes, 0)


ENCODING = link_encoding("bridge", DATA, _describe)
