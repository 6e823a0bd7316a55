"""VXLAN devices whose packets say themselves where they go, as the kernel is told of them."""

from __future__ import annotations

from emulab.kernel.links.encoding import Handles
from emulab.kernel.links.link import Values, link_encoding
from emulab.kernel.links.vxlan import DATA
from emulab.plan.links import TunnelVxlan


def _describe(item: TunnelVxlan, handles: Handles) -> tuple[Values, Values]:
    return {"IFLA_MTU": item.mtu}, {
        "IFLA_VXLAN_ID": 0,
        "IFLA_VXLAN_LEARNING": 0,
        "IFLA_VXLAN_PORT": item.port,
        "IFLA_VXLAN_COLLECT_METADATA": 1,
    }


ENCODING = link_encoding("vxlan", DATA, _describe)
