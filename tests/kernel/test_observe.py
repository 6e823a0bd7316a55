"""What emulab.observe reads, on real packets: a client, a router that translates, and a server behind it."""

from __future__ import annotations

import array
import os
import resource
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import NamedTuple

import pytest
from namespaces import ip, isolated, open_descriptors

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.network import KernelNetwork
from emulab.observe.capture import drops, filters, netfilter, rings, routes
from emulab.observe.events import Flow, LinkState, RuleTrace
from emulab.plan.links import Address, Item, Neighbour, Route, Veth
from emulab.plan.state import Namespace, Network, Ruleset

pytestmark = pytest.mark.privilege

QUIET = (("net/ipv6/conf/all/disable_ipv6", "1"), ("net/ipv6/conf/default/disable_ipv6", "1"))
FORWARD = (*QUIET, ("net/ipv4/ip_forward", "1"))
CLIENT, ROUTER_IN, ROUTER_OUT, SERVER = "10.1.0.2", "10.1.0.1", "10.2.0.1", "10.2.0.2"
SERVICE = "10.96.0.10"
ITEMS: frozenset[Item] = frozenset(
    {
        Veth("client", "eth0", "02:00:00:00:01:01", "router", "in", "02:00:00:00:01:02", 1500),
        Veth("router", "out", "02:00:00:00:02:01", "server", "eth0", "02:00:00:00:02:02", 1400),
        Address("client", "eth0", ip_interface(f"{CLIENT}/24")),
        Address("router", "in", ip_interface(f"{ROUTER_IN}/24")),
        Address("router", "out", ip_interface(f"{ROUTER_OUT}/24")),
        Address("server", "eth0", ip_interface(f"{SERVER}/24")),
        Route("client", ip_network("0.0.0.0/0"), "eth0", ip_address(ROUTER_IN)),
        Route("server", ip_network("0.0.0.0/0"), "eth0", ip_address(ROUTER_OUT)),
        Route("router", ip_network("10.9.0.0/16"), "out", ip_address("10.9.9.9"), None, onlink=True),
        Neighbour("client", "eth0", ip_address(ROUTER_IN), "02:00:00:00:01:02"),
    }
)
NAT = Ruleset(
    "ip",
    "nat",
    {
        "svc": ("", "ip daddr 192.0.2.1 drop", f"meta l4proto tcp dnat to {SERVER}:8080"),
        "pre": (
            "{ type nat hook prerouting priority -100 ; policy accept ; }",
            "meta l4proto icmp accept",
            f"ip daddr {SERVICE} tcp dport 80 goto svc",
            f"ip daddr {SERVICE} udp dport 53 dnat to {SERVER}:5353",
        ),
    },
)
MARK = Ruleset(
    "ip",
    "marks",
    {
        "pre": (
            "{ type filter hook prerouting priority -350 ; policy accept ; }",
            "tcp dport 80 meta nftrace set 1",
            "udp dport 99 meta nftrace set 1",
        ),
    },
)
DROP = Ruleset(
    "ip",
    "drops",
    {"in": ("{ type filter hook input priority 0 ; policy accept ; }", "udp dport 1234 drop")},
)


class World:
    """The three namespaces; sockets made in them."""

    def __init__(self, *more: Ruleset) -> None:
        self.kernel = KernelNetwork()
        names = {"client": QUIET, "router": FORWARD, "server": QUIET}
        rulesets = {("router", f"{r.family} {r.table}"): r for r in (NAT, *more)}
        self.network = Network({n: Namespace(n, sysctls) for n, sysctls in names.items()}, ITEMS, rulesets)
        self.kernel.apply(self.network)
        for handle in self.kernel.handles.values():
            netns.inside(handle.fd, lambda: subprocess.check_call(["ip", "link", "set", "lo", "up"]))

    def grow(self, *items: Item) -> None:
        self.network = replace(self.network, items=self.network.items | {*items})
        self.kernel.apply(self.network)

    def fd(self, place: str) -> int:
        return self.kernel.handles[place].fd

    def names(self, place: str) -> dict[int, str]:
        return {index: name for name, index in self.kernel.handles[place].indexes.items()}

    def sock(self, place: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
        sock = netns.inside(self.fd(place), lambda: socket.socket(socket.AF_INET, kind))
        sock.settimeout(30)
        return sock

    def server(self, port: int, kind: int = socket.SOCK_STREAM, place: str = "server") -> socket.socket:
        sock = self.sock(place, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    def taps(self, *places: str, ports: list[int] | None = None, size: int = 1 << 20) -> list[rings.Ring]:
        wanted = [(self.fd(place), filters.filter_program(ports, 256), size) for place in places]
        return [rings.Ring(sock, size) for sock in rings.open_taps(wanted)]

    def nfnetlink(self, place: str) -> socket.socket:
        return netns.inside(self.fd(place), netfilter.open_socket)

    def rtnetlink(self, place: str) -> socket.socket:
        return netns.inside(self.fd(place), routes.open_socket)

    def request(self) -> tuple[Flow, Flow]:
        """A TCP connection to the Service with an answer; its flow at the client and at the server."""
        with self.server(8080) as listener, self.sock("client") as client:
            client.connect((SERVICE, 80))
            accepted, peer = listener.accept()
            with accepted:
                client.sendall(b"GET /")
                assert accepted.recv(100) == b"GET /"
                accepted.sendall(b"200 OK")
                assert client.recv(100) == b"200 OK"
            assert peer == client.getsockname()
            return Flow("tcp", *peer, SERVICE, 80), Flow("tcp", *peer, SERVER, 8080)

    def ping(self, place: str, address: str) -> None:
        command = ["ping", "-c", "1", "-W", "2", address]
        netns.inside(self.fd(place), lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))


class Seen(NamedTuple):
    """A frame of TCP or UDP over IPv4."""

    time: int
    interface: str
    outgoing: bool
    length: int
    flow: Flow
    sequence: int
    flags: int
    payload: bytes


def decode(frames: Iterator[rings.RawFrame], names: dict[int, str]) -> list[Seen]:
    found = []
    for moment, index, outgoing, length, data in frames:
        if data[12:14] != b"\x08\x00" or data[23] not in (6, 17):
            continue
        source, destination = socket.inet_ntoa(data[26:30]), socket.inet_ntoa(data[30:34])
        ports = struct.unpack_from("!HH", data, 34)
        protocol = "tcp" if data[23] == 6 else "udp"
        flow = Flow(protocol, source, ports[0], destination, ports[1])
        sequence = struct.unpack_from("!I", data, 38)[0] if protocol == "tcp" else 0
        flags = data[47] if protocol == "tcp" else 0
        found.append(Seen(moment, names[index], outgoing, length, flow, sequence, flags, data[42:]))
    return found


SYN = 2


def until(check: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits for what the kernel does in its own time, and fails when it doesn't."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


# taps


@isolated
def test_a_connection_is_seen_on_its_whole_way() -> None:
    world = World()
    world.ping("client", SERVER)  # neighbours are known from here on
    client, router, server = opened = world.taps("client", "router", "server")
    before = time.time_ns()
    outside, inside = world.request()
    time.sleep(0.05)
    rings.stop_all(opened)
    after = time.time_ns()
    seen = {
        name: decode(ring.frames(), world.names(name))
        for name, ring in (("client", client), ("router", router), ("server", server))
    }
    assert len(seen["router"]) == 2 * len(seen["client"]) == 2 * len(seen["server"]) >= 2 * 9
    way = [
        (seen["client"], "eth0", True, outside),
        (seen["router"], "in", False, outside),
        (seen["router"], "out", True, inside),
        (seen["server"], "eth0", False, inside),
    ]
    way += [(frames, link, not out, flow.reverse) for frames, link, out, flow in reversed(way)]
    syns = [
        next(f for f in frames if (f.interface, f.outgoing, f.flow) == (link, out, flow) and f.flags & SYN)
        for frames, link, out, flow in way
    ]
    assert len({f.sequence for f in syns[:4]}) == 1 and len({f.sequence for f in syns[4:]}) == 1
    assert [before, *(f.time for f in syns), after] == sorted([before, *(f.time for f in syns), after])
    assert {f.length for f in syns} == {74}
    for frames in seen.values():
        assert [f.time for f in frames] == sorted(f.time for f in frames)
    assert [ring.lost() for ring in opened] == [0, 0, 0]
    rings.close_all(opened)


@isolated
def test_loopback_and_interfaces_that_come_later_are_seen() -> None:
    world = World()
    (ring,) = world.taps("client")
    with (
        world.server(9, socket.SOCK_DGRAM, "client") as there,
        world.sock("client", socket.SOCK_DGRAM) as here,
    ):
        here.sendto(b"hello", ("127.0.0.1", 9))
        assert there.recv(9) == b"hello"
    frames = decode(ring.frames(), world.names("client"))
    assert [(f.interface, f.outgoing) for f in frames] == [("lo", True), ("lo", False)]
    world.grow(
        Veth("client", "late", "02:00:00:00:03:01", "router", "late", "02:00:00:00:03:02", 1500),
        Address("client", "late", ip_interface("10.3.0.2/24")),
        Address("router", "late", ip_interface("10.3.0.1/24")),
    )
    with world.sock("client", socket.SOCK_DGRAM) as sock:
        seen = ring.count()
        sock.sendto(b"x", ("10.3.0.1", 9))
        until(lambda: ring.count() > seen + 2)  # after the question who has the address, and its answer
    frames = decode(ring.frames(), world.names("client"))
    assert [(f.interface, f.outgoing, f.payload[:1]) for f in frames] == [("late", True, b"x")]
    rings.close_all([ring])


@isolated
def test_only_wanted_frames_are_kept() -> None:
    world = World()
    some, everything = world.taps("client", ports=[80]), world.taps("client")
    (picky,), (all_,) = some, everything
    world.request()
    with world.sock("client", socket.SOCK_DGRAM) as sock:
        for port in (80, 81, 53):
            sock.sendto(b"x", (SERVICE, port))
    world.ping("client", ROUTER_IN)
    world.ping("client", "10.1.0.1")
    time.sleep(0.05)
    rings.stop_all([*some, *everything])
    wanted, whole = list(picky.frames()), list(all_.frames())
    names = world.names("client")
    ports = {f.flow.destination_port for f in decode(iter(wanted), names) if f.outgoing}
    assert ports == {80, 53}
    assert {f.flow.destination_port for f in decode(iter(whole), names) if f.outgoing} == {80, 81, 53}
    assert sum(data[23] == 1 for *_, data in wanted) >= 4  # echo and reply, twice
    rings.close_all([*some, *everything])


def numbered(
    world: World,
    count: int,
    burst: int = 50,
    pause: float = 0.0005,
    enough: Callable[[], bool] = lambda: True,
) -> int:
    """Sends datagrams with their number in them, from client to router, in bursts.

    So many and more of them, until it is enough. Returns how many.
    """
    number = 0
    with world.sock("client", socket.SOCK_DGRAM) as sock:
        sock.connect((ROUTER_IN, 7777))
        while number < count or not enough():
            try:
                sock.send(struct.pack("!I", number) + bytes(60))
            except ConnectionRefusedError:  # the answer to an earlier one
                continue
            number += 1
            if number % burst == 0:
                time.sleep(pause)
    return number


def numbers(ring: rings.Ring) -> list[int]:
    return [
        struct.unpack_from("!I", data, 42)[0]
        for *_, data in ring.frames()
        if data[23] == 17 and data[36:38] == struct.pack("!H", 7777)
    ]


@isolated
def test_each_frame_is_read_once_while_the_ring_turns() -> None:
    world = World()
    turns = 256 * 1024 // 200 * 4  # frames that are several times a ring
    client, router = world.taps("client", "router", ports=[7777], size=1 << 18)
    ours, theirs = socket.socketpair()
    sender = os.fork()  # a thread would wait for this one's lock
    if sender == 0:
        try:  # for as long as the reader needs: it may get no time for a while
            total = numbered(world, 30_000, enough=lambda: bool(select.select([theirs], [], [], 0)[0]))
            theirs.send(struct.pack("!I", total))
        finally:
            os._exit(0)
    theirs.close()
    found: tuple[list[int], list[int]] = ([], [])
    told = False
    while os.waitpid(sender, os.WNOHANG)[0] == 0:
        for ring, into in ((client, found[0]), (router, found[1])):
            into += numbers(ring)
        if not told and min(map(len, found)) > turns:
            told = bool(ours.send(b"enough"))
    (total,) = struct.unpack("!I", ours.recv(4))
    ours.close()
    time.sleep(0.05)
    rings.stop_all([client, router])
    for ring, into in ((client, found[0]), (router, found[1])):
        into += numbers(ring)
        assert into == sorted(set(into)), "in order, none twice"
        assert len(into) + ring.lost() >= total
        assert len(into) > turns, "the ring has turned several times"
        assert not list(ring.frames())
    rings.close_all([client, router])


@isolated
def test_what_finds_no_room_is_counted_and_reading_makes_room() -> None:
    world = World()
    (ring,) = world.taps("client", ports=[7777], size=1 << 17)
    with world.sock("router", socket.SOCK_DGRAM) as sock:
        sock.bind((ROUTER_IN, 7777))  # so that nothing is answered
        numbered(world, 3000, pause=0)
        kept = ring.count()
        lost = ring.lost()
        assert lost > 0 and kept + lost == 3000
        assert ring.lost() == lost
        found = numbers(ring)
        assert found == list(range(kept)), "the first ones are kept"
        numbered(world, 100)
        until(lambda: ring.count() >= kept + 100)
        assert numbers(ring) == list(range(100))
        assert (ring.count(), ring.lost()) == (kept + 100, lost)
        ring.stop()
        numbered(world, 5)
        assert not numbers(ring) and ring.count() == kept + 100
    ring.close()


@isolated
def test_a_frame_that_is_half_written_is_left_for_later() -> None:
    """The kernel's own order can't be stopped half way, so a ring is read whose frame lacks its address."""
    world = World()
    (ring,) = world.taps("client", ports=[7777])
    with world.sock("router", socket.SOCK_DGRAM) as sock:
        sock.bind((ROUTER_IN, 7777))
        numbered(world, 3)
        memory = ring._memory
        second = 48 + struct.unpack_from("=I", memory, 48)[0]
        index = memory[second + 52 : second + 56]
        memory[second + 52 : second + 56] = bytes(4)
        assert (numbers(ring), numbers(ring)) == ([0], [])
        memory[second + 52 : second + 56] = index
        assert numbers(ring) == [1, 2]
    ring.close()


@isolated
def test_taps_are_read_in_another_process_and_leave_nothing() -> None:
    world = World()
    before = open_descriptors()
    opened = rings.open_taps(
        [(world.fd(p), filters.filter_program(None, 128), 1 << 18) for p in ("client", "server")]
    )
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _, ancillary, _, _ = theirs.recvmsg(1, socket.CMSG_SPACE(8))
            received = array.array("i", ancillary[0][2])
            passed = [rings.Ring(socket.socket(fileno=fd), 1 << 18) for fd in received]
            theirs.send(b"r")
            theirs.recv(1)
            rings.stop_all(passed)
            theirs.send(bytes([len(list(ring.frames())) for ring in passed]))
            rings.close_all(passed)
            status = 0
        finally:
            os._exit(status)
    socket.send_fds(ours, [b"x"], [sock.fileno() for sock in opened])
    rings.close_sockets(opened)
    ours.recv(1)
    world.request()
    time.sleep(0.05)
    ours.send(b"g")
    client, server = ours.recv(2)
    assert client >= 9 and server >= 9
    assert os.waitpid(pid, 0)[1] == 0
    ours.close()
    theirs.close()
    assert open_descriptors() == before


@isolated
def test_all_taps_or_none() -> None:
    world = World()
    before = open_descriptors()
    program = filters.filter_program(None, 128)
    with pytest.raises(KernelError, match="packet ring"):
        rings.open_taps([(world.fd("client"), program, 1 << 18), (world.fd("server"), program, 1 << 40)])
    with pytest.raises(KernelError, match="packet filter"):
        rings.open_taps([(world.fd("client"), program, 1 << 18), (world.fd("server"), bytes(8), 1 << 18)])
    assert open_descriptors() == before
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + 20, limit[1]))
    try:
        with pytest.raises(KernelError):
            rings.open_taps([(world.fd("client"), program, 1 << 18)] * 50)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert open_descriptors() == before


@isolated
def test_opening_and_closing_do_not_wait_for_each_other() -> None:
    """Each tap alone takes some 10 ms to open and 20 to close; 64 one after the other take about 2 s.

    What a busy machine adds differs from time to time, so the best of several is taken. Were they to wait for each
    other, the best would be no better than those alone.
    """
    world = World()

    def seconds(times: int, number: int) -> float:
        begun = time.monotonic()
        for _ in range(times):
            rings.close_all(world.taps(*["client"] * number, size=1 << 17))
        return time.monotonic() - begun

    for _ in range(5):
        if seconds(1, 64) < seconds(16, 1):
            return
    raise AssertionError("64 at once take no less than 16 one after the other")


# nftables and conntrack


@contextmanager
def tracing(world: World) -> Iterator[socket.socket]:
    with netns.inside(world.fd("router"), netfilter.open_trace_socket) as sock:
        yield sock


@isolated
def test_each_rule_that_a_packet_met_is_told() -> None:
    world = World(MARK)
    (ring,) = world.taps("router")
    with tracing(world) as sock, world.nfnetlink("router") as ask:
        outside, _ = world.request()
        traces, lost = netfilter.read_traces(sock, "router", world.names("router"))
        handles = {chain: netfilter.rule_handles(ask, "ip", "nat", chain) for chain in ("pre", "svc")}
    assert not lost
    syn = next(f for f in decode(ring.frames(), world.names("router")) if f.flow == outside)
    first = [t for t in traces if t.sequence == syn.sequence and t.kind == "rule" and t.table == "nat"]
    assert [(t.chain, t.handle, t.verdict) for t in first] == [
        ("pre", handles["pre"][1], "goto svc"),
        ("svc", handles["svc"][1], "accept"),
    ]
    assert all((t.family, t.flow, t.input, t.output) == ("ip", outside, "in", "") for t in first)
    assert len({t.trace_id for t in first}) == 1
    assert all(t.flow is not None and t.place == "router" for t in traces)
    ends = {(t.table, t.chain, t.verdict) for t in traces if t.kind == "policy"}
    assert ("marks", "pre", "accept") in ends
    ring.close()


@isolated
def test_rule_handles_are_those_that_nft_lists() -> None:
    world = World(MARK)
    with world.nfnetlink("router") as sock:
        found = netfilter.rule_handles(sock, "ip", "nat", "pre")
        assert netfilter.rule_handles(sock, "ip", "nat", "nothing") == []
        assert netfilter.rule_handles(sock, "ip", "nothing", "pre") == []
        assert netfilter.rule_handles(sock, "inet", "nat", "pre") == []
        world.kernel.nft("router").run("insert rule ip nat pre counter accept")
        grown = netfilter.rule_handles(sock, "ip", "nat", "pre")
    command = ["nft", "-a", "list", "chain", "ip", "nat", "pre"]
    text = netns.inside(world.fd("router"), lambda: subprocess.check_output(command, text=True))
    listed = [int(line.rpartition("# handle ")[2]) for line in text.splitlines() if "# handle" in line]
    assert grown == listed[1:] and grown[1:] == found and len(found) == 3


@isolated
def test_lost_trace_events_are_noticed() -> None:
    world = World(MARK)
    with tracing(world) as sock, world.sock("client", socket.SOCK_DGRAM) as client:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(200):
            client.sendto(b"x", (SERVER, 99))
        found, lost = netfilter.read_traces(sock, "router", {})
        assert lost and found
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.sendto(b"x", (SERVER, 99))
        found, lost = netfilter.read_traces(sock, "router", {})
        assert not lost and found
        assert found[0].flow == Flow("udp", CLIENT, client.getsockname()[1], SERVER, 99)


@isolated
def test_headers_are_carried_from_one_reading_to_the_next() -> None:
    world = World(MARK)
    with tracing(world) as sock:
        outside, _ = world.request()
        whole: list[RuleTrace] = []
        known: dict[int, netfilter.PacketHeaders] = {}
        while select.select([sock], [], [], 0)[0]:
            data = sock.recv(1 << 16)
            whole.append(netfilter.decode_trace(data[16:], "router", world.names("router"), known))
    assert len(whole) > 6 and {t.flow for t in whole} == {outside}


@isolated
def test_translations() -> None:
    world = World()
    outside, inside = world.request()
    with world.nfnetlink("router") as sock:
        found = netfilter.translation_of(sock, "router", outside)
        assert found is not None
        assert (found.original, found.translated, found.place) == (outside, inside, "router")
        assert netfilter.translation_of(sock, "router", inside.reverse) == found
        assert netfilter.translation_of(sock, "router", outside._replace(source_port=1)) is None
        with (
            world.server(5353, socket.SOCK_DGRAM) as server,
            world.sock("client", socket.SOCK_DGRAM) as client,
        ):
            client.sendto(b"question", (SERVICE, 53))
            peer = server.recvfrom(100)[1]
            question = Flow("udp", CLIENT, client.getsockname()[1], SERVICE, 53)
            found = netfilter.translation_of(sock, "router", question)
        assert found is not None and found.translated == Flow("udp", *peer, SERVER, 5353)
        world.ping("client", SERVER)
        found = netfilter.translation_of(sock, "router", Flow("icmp", CLIENT, 0, SERVER, 0))
        assert found is not None and found.reply == Flow("icmp", SERVER, 0, CLIENT, 0)
        assert netfilter.translation_of(sock, "router", Flow("icmp", SERVER, 0, ROUTER_IN, 0)) is None


# routes


@isolated
def test_routes() -> None:
    world = World()
    with world.rtnetlink("client") as client, world.rtnetlink("router") as router:
        way = routes.route(client, "client", "203.0.113.9")
        assert (way.interface, way.gateway, way.prefix, way.error) == ("eth0", ROUTER_IN, "default", 0)
        assert way.text == f"default via {ROUTER_IN} dev eth0"
        way = routes.route(client, "client", ROUTER_IN)
        assert (way.text, way.gateway) == (f"10.1.0.0/24 dev eth0 src {CLIENT}", "")
        assert routes.route(client, "client", CLIENT).text == f"local {CLIENT} dev lo src {CLIENT}"
        way = routes.route(router, "router", "10.9.1.1")
        assert way.text == "10.9.0.0/16 via 10.9.9.9 dev out onlink"
        way = routes.route(router, "router", "8.8.8.8")
        assert (way.error, way.text, way.interface) == (101, "Network is unreachable", "")


@isolated
def test_the_route_of_a_packet_that_came_in() -> None:
    world = World()
    index = world.kernel.handles["router"].indexes["in"]
    with world.rtnetlink("router") as router, world.rtnetlink("server") as server:
        way = routes.route(router, "router", SERVER, CLIENT, index, world.names("router"))
        assert (way.interface, way.prefix, way.error) == ("out", "10.2.0.0/24", 0)
        assert routes.route(router, "router", ROUTER_IN, CLIENT, index).text.startswith(
            f"local {ROUTER_IN} dev"
        )
        assert routes.route(router, "router", "8.8.8.8", CLIENT, index).error == 101
        with pytest.raises(ValueError, match="source"):
            routes.route(router, "router", SERVER, input_index=index)
        # The server doesn't forward.
        inbound = world.kernel.handles["server"].indexes["eth0"]
        refused = routes.route(server, "server", "10.1.0.9", "10.2.0.9", inbound)
        assert refused.error == 113 and refused.text == "No route to host"
        assert (way.stopped, refused.stopped) == ("", "net.ipv4.ip_forward")
        closed = Path("/proc/sys/net/ipv4/conf/in/forwarding")
        netns.inside(world.fd("router"), lambda: closed.write_text("0"))
        names = world.names("router")
        assert (
            routes.route(router, "router", SERVER, CLIENT, index, names).stopped
            == "net.ipv4.conf.in.forwarding"
        )
        out = world.kernel.handles["router"].indexes["out"]
        assert routes.route(router, "router", CLIENT, SERVER, out, names).stopped == ""
        assert routes.route(router, "router", SERVER).stopped == ""


@isolated
def test_routes_that_refuse() -> None:
    world = World()
    router = world.kernel.handles["router"]
    for kind in ("unreachable", "prohibit"):
        command = ["ip", "route", "add", kind, f"10.{len(kind)}.0.0/16"]
        netns.inside(router.fd, lambda c=command: subprocess.check_call(c))  # type: ignore[misc]
    with world.rtnetlink("router") as sock:
        assert routes.route(sock, "router", "10.11.0.1").text == "No route to host"
        assert routes.route(sock, "router", "10.8.0.1").text == "Permission denied"


@isolated
def test_links_and_neighbours() -> None:
    world = World()
    out = "02:00:00:00:02:01"
    with world.rtnetlink("router") as sock:
        assert routes.links(sock, "router") == [
            LinkState("router", "lo", True, True, 65536, "00:00:00:00:00:00"),
            LinkState("router", "in", True, True, 1500, "02:00:00:00:01:02"),
            LinkState("router", "out", True, True, 1400, out),
        ]
        assert routes.interface_names(sock) == world.names("router")
        netns.inside(world.fd("server"), lambda: subprocess.check_call(["ip", "link", "set", "eth0", "down"]))
        assert LinkState("router", "out", True, False, 1400, out) in routes.links(sock, "router")
        netns.inside(world.fd("router"), lambda: subprocess.check_call(["ip", "link", "set", "out", "down"]))
        assert LinkState("router", "out", False, False, 1400, out) in routes.links(sock, "router")
    patient = Path("/proc/sys/net/ipv4/neigh/eth0/retrans_time_ms")  # it is given up after three times
    netns.inside(world.fd("client"), lambda: patient.write_text("60000"))
    with world.rtnetlink("client") as sock, world.sock("client", socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("10.1.0.77", 9))
        found = {n.address: n for n in routes.neighbours(sock)}
        assert found[ROUTER_IN][1:] == ("eth0", "PERMANENT", "02:00:00:00:01:02")
        assert found["10.1.0.77"][1:] == ("eth0", "INCOMPLETE", "")


@isolated
def test_sockets_answer_questions_from_outside_their_namespace() -> None:
    """Whoever is given a socket asks about the socket's namespace, not about his own."""
    world = World()
    with world.rtnetlink("client") as client, world.rtnetlink("server") as server:
        answers = [routes.route(s, "", "9.9.9.9").gateway for s in (client, server, client)]
    assert answers == [ROUTER_IN, ROUTER_OUT, ROUTER_IN]
    assert {link["ifname"] for link in ip(world.kernel.handles["client"], "link", "show")} == {"lo", "eth0"}


# drops


def may_watch() -> bool:
    """Tracepoints are for the host's root: the first user namespace maps every user to itself."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def dropped(reader: drops.DropReader, reason: str, location: str) -> list[int]:
    """The times of drops for this reason, once there are some."""
    found: list[int] = []

    def look() -> bool:
        told = (d for d in reader.read(symbols=True) if d.reason == reason)
        found.extend(d.time for d in told if d.location.startswith(location))
        return bool(found)

    until(look)
    return found


@isolated
def test_the_kernels_reasons_for_drops() -> None:
    world = World(DROP)
    before, mounts = open_descriptors(), Path("/proc/self/mountinfo").read_text()
    opened = drops.open_drops()
    assert bool(opened[0]) == may_watch()
    if opened[0]:
        reader = drops.DropReader(*opened)
        begun = time.time_ns()
        with world.sock("client", socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (ROUTER_IN, 1234))
            found = dropped(reader, "NETFILTER_DROP", "")
            between = time.time_ns()
            sock.sendto(b"x", (ROUTER_IN, 1235))
            closed = dropped(reader, "NO_SOCKET", "__udp4")
        ended = time.time_ns()
        # The machine may drop others' packets meanwhile.
        assert any(begun < moment < between for moment in found)
        assert any(between < moment < ended for moment in closed)
        reader.close()
    assert open_descriptors() == before
    assert Path("/proc/self/mountinfo").read_text() == mounts


@isolated
def test_drops_are_kept_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a ring holds; into a full one the kernel writes no more."""
    monkeypatch.setattr(drops, "_SIZE", 4096)  # 128 records
    world = World(DROP)
    opened = drops.open_drops()
    assert bool(opened[0]) == may_watch()
    if opened[0]:
        reader = drops.DropReader(*opened)
        with world.sock("client", socket.SOCK_DGRAM) as sock:
            # Others on the machine may fill the ring while we don't get the processor: half of these may find no room.
            for _ in range(1000):
                sock.sendto(b"x", (ROUTER_IN, 1234))
                reader.make_room()
        found = [d.time for d in reader.read() if d.reason == "NETFILTER_DROP"]
        reader.close()
        assert len(found) >= 500 and found == sorted(found)
