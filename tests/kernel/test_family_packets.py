"""Worlds of IPv6 and of both families in the kernel: it takes all that is planned, and packets find their way."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from ipaddress import ip_address

import familyworlds
import pytest
from dnsanswers import answers
from familyworlds import POD_NETWORKS, planned, planned_with_objects
from namespaces import isolated

from emulab.errors import KernelError
from emulab.kernel import netns, sysctls
from emulab.kernel.network import KernelNetwork
from emulab.kernel.rules import conntrack
from emulab.kernel.rules.nft import Nft
from emulab.kinds.emulab.podnetworks import KUBE_ROUTER
from emulab.kinds.registry import SERVICE
from emulab.model.addresses import IPAddress, socket_name
from emulab.model.families import IPV4, IPV6, Family, family_of, first
from emulab.plan.links import Address, Dummy, Route
from emulab.plan.proxy.modes import MODES
from emulab.plan.rules.rulesets import ruleset_script
from emulab.plan.rules.tracing import proxy_addresses, trace_rules
from emulab.plan.state import Iptables, Ipvs, Network, Ruleset, UdpBackends, World
from emulab.servers.dns.config import DnsConfig
from emulab.servers.dns.settings import DnsSettings

BOTH = [(IPV6,), (IPV4, IPV6)]
IDS = ["6", "4-6"]


def without_ipvs(network: Network) -> Network:
    """What every kernel can do of it: not IPVS, nor dummy devices."""
    dummies = {(i.namespace, i.name) for i in network.items if isinstance(i, Dummy)}
    items = (i for i in network.items if not isinstance(i, Dummy))
    there = frozenset(
        i for i in items if not (isinstance(i, Address | Route) and (i.namespace, i.link) in dummies)
    )
    rulesets = {key: rules for key, rules in network.rulesets.items() if not isinstance(rules, Ipvs)}
    return replace(network, items=there, rulesets=rulesets)


def exchange(kernel: KernelNetwork, asker: str, server: str, to: tuple[IPAddress, int], port: int) -> str:
    """What a server's namespace sees of a connection from another one to an address: where it comes from."""
    family = socket.AF_INET6 if to[0].version == 6 else socket.AF_INET

    def open_socket() -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return sock

    with netns.inside(kernel.handles[server].fd, open_socket) as listening:
        listening.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        listening.listen()
        with netns.inside(kernel.handles[asker].fd, open_socket) as client:
            client.connect((str(to[0]), to[1]))
            accepted, peer = listening.accept()
            accepted.close()
    return str(peer[0])


def balanced_exchange(
    kernel: KernelNetwork, asker: str, servers: Iterable[str], to: tuple[IPAddress, int], kind: int
) -> str:
    """What that one of several servers that was chosen sees of who asks, who is answered."""
    family = socket.AF_INET6 if to[0].version == 6 else socket.AF_INET

    def open_socket() -> socket.socket:
        sock = socket.socket(family, kind)
        sock.settimeout(5)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return sock

    with ExitStack() as stack:
        listening = [stack.enter_context(netns.inside(kernel.handles[s].fd, open_socket)) for s in servers]
        for sock in listening:
            sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 8080))
            if kind == socket.SOCK_STREAM:
                sock.listen()
        client = stack.enter_context(netns.inside(kernel.handles[asker].fd, open_socket))
        client.connect((str(to[0]), to[1]))
        client.send(b"?")
        ready, _, _ = select.select(listening, [], [], 5)
        if kind == socket.SOCK_STREAM:
            accepted, peer = ready[0].accept()
            accepted.send(b"!")
            accepted.close()
        else:
            _, peer = ready[0].recvfrom(1)
            ready[0].sendto(b"!", peer)
        assert client.recv(1) == b"!"
    return str(peer[0])


OF_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="no user namespace may load BPF programs")
MARKS = {
    "flannel-wireguard": [pytest.mark.vm],
    "cilium-vxlan": [pytest.mark.root, OF_ROOT],
    "cilium-routed": [pytest.mark.root, OF_ROOT],
}
NETWORKS = [pytest.param(name, marks=MARKS.get(name, [])) for name in POD_NETWORKS]
"""Those with both families; some need more than this machine's kernel may have, or root."""


def pods(world: World, prefix: str) -> list[str]:
    return sorted(name for name in world.places if name.startswith(prefix))


def own(world: World, place: str, family: Family) -> IPAddress:
    found = first(world.places[place].addresses, family)
    assert found is not None
    return found


@pytest.mark.parametrize("families", BOTH, ids=IDS)
@pytest.mark.parametrize(
    "mode",
    [pytest.param(mode, marks=[pytest.mark.root, OF_ROOT]) if mode == "ebpf" else mode for mode in MODES],
)
@isolated
def test_the_kernel_takes_every_rule(mode: str, families: tuple[Family, ...]) -> None:
    world = planned(*families, mode=mode)
    wanted = without_ipvs(world.network)
    kinds = {
        (type(rules), key[1])
        for key, rules in wanted.rulesets.items()
        if isinstance(rules, Ruleset | Iptables)
    }
    table = mode if mode == KUBE_ROUTER else "pod-masquerade"
    assert {kind for _, kind in kinds} >= {f"{f.nft} {table}" for f in families}
    kernel = KernelNetwork()
    try:
        assert kernel.apply(wanted)
        assert not kernel.apply(wanted)
        for family in families:
            rules = trace_rules(1, "tcp", [4000], world.places["client"], proxy_addresses(world), family)
            for place in ("node1", "router"):
                Nft(place, kernel.handles[place].fd).run(ruleset_script(None, rules))
    finally:
        kernel.close()


@pytest.mark.parametrize("families", BOTH, ids=IDS)
@pytest.mark.parametrize("network", NETWORKS)
@isolated
def test_pods_reach_each_other_in_every_family(network: str, families: tuple[Family, ...]) -> None:
    world = planned(*families, network=network)
    kernel = KernelNetwork()
    try:
        kernel.apply(world.network)
        one, other = pods(world, "shop.web-")[:2]
        namespaces = [world.places[p].namespace for p in (one, other)]
        for family in families:
            to = own(world, other, family)
            assert exchange(kernel, *namespaces, (to, 8080), 8080) == str(own(world, one, family))
            outside = own(world, "dns", family)
            nat = "2001:db8:2::1" if family is IPV6 else "203.0.113.1"
            assert exchange(kernel, namespaces[0], "dns", (outside, 7000), 7000) == nat
    finally:
        kernel.close()


@pytest.mark.parametrize("families", BOTH, ids=IDS)
@pytest.mark.parametrize("keeps", [True, False], ids=["keeps-clients", "hides-clients"])
@isolated
def test_a_balancer_forwards_in_every_family(keeps: bool, families: tuple[Family, ...]) -> None:
    """Mode nat, TCP and UDP: there and back by the balancer; pods see the client, or the balancer."""
    told = {"balancer.emulab.dev/preserveClientIP": "false"} if not keeps else {}
    familyworlds.SERVICES["forwarded"] = {
        "type": "LoadBalancer",
        "loadBalancerClass": "service.k8s.aws/nlb",
        "externalTrafficPolicy": "Local",
        "ports": [
            {"name": "tcp", "port": 80, "targetPort": 8080},
            {"name": "udp", "port": 80, "targetPort": 8080, "protocol": "UDP"},
        ],
    }
    familyworlds.ANNOTATIONS["forwarded"] = told
    objects, world = planned_with_objects(*families)
    service = objects.get(SERVICE.key("shop", "forwarded"))
    assert service is not None
    vips = [ip_address(one["ip"]) for one in service.status["loadBalancer"]["ingress"]]
    assert [family_of(vip) for vip in vips] == list(families)
    balancer = world.places["lb-shop-forwarded"].addresses[len(vips) :]  # its own, behind those of clients
    kernel = KernelNetwork()
    try:
        kernel.apply(world.network)
        servers = [world.places[name].namespace for name in pods(world, "shop.web-")]
        for vip, family in zip(vips, families, strict=True):
            source = str(own(world, "client", family) if keeps else first(balancer, family))
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                assert balanced_exchange(kernel, "client", servers, (vip, 80), kind) == source
    finally:
        kernel.close()


@pytest.mark.parametrize("families", BOTH, ids=IDS)
@pytest.mark.parametrize("mode", ["nftables", "iptables"])
@isolated
def test_a_cluster_ip_leads_to_a_pod_in_every_family(mode: str, families: tuple[Family, ...]) -> None:
    world = planned(*families, mode=mode)
    kernel = KernelNetwork()
    try:
        kernel.apply(world.network)
        (server,) = (world.places[n].namespace for n in pods(world, "ingress-nginx."))
        asker = world.places[pods(world, "shop.web-")[0]]
        for family in families:
            for address in cluster_ips(world, family):
                source = exchange(kernel, asker.namespace, server, (address, 80), 80)
                assert source == str(first(asker.addresses, family))
    finally:
        kernel.close()


@pytest.mark.parametrize("families", BOTH, ids=IDS)
@pytest.mark.parametrize("way", ["cluster IP", "node port"])
@isolated
def test_a_stale_udp_flow_is_forgotten_in_every_family(way: str, families: tuple[Family, ...]) -> None:
    """Those to an endpoint that serves no more, and no others."""
    objects, world = planned_with_objects(*families)
    (service,) = (o for o in objects.kind(SERVICE) if o.name == "datagrams")
    kernel = KernelNetwork()
    try:
        kernel.apply(world.network)
        backends = world.network.rulesets["node1", "udp-backends"]
        assert isinstance(backends, UdpBackends)
        with netns.inside(kernel.handles["node1"].fd, conntrack.open_socket) as questions:
            for family in families:
                address = next(
                    a for a in map(ip_address, service.spec["clusterIPs"]) if a.version == family.version
                )
                asker, port = "node1", 53
                if way == "node port":
                    asker, address = "office", own(world, "node1", family)
                    port = service.spec["ports"][0]["nodePort"]
                ports: set[int] = set()  # of which one may be given twice
                for _ in range(60):  # so that none of three endpoints is left out
                    with netns.inside(
                        kernel.handles[asker].fd, partial(socket.socket, family.number, socket.SOCK_DGRAM)
                    ) as sock:
                        sock.connect((str(address), port))
                        sock.send(b"question")
                        ports.add(sock.getsockname()[1])
                flows = [e for e in conntrack.entries(questions, "node1") if e[0].destination == str(address)]
                flows = [e for e in flows if e[0].destination_port == port]
                answerers = {socket_name(second.source, second.source_port) for _, second in flows}
                assert len(flows) == len(ports) and len(answerers) == 3
                gone = min(answerers)
                fewer = UdpBackends({f: serving - {gone} for f, serving in backends.frontends.items()})
                rulesets = {**world.network.rulesets, ("node1", "udp-backends"): fewer}
                kernel.apply(replace(world.network, rulesets=rulesets))
                left = {*conntrack.entries(questions, "node1")} & {*flows}
                assert left == {e for e in flows if socket_name(e[1].source, e[1].source_port) != gone}
                kernel.apply(world.network)
    finally:
        kernel.close()


@isolated
def test_forwarding_that_cannot_be_switched_on_is_told() -> None:
    """Where /proc/sys is read-only, links are told to forward IPv4; of IPv6 no link can be told."""
    sysctls.write_sysctl = lambda *_: False
    with pytest.raises(KernelError, match=r"net/ipv6/conf/all/forwarding in .*EROFS"):
        KernelNetwork().apply(planned(IPV6).network)


def cluster_ips(world: World, family: Family) -> Iterable[IPAddress]:
    """The cluster IP of the ingress controller, as an ingress' records of the cluster DNS tell it."""
    servers = [s for s in world.servers.values() if s.kind == "dns" and s.name.startswith("kube-system.")]
    name = "ingress-nginx-controller.ingress-nginx.svc.cluster.local."
    config = servers[0].config
    assert isinstance(config, DnsConfig)
    records = answers(DnsSettings().changed(config), name, family.record)
    assert records and not isinstance(records, str)
    return [ip_address(data) for _, _, data, _ in records]
