"""What `emulab trace` says where the network is broken: where the request stopped, why, and a mend that mends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.observe.path import Failure

from .failing import (
    KERNEL_TELLS,
    fails,
    ingress,
    ip,
    kept,
    knows,
    mend,
    pod,
    rule,
    service,
    stops,
    works,
)
from .tools import DNS, NODE2, cluster_ip, eventually, output, pods

pytestmark = pytest.mark.asyncio(loop_scope="module")

WIRES = [
    pod("web", "web", ports="containerPort: 8080"),
    pod("far", "far", node="node2", ports="containerPort: 8080"),
    service("web", "web", "{port: 80, targetPort: 8080, nodePort: 30080}", "type: NodePort, "),
    service("far", "far", "{port: 80, targetPort: 8080, nodePort: 30082}", "type: NodePort, "),
    ingress("shop", "shop.test", {"/web": ("web", 80), "/far": ("far", 80)}),
]
NODE_PORT = "http://10.0.0.11:30080/"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def wires() -> AsyncIterator[Lab]:
    """A lab in which the objects are well, for breaking and mending its network."""
    async with Lab.from_text(*WIRES) as lab:
        yield lab


async def address_of(lab: Lab, app: str) -> str:
    [found] = await pods(lab, app=app)
    return str(found["status"]["podIP"])


# routes


async def test_no_route_at_the_sender(wires: Lab) -> None:
    async with kept(wires, "client"):
        await ip(wires, "client", "route", "del", "default")
        found = await stops(wires, NODE_PORT)
        assert (found.place, found.reason, found.object) == ("client", "no-route", "client")
        assert "client has no route to 10.0.0.11:30080: Network is unreachable" in found.text
        await mend(wires, found.remedy)
        await works(wires, NODE_PORT)


async def test_no_route_at_a_pod_that_asks_for_a_name(wires: Lab) -> None:
    async with kept(wires, "pod/far"):
        await ip(wires, "pod/far", "route", "del", "default")
        found = await stops(wires, "http://web/", source="pod/far")
        assert (found.place, found.reason, found.object) == ("default.far", "no-route", "pod default/far")
        assert "web was not resolved: no answer from 10.96.0.10 (Network is unreachable)" in found.text
        await mend(wires, found.remedy)
        await works(wires, "http://web/", "pod/far")


async def test_no_route_back(wires: Lab) -> None:
    """The SYN arrives and can't be answered."""
    async with kept(wires, "pod/web"):
        await ip(wires, "pod/web", "route", "del", "default")
        found = await stops(wires, NODE_PORT)
        assert (found.place, found.reason, found.object) == ("default.web", "no-route", "pod default/web")
        assert "came to pod default/web, which has no route back to" in found.text
        await mend(wires, found.remedy)
        await works(wires, NODE_PORT)


@pytest.mark.privilege
async def test_no_route_at_the_router(wires: Lab) -> None:
    """For an address that nobody has; and routes that forbid what others would allow."""
    async with kept(wires, "router"):
        found = await stops(wires, "http://192.0.2.1/")
        assert (found.place, found.reason, found.object) == ("router", "no-route", "router")
        assert found.text == "router has no route to 192.0.2.1: nobody in the lab has that address"
        found.kernel("IP_INNOROUTES")
        assert found.drops() == ["router"]  # an ICMP error proves it to who may not watch the kernel
        for kind in ("unreachable", "blackhole", "prohibit"):
            await ip(wires, "router", "route", "add", kind, "10.0.0.11")
            found = await stops(wires, NODE_PORT)
            assert (found.place, found.reason) == ("router", "no-route"), found
            assert f"router has a route that says `{kind}` to 10.0.0.11" in found.text
            assert "ip route show match 10.0.0.11" in found.remedy
            shown = await output(wires, "router", "ip", "route", "show", "match", "10.0.0.11")
            assert f"{kind} 10.0.0.11" in shown
            await ip(wires, "router", "route", "del", kind, "10.0.0.11")
        await works(wires, NODE_PORT)


@pytest.mark.parametrize(
    ("place", "setting", "url", "source"),
    [
        ("node1", "net.ipv4.ip_forward", NODE_PORT, "client"),
        ("node1", "net.ipv4.ip_forward", "far", "pod/web"),
        ("node2", "net.ipv4.ip_forward", "far", "pod/web"),
        ("router", "net.ipv4.ip_forward", NODE_PORT, "client"),
        ("router", "net.ipv4.conf.internet.forwarding", NODE_PORT, "client"),
    ],
)
async def test_a_place_that_sends_nothing_on(
    wires: Lab, place: str, setting: str, url: str, source: str
) -> None:
    """The kernel answers as if a route said `unreachable`, which none does."""
    url = url if "/" in url else f"http://{await cluster_ip(wires, url)}/"
    await output(wires, place, "sysctl", "-w", f"{setting}=0")
    try:
        found = await stops(wires, url, source=source)
        assert (found.place, found.reason, found.object) == (place, "no-forwarding", place)
        assert f"{place} sends no packets on" in found.text and found.text.endswith(f"{setting} is 0")
        assert found.remedy == f"emulab exec {place} -- sysctl -w {setting}=1"
        found.kernel("IP_INADDRERRORS")
    finally:
        await output(wires, place, "sysctl", "-w", f"{setting}=1")
    await works(wires, NODE_PORT)


async def test_a_node_without_its_route_to_anothers_pods(wires: Lab) -> None:
    """The packet goes astray by the default route; that the router refuses it isn't the router's fault."""
    async with kept(wires, "node1"):
        far = await address_of(wires, "far")
        network = f"{far.rpartition('.')[0]}.0/24"
        await ip(wires, "node1", "route", "del", network)
        for source in ("node1", "pod/web"):
            found = await stops(wires, f"http://{far}:8080/", source=source)
            assert (found.place, found.reason) == ("router", "no-route")
            assert (
                "node1 had sent the packet there by its default route (`default via 10.0.0.1 dev eth0`)"
                in found.text
            )
            assert "as it has no route to pod default/far on node2" in found.text
            assert found.remedy.startswith(
                f"give it back its route: emulab exec node1 -- ip route replace {network}"
            )
            found.kernel("IP_INNOROUTES")
        await mend(wires, found.remedy)
        await works(wires, f"http://{far}:8080/", "pod/web")


async def test_a_pod_address_that_no_pod_has(wires: Lab) -> None:
    found = await stops(wires, "http://10.244.2.222/", source="pod/web")
    assert (found.place, found.reason) == ("router", "no-route")
    assert "as no pod has it; it is one of the addresses of node2's pods" in found.text
    assert "emulab get pods" in found.remedy


async def test_a_loop(wires: Lab) -> None:
    async with kept(wires, "router"):
        await ip(wires, "router", "route", "add", "192.0.2.0/24", "via", "10.0.0.11")
        for url in ("192.0.2.1:80", "192.0.2.1:53/udp"):
            found = await stops(wires, url)
            assert (found.reason, found.object) == ("loop", "router → node1"), found
            assert found.place in ("router", "node1") and "TTL exceeded" in found.text
            assert "router sends it by `192.0.2.0/24 via 10.0.0.11 dev vpc`" in found.text
            assert "node1 sends it by `default via 10.0.0.1 dev eth0`" in found.text
            found.kernel("IP_INHDR")
        await mend(wires, found.remedy)
        assert (await stops(wires, "192.0.2.1:80")).reason == "no-route"


# neighbours and links


@pytest.mark.privilege
async def test_nobody_answers_arp(wires: Lab) -> None:
    """At the sender and at the router; also when the kernel gives up first (EHOSTUNREACH)."""
    asked = [
        ("198.51.100.98", 0.5, "client", "eth0"),
        ("198.51.100.99", 5, "client", "eth0"),
        ("10.0.0.98", 0.5, "router", "vpc"),
        ("10.0.0.99", 5, "router", "vpc"),
    ]
    traces = await asyncio.gather(*(stops(wires, f"{a}:80", timeout=timeout) for a, timeout, *_ in asked))
    for (address, timeout, place, link), found in zip(asked, traces, strict=True):
        assert (found.place, found.reason, found.object) == (place, "arp", address), found
        says = f"{place} asked by ARP on {link} for {address}, and nobody answered"
        assert found.text == f"{says}: nobody in the lab has that address"
        if timeout == 5:
            found.kernel("NEIGH_FAILED")


async def test_a_dead_node(wires: Lab) -> None:
    """For a pod on it, through the ingress, for its node port, for names its DNS pod was asked for."""
    far = await address_of(wires, "far")
    await works(wires, f"http://{far}:8080/", "pod/web")
    async with knows(wires, "node1", NODE2), kept(wires, "node2"):
        await ip(wires, "node2", "link", "set", "eth0", "down")
        seen = {}
        for source, url, place in (
            ("pod/web", f"http://{far}:8080/", "node1"),
            ("client", "http://10.0.0.12:30082/", "router"),
        ):
            found = seen[place] = await stops(wires, url, source=source)
            assert (found.place, found.reason, found.object) == (
                place,
                "dead-node",
                "node node2 (10.0.0.12)",
            ), found
            assert "eth0 of node2 is down" in found.text
        assert (
            "left node1 on eth0 inside VXLAN and never came to node node2 (10.0.0.12)" in seen["node1"].text
        )
        # Whether the router still knew node2's MAC address is up to its neighbour table.
        asked = "router asked by ARP on vpc for node node2 (10.0.0.12), and nobody answered: "
        sent = "left router on vpc and never came to node node2 (10.0.0.12): "
        assert asked in seen["router"].text or sent in seen["router"].text

        async def unresolved() -> Failure | None:
            failure = (await wires.trace("http://shop.test/web", source="pod/web", timeout=1)).failure
            return failure if failure and failure.text.startswith("shop.test was not resolved: ") else None

        # Every other question goes to the DNS pod that is cut off, and is asked a second time after five seconds: of
        # four traces one finds nothing, and each takes its time.
        named = await eventually(unresolved, 300)
        assert named is not None and named.reason == "dead-node"
        assert "eth0 of node2 is down" in named.text
        assert {named.remedy, *(found.remedy for found in seen.values())} == {named.remedy}
        await mend(wires, named.remedy)
        await works(wires, f"http://{far}:8080/", "pod/web")
        await works(wires, "http://10.0.0.12:30082/")


async def test_a_pod_whose_link_is_down(wires: Lab) -> None:
    """From it, to it from its node, from another one and through the ingress: the same link, and one mend."""
    async with kept(wires, "pod/web"):
        web = await address_of(wires, "web")
        await ip(wires, "pod/web", "link", "set", "eth0", "down")
        asked = [
            ("pod/web", "http://far/", "default.web"),
            ("node1", f"{web}:8080", "node1"),
            ("node1", f"{await cluster_ip(wires, 'web')}:80", "node1"),
            ("pod/far", f"{web}:8080", "node1"),
            ("client", "http://shop.test/web", "node1"),
        ]
        for source, url, place in asked:
            found = await stops(wires, url, source=source, timeout=4 if "shop" in url else 0.5)
            assert (found.place, found.reason) == (place, "link-down"), found
            assert "eth0 of pod default/web is down" in found.text
            assert "pod default/web" in found.object
            assert found.remedy.startswith("emulab exec default.web -- sh -c 'ip link set eth0 up && ")
        await mend(wires, found.remedy)
        for source, url, _ in asked:
            await works(wires, url, source)


# rules


@pytest.mark.parametrize(
    ("place", "hook", "text", "packet"),
    [
        pytest.param("pod/web", "input", "tcp dport 8080 drop", "the packet", marks=pytest.mark.privilege),
        ("pod/web", "input", "tcp dport 8080 reject with tcp reset", "the packet"),
        ("pod/web", "output", "tcp sport 8080 drop", "the answer"),
        ("node1", "forward", 'tcp dport 8080 drop comment "oops"', "the packet"),
        pytest.param("node1", "forward", "tcp sport 8080 drop", "the answer", marks=pytest.mark.privilege),
        ("router", "forward", "tcp dport 30080 drop", "the packet"),
        ("router", "forward", "tcp dport 30080 reject with icmp admin-prohibited", "the packet"),
        ("router", "forward", "tcp dport 30080 reject with tcp reset", "the packet"),
        ("client", "output", "tcp dport 30080 drop", "the packet"),
        ("client", "output", "tcp dport 30080 reject", "the packet"),
        ("client", "input", "tcp sport 30080 drop", "the answer"),
    ],
)
async def test_a_rule_of_the_users_own(wires: Lab, place: str, hook: str, text: str, packet: str) -> None:
    """The very rule is told, wherever it is and whichever way it stops the packet; the mend deletes it."""
    where = place.replace("pod/", "default.")
    named = place.replace("pod/", "pod default/")
    async with rule(wires, place, hook, text):
        found = await stops(wires, NODE_PORT)
        assert (found.place, found.reason) == (where, "rule"), found
        done = "rejected" if "reject" in text else "dropped"
        assert f"the rule `{text}` in chain c of table ip fence in {named} {done} {packet} from" in found.text
        assert where in found.drops(), found.hops
        assert found.kernel_reason in ((None, "NETFILTER_DROP") if KERNEL_TELLS else (None,))
        await mend(wires, found.remedy)
        await works(wires, NODE_PORT)


async def test_a_policy_of_the_users_own(wires: Lab) -> None:
    async with rule(wires, "node1", "forward", "policy drop"):
        found = await stops(wires, NODE_PORT)
        assert (found.place, found.reason) == ("node1", "rule")
        assert found.text.startswith(
            "the policy of chain c of table ip fence in node1 dropped the packet from client"
        )
        assert "(pod default/web)" in found.text and found.drops() == ["node1"]
        await mend(wires, found.remedy)
        await works(wires, NODE_PORT)


async def test_a_rule_behind_the_ingress(wires: Lab) -> None:
    """It stops the ingress' own connection, over a new one or one that was open."""
    async with rule(wires, "pod/web", "input", "tcp dport 8080 drop"):
        found = await stops(wires, "http://shop.test/web", timeout=4)  # two proxies are in between
        assert (found.place, found.reason) == ("default.web", "rule"), found
        assert "the rule `tcp dport 8080 drop`" in found.text
        await mend(wires, found.remedy)
        await works(wires, "http://shop.test/web")


# sizes

BIG = {"X-Big": "x" * 3000}


async def test_a_link_that_is_too_narrow_is_healed_by_icmp(wires: Lab) -> None:
    async with kept(wires, "router"):
        await ip(wires, "router", "link", "set", "vpc", "mtu", "1000")
        path = await wires.trace(NODE_PORT, headers={"X-Big": "x" * 3000})
        assert (path.status, path.failure) == (200, None)
        assert any("ICMP fragmentation needed, next MTU 1000" in hop.detail for hop in path.hops)
        [note] = path.notes
        assert "too big for the next link of router, which takes 1000 bytes; it was sent again" in note
    await ip(wires, "client", "route", "flush", "cache")


@pytest.mark.parametrize(
    ("place", "hook", "says"),
    [
        ("router", "output", "no ICMP message about it was seen on any link"),
        ("client", "input", "router told client so"),
    ],
)
async def test_a_link_that_is_too_narrow_without_icmp(wires: Lab, place: str, hook: str, says: str) -> None:
    """A black hole: small requests go through, large ones don't."""
    async with kept(wires, "router"), rule(wires, place, hook, "icmp type destination-unreachable drop"):
        # Only now: what a trace gave up on is still sent again by the client's kernel, and the ICMP
        # message about it would tell the client how large its packets may be.
        await ip(wires, "router", "link", "set", "vpc", "mtu", "1000")
        await works(wires, NODE_PORT)
        found = await stops(wires, NODE_PORT, headers=BIG)
        assert (found.place, found.reason, found.object) == ("router", "mtu", "vpc of router")
        assert "must not be fragmented" in found.text and "which takes 1000" in found.text
        assert says in found.text
        assert "1500 bytes" in found.text or "1450 bytes" in found.text
        found.kernel("PKT_TOO_BIG")
        assert found.remedy.endswith("emulab exec router -- ip link set vpc mtu 1500")
        await mend(wires, found.remedy)
        await works(wires, NODE_PORT, headers={"X-Big": "x" * 3000})
    await ip(wires, "client", "route", "flush", "cache")


# name servers


async def test_a_name_server_that_is_kept_from_answering(wires: Lab) -> None:
    async with rule(wires, "resolver", "input", "udp dport 53 drop"):
        found = await stops(wires, "http://shop.test/web")
        assert (found.place, found.reason) == ("resolver", "rule"), found
        assert found.text.startswith("shop.test was not resolved: the rule `udp dport 53 drop`")
        await mend(wires, found.remedy)
        await works(wires, "http://shop.test/web")


async def test_a_name_server_that_asks_in_vain(wires: Lab) -> None:
    """SERVFAIL is the resolver's word; why it says so is seen behind it."""
    # Without its neighbour's address the resolver would send no question that could be seen.
    assert (await fails(wires, "http://before.test/")).reason == "nxdomain"
    async with knows(wires, "resolver", DNS), kept(wires, "dns"):
        await ip(wires, "dns", "link", "set", "eth0", "down")
        found = await fails(wires, "http://fresh.test/")
        assert found.reason == "link-down", found
        assert found.text.startswith("fresh.test was not resolved: resolver answered SERVFAIL, because ")
        assert "eth0 of dns is down" in found.text
        await mend(wires, found.remedy)
        assert (await fails(wires, "http://other.test/")).reason == "nxdomain"
