"""Services by BPF programs, with packets between two pods of a node, in both families."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from namespaces import isolated

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.ebpf import layouts
from emulab.kernel.ebpf.translator import Translator, translator_of
from emulab.kernel.network import KernelNetwork
from emulab.plan.links import Address, Item, Neighbour, Route, Translated, Veth
from emulab.plan.state import BpfFrontend, Choice, Namespace, Network, Translations

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="no user namespace may load BPF programs"),
]

VIPS = {4: ip_address("10.96.0.7"), 6: ip_address("fd00:96::7")}
PODS = {"a": {4: "10.244.1.2", 6: "fd00:244::2"}, "b": {4: "10.244.1.3", 6: "fd00:244::3"}}
ENDS = (ip_address("10.244.1.3"), 8080), (ip_address("10.244.1.3"), 9090)
NODE = "node"
SPOKEN = (("net/ipv6/conf/default/disable_ipv6", "0"), ("net/ipv6/conf/default/accept_dad", "0"))
FORWARDING = (*SPOKEN, ("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1"))


def network(services: Mapping[BpfFrontend, Choice]) -> Network:
    found: list[Item] = []
    for number, (pod, addresses) in enumerate(PODS.items(), 1):
        near, far = f"02:00:00:00:00:0{number}", f"02:00:00:00:01:0{number}"
        link = f"lxc{pod}"
        found += [Veth(NODE, link, near, pod, "eth0", far, 1500), Translated(NODE, link, "pod")]
        for version, text in addresses.items():
            host, router = ip_network(text), ip_address("169.254.1.1" if version == 4 else "fe80::1")
            everywhere = ip_network("0.0.0.0/0" if version == 4 else "::/0")
            found += [
                Address(pod, "eth0", ip_interface(text)),
                Neighbour(pod, "eth0", router, near),
                Route(pod, everywhere, "eth0", router, onlink=True),
                Route(NODE, host, link),
                Neighbour(NODE, link, ip_address(text), far),
            ]
    pods = tuple(ip_network(text) for text in ("10.244.0.0/16", "fd00:244::/48"))
    names = {NODE: Namespace(NODE, FORWARDING), **{pod: Namespace(pod, SPOKEN) for pod in PODS}}
    return Network(names, frozenset(found), {(NODE, "ebpf"): Translations(services, pods, ())})


def services(*, port: int = 8080, affinity: int = 0) -> dict[BpfFrontend, Choice]:
    """A Service of pod b, TCP and UDP in both families."""
    return {
        BpfFrontend(protocol, vip, 80, True, version == 6): Choice(
            f"default/web/{protocol}/{version}", ((ip_address(PODS["b"][version]), port),), affinity
        )
        for version, vip in VIPS.items()
        for protocol in ("tcp", "udp")
    }


def made(kernel: KernelNetwork, pod: str, version: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    sock = netns.inside(kernel.handles[pod].fd, lambda: socket.socket(family, kind))
    sock.settimeout(5)
    return sock


def rows(translator: Translator) -> dict[str, list[str]]:
    return {
        f"{one.protocol} {one.address}": [f"{address} {port}" for address, port in one.endpoints.values()]
        for one in translator.services() or ()
    }


@isolated
def test_requests_and_answers_of_both_families_and_protocols() -> None:
    kernel = KernelNetwork()
    with closing(kernel):
        kernel.apply(network(services()))
        for version, vip in VIPS.items():
            own = PODS["b"][version]
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with made(kernel, "b", version, kind) as there, made(kernel, "a", version, kind) as here:
                    there.bind((own, 8080))
                    if kind == socket.SOCK_DGRAM:
                        here.connect((str(vip), 80))
                        here.send(b"question")
                        asked, client = there.recvfrom(100)
                        there.sendto(b"answer", client)
                    else:
                        there.listen()
                        here.connect((str(vip), 80))
                        taken, client = there.accept()
                        with taken:
                            here.sendall(b"question")
                            asked = taken.recv(100)
                            taken.sendall(b"answer")
                    assert asked == b"question" and client[0] == PODS["a"][version]
                    assert here.recv(100) == b"answer" and here.getpeername()[0] == str(vip)
                    source = ip_address(PODS["a"][version]), here.getsockname()[1]
                    protocol = "udp" if kind == socket.SOCK_DGRAM else "tcp"
                    flow = translator_of(kernel.handles[NODE]).flow(protocol, source, (vip, 80))
                    assert flow is not None and flow.endpoint == (ip_address(own), 8080)


@isolated
def test_maps_have_what_is_wanted_after_each_change() -> None:
    kernel = KernelNetwork()
    with closing(kernel):
        kernel.apply(network(services()))
        translator = translator_of(kernel.handles[NODE])
        assert rows(translator)["tcp 10.96.0.7"] == ["10.244.1.3 8080"] and len(rows(translator)) == 4
        first = BpfFrontend("tcp", VIPS[4], 80, True, False)
        both = (ip_address("10.244.1.3"), 8080), (ip_address("10.244.1.2"), 8080)
        wanted = {**services(), first: Choice("default/web/tcp/4", both)}
        kernel.apply(network(wanted))
        assert rows(translator)["tcp 10.96.0.7"] == ["10.244.1.3 8080", "10.244.1.2 8080"]
        wanted = {**wanted, first: Choice("default/web/tcp/4", both[1:])}
        kernel.apply(network(wanted))
        assert rows(translator)["tcp 10.96.0.7"] == ["10.244.1.2 8080"]
        wanted = {frontend: choice for frontend, choice in wanted.items() if frontend != first}
        kernel.apply(network(wanted))
        assert len(rows(translator)) == 3
        kernel.apply(replace(network({}), rulesets={}))
        assert rows(translator) == {}


@isolated
def test_a_mode_that_is_left_leaves_no_maps_and_can_come_back() -> None:
    kernel = KernelNetwork()
    with closing(kernel):
        there = network(services())
        kernel.apply(there)
        translator = translator_of(kernel.handles[NODE])
        links = frozenset(i for i in there.items if not isinstance(i, Translated))
        kernel.apply(replace(there, items=links, rulesets={}))
        assert kernel.handles[NODE].translator is None
        assert translator.services() is None
        assert translator.flow("udp", (VIPS[4], 1), (VIPS[4], 80)) is None
        kernel.apply(there)
        assert len(rows(translator_of(kernel.handles[NODE]))) == 4


@isolated
def test_what_has_no_room_is_taken_back() -> None:
    kernel, room = KernelNetwork(), layouts.MAPS["services"]
    layouts.MAPS["services"] = room._replace(room=12)
    with closing(kernel):
        kernel.apply(network(services()))
        translator = translator_of(kernel.handles[NODE])
        before = translator.services()
        ports = [BpfFrontend("tcp", VIPS[4], port, True, False) for port in range(10)]
        other = services(port=9090)
        own_list, shared_list = Choice("default/more/tcp/4", ENDS), next(iter(other.values()))
        for choice in (own_list, shared_list):  # no room for the list; none for what leads there
            with pytest.raises(KernelError, match="more than 12 elements of the BPF map lb_services in node"):
                kernel.apply(network(other | {ports[0]: choice}))
            assert translator.services() == before
        kernel.apply(network(services() | {ports[0]: own_list}))
        assert len(translator.services() or ()) == 5
        kernel.apply(network({}))
        kernel.apply(
            network(dict.fromkeys(ports, own_list))
        )  # there is room for just this, so all is free again
        assert rows(translator)["tcp 10.96.0.7"] == ["10.244.1.3 8080", "10.244.1.3 9090"]


@isolated
@pytest.mark.parametrize("between", [(), ({},)], ids=["at once", "later"])
def test_a_datagram_finds_another_endpoint_when_its_own_is_gone(
    between: tuple[dict[BpfFrontend, Choice], ...],
) -> None:
    kernel = KernelNetwork()
    with closing(kernel):
        kernel.apply(network(services()))
        with (
            made(kernel, "b", 4, socket.SOCK_DGRAM) as old,
            made(kernel, "b", 4, socket.SOCK_DGRAM) as new,
            made(kernel, "a", 4, socket.SOCK_DGRAM) as here,
        ):
            old.bind((PODS["b"][4], 8080))
            new.bind((PODS["b"][4], 9090))
            here.connect((str(VIPS[4]), 80))
            here.send(b"1")
            assert old.recv(10) == b"1"
            for one in (*between, services(port=9090)):
                kernel.apply(network(one))
            here.send(b"2")
            assert new.recv(10) == b"2"


@isolated
def test_who_was_refused_may_find_another_endpoint_from_the_same_port() -> None:
    kernel = KernelNetwork()
    with closing(kernel):
        kernel.apply(network(services()))
        frontend = BpfFrontend("tcp", VIPS[4], 80, True, False)
        with made(kernel, "b", 4, socket.SOCK_STREAM) as there:
            there.bind((PODS["b"][4], 9090))
            there.listen()
            port = 0
            for _ in range(60):
                with made(kernel, "a", 4, socket.SOCK_STREAM) as here:
                    here.bind((PODS["a"][4], port))
                    port = here.getsockname()[1]
                    if here.connect_ex((str(VIPS[4]), 80)) == 0:
                        break
                # Nobody listens at the first one; the second one comes later.
                kernel.apply(network(services() | {frontend: Choice("default/web/tcp/4", ENDS)}))
            else:
                raise AssertionError("each attempt was led to the one that refuses")
