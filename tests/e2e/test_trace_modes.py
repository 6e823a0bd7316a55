"""Traces in every proxy mode: who translated, refused or stood in for a Service, by which rule, and how it is told.

What a rule reads as is compared with what the node's own `iptables-save` or `nft list` shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.observe.path import Failure, Hop, Path

from .proxyworld import VIP_FENCED, VIP_LOCAL, WORLD, service
from .tools import CLIENT, NODE1, OF_ROOT, cluster_ip, output
from .tools import emulab as cli
from .tracing import assert_sound, traced

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODES = ("nftables", "iptables", "userspace", pytest.param("ebpf", marks=OF_ROOT))
NODE2, NODE3 = "10.0.0.12", "10.0.0.13"
ALONE = "Service default/alone port 80 (http)"
SHUT = service("shut", "{ports: [{name: http, port: 80}, {name: echo, port: 80, protocol: UDP}]}")
"""A Service whose only endpoint, see `closed`, doesn't listen."""
SHARED = service("a-shared", f"{{externalIPs: [{NODE2}], ports: [{{port: 81}}]}}")
"""A Service that has a port of a node's own address."""


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=MODES)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD.replace("MODE", request.param), SHUT, SHARED) as made:
        [alone] = await made.get("Pod", "alone")
        await made.apply(closed(alone["status"]["podIP"]))
        yield made


def closed(address: str) -> str:
    ports = [{"name": n, "protocol": p, "port": 4321} for n, p in (("http", "TCP"), ("echo", "UDP"))]
    return json.dumps(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "shut-1", "labels": {"kubernetes.io/service-name": "shut"}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [address]}],
        }
    )


@pytest.fixture
def mode(lab: Lab, request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["lab"])


async def answered(lab: Lab, source: str, url: str) -> Path:
    path = await traced(lab, url, source)
    assert path.failure is None and path.notes == [], (path.failure, path.notes)
    return path


async def failed(lab: Lab, source: str, url: str, timeout: float = 1.0) -> tuple[Path, Failure]:
    """A second is enough for what kernels alone do."""
    path = await lab.trace(url, source=source, timeout=timeout)
    assert_sound(path)
    assert path.failure is not None and path.failure.remedy
    return path, path.failure


async def assert_listed(lab: Lab, mode: str, hop: Hop) -> str:
    """The rule of a hop stands in that chain of the node's own listing, word by word; its text is returned."""
    where, _, text = hop.rule.partition(": ")
    if where == "BPF map lb_flows":
        return await assert_known(lab, hop, text)
    family, table, chain = where.split(" ")
    if mode == "iptables":
        listing = await output(lab, hop.place, "iptables-nft-save", "-t", table)
        assert f"-A {chain} {text}" in [line.strip() for line in listing.splitlines()], (text, listing)
    else:
        listing = await output(lab, hop.place, "nft", "list", "chain", family, table, chain)
        assert _plain(text) in [_plain(line.strip()) for line in listing.splitlines()], (text, listing)
    assert "counter" not in text and "packets" not in text
    return text


async def assert_known(lab: Lab, hop: Hop, text: str) -> str:
    """The node's programs have the endpoint by that number for the frontend that was asked."""
    found = re.fullmatch(r"(TCP|UDP) (\S+) → backend (\d+), (\S+)", text)
    assert found and hop.conntrack and hop.conntrack["after"].endswith(f" → {found[4]}"), (text, hop)
    assert found[2] == hop.destination
    shown = json.loads((await cli("-l", lab.name, "lb", hop.place, "-o", "json")).stdout)
    known = {
        (e["number"], f"{e['address']}:{e['port']}")
        for one in shown[hop.place]
        for e in one["endpoints"]
        if one["protocol"] == hop.protocol
    }
    assert (int(found[3]), found[4]) in known
    return text


def _plain(rule: str) -> str:
    """Without what nft takes for granted in a listing: that a port of TCP is TCP's."""
    return re.sub(r"meta l4proto (tcp|udp) ", "", rule)


def assert_service_process(path: Path, hop: Hop, what: str, pod: str) -> None:
    """kube-proxy's process of a node took the connection, after this translation, and made one to the pod."""
    node = hop.place
    assert hop.object == f"{what} → kube-proxy of {node}"
    accepted, connected = path.all(event="proxy-accept")[-1], path.all(event="proxy-connect")[-1]
    assert (accepted.place, connected.place) == (node, node)
    assert accepted.connection == hop.connection == connected.connection - 1
    assert connected.object == f"pod default/{pod}" and "roundrobin" in connected.detail
    assert path.all(event="deliver", connection=connected.connection)[0].place == f"default.{pod}"


async def test_cluster_ip_of_a_pod(lab: Lab, mode: str) -> None:
    address = await cluster_ip(lab, "alone")
    path = await answered(lab, "pod/far", f"http://{address}/")
    assert path.status == 200 and path.places == ["default.far", "node3", "node1", "default.alone"]
    [hop] = path.all(event="dnat")
    rule = await assert_listed(lab, mode, hop)
    assert hop.place == "node3" and hop.conntrack is not None
    assert hop.conntrack["before"] == f"{hop.source} → {address}:80"
    assert path.all(event="snat") == []
    if mode == "userspace":
        assert_service_process(path, hop, ALONE, "alone")
        assert hop.rule.startswith("ip kube-proxy services: ") and rule.endswith("map @portals-tcp")
        assert hop.conntrack["after"].partition(" → ")[2].startswith(f"{NODE3}:6")
        return
    assert hop.object == f"{ALONE} → pod default/alone"
    if mode == "iptables":
        assert re.match(r"ip nat KUBE-SEP-[A-Z2-7]{16}: -p tcp -m comment ", hop.rule), hop.rule
        assert rule.endswith(f"-j DNAT --to-destination {hop.conntrack['after'].partition(' → ')[2]}")
    elif mode == "nftables":
        assert rule.startswith("dnat ip to ip daddr . tcp dport map @endpoints-tcp-")


async def test_udp(lab: Lab, mode: str) -> None:
    address = await cluster_ip(lab, "udp")
    path = await answered(lab, "pod/far", f"{address}:80/udp")
    [hop] = path.all(event="dnat")
    rule = await assert_listed(lab, mode, hop)
    assert (hop.protocol, hop.place, hop.destination) == ("udp", "node3", f"{address}:80")
    pod = path.places[-1].removeprefix("default.")
    assert pod in ("udp-a", "udp-b")
    what = "Service default/udp port 80 (echo)"
    if mode == "userspace":
        assert_service_process(path, hop, what, pod)
    else:
        assert hop.object == f"{what} → pod default/{pod}"
    words = {
        "iptables": "-m udp -j DNAT",
        "nftables": "@endpoints-udp-",
        "userspace": "@portals-udp",
        "ebpf": "UDP",
    }
    assert words[mode] in rule


async def test_node_port(lab: Lab, mode: str) -> None:
    path = await answered(lab, "client", f"http://{NODE3}:30080/")
    [hop] = path.all(event="dnat")
    await assert_listed(lab, mode, hop)
    what = "Service default/ports port 80 (http) (node port 30080)"
    pod = path.places[-1].removeprefix("default.")
    assert hop.place == "node3" and pod in ("east", "west")
    came = [
        h.event for h in path.all(place="node3", interface="eth0", source=hop.source, direction="request")
    ]
    assert came[:2] == ["receive", "dnat"] and "deliver" not in came, "it isn't for a program at that port"
    if mode == "userspace":
        assert_service_process(path, hop, what, pod)
        assert path.all(event="snat") == []
        return
    assert hop.object == f"{what} → pod default/{pod}"
    [masquerade] = path.all(event="snat")
    rule = await assert_listed(lab, mode, masquerade)
    assert masquerade.source.startswith(f"{CLIENT}:") and masquerade.object == "client → node node3"
    if mode == "iptables":
        assert masquerade.rule.startswith("ip nat KUBE-POSTROUTING: -m comment --comment ")
        assert rule.endswith('"kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully')
    else:
        assert rule == "masquerade fully-random"


async def test_a_node_asks_itself(lab: Lab, mode: str) -> None:
    path = await answered(lab, "node3", f"http://{NODE3}:30080/")
    hop = path.first(event="dnat")
    await assert_listed(lab, mode, hop)
    assert hop.destination == f"{NODE3}:30080" and hop.object.startswith("Service default/ports port 80 ")
    assert hop.object.endswith("kube-proxy of node3") == (mode == "userspace")
    routes = [h.route for h in path.hops if h.route]
    assert routes and not [r for r in routes if "Invalid" in r]
    if mode == "userspace":
        assert path.first(event="send").route.startswith(f"local {NODE3} dev lo")


async def test_load_balancer(lab: Lab, mode: str) -> None:
    path = await answered(lab, "client", f"http://{VIP_LOCAL}/")
    assert path.places[:3] == ["client", "router", "lb-default-local"]
    balanced = path.first(event="proxy-connect")
    what = "Service default/local port 80 (http) (node port 30082)"
    assert (balanced.place, balanced.object) == ("lb-default-local", what)
    [hop] = path.all(event="dnat")
    await assert_listed(lab, mode, hop)
    pod = {"node1": "east", "node2": "west"}[hop.place]  # the policy is Local
    assert path.places[-1] == f"default.{pod}" and path.all(event="snat") == []
    if mode == "userspace":
        assert_service_process(path, hop, what, pod)
    else:
        assert hop.object == f"{what} → pod default/{pod}"


async def test_hairpin(lab: Lab, mode: str) -> None:
    path = await answered(lab, "pod/alone", f"http://{await cluster_ip(lab, 'alone')}/")
    assert path.places == ["default.alone", "node1", "default.alone"]
    [hop] = path.all(event="dnat")
    await assert_listed(lab, mode, hop)
    if mode == "userspace":
        assert_service_process(path, hop, ALONE, "alone")
        return
    assert hop.object == f"{ALONE} → pod default/alone"
    [masquerade] = path.all(event="snat")
    assert masquerade.object == "pod default/alone → node node1"
    assert "masquerade" in (await assert_listed(lab, mode, masquerade)).lower()


async def assert_dropped(lab: Lab, mode: str, path: Path, chains: dict[str, str], word: str) -> None:
    """One hop tells of the drop: its rule is the one that the node lists, in the chain that the mode has for it."""
    [hop] = path.all(event="drop")
    assert path.failure is not None and hop.place == path.failure.place
    chain = chains.get(mode, chains["nftables"])
    table = "filter" if mode == "iptables" else "kube-proxy"
    assert hop.detail == f"{word} by chain {chain} of table ip {table}"
    assert hop.rule.startswith(f"ip {table} {chain}: ")
    text = await assert_listed(lab, mode, hop)
    if mode == "iptables":
        target = {"rejected": "-j REJECT --reject-with icmp-port-unreachable", "dropped": "-j DROP"}[word]
        assert text.endswith(target)


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
async def test_no_endpoints(lab: Lab, mode: str, udp: bool) -> None:
    address, end = await cluster_ip(lab, "nobody"), "/udp" if udp else ""
    port = f"Service default/nobody port 80 ({'b' if udp else 'a'})"
    for source, url, place, what, chain in (
        ("pod/asker", f"{address}:80{end}", "node2", port, "KUBE-SERVICES"),
        ("node3", f"{address}:80{end}", "node3", port, "KUBE-SERVICES"),
        ("client", f"{NODE1}:30081{end}", "node1", f"{port} (node port 30081)", "KUBE-EXTERNAL-SERVICES"),
        ("pod/asker", f"192.0.2.81:80{end}", "node2", port, "KUBE-EXTERNAL-SERVICES"),
    ):
        path, failure = await failed(lab, source, url)
        assert (failure.place, failure.reason, failure.object) == (place, "no-endpoints", what), source
        assert (
            f"{what} has no endpoints: 0 pods match its selector app=none; {place} refused it" == failure.text
        )
        await assert_dropped(lab, mode, path, {"nftables": "refuse", "iptables": chain}, "rejected")


async def test_local_policies_without_a_local_endpoint(lab: Lab, mode: str) -> None:
    inner = await cluster_ip(lab, "inner")
    for source, url, what, policy, chain, advice in (
        (
            *("client", f"{NODE3}:30082", "Service default/local port 80 (http) (node port 30082)"),
            *("externalTrafficPolicy", "KUBE-EXTERNAL-SERVICES", "ask a node that has one (node1, node2)"),
        ),
        (
            *("pod/far", f"{inner}:80", "Service default/inner port 80 (http)"),
            *("internalTrafficPolicy", "KUBE-SERVICES", "ask from node1, node2"),
        ),
    ):
        path, failure = await failed(lab, source, url)
        assert (failure.place, failure.reason, failure.object) == ("node3", "no-local-endpoints", what)
        assert failure.text.startswith(
            f"{what} has no endpoint on node3, and its {policy} is Local; node3 dropped it"
        )
        assert failure.remedy.startswith(advice) and f"spec.{policy}" in failure.remedy
        chains = {"nftables": "no-endpoint-check", "iptables": chain}
        await assert_dropped(lab, mode, path, chains, "dropped")


async def test_node_ports_of_an_address_that_a_service_has_as_an_external_one(lab: Lab, mode: str) -> None:
    path = await answered(lab, "client", f"http://{NODE2}:30080/")
    what = "Service default/ports port 80 (http) (node port 30080)"
    assert any(hop.object.startswith(what) for hop in path.all(place="node2", event="dnat"))
    for port, reason, name in (
        (30081, "no-endpoints", "Service default/nobody port 80 (a) (node port 30081)"),
        (81, "no-endpoints", "Service default/a-shared port 81"),
        (30999, "closed-port", "node node2"),
    ):
        _, failure = await failed(lab, "client", f"{NODE2}:{port}")
        assert (failure.place, failure.reason, failure.object) == ("node2", reason, name)


async def test_node_ports_on_loopback(lab: Lab, mode: str) -> None:
    """kube-proxy's own rules about Services without endpoints are about all local addresses, in iptables mode."""
    for port in (30080, 30081, 30082):
        path, failure = await failed(lab, "node3", f"127.0.0.1:{port}")
        assert (failure.place, failure.reason, failure.object) == ("node3", "closed-port", "node3")
        assert "node ports aren't open on loopback" in failure.text
        assert failure.text.endswith(" it") == (mode == "iptables" and port != 30080), failure.text
        assert failure.remedy.endswith("emulab get nodes -o wide")
        assert not any("Invalid" in hop.route for hop in path.hops)


async def test_source_ranges(lab: Lab, mode: str) -> None:
    path, failure = await failed(lab, "pod/asker", f"{VIP_FENCED}:80")
    assert (failure.place, failure.reason, failure.object) == ("node2", "acl", "Service default/fenced")
    allowed = (
        "spec.loadBalancerSourceRanges of Service default/fenced allows 198.51.100.0/24, 10.0.0.13/32 alone"
    )
    assert allowed in failure.text
    assert failure.text.startswith("node2 refused pod default/asker (10.244.2.")
    chains = {"nftables": "firewall-check", "iptables": "KUBE-PROXY-FIREWALL"}
    await assert_dropped(lab, mode, path, chains, "dropped")


async def test_a_port_that_the_service_has_not(lab: Lab, mode: str) -> None:
    """nftables refuses it; in the other modes it goes astray, and is named all the same."""
    address = await cluster_ip(lab, "web")
    _, failure = await failed(lab, "pod/far", f"{address}:4444")
    assert (failure.reason, failure.object) == ("no-such-port", "Service default/web")
    assert failure.text.startswith("Service default/web has no port 4444; ")
    if mode == "nftables":
        assert failure.place == "node3" and failure.text.endswith("node3 refused it")
    else:
        assert failure.place == "router"
        assert failure.text.endswith(f"no rule took the packet, and router has no route to {address}")


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
async def test_a_closed_port_of_the_pod(lab: Lab, mode: str, udp: bool) -> None:
    """The Service is named to which the port belongs, through the process of the userspace mode too."""
    address = await cluster_ip(lab, "shut")
    # A process that stands in between passes no refusal of UDP on, so that is waited for till the end.
    timeout = 5.0 if udp and mode == "userspace" else 20.0
    path, failure = await failed(
        lab, "pod/far", f"{address}:80/udp" if udp else f"http://{address}/", timeout
    )
    assert path.places[-1] == failure.place == "default.alone"
    assert (failure.reason, failure.object) == ("closed-port", "pod default/alone")
    name = f"Service default/shut port 80 ({'echo' if udp else 'http'})"
    assert f"to which {name} leads" in failure.text
    closed = "so node3, which had taken the connection, closed it"
    assert failure.text.endswith(closed) == (mode == "userspace" and not udp)
    assert failure.remedy.startswith(f"correct spec.ports[{int(udp)}].targetPort of Service default/shut")
    if mode == "userspace":
        assert path.first(event="proxy-connect").detail.partition(" (")[0].startswith("picked 10.244.1.")
        assert "()" not in path.first(event="proxy-connect").detail
    assert path.all(event="dnat")[0].object.startswith(f"{name} → ")


async def test_the_ladder_and_the_json(lab: Lab, mode: str) -> None:
    """What a user reads has the rule in full, however it is folded; what a program reads has it as one string."""
    address = await cluster_ip(lab, "alone")
    command = ("-l", lab.name, "trace", "--from", "pod/far")
    done = await cli(*command, "-o", "json", f"http://{address}/")
    assert done.status == 0
    hops = json.loads(done.stdout)["hops"]
    [hop] = [h for h in hops if h["event"] == "dnat"]
    done = await cli(*command, f"http://{address}/")
    assert done.status == 0
    words = " ".join(done.text.split())
    where, _, text = hop["rule"].partition(": ")
    assert f"rule {where}: {text}" in words
    assert f"dnat {hop['object']}" in words
    assert ("proxy-accept accepted" in words) == (mode == "userspace")
    done = await cli(*command, "--timeout", "1s", f"{await cluster_ip(lab, 'nobody')}:80")
    assert done.status == 1
    assert "FAILED at node3: Service default/nobody port 80 (a) has no endpoints" in " ".join(
        done.text.split()
    )
