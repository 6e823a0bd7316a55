"""Worlds of IPv6, alone and beside IPv4, planned whole: every family says its own words and no other's."""

from __future__ import annotations

import re
from ipaddress import ip_address
from itertools import permutations

import pytest
from familyworlds import EVERY, POD_NETWORKS, built, learned
from worlds import Walker, items, raw_service, raw_slice

from emulab.kinds.emulab.clusterview import Cluster, cluster_of
from emulab.kinds.registry import INGRESS, NODE, SERVICE
from emulab.lab.offline import offline_world
from emulab.model.collection import Objects
from emulab.model.families import FAMILIES, IPV4, IPV6, Family, families_of, family_of
from emulab.model.sources import Source
from emulab.plan.cni import PLUGINS
from emulab.plan.cni.podlinks import HOST_PORT_TABLE
from emulab.plan.hostsfiles import MANAGED_HOSTS
from emulab.plan.links import Address, Route, Veth, Vxlan
from emulab.plan.proxy.intents import intents, viewer
from emulab.plan.proxy.modes import MODES
from emulab.plan.proxy.modes.iptables import rules as iptables_rules
from emulab.plan.proxy.modes.nftables import rules as nftables_rules
from emulab.plan.proxy.ports import candidates
from emulab.plan.render import data, render
from emulab.plan.rules.tracing import proxy_addresses, trace_rules
from emulab.plan.state import Ipvs, Ruleset, World
from emulab.servers.dns.config import DnsConfig
from emulab.servers.l4.config import L4Config

FOUR = re.compile(r"(?<![\d.:])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
PLAIN_PROXY = "proxy: {mode: nftables}"
FOUR_WORDS = re.compile(
    r"\bip (?:saddr|daddr|to|kube-proxy)\b|\bipv4_addr\b|\btable ip \b|(?<![-\w])iptables\b|net/ipv4/conf|ip_forward"
)
SIX = re.compile(
    r"\bip6\b|\bip6tables\b|ipv6_addr|(?<![\w:])(?:[0-9a-f]{1,4}:){2,}[0-9a-f:]*|(?<!\w)::1?\b|net/ipv6/conf/all"
)


def whole(world: World) -> str:
    """Everything that is planned: rendered for people, and as data, in which nothing is said once for several."""
    return render(world) + "\n".join(f"{p.name}\n{p.resolv_conf}{p.hosts}" for p in world.places.values())


def without_the_same(text: str) -> str:
    """Without what is the same whatever the families.

    The kubelet writes both addresses of loopback into /etc/hosts, and IPv6's names of groups; CoreDNS has both reverse
    trees; bridges hand no packets to the rules of either family; and a mode of the proxy may be called as a program is.
    """
    for same in (
        *(*MANAGED_HOSTS, "ip6.arpa."),
        *("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "mode: iptables"),
    ):
        text = text.replace(same, "")
    return text


def masquerading(network: str) -> frozenset[str]:
    """The table with which pods of a network go out."""
    return PLUGINS[network.rpartition("-")[0]].tables - {HOST_PORT_TABLE}


def of_servers(world: World) -> str:
    return repr([(s.listen, s.config) for s in world.servers.values()]) + repr(data(world))


@pytest.mark.parametrize(("mode", "network"), EVERY)
def test_a_world_of_ipv6_alone_has_no_ipv4(mode: str, network: str) -> None:
    _, world = built((IPV6,), mode, network)
    text = without_the_same(whole(world))
    assert FOUR.findall(text) == []
    assert FOUR_WORDS.findall(text) == []
    plain = of_servers(world).replace("127.0.0.1\\tlocalhost", "")
    assert FOUR.findall(plain.replace("127.0.0.1\\\\tlocalhost", "")) == []
    assert "nameserver fd00:10::2" in text and "nameserver fd00:96::a" in text
    assert {family_of(a) for p in world.places.values() for a in p.addresses} == {IPV6}


@pytest.mark.parametrize("mode", MODES)
def test_a_world_of_ipv4_alone_has_no_ipv6(mode: str) -> None:
    _, world = built((IPV4,), mode)
    # MAC addresses look alike.
    text = re.sub(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b", "", without_the_same(whole(world)))
    assert SIX.findall(text) == []
    assert {
        dict(n.sysctls)["net/ipv6/conf/default/disable_ipv6"] for n in world.network.namespaces.values()
    } == {"1"}


@pytest.mark.parametrize("families", [(IPV4, IPV6), (IPV6, IPV4)], ids=["4-6", "6-4"])
@pytest.mark.parametrize(("mode", "network"), EVERY)
def test_a_world_of_both_has_what_each_has_alone(
    mode: str, network: str, families: tuple[Family, ...]
) -> None:
    """But for what there is once: the sysctls, IPVS' table and device, the servers, the places' primary family."""
    both = built(families, mode, network)[1]
    for family in families:
        alone = built((family,), mode, network)[1]
        for (where, kind), rules in alone.network.rulesets.items():
            if kind in ("ipvs", "udp-backends"):
                continue
            found = both.network.rulesets[where, kind]
            if not isinstance(rules, Ruleset) or not isinstance(found, Ruleset):
                assert type(found) is type(rules)
                continue
            assert found.family == family.nft
            if family is families[0]:
                assert found == rules, (where, kind)
            else:  # kube-dns has the primary family alone, as kubeadm makes it
                assert (
                    found.chains.items() - {("services", found.chains.get("services"))}
                    <= rules.chains.items()
                )
        given = {
            (i.namespace, i.link, i.address)
            for i in items(alone.network, Address)
            if i.link not in ("kube-ipvs0", "kube-dummy-if")
        }
        assert given <= {
            (i.namespace, i.link, i.address) for i in both.network.items if isinstance(i, Address)
        }
    assert {p.name: family_of(p.addresses[0]) for p in both.places.values()} == dict.fromkeys(
        both.places, families[0]
    )
    tables = {k for _, k in both.network.rulesets}
    assert {f"{f.nft} {table}" for f in families for table in masquerading(network)} <= tables


@pytest.mark.parametrize("network", POD_NETWORKS)
@pytest.mark.parametrize("families", [(IPV6,), (IPV4, IPV6)], ids=["6", "4-6"])
def test_everybody_finds_the_way_in_every_family(network: str, families: tuple[Family, ...]) -> None:
    world = learned(built(families, network=network)[1])
    walker = Walker(world.network)
    pods = [
        p for p in world.places.values() if p.kind == "pod" and p.namespace not in ("node1", "node2", "node3")
    ]
    nodes = [p for p in world.places.values() if p.kind == "node"]
    assert all(families_of(p.addresses) == families for p in (*pods, *nodes))
    for one, other in permutations((*pods, *nodes), 2):
        for address in other.addresses:
            assert walker.walk(one.namespace, str(address))[-1] == other.namespace
    outside = {"dns": "2001:db8:1::36", "resolver": "fd00:10::2", "client": "2001:db8:1::2"}
    for pod in pods:
        for place, text in outside.items():
            assert walker.walk(pod.namespace, text)[-1] == place
    for vip in (a for p in world.places.values() if p.kind == "balancer" for a in p.addresses):
        assert walker.walk("client", str(vip))[-1] != "client"


def test_mtus_leave_room_for_the_larger_header() -> None:
    found = {f: built(f)[1].network for f in ((IPV4,), (IPV6,), (IPV4, IPV6))}
    mtus = {f: {v.mtu for v in items(net, Veth) if v.namespace != "fabric"} for f, net in found.items()}
    assert mtus == {(IPV4,): {1450}, (IPV6,): {1430}, (IPV4, IPV6): {1430}}
    devices = {(v.name, v.local.version, v.mtu) for v in items(found[IPV4, IPV6], Vxlan)}
    assert devices == {("flannel.1", 4, 1450), ("flannel-v6.1", 6, 1430)}, "each of its own family's"


@pytest.mark.parametrize("network", POD_NETWORKS)
def test_an_underlay_is_where_a_cluster_says(network: str) -> None:
    """In each family, and nothing is left of what it is by default."""
    plugin, _, way = network.rpartition("-")
    own = f"{{plugin: {plugin}, mode: {way}, underlay: '172.16.0.0/16,fd00:8:0:5::/64', families: [IPv4, IPv6]}}"
    text = f"apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {{name: c}}\nspec: {{network: {own}, {PLAIN_PROXY}}}\n"
    more = "---\napiVersion: emulab.dev/v1\nkind: Client\nmetadata: {name: office}\nspec: {network: vpc}\n"
    _, world = offline_world([Source("c.yaml", text + more)])
    assert "fd00:10:" not in repr(world) and "10.0.0." not in repr(world).replace("10.10.0.0", "")
    walker = Walker(world.network)
    addresses = {name: place.addresses for name, place in world.places.items()}
    assert (
        ip_address("fd00:8:0:5::b") in addresses["node1"] and ip_address("172.16.0.11") in addresses["node1"]
    )
    assert ip_address("fd00:8:0:5::c800") in addresses["office"]
    for one, other in permutations(("node1", "node2", "office", "router", "public-lb"), 2):
        for address in addresses[other]:
            assert walker.walk(one, str(address))[-1] == other


def test_services_and_balancers_have_addresses_of_their_families() -> None:
    objects, world = built((IPV4, IPV6))
    (plain,) = [o for o in objects.kind(SERVICE) if o.name == "plain"]
    assert [family_of(ip_address(a)) for a in plain.spec["clusterIPs"]] == [IPV4, IPV6]
    assert families_of(world.places["private-lb"].addresses) == (IPV4, IPV6)
    balancer, public = world.servers["lb-shop-exposed"].config, world.servers["dns"].config
    assert isinstance(balancer, L4Config) and isinstance(public, DnsConfig)
    for key, frontend in balancer.frontends.items():
        addresses = [key.split("/")[1], *(t.address for t in frontend.targets)]
        assert len(families_of(map(ip_address, addresses))) == 1 and len(addresses) == 4
    assert len(balancer.frontends) == 2
    records = {(r.type, r.data) for zone in public.zones for r in zone.records}
    assert ("AAAA", "2001:db8:2::a") in records and ("A", "203.0.113.10") in records


@pytest.mark.parametrize("family", FAMILIES)
def test_a_balancer_listens_in_the_families_of_its_service(family: Family) -> None:
    """It has an address of each, and waits for no node port that leads nowhere."""
    spec = "{network: internet, ports: [80], target: {service: {namespace: shop, name: alone, port: 80}}}"
    text = f"apiVersion: emulab.dev/v1\nkind: LoadBalancer\nmetadata: {{name: front}}\nspec: {spec}\n"
    world = built((IPV4, IPV6), only=family, more=text)[1]
    assert families_of(world.places["front"].addresses) == (IPV4, IPV6)
    config = world.servers["front"].config
    assert isinstance(config, L4Config)
    assert [family_of(ip_address(key.split("/")[1])) for key in config.frontends] == [family]


@pytest.mark.parametrize("family", FAMILIES)
def test_who_is_sent_to_a_balancer_hears_of_the_addresses_at_which_it_listens(family: Family) -> None:
    """DNS, Ingresses and records that are healthy as it is."""
    spec = "{network: internet, ports: [80], target: {service: {namespace: shop, name: alone, port: 80}}}"
    checked = "healthCheck: {loadBalancer: front}, failover: primary"
    text = f"""apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: front}}
spec: {spec}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: fronted, annotations: {{emulab.dev/load-balancer: front}}}}
spec: {{rules: [{{host: fronted.test}}]}}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {{name: a.test}}
spec: {{records: [{{name: w, type: A, value: 192.0.2.9, {checked}}},
                 {{name: w, type: AAAA, value: "2001:db8::9", {checked}}}]}}
"""
    objects, world = built((IPV4, IPV6), only=family, more=text)
    config = world.servers["dns"].config
    assert isinstance(config, DnsConfig)
    records = [r for zone in config.zones for r in zone.records if r.name == "fronted.test."]
    assert [r.type for r in records] == [family.record]
    (ingress,) = [o for o in objects.kind(INGRESS) if o.name == "fronted"]
    assert ingress.status["loadBalancer"] == {"ingress": [{"ip": records[0].data}]}
    (zone,) = [zone for zone in config.zones if zone.origin == "a.test."]
    assert {r.type: r.healthy for r in zone.routed} == {f.record: f is family for f in FAMILIES}


def test_ipvs_has_one_table_for_both() -> None:
    world = built((IPV4, IPV6), "ipvs")[1]
    table = world.network.rulesets["node1", "ipvs"]
    assert isinstance(table, Ipvs)
    assert {s.address.version for s in table.servers} == {4, 6}
    for virtual, reals in table.servers.items():
        assert {a.version for a, _ in reals} <= {virtual.address.version}


def test_a_service_is_in_the_intents_of_its_families_alone() -> None:
    objects, _ = built((IPV4, IPV6))
    nodes = [viewer(o) for o in objects.kind(NODE)]
    four, six = raw_slice("s", "10.244.1.2"), raw_slice("s", "fd00:244::2", addressType="IPv6")
    six = six.replace(metadata={**six.metadata, "name": "s-six"})

    def rules(family: Family, *given: str) -> tuple[Ruleset, object]:
        found = Objects([raw_service("s", clusterIP=given[0], clusterIPs=list(given)), four, six])
        seen = intents(candidates(found, [family]), nodes)["node1"]
        return nftables_rules(seen, Cluster(), family), iptables_rules(seen, Cluster(), family)

    assert rules(IPV4, "10.96.0.7", "fd00:96::7") == rules(IPV4, "10.96.0.7")
    assert rules(IPV6, "10.96.0.7", "fd00:96::7") == rules(IPV6, "fd00:96::7")
    assert rules(IPV4, "fd00:96::7") == (
        nftables_rules((), Cluster(), IPV4),
        iptables_rules((), Cluster(), IPV4),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trace_marks_a_family_in_its_own_table(family: Family) -> None:
    _, world = built((IPV4, IPV6))
    place = world.places["client"]
    table = trace_rules(7, "tcp", [4321], place, proxy_addresses(world), family)
    text = "\n".join(rule for chain in table.chains.values() for rule in chain)
    assert table.family == family.nft and "{ 4789, 8472, 51820, 51821 } return" in text
    named = {
        ip_address(word.rstrip(",")) for word in text.split() if word.count(".") == 3 or word.count(":") > 1
    }
    assert families_of(named) == (family,) and place.addresses[family is IPV6] in named


def test_families_are_the_clusters_word_or_that_of_its_networks() -> None:
    """`network.families` alone takes the default networks of each; IPv4 is that of a Cluster that says nothing."""
    for spec, families in (
        ("{}", (IPV4,)),
        ("{network: {families: [IPv6]}}", (IPV6,)),
        ("{network: {families: [IPv6, IPv4]}}", (IPV6, IPV4)),
        ("{podCIDR: 'fd00:1::/56,10.8.0.0/16', serviceCIDR: 'fd00:2::/112,10.9.0.0/16'}", (IPV6, IPV4)),
    ):
        text = f"apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {{name: c}}\nspec: {spec}\n"
        objects, world = offline_world([Source("c.yaml", text)])
        cluster = cluster_of(objects)
        assert cluster.families == families
        assert [families_of(nets) for nets in (cluster.pod_cidrs, cluster.service_cidrs)] == [families] * 2
        assert {i.address.version for i in items(world.network, Address)} == {f.version for f in families}
        assert {i.destination.version for i in items(world.network, Route)} == {f.version for f in families}


@pytest.mark.parametrize("network", POD_NETWORKS)
def test_pods_with_global_addresses_go_out_with_them(network: str) -> None:
    """No masquerading then, unless kindnet or kube-router does it, which ask nobody; everybody outside finds the way
    to them, by the router. IPv4 beside it stays as it is."""
    plugin, _, way = network.rpartition("-")
    text = (
        "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: c}\n"
        "spec: {podCIDR: '10.244.0.0/16,2001:db8:244::/48', serviceCIDR: '10.96.0.0/12,fd00:96::/112',"
        f" network: {{plugin: {plugin}, mode: {way}}}, {PLAIN_PROXY}}}\n"
    )
    _, world = offline_world([Source("c.yaml", text)])
    tables = {kind for _, kind in world.network.rulesets}
    (table,) = masquerading(network)
    assert f"ip {table}" in tables and (f"ip6 {table}" in tables) == (plugin in ("kindnet", "kube-router"))
    walker = Walker(world.network)
    for pod in (p for p in world.places.values() if p.kind == "pod"):
        (address,) = (a for a in pod.addresses if family_of(a) is IPV6)
        for place in ("client", "dns", "resolver", "router", "node1", "node2"):
            assert walker.walk(place, str(address))[-1] == pod.namespace
        assert walker.walk("resolver", str(address))[1] == "router"
