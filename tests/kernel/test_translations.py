"""Services by BPF programs, with packets between two pods of a node, in both families."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from namespaces import isolated

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.bpf import all_elements
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


LARGE = bytes(range(256)) * 20  # in four fragments


@isolated
@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_in_fragments_are_led_both_ways(version: int) -> None:
    kernel = KernelNetwork()
    with closing(kernel):
        kernel.apply(network(services()))
        with (
            made(kernel, "b", version, socket.SOCK_DGRAM) as there,
            made(kernel, "a", version, socket.SOCK_DGRAM) as here,
        ):
            there.bind((PODS["b"][version], 8080))
            here.connect((str(VIPS[version]), 80))
            for number in range(3):
                asked, answered = LARGE + bytes([number]), bytes([number]) + LARGE[::-1]
                here.send(asked)
                data, client = there.recvfrom(1 << 16)
                assert data == asked and client[0] == PODS["a"][version]
                there.sendto(answered, client)
                assert here.recv(1 << 16) == answered
            assert not refragmented(kernel, version), "it was put together by who asked for it alone"


def refragmented(kernel: KernelNetwork, version: int) -> int:
    """How many packets the node has put together, and so would show that somebody else had made up for it."""
    text = netns.inside(
        kernel.handles[NODE].fd, Path("/proc/net/snmp" if version == 4 else "/proc/net/snmp6").read_text
    )
    if version == 6:
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Ip6ReasmOKs"))
    names, values = (line.split() for line in text.splitlines() if line.startswith("Ip:"))
    return int(values[names.index("ReasmOKs")])


@isolated
def test_a_fragment_without_a_first_one_passes_as_it_is() -> None:
    kernel = KernelNetwork()
    with closing(kernel):
        kernel.apply(network(services()))
        there = netns.inside(
            kernel.handles["b"].fd,
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800)),
        )
        here = netns.inside(
            kernel.handles["a"].fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        )
        source, to, end = (socket.inet_aton(text) for text in (PODS["a"][4], str(VIPS[4]), PODS["b"][4]))

        def fragment(number: int, place: int, body: bytes, destination: bytes = to) -> bytes:
            header = struct.pack(
                "!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), number, place, 64, 17, 0, source, destination
            )
            return header + body

        udp = struct.pack("!HHHH", 5000, 80, 8 + 16, 0)
        with here, there:
            there.settimeout(5)
            here.sendto(fragment(7, 1, b"before its time!"), (str(VIPS[4]), 0))
            here.sendto(fragment(9, 0x2000, udp), (str(VIPS[4]), 0))
            here.sendto(fragment(9, 1, b"in its own turn."), (str(VIPS[4]), 0))
            seen = [there.recv(100) for _ in range(2)]
        assert [one[16:20] for one in seen] == [end, end]
        assert seen[0][20:24] == struct.pack("!HH", 5000, 8080) and seen[1][20:] == b"in its own turn."


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


def known(translator: Translator) -> int:
    """How many entries the programs have for connections."""
    return sum(1 for _ in all_elements(translator._maps["flows"], layouts.FLOW_KEY.size, layouts.FLOW.size))


def later(seconds: float) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)


@isolated
def test_a_connection_is_forgotten_once_both_sides_have_ended_it() -> None:
    kernel = KernelNetwork()
    with closing(kernel):
        kernel.apply(network(services()))
        translator = translator_of(kernel.handles[NODE])
        for version, vip in VIPS.items():
            with made(kernel, "b", version, socket.SOCK_STREAM) as there:
                there.bind((PODS["b"][version], 8080))
                there.listen()
                with made(kernel, "a", version, socket.SOCK_STREAM) as here:
                    here.connect((str(vip), 80))
                    taken, _ = there.accept()
                    with taken:
                        here.sendall(b"question")
                        assert taken.recv(100) == b"question"
                        here.shutdown(socket.SHUT_WR)
                        assert taken.recv(100) == b""
                        assert translator.forget_ended(later(100)) == 0, "the answer may take hours"
                        taken.sendall(b"answer")
                    assert here.recv(100) == b"answer" and here.recv(100) == b""
            assert translator.forget_ended(later(5)) == 0 and known(translator) == 2
            assert translator.forget_ended(later(11)) == 2 and known(translator) == 0


@isolated
def test_a_reset_ends_a_connection_and_one_that_never_was_is_forgotten_soon() -> None:
    kernel = KernelNetwork()
    with closing(kernel):
        kernel.apply(network(services()))
        translator = translator_of(kernel.handles[NODE])
        with made(kernel, "a", 4, socket.SOCK_STREAM) as here:
            assert here.connect_ex((str(VIPS[4]), 80)) == errno.ECONNREFUSED
        assert translator.forget_ended(later(5)) == 0 and translator.forget_ended(later(11)) == 2
        with (
            made(kernel, "b", 6, socket.SOCK_DGRAM) as there,
            made(kernel, "a", 6, socket.SOCK_DGRAM) as here,
        ):
            there.bind((PODS["b"][6], 8080))
            here.sendto(b"question", (str(VIPS[6]), 80))
            assert there.recv(100) == b"question"
        assert translator.forget_ended(later(50)) == 0 and translator.forget_ended(later(61)) == 2


@isolated
def test_a_client_stays_with_its_endpoint_at_all_frontends_that_have_it() -> None:
    kernel = KernelNetwork()
    with closing(kernel):
        everywhere, local = (BpfFrontend("tcp", VIPS[4], port, True, False) for port in (80, 81))
        choice = Choice("default/web/tcp/4", ENDS, 1000)
        both = {everywhere: choice, local: choice._replace(endpoints=ENDS[1:])}
        kernel.apply(network(both))
        with (
            made(kernel, "b", 4, socket.SOCK_STREAM) as first,
            made(kernel, "b", 4, socket.SOCK_STREAM) as second,
        ):
            for one, (address, port) in zip((first, second), ENDS, strict=True):
                one.bind((str(address), port))
                one.listen(20)

            def asked(port: int) -> int:
                with made(kernel, "a", 4, socket.SOCK_STREAM) as here:
                    here.connect((str(VIPS[4]), port))
                    source = ip_address(PODS["a"][4]), here.getsockname()[1]
                    flow = translator_of(kernel.handles[NODE]).flow("tcp", source, (VIPS[4], port))
                    assert flow is not None
                    return flow.endpoint[1]

            assert asked(81) == 9090
            assert {asked(80) for _ in range(12)} == {9090}, "it stays with the one that it knows"
            kernel.apply(network({**both, local: choice._replace(endpoints=ENDS[:1])}))
            assert asked(81) == 8080, "the one that it knows isn't here"
            assert {asked(80) for _ in range(12)} == {8080}


@isolated
@pytest.mark.parametrize("version", [4, 6])
def test_sctp_is_led_to_its_port_and_nothing_of_it_is_changed_but_addresses(version: int) -> None:
    """By raw sockets, as few kernels have SCTP: a checksum of its own isn't about addresses."""
    kernel = KernelNetwork()
    with closing(kernel):
        end = ip_address(PODS["b"][version]), 8080
        frontend = BpfFrontend("sctp", VIPS[version], 8080, True, version == 6)
        kernel.apply(network({frontend: Choice(f"default/web/sctp/{version}", (end,))}))
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        fds = [kernel.handles[pod].fd for pod in ("a", "b")]
        here, there = (
            netns.inside(fd, lambda: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_SCTP))
            for fd in fds
        )
        header = 20 if version == 4 else 0  # which raw sockets of IPv4 see
        with here, there:
            for sock in (here, there):
                sock.settimeout(5)
            asked, answered = (
                struct.pack("!HHII", *ports, 7, 0x01020304) for ports in ((5000, 8080), (8080, 5000))
            )
            here.sendto(asked, (str(VIPS[version]), 0))
            data, client = there.recvfrom(100)
            assert data[header:] == asked and client[0] == PODS["a"][version]
            there.sendto(answered, (client[0], 0))
            data, server = here.recvfrom(100)
            assert data[header:] == answered and server[0] == str(VIPS[version])


MTU, MTU_OF = 1300, {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}
ALWAYS_WHOLE = {
    4: (socket.IPPROTO_IP, 10, 2),
    6: (socket.IPPROTO_IPV6, 23, 2),
}  # IP_MTU_DISCOVER, IP_PMTUDISC_DO


def whole(kernel: KernelNetwork, pod: str, version: int) -> socket.socket:
    """A socket whose datagrams are never cut into pieces."""
    sock = made(kernel, pod, version, socket.SOCK_DGRAM)
    sock.setsockopt(*ALWAYS_WHOLE[version])
    return sock


def until_mtu(sock: socket.socket, version: int, send: Callable[[], object]) -> int:
    """What a connected socket comes to know of its way."""
    for _ in range(100):
        with suppress(OSError):  # EMSGSIZE, once it is known
            send()
        if (mtu := sock.getsockopt(*MTU_OF[version])) != 1500:
            return mtu
        time.sleep(0.02)
    return 1500


@isolated
@pytest.mark.parametrize("version", [4, 6])
def test_the_mtu_of_the_way_to_an_endpoint_is_found_through_a_service(version: int) -> None:
    kernel = KernelNetwork()
    with closing(kernel):
        kernel.apply(network(services()))
        narrow = ["ip", "link", "set", "lxcb", "mtu", str(MTU)]
        netns.inside(kernel.handles[NODE].fd, lambda: subprocess.run(narrow, check=True))
        with whole(kernel, "a", version) as here:
            here.connect((str(VIPS[version]), 80))
            assert until_mtu(here, version, lambda: here.send(bytes(1400))) == MTU
        with made(kernel, "b", version, socket.SOCK_STREAM) as there:
            there.bind((PODS["b"][version], 8080))
            there.listen()
            with made(kernel, "a", version, socket.SOCK_STREAM) as here:
                here.connect((str(VIPS[version]), 80))
                taken, _ = there.accept()
                with taken:
                    here.sendall(bytes(50_000))
                    here.shutdown(socket.SHUT_WR)
                    assert sum(len(data) for data in iter(lambda: taken.recv(1 << 16), b"")) == 50_000


@isolated
@pytest.mark.parametrize("version", [4, 6])
def test_who_answers_for_a_service_hears_of_a_narrow_way_back(version: int) -> None:
    """A router behind the client complains of what it was sent by the Service's address."""
    kernel = KernelNetwork()
    with closing(kernel):
        kernel.apply(network(services()))
        with whole(kernel, "b", version) as there, made(kernel, "a", version, socket.SOCK_DGRAM) as here:
            there.bind((PODS["b"][version], 8080))
            here.connect((str(VIPS[version]), 80))
            here.send(b"question")
            _, client = there.recvfrom(100)
            there.connect(client)
            there.send(b"answer")
            assert here.recv(100) == b"answer"
            kind = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            fd = kernel.handles["a"].fd
            with netns.inside(fd, lambda: socket.socket(family, socket.SOCK_RAW, kind)) as router:
                error = too_big(version, here.getsockname()[1])
                assert until_mtu(there, version, lambda: router.sendto(error, (str(VIPS[version]), 0))) == MTU


def too_big(version: int, port: int) -> bytes:
    """What a router says of a datagram from the Service to the client."""
    source, to = VIPS[version].packed, ip_address(PODS["a"][version]).packed
    udp = struct.pack("!HHHH", 80, port, 1408, 0)
    if version == 6:  # the kernel sums up
        inner = struct.pack("!IHBB", 6 << 28, 1408, 17, 63) + source + to + udp
        return struct.pack("!BBHI", 2, 0, 0, MTU) + inner
    header = struct.pack("!BBHHHBBH", 0x45, 0, 1428, 1, 0x4000, 63, 17, 0) + source + to
    inner = header[:10] + summed(header) + header[12:] + udp
    message = struct.pack("!BBHHH", 3, 4, 0, 0, MTU) + inner
    return message[:2] + summed(message) + message[4:]


def summed(data: bytes) -> bytes:
    """The checksum of the internet protocols (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
