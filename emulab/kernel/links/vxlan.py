"""VXLAN devices as the kernel is told of them (linux/if_link.h, IFLA_VXLAN_…)."""

from __future__ import annotations

from emulab.kernel.links.encoding import Handles
from emulab.kernel.links.link import Values, link_encoding
from emulab.kernel.netlink.codec import ADDRESS, BE16, U8, U32, AttributeTable
from emulab.plan.links import Vxlan

DATA = AttributeTable(
    {
        "IFLA_VXLAN_ID": (1, U32),
        "IFLA_VXLAN_LINK": (3, U32),
        "IFLA_VXLAN_LOCAL": (4, ADDRESS),
        "IFLA_VXLAN_LEARNING": (7, U8),
        "IFLA_VXLAN_PORT": (15, BE16),
        "IFLA_VXLAN_LOCAL6": (17, ADDRESS),
        "IFLA_VXLAN_COLLECT_METADATA": (25, U8),
    }
)
_LOCAL = {4: "IFLA_VXLAN_LOCAL", 6: "IFLA_VXLAN_LOCAL6"}


def _describe(item: Vxlan, handles: Handles) -> tuple[Values, Values]:
    return {"IFLA_MTU": item.mtu}, {
        "IFLA_VXLAN_ID": item.vni,
        "IFLA_VXLAN_LINK": handles[item.namespace].indexes[item.device],
        _LOCAL[item.local.version]: item.local,
        "IFLA_VXLAN_LEARNING": 0,
        "IFLA_VXLAN_PORT": item.port,
    }


ENCODING = link_encoding("vxlan", DATA, _describe)
