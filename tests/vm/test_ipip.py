"""The device of IP in IP, which stays when nobody wants it any more."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

import pytest
from namespaces import ip, isolated

from emulab.kernel.network import KernelNetwork
from emulab.plan.links import Address, Ipip, Route
from emulab.plan.state import Namespace, Network

pytestmark = pytest.mark.vm

NODE = {"node": Namespace("node")}
TUNNEL = Network(
    NODE,
    frozenset(
        {
            Ipip("node", 1480),
            Address("node", "tunl0", ip_interface("10.244.1.0/32")),
            Route("node", ip_network("10.244.2.0/26"), "tunl0"),
        }
    ),
)


@isolated
def test_another_network_and_back() -> None:
    world = KernelNetwork()
    try:
        for wanted, address, route in ((TUNNEL, "10.244.1.0", "tunl0"), (Network(NODE), None, None)) * 2:
            world.apply(wanted)
            [link] = ip(world.handles["node"], "-4", "address", "show", "dev", "tunl0") or [{}]
            assert [a["local"] for a in link.get("addr_info", ())] == ([address] if address else [])
            assert [r["dev"] for r in ip(world.handles["node"], "route", "show")] == (
                [route] if route else []
            )
    finally:
        world.close()
