"""kube-proxy's ipvs mode on one node, with real packets, and the way its tables get into the kernel."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from namespaces import ip, isolated
from serviceworld import BALANCER_IP, CLUSTER_IP, EXTERNAL_IP, NODE, OUTSIDE, PODS, ServiceWorld, intent

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kinds.emulab.cluster import SCHEDULERS
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import IPV4
from emulab.plan.proxy.intents import Intent
from emulab.plan.proxy.modes import ipvs
from emulab.plan.proxy.modes.mode import Site
from emulab.plan.state import Ipvs, Network, Ruleset, VirtualServer

pytestmark = pytest.mark.vm

EVERYBODY = tuple(PODS)
OUT = OUTSIDE[0]
EXPOSED: dict[str, Any] = {
    "node_port": 30080,
    "external_ips": (ip_address(EXTERNAL_IP),),
    "balancer_ips": (ip_address(BALANCER_IP),),
}
EXTERNAL = [(NODE, 30080), (EXTERNAL_IP, 80), (BALANCER_IP, 80)]


class World(ServiceWorld):
    """The node with what the mode plans for it."""

    def __init__(self, *intents: Intent, cluster: Cluster | None = None) -> None:
        super().__init__()
        self.put(*intents, cluster=cluster)

    def put(self, *intents: Intent, cluster: Cluster | None = None) -> None:
        mode, addresses = cluster or Cluster(proxy_mode="ipvs"), (ip_address(NODE),)
        made = ipvs.server_sum(intents, mode, IPV4)
        self.apply(
            made.ruleset(),
            ipvs.node_table({IPV4: made}, mode, addresses),
            ipvs.device_items(Site("node", addresses, addresses), [made]),
        )

    def apply(self, rules: Ruleset, table: Ipvs, items: frozenset[Any]) -> None:
        rulesets = {("node", "ip kube-proxy"): rules, ("node", "ipvs"): table}
        self.kernel.apply(Network(self._namespaces, self._items | items, rulesets))

    def listing(self) -> list[str]:
        """What `ipvsadm -Ln` shows, without its heading."""
        return self.run("ipvsadm", "-Ln").splitlines()[3:]

    def run(self, *argv: str) -> str:
        handle = self.kernel.handles["node"]
        return netns.inside(handle.fd, lambda: subprocess.check_output(argv, text=True))


# packets


@isolated
def test_a_cluster_ip_leads_to_pods_in_turn_and_they_see_who_asks() -> None:
    w = World(intent(*EVERYBODY), intent("pod2", protocol="UDP"))
    assert Counter(w.ask("pod1", CLUSTER_IP).split()[0] for _ in range(30)) == dict.fromkeys(EVERYBODY, 10)
    assert w.ask("pod1", CLUSTER_IP, udp=True) == "pod2 10.244.1.2"
    assert w.ask("node", CLUSTER_IP) in {f"{pod} {NODE}" for pod in EVERYBODY}
    # From outside the pod network it is masqueraded.
    assert w.ask("outside", CLUSTER_IP) in {f"{pod} {NODE}" for pod in EVERYBODY}


@isolated
def test_a_pod_reaches_itself_through_its_service() -> None:
    w = World(intent("pod1"))
    assert w.ask("pod1", CLUSTER_IP) == f"pod1 {NODE}"
    assert w.ask("pod2", CLUSTER_IP) == "pod1 10.244.1.3"


@isolated
def test_a_client_stays_with_its_endpoint_until_the_time_is_over() -> None:
    w = World(intent(*EVERYBODY, affinity=1))
    sources = OUTSIDE[:6]
    first = {source: w.ask("outside", CLUSTER_IP, source=source) for source in sources}
    assert first == {source: w.ask("outside", CLUSTER_IP, source=source) for source in sources}
    assert len(set(first.values())) == 3


@isolated
def test_external_addresses_lead_to_pods_and_hide_the_client() -> None:
    w = World(intent("pod3", **EXPOSED), intent("pod3", protocol="UDP", **EXPOSED))
    for address, port in EXTERNAL:
        for udp in (False, True):
            assert w.ask("outside", address, port, udp) == f"pod3 {NODE}"
        assert w.ask("node", address, port) == f"pod3 {NODE}"
        assert w.ask("pod1", address, port) == f"pod3 {NODE}"
    assert w.outcome("node", "127.0.0.1", 30080) == "refused"


@isolated
def test_what_nobody_serves_is_refused_at_once() -> None:
    w = World(intent(**EXPOSED), intent(protocol="UDP", **EXPOSED))
    # The kernel sends six ICMP errors to an address, then one a second (icmp_ratelimit): so each is asked from another.
    sources = iter(OUTSIDE)
    for udp in (False, True):
        for address, port in [(CLUSTER_IP, 80), *EXTERNAL]:
            assert w.outcome("outside", address, port, udp, next(sources)) == "refused", (address, udp)
            assert w.outcome("pod2" if udp else "pod1", address, port, udp) == "refused", (address, udp)
    assert w.outcome("node", CLUSTER_IP) == "refused"
    assert w.outcome("node", NODE, 30080) == "refused"


@isolated
def test_a_port_of_a_service_address_that_no_service_has_is_refused() -> None:
    """The addresses are the node's own, but nothing that listens there is to be reached by them."""
    w = World(intent("pod1", **EXPOSED))
    with w.socket("node", 1) as listener:
        listener.bind(("0.0.0.0", 22))
        listener.listen()
        for address in (CLUSTER_IP, EXTERNAL_IP, BALANCER_IP):
            assert w.outcome("outside", address, 22) == "refused"
            assert w.outcome("pod1", address, 22) == "refused"
        with w.connect("outside", NODE, 22):
            pass


@isolated
def test_traffic_policies_local() -> None:
    w = World(intent("pod2", "pod3", internal_local=True))
    assert {w.ask("pod1", CLUSTER_IP) for _ in range(4)} == {"pod2 10.244.1.2"}
    w.put(intent("pod3", internal_local=True, cluster=()))  # as of a Service that nobody reaches from outside
    assert w.outcome("pod1", CLUSTER_IP) == "refused"
    assert w.outcome("node", CLUSTER_IP) == "refused"
    w.put(intent("pod3", internal_local=True, **EXPOSED))
    assert w.ask("pod1", CLUSTER_IP) == "pod3 10.244.1.2"
    assert w.ask("node", CLUSTER_IP).startswith("pod3 ")
    w.put(intent("pod1", "pod3", external_local=True, **EXPOSED))
    for address, port in EXTERNAL:
        assert {w.ask("outside", address, port) for _ in range(4)} == {f"pod1 {OUT}"}
        assert {w.ask("pod2", address, port) for _ in range(4)} == {"pod1 10.244.1.3"}
        assert {w.ask("node", address, port) for _ in range(4)} == {f"pod1 {NODE}"}
    w.put(intent("pod3", external_local=True, **EXPOSED))
    for address, port in EXTERNAL:
        assert w.outcome("outside", address, port) == "silence"
        assert w.ask("pod1", address, port) == "pod3 10.244.1.2"
        assert w.ask("node", address, port) == f"pod3 {NODE}"


@isolated
def test_source_ranges_guard_the_balancers_address_alone() -> None:
    allowed = (ip_network(f"{OUTSIDE[1]}/32"), ip_network("10.244.1.2/32"))
    w = World(intent("pod2", source_ranges=allowed, **EXPOSED))
    assert w.ask("outside", BALANCER_IP, source=OUTSIDE[1]) == f"pod2 {NODE}"
    assert w.ask("pod1", BALANCER_IP) == f"pod2 {NODE}"
    for place, source in (("outside", OUTSIDE[0]), ("pod3", ""), ("node", "")):
        assert w.outcome(place, BALANCER_IP, source=source) == "silence"
    for address, port in EXTERNAL[:2]:
        assert w.ask("outside", address, port, source=OUTSIDE[0]) == f"pod2 {NODE}"
    # The address is the node's own, and so the source of what it sends there.
    w.put(intent("pod2", source_ranges=(ip_network(f"{BALANCER_IP}/32"),), **EXPOSED))
    assert w.ask("node", BALANCER_IP) == f"pod2 {NODE}"


# change


@isolated
def test_established_connections_live_on_and_their_server_goes_after_them() -> None:
    w = World(intent(*EVERYBODY))
    with w.connect("outside", CLUSTER_IP) as kept:
        pod = kept.recv(100).decode().split()[0]
        others = [p for p in EVERYBODY if p != pod]
        w.put(intent(*others))
        assert {w.ask("outside", CLUSTER_IP).split()[0] for _ in range(4)} == {*others}
        kept.sendall(b"still there?")
        assert kept.recv(100) == b"still there?"
        assert w.kernel.draining
        w.put(intent(pod))  # back again before it was gone
        kept.sendall(b"and now?")
        assert kept.recv(100) == b"and now?"
        w.put(intent())
        assert w.outcome("outside", CLUSTER_IP) == "refused"
        kept.sendall(b"without a server?")
        assert kept.recv(100) == b"without a server?"
        w.put(intent(*others))
        w.kernel.apply(w.kernel.applied)
        assert [line.split()[1:5] for line in w.listing()[1:]] == [
            [f"{PODS[p]}:8080", "Masq", "0" if p == pod else "1", "1" if p == pod else "0"] for p in EVERYBODY
        ]
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with a reset
    deadline = time.monotonic() + 60  # IPVS keeps what was reset for 10 s
    while w.kernel.draining and time.monotonic() < deadline:
        time.sleep(0.5)
        w.kernel.apply(w.kernel.applied)
    assert [line.split()[1] for line in w.listing()[1:]] == [f"{PODS[p]}:8080" for p in others]


@isolated
def test_a_udp_flow_finds_another_server_with_the_next_datagrams() -> None:
    w = World(intent("pod1", protocol="UDP"))
    with w.connect("outside", CLUSTER_IP, udp=True, patience=5.0) as flow:
        flow.send(b"?")
        assert flow.recv(100) == f"pod1 {NODE}".encode()
        w.put(intent("pod2", protocol="UDP"))
        assert not w.kernel.draining
        answers = []
        for _ in range(3):
            flow.send(b"?")
            try:
                answers.append(flow.recv(100).decode())
            except TimeoutError:
                answers.append("lost")
        assert answers[-1] == f"pod2 {NODE}" and answers.count("lost") <= 1


# tables


@isolated
def test_ipvsadm_shows_what_it_shows_in_a_cluster() -> None:
    w = World(intent("pod1", "pod3", affinity=10800, node_port=30080), intent("pod2", protocol="UDP"))
    assert [" ".join(line.split()) for line in w.listing()] == [
        "TCP 10.0.0.10:30080 rr persistent 10800",
        "-> 10.244.1.2:8080 Masq 1 0 0",
        "-> 10.244.2.2:8080 Masq 1 0 0",
        "TCP 10.96.0.7:80 rr persistent 10800",
        "-> 10.244.1.2:8080 Masq 1 0 0",
        "-> 10.244.2.2:8080 Masq 1 0 0",
        "UDP 10.96.0.7:80 rr",
        "-> 10.244.1.3:8080 Masq 1 0 0",
    ]
    (device,) = ip(w.kernel.handles["node"], "address", "show", "dev", ipvs.DEVICE)
    assert "UP" not in device["flags"] and "NOARP" in device["flags"]
    assert [(a["local"], a["prefixlen"]) for a in device["addr_info"]] == [(CLUSTER_IP, 32)]
    w.put()
    assert w.listing() == []


@isolated
def test_nodes_have_tables_of_their_own() -> None:
    one, two = World(intent("pod1")), World(intent("pod2"))
    one.put(intent("pod3"))
    assert one.ask("pod1", CLUSTER_IP) == "pod3 10.244.1.2"
    assert two.ask("pod1", CLUSTER_IP) == "pod2 10.244.1.2"


@isolated
def test_every_scheduler_and_a_change_of_it() -> None:
    w = World()
    for scheduler in SCHEDULERS:
        w.put(intent("pod2", "pod3"), cluster=Cluster(proxy_mode="ipvs", scheduler=scheduler))
        assert w.listing()[0].split() == ["TCP", "10.96.0.7:80", scheduler]
        assert w.ask("pod1", CLUSTER_IP).endswith("10.244.1.2")


@isolated
def test_a_table_that_fails_leaves_what_was_there() -> None:
    w = World(intent("pod1"), intent("pod2", protocol="UDP"))
    before, applied = w.listing(), w.kernel.applied
    wanted = [intent("pod2", "pod3"), intent("pod3", name="new", cluster_ips=(ip_address("10.96.0.9"),))]
    table = ipvs.node_table({IPV4: ipvs.server_sum(wanted, Cluster(), IPV4)}, Cluster(), [])
    bad = VirtualServer("tcp", ip_address("10.96.0.10"), 80, "nonsense")
    rules = w.kernel.applied.rulesets["node", "ip kube-proxy"]
    assert isinstance(rules, Ruleset)
    with pytest.raises(KernelError, match=r"add virtual server TCP 10\.96\.0\.10:80, scheduler nonsense"):
        w.apply(rules, replace(table, servers={**table.servers, bad: {}}), w.kernel.applied.items)
    assert w.listing() == before and w.kernel.applied == applied
    assert w.ask("pod3", CLUSTER_IP) == "pod1 10.244.2.2"


@isolated
def test_many_services_take_little_time() -> None:
    w = World()
    many = [intent(*EVERYBODY, cluster_ips=(ip_address(f"10.97.{i >> 8}.{i & 255}"),)) for i in range(300)]
    begun = time.monotonic()
    w.put(*many)
    assert len(w.listing()) == 1200
    w.put(*many[:-1])
    assert len(w.listing()) == 1196
    assert time.monotonic() - begun < 90  # every instruction is emulated
