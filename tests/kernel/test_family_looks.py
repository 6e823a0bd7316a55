"""Ways, connections and captures in worlds of IPv6 and of both families, which labs don't have as yet."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Any

import pytest
from familyworlds import planned_with_objects
from namespaces import isolated
from test_family_packets import BOTH, IDS, own, pods, without_ipvs

from emulab.kernel import netns, sockets
from emulab.kernel.network import KernelNetwork
from emulab.kinds.registry import SERVICE
from emulab.lab.client.client import LabClient
from emulab.lab.supervisor.surveying import topology
from emulab.model.addresses import parse_address
from emulab.model.families import Family, family_of
from emulab.plan.state import World
from emulab.toolbox.connections import connections
from emulab.toolbox.graph import graph_of
from emulab.toolbox.traceroute.way import PORTS, RouteSearch


class Here(LabClient):
    """Sockets of the namespaces, as a lab gives them."""

    def __init__(self, kernel: KernelNetwork, world: World) -> None:
        self.kernel, self.world = kernel, world

    def request_socket(self, **asked: Any) -> socket.socket:
        namespace = self.world.places[asked["target"]].namespace
        fd = self.kernel.handles[namespace].fd
        return sockets.open_socket(fd, asked["family"], asked["type"], asked.get("protocol") or 0)


def listening(kernel: KernelNetwork, world: World, place: str, address: str, port: int) -> socket.socket:
    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.bind((address, port))
        sock.listen()
        return sock

    return netns.inside(kernel.handles[world.places[place].namespace].fd, make)


@pytest.mark.parametrize("families", BOTH, ids=IDS)
@isolated
def test_ways_are_found_and_translations_told(families: tuple[Family, ...]) -> None:
    objects, world = planned_with_objects(*families)
    kernel = KernelNetwork()
    try:
        kernel.apply(without_ipvs(world.network))
        here = Here(kernel, world)
        for family in families:
            node = str(own(world, "node2", family))
            for protocol in PORTS:
                search = RouteSearch(
                    here, "client", "default", node, protocol, 81 if protocol == "tcp" else None
                )
                hops = [
                    next((a.address for a in hop.answers if a.address), "") for hop in search.hops(9, 2, 5.0)
                ]
                assert search.reached and len(hops) == 2 and hops[1] == node, (protocol, hops)
                assert hops[0] in map(str, world.places["router"].addresses)
            plain = objects.get(SERVICE.key("shop", "plain"))
            assert plain is not None
            [address] = [a for a in plain.spec["clusterIPs"] if family_of(parse_address(a)) == family]
            web = pods(world, "shop.web-")
            with ExitStack() as stack:  # who isn't there resets, and what is reset isn't tracked any more
                for name in web:
                    stack.enter_context(listening(kernel, world, name, str(own(world, name, family)), 8080))
                search = RouteSearch(here, "node1", "default", address, "tcp", 80)
                assert list(search.hops(9, 2, 5.0)) and search.reached
                [*_, told] = search.translations(["router", "node1", "node2"])
            answering = {str(own(world, name, family)) for name in web}
            assert told.place == "node1" and told.before.destination == address
            assert told.after.destination in answering
    finally:
        kernel.close()


@pytest.mark.parametrize("families", BOTH, ids=IDS)
@isolated
def test_connections_are_seen_and_links_drawn(families: tuple[Family, ...]) -> None:
    _, world = planned_with_objects(*families)
    kernel = KernelNetwork()
    try:
        kernel.apply(without_ipvs(world.network))
        here = Here(kernel, world)
        for family in families:
            address = str(own(world, "node1", family))
            with listening(kernel, world, "node1", address, 4000):
                [found] = connections(here, ["node1"], "default")
                assert [(s.state, s.address) for s in found.sockets if s.port == 4000] == [
                    ("LISTEN", address)
                ]
        drawn = graph_of(topology(world, {}))
        assert {link.to for link in drawn.of("node1")} == {"vpc", "overlay"}
        assert {link.to for link in drawn.of("router")} == {"internet", "vpc"}
        for link in drawn.links:
            assert link.interface in kernel.handles[world.places[link.place].namespace].indexes
    finally:
        kernel.close()
