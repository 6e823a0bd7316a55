"""kube-proxy's iptables rules with real packets, and the way they get into the kernel."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from namespaces import isolated
from serviceworld import (
    BALANCER_IP,
    CLUSTER_IP,
    EXTERNAL_IP,
    NODE,
    OUTSIDE,
    PODS,
    ServiceWorld,
    intent,
)

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.processes import installed
from emulab.kernel.rules import iptables
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import IPV4
from emulab.plan.proxy.intents import Intent
from emulab.plan.proxy.modes.iptables import rules
from emulab.plan.proxy.modes.iptablesport import chain_name
from emulab.plan.rules.iptables_script import Chains, script_stages, table_script
from emulab.plan.state import Iptables, Namespace

EVERYBODY = tuple(PODS)
OUT = OUTSIDE[0]


def of(*intents: Intent) -> Iptables:
    return rules(intents, Cluster(), IPV4)


def world(*intents: Intent) -> ServiceWorld:
    found = ServiceWorld()
    found.serve(of(*intents))
    return found


def listing(fd: int) -> list[str]:
    """All tables as iptables-save writes them, without counters and chain by chain."""
    text = netns.inside(fd, lambda: subprocess.check_output(["iptables-nft-save"], text=True))
    lines = [line.partition(" [")[0] for line in text.splitlines() if not line.startswith("#")]
    found: list[str] = []
    for table in "\n".join(lines).split("COMMIT"):
        head, *rest = table.strip().splitlines() or [""]
        # The sort is stable: rules of a chain stay in their order.
        found += [head, *sorted(rest, key=lambda line: line.split()[:2] if line.startswith("-A") else [line])]
    return found


def rule_lines(fd: int) -> list[str]:
    return [line for line in listing(fd) if line.startswith("-A")]


# packets


@isolated
def test_a_cluster_ip_leads_to_pods_which_see_who_asks() -> None:
    w = world(intent("pod2"), intent("pod3", name="other", cluster_ips=(ip_address("10.96.0.8"),)))
    assert w.ask("pod1", CLUSTER_IP) == "pod2 10.244.1.2"
    assert w.ask("pod1", "10.96.0.8") == "pod3 10.244.1.2"
    assert w.ask("node", CLUSTER_IP) == f"pod2 {NODE}"


@isolated
def test_traffic_from_outside_the_pod_network_is_masqueraded() -> None:
    w = world(intent("pod2"))
    assert w.ask("outside", CLUSTER_IP) == f"pod2 {NODE}"


@isolated
def test_a_pod_reaches_itself_through_its_service() -> None:
    w = world(intent("pod1"))
    assert w.ask("pod1", CLUSTER_IP) == f"pod1 {NODE}"


@isolated
def test_tcp_and_udp_share_a_port_number() -> None:
    w = world(intent("pod1"), intent("pod2", protocol="UDP"))
    assert w.ask("pod3", CLUSTER_IP) == "pod1 10.244.2.2"
    assert w.ask("pod3", CLUSTER_IP, udp=True) == "pod2 10.244.2.2"


@isolated
def test_connections_are_spread_fairly() -> None:
    w = world(intent(*EVERYBODY))
    number = 900
    found = Counter(w.ask("outside", CLUSTER_IP).split()[0] for _ in range(number))
    expected = number / 3
    chi_square = sum((found[pod] - expected) ** 2 / expected for pod in EVERYBODY)
    assert chi_square < 36.8, found  # two degrees of freedom: exceeded once in 100 million times


@isolated
def test_a_client_stays_with_its_endpoint_until_the_time_is_over() -> None:
    w = world(intent(*EVERYBODY, affinity=600))  # so long that nobody is away for too long
    first = {source: w.ask("outside", CLUSTER_IP, source=source) for source in OUTSIDE}
    for _ in range(3):
        assert first == {source: w.ask("outside", CLUSTER_IP, source=source) for source in OUTSIDE}
    assert len(set(first.values())) > 1
    w = world(intent(*EVERYBODY, affinity=1))
    first = {source: w.ask("outside", CLUSTER_IP, source=source) for source in OUTSIDE}
    time.sleep(1.2)
    # That all twenty come to the same ones again happens once in 3^20 times.
    assert first != {source: w.ask("outside", CLUSTER_IP, source=source) for source in OUTSIDE}


@isolated
def test_affinity_outlives_a_change_of_other_endpoints() -> None:
    w = world(intent(*EVERYBODY, affinity=600))
    first = {source: w.ask("outside", CLUSTER_IP, source=source) for source in OUTSIDE}
    w.serve(of(intent("pod1", "pod2", affinity=600)))
    then = {source: w.ask("outside", CLUSTER_IP, source=source) for source in OUTSIDE}
    stayed = [source for source in OUTSIDE if not first[source].startswith("pod3")]
    assert stayed and all(first[source] == then[source] for source in stayed)


EXPOSED: dict[str, Any] = {
    "node_port": 30080,
    "external_ips": (ip_address(EXTERNAL_IP),),
    "balancer_ips": (ip_address(BALANCER_IP),),
}
EXTERNAL = [(NODE, 30080), (EXTERNAL_IP, 80), (BALANCER_IP, 80)]


@isolated
def test_external_addresses_lead_to_pods_and_hide_the_client() -> None:
    w = world(intent("pod3", **EXPOSED), intent("pod3", protocol="UDP", **EXPOSED))
    for address, port in EXTERNAL:
        for udp in (False, True):
            assert w.ask("outside", address, port, udp) == f"pod3 {NODE}"
        assert w.ask("node", address, port) == f"pod3 {NODE}"
        assert w.ask("pod1", address, port) == f"pod3 {NODE}"


@isolated
def test_a_node_port_is_not_open_on_loopback() -> None:
    w = world(intent("pod1", **EXPOSED))
    assert w.outcome("node", "127.0.0.1", 30080) == "refused"
    assert w.ask("node", NODE, 30080) == f"pod1 {NODE}"


@isolated
def test_what_nobody_serves_is_refused_at_once() -> None:
    w = world(intent(**EXPOSED), intent(protocol="UDP", **EXPOSED))
    for udp in (False, True):
        for address, port in [(CLUSTER_IP, 80), *EXTERNAL]:
            assert w.outcome("outside", address, port, udp) == "refused", (address, udp)
            assert w.outcome("pod1", address, port, udp) == "refused", (address, udp)
    assert w.outcome("node", CLUSTER_IP) == "refused"
    # A datagram that is rejected where it is made isn't sent at all.
    assert w.outcome("node", CLUSTER_IP, udp=True) == "forbidden"
    assert w.outcome("node", NODE, 30080) == "refused"


@isolated
def test_internal_policy_local_keeps_to_this_node_or_drops() -> None:
    w = world(intent("pod2", "pod3", internal_local=True))
    assert {w.ask("pod1", CLUSTER_IP) for _ in range(20)} == {"pod2 10.244.1.2"}
    assert w.ask("outside", CLUSTER_IP) == f"pod2 {NODE}"
    w.serve(of(intent("pod3", internal_local=True)))
    assert w.outcomes(("pod1", CLUSTER_IP, 80, ""), ("node", CLUSTER_IP, 80, "")) == {"silence"}


@isolated
def test_external_policy_local_keeps_the_clients_address() -> None:
    w = world(intent("pod1", "pod3", external_local=True, **EXPOSED))
    for address, port in EXTERNAL:
        assert {w.ask("outside", address, port) for _ in range(20)} == {f"pod1 {OUT}"}
    # The cluster's own traffic goes to any endpoint.
    assert {w.ask("pod2", EXTERNAL_IP) for _ in range(40)} == {"pod1 10.244.1.3", "pod3 10.244.1.3"}
    assert {w.ask("node", NODE, 30080) for _ in range(40)} == {f"pod1 {NODE}", f"pod3 {NODE}"}


@isolated
def test_external_policy_local_drops_where_no_endpoint_is() -> None:
    w = world(intent("pod3", external_local=True, **EXPOSED))
    assert w.outcomes(*(("outside", address, port, "") for address, port in EXTERNAL)) == {"silence"}
    for address, port in EXTERNAL:
        assert w.ask("pod1", address, port) == "pod3 10.244.1.2"
        assert w.ask("node", address, port) == f"pod3 {NODE}"


@isolated
def test_source_ranges_guard_the_balancers_address_alone() -> None:
    allowed = (ip_network(f"{OUTSIDE[1]}/32"), ip_network("10.244.1.2/32"))
    w = world(intent("pod2", source_ranges=allowed, **EXPOSED))
    assert w.ask("outside", BALANCER_IP, source=OUTSIDE[1]) == f"pod2 {NODE}"
    assert w.ask("pod1", BALANCER_IP) == f"pod2 {NODE}"
    others = (("outside", OUTSIDE[0]), ("pod3", ""), ("node", ""))
    assert w.outcomes(*((place, BALANCER_IP, 80, source) for place, source in others)) == {"silence"}
    for address, port in EXTERNAL[:2]:
        assert w.ask("outside", address, port, source=OUTSIDE[0]) == f"pod2 {NODE}"


@isolated
def test_established_connections_live_through_changes() -> None:
    w = world(intent(*EVERYBODY))
    with w.connect("outside", CLUSTER_IP) as kept:
        pod = kept.recv(100).decode().split()[0]
        w.serve(of(intent(*(p for p in EVERYBODY if p != pod))))
        w.serve(of(intent(pod), intent("pod1", name="new", cluster_ips=(ip_address("10.96.0.9"),))))
        kept.sendall(b"still there?")
        assert kept.recv(100) == b"still there?"


# writing


@isolated
def test_any_change_of_services_ends_where_a_fresh_load_does() -> None:
    one, two = netns.create([Namespace("changed"), Namespace("fresh")])
    foreign = "*filter\n:MINE - [0:0]\n-A INPUT -p icmp -j MINE\n-A FORWARD -s 10.9.9.9 -j DROP\nCOMMIT\n"
    for handle in (one, two):
        iptables.restore("", handle.fd, foreign)

    @examples(15)
    @given(st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=2, max_size=3), st.integers(0, 2))
    def check(steps: list[list[int]], way: int) -> None:
        before: Iptables | None = None
        for after in [*map(services, steps), None]:
            if after is None:
                iptables.write("fresh", two.fd, None, before)
                assert listing(one.fd) == listing(two.fd)
                iptables.write("fresh", two.fd, before, None)
            for table in ("filter", "nat"):
                old, new = (value.tables[table] if value else {} for value in (before, after))
                for script in scripts(way, table, old, new):
                    iptables.restore("changed", one.fd, script)
            before = after
        assert rule_lines(one.fd) == ["-A FORWARD -s 10.9.9.9/32 -j DROP", "-A INPUT -p icmp -j MINE"]

    check()


def scripts(way: int, table: str, before: Chains, after: Chains) -> list[str]:
    """As a small change is made, as a large one, and as one that has to be made in small stages."""
    if way == 2:
        return [script for script, _ in script_stages(table, before, after, 7)]
    script = table_script(table, before, after, bulk=0 if way else 400)
    return [script] if script else []


def services(counts: list[int]) -> Iptables:
    """Services with so many endpoints each; the second is UDP, the third has affinity and external addresses."""
    return of(
        *(
            intent(
                *EVERYBODY[:number],
                name=f"s{index}",
                protocol="UDP" if index == 1 else "TCP",
                cluster_ips=(ip_address(f"10.96.1.{index}"),),
                **({**EXPOSED, "affinity": 60, "external_local": True} if index == 2 else {}),
            )
            for index, number in enumerate(counts)
        )
    )


@isolated
def test_the_kernel_shows_kube_proxys_rules() -> None:
    w = world(intent(*EVERYBODY, affinity=10800))
    lines = rule_lines(w.kernel.handles["node"].fd)
    svc = chain_name("SVC", "shop/web:http", "tcp")
    seps = [chain_name("SEP", "shop/web:http", "tcp", f"{PODS[pod]}:8080") for pod in EVERYBODY]
    assert (
        f'-A {svc} -m comment --comment "shop/web:http -> 10.244.1.2:8080" -m recent --rcheck --seconds 10800 '
        f"--reap --name {seps[0]} --mask 255.255.255.255 --rsource -j {seps[0]}"
    ) in lines
    assert (
        f'-A {svc} -m comment --comment "shop/web:http -> 10.244.1.2:8080" '
        f"-m statistic --mode random --probability 0.33333333349 -j {seps[0]}"
    ) in lines
    assert (
        '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" '
        "-j MASQUERADE --random-fully"
    ) in lines


@isolated
def test_a_failure_in_one_table_changes_none() -> None:
    w = world(intent("pod1"))
    handle = w.kernel.handles["node"]
    before, there = listing(handle.fd), w.kernel.applied
    good = of(intent())  # refused in filter, gone from nat
    nat = {**good.tables["nat"], "KUBE-SERVICES": ("-j KUBE-SVC-NOBODY",)}
    with pytest.raises(KernelError, match="KUBE-SVC-NOBODY") as caught:
        w.serve(Iptables({"filter": good.tables["filter"], "nat": nat}))
    assert caught.value.namespace == "node"
    assert listing(handle.fd) == before and w.kernel.applied == there
    assert w.ask("pod2", CLUSTER_IP) == "pod1 10.244.1.3"


@pytest.mark.privilege
@isolated
def test_more_services_than_an_ordinary_users_message_holds() -> None:
    """For root it is one transaction; the limit for all others is net.core.wmem_default."""
    (handle,) = netns.create([Namespace("a")])
    large, larger = (many(number) for number in (400, 420))
    for before, after in ((None, large), (large, larger), (larger, many(3)), (many(3), None)):
        iptables.write("a", handle.fd, before, after)
        wanted = (
            sum(len(rules) for chains in after.tables.values() for rules in chains.values()) if after else 0
        )
        assert len(rule_lines(handle.fd)) == wanted


@pytest.mark.privilege
@isolated
def test_a_failure_half_way_through_many_services_changes_nothing() -> None:
    (handle,) = netns.create([Namespace("a")])
    before, large = many(3), many(400)
    iptables.write("a", handle.fd, None, before)
    there = listing(handle.fd)
    nat = {**large.tables["nat"], "KUBE-SERVICES": (*large.tables["nat"]["KUBE-SERVICES"], "-j KUBE-NOBODY")}
    with pytest.raises(KernelError, match="KUBE-NOBODY"):
        iptables.write("a", handle.fd, before, Iptables({"filter": large.tables["filter"], "nat": nat}))
    assert listing(handle.fd) == there


def many(number: int) -> Iptables:
    addresses = (ip_address(0x0A600000 + index) for index in range(number))
    return of(*(intent("pod1", "pod2", name=f"s{a}", cluster_ips=(a,)) for a in addresses))


@pytest.mark.privilege
@isolated
def test_the_status_is_known_though_somebody_else_collects_the_process() -> None:
    """As in a supervisor, which is PID 1 and collects every child."""
    import signal

    def collect(*_: object) -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    signal.signal(signal.SIGCHLD, collect)
    (handle,) = netns.create([Namespace("a")])
    for _ in range(20):
        iptables.restore("a", handle.fd, "*nat\n:GOOD - [0:0]\nCOMMIT\n")
        with pytest.raises(KernelError):
            iptables.restore("a", handle.fd, "*nat\n-A BAD -j DROP\nCOMMIT\n")


# what is possible here


@pytest.mark.privilege
@isolated
def test_iptables_mode_is_possible_here() -> None:
    iptables.check()


@pytest.mark.privilege
@isolated
def test_a_missing_extension_is_named_with_its_remedy(tmp_path: Path) -> None:
    installed = subprocess.check_output(["dpkg", "-L", "iptables"], text=True).splitlines()
    for library in (Path(p) for p in installed if p.endswith(".so") and "/xtables/" in p):
        if library.name != "libxt_recent.so":
            (tmp_path / library.name).symlink_to(library)
    os.environ["XTABLES_LIBDIR"] = str(tmp_path)
    with pytest.raises(KernelError, match=r"^iptables lacks -m recent; apt install iptables$"):
        iptables.check()


@pytest.mark.privilege
@isolated
def test_a_missing_program_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_SBIN", ())
    os.environ["PATH"] = "/nowhere"
    with pytest.raises(KernelError, match="iptables-nft-restore; apt install iptables"):
        iptables.check()
