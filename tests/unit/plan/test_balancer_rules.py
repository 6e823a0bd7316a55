"""What balancers of mode nat, and the ways back from nodes, are in the kernel; the router of an isolated vpc."""

from __future__ import annotations

from collections import Counter

import pytest
from worlds import items, plan, world

from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.registry import LOAD_BALANCER, SERVICE
from emulab.model.collection import Objects
from emulab.plan.balancing.nat import BalancerRules, forwarding_rules, guarding_rules
from emulab.plan.balancing.placing import METRICS_PORT
from emulab.plan.links import Route, RoutingRule
from emulab.plan.rules.meaning import MeantRule
from emulab.plan.state import Ruleset, Tuning, UdpBackends, World
from emulab.plan.world import plan_world
from emulab.rendezvous import score, slots
from emulab.servers.l4.config import FrontendConfig, FrontendLimits, L4Config, TargetConfig

SERVICE_DB = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  type: NodePort
  selector: {app: db}
  ports: [{name: sql, port: 5432, nodePort: 30432}, {name: ping, port: 53, protocol: UDP, nodePort: 30053}]
---
"""


def balancer(name: str, spec: str) -> str:
    return f"apiVersion: emulab.dev/v1\nkind: LoadBalancer\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"


PROXY = """
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {name: several}
spec:
  network: internet
  address: 203.0.113.21
  ports: [80]
  workers: 3
  limits: {connections: 100, connectionsPerSource: 5, rate: 2}
  target: {service: {name: db, port: 5432}}
"""
NAT = balancer(
    "nlb",
    '{network: internet, mode: nat, ports: [80, "53/UDP"], idleTimeout: 350,'
    " target: {service: {name: db, port: sql}}}",
)


def table(built: World, place: str, name: str) -> Ruleset:
    rules = built.network.rulesets[place, f"ip {name}"]
    assert isinstance(rules, Ruleset)
    return rules


def test_a_balancer_of_mode_nat_is_rules_and_a_server_that_only_checks() -> None:
    built = world(SERVICE_DB, NAT)
    config = built.servers["nlb"].config
    assert isinstance(config, L4Config)
    assert config.frontends == {} and sorted(config.watched) == ["tcp/203.0.113.20/80", "udp/203.0.113.20/53"]
    assert config.listen == config.metrics == (f"tcp/10.0.0.150/{METRICS_PORT}",)
    rules = table(built, "nlb", "balancer")
    (choice,) = rules.chains["choices"][1:]
    assert choice == (
        "ip daddr 203.0.113.20 tcp dport 80"
        " numgen inc mod 2 vmap { 0 : goto target/tcp-80/node1, 1 : goto target/tcp-80/node2 }"
    )
    assert rules.chains["target/tcp-80/node2"] == ("", "meta l4proto tcp dnat ip to 10.0.0.12:30432")
    assert "clients" not in rules.chains, "clients aren't hidden"
    # `sql` is no port of UDP: that one leads nowhere, and refuses.
    assert rules.chains["checks"][1:] == ("ip daddr 203.0.113.20 udp dport 53 ct state new reject",)
    tuning = built.network.rulesets["nlb", "conntrack"]
    assert isinstance(tuning, Tuning)
    assert ("net/ipv4/ip_forward", "1") in tuning.sysctls
    assert ("net/netfilter/nf_conntrack_tcp_timeout_established", "350") in tuning.sysctls


def test_nodes_answer_by_the_balancer_that_a_connection_came_by() -> None:
    built = world(SERVICE_DB, NAT)
    for node in ("node1", "node2"):
        (rule,) = items(built.network, RoutingRule, node)
        assert (rule.mark, rule.mask, rule.table) == (150 << 16, 0xFFFF0000, 10150)
        (route,) = [r for r in items(built.network, Route, node) if r.table == rule.table]
        assert (str(route.destination), str(route.gateway), route.link) == ("0.0.0.0/0", "10.0.0.150", "eth0")
        arrivals = table(built, node, "balancers").chains["arrivals"]
        assert (
            "ip saddr != 10.0.0.150 ct state new ct mark set ct mark and 0x0000ffff or 0x00960000"
            in arrivals[1]
        )
    hidden = world(SERVICE_DB, NAT.replace("mode: nat", "mode: nat, preserveClientIP: false"))
    assert ("node1", "ip balancers") not in hidden.network.rulesets
    assert items(hidden.network, RoutingRule, "node1") == []
    (source,) = table(hidden, "nlb", "balancer").chains["clients"][1:2]
    assert source.endswith("snat to 10.0.0.150")


def test_who_is_not_healthy_is_left_out_by_the_objects_status() -> None:
    objects, _ = plan(SERVICE_DB, NAT)
    nlb = objects.get(LOAD_BALANCER.key("", "nlb"))
    assert nlb is not None

    def rules(*addresses: str) -> Ruleset:
        sick = [{"frontend": "tcp/203.0.113.20/80", "address": a, "name": "n"} for a in addresses]
        changed = nlb.replace(status={**nlb.status, "unhealthyBackends": sick})
        there = Objects([changed if o.key == nlb.key else o for o in objects])
        return table(plan_world(there, cluster_of(there)), "nlb", "balancer")

    one = rules("10.0.0.11:30432")
    assert one.chains["choices"][1] == "ip daddr 203.0.113.20 tcp dport 80 goto target/tcp-80/node2"
    none = rules("10.0.0.11:30432", "10.0.0.12:30432")
    assert none.chains["choices"][1:] == ()
    assert "ip daddr 203.0.113.20 tcp dport 80 ct state new reject with tcp reset" in none.chains["checks"]
    assert rules("10.0.0.99:1").chains == rules().chains


def test_failing_open_forwards_to_all_where_none_is_healthy() -> None:
    objects, _ = plan(SERVICE_DB, NAT)
    nlb = objects.get(LOAD_BALANCER.key("", "nlb"))
    assert nlb is not None
    sick = [{"frontend": "tcp/203.0.113.20/80", "address": f"10.0.0.1{n}:30432", "name": "n"} for n in (1, 2)]

    def choices(number: int) -> tuple[str, ...]:
        spec = {**nlb.spec, "failOpen": True}
        status = {**nlb.status, "unhealthyBackends": sick[:number]}
        changed = nlb.replace(spec=spec, status=status)
        there = Objects([changed if o.key == nlb.key else o for o in objects])
        return table(plan_world(there, cluster_of(there)), "nlb", "balancer").chains["choices"][1:]

    assert choices(2) == choices(0) != choices(1)


def test_workers_share_what_all_of_them_take() -> None:
    world = plan(SERVICE_DB, PROXY)[1]
    several = world.servers["several"]
    assert several.workers == 3
    config = several.config
    assert isinstance(config, L4Config)
    limits = config.frontends["tcp/203.0.113.21/80"].limits
    assert (limits.connections, limits.connections_per_source, limits.rate) == (34, 5, 1)


def frontend(**fields: object) -> FrontendConfig:
    targets = tuple(TargetConfig(f"n{n}", f"10.0.0.{n}", 80) for n in (1, 2, 3))
    return FrontendConfig(**{"balance": "roundrobin", "targets": targets, **fields})  # type: ignore[arg-type]


def made(one: FrontendConfig, deny: str = "reject", key: str = "tcp/203.0.113.9/80") -> Ruleset:
    (found,) = forwarding_rules(BalancerRules("LoadBalancer/x", {key: one}, deny, {}))
    return found


def targets_of(rule: str) -> list[str]:
    """The names in a verdict map, by slots."""
    inside = rule.partition("{")[2].rstrip(" }")
    return [part.rpartition("/")[2].strip() for part in inside.split(",")]


def test_turns_are_by_weight_and_spread() -> None:
    targets = (
        TargetConfig("a", "10.0.0.1", 80, 3),
        TargetConfig("b", "10.0.0.2", 80, 1),
        TargetConfig("c", "10.0.0.3", 80, 0),
    )
    rule = made(frontend(targets=targets)).chains["choices"][1]
    assert targets_of(rule) == ["a", "a", "b", "a"]
    assert "mod 4" in rule


def test_a_hash_moves_the_clients_of_who_goes_alone() -> None:
    every = targets_of(made(frontend(balance="source")).chains["choices"][1])
    few = targets_of(made(frontend(balance="source", targets=frontend().targets[:2])).chains["choices"][1])
    assert len(every) == len(few) == 256
    assert {a for a, b in zip(every, few, strict=True) if a != b} == {"n3"}
    assert min(Counter(every).values()) > 256 / 3 * 0.7


def test_slots_follow_weights() -> None:
    taken = Counter(slots(4000, [("a", 3), ("b", 1)]))
    assert 0.7 < taken[0] / 4000 < 0.8
    assert score("k", "a", 1) == score("k", "a", 1) != score("k", "b", 1)


def test_a_client_that_comes_again_is_known_by_a_set() -> None:
    rules = made(frontend(affinity=60.0))
    assert (
        rules.chains["choices"][1]
        == "ip daddr 203.0.113.9 tcp dport 80 ip saddr @clients/tcp-80/n1 goto target/tcp-80/n1"
    )
    assert rules.chains["target/tcp-80/n1"][1] == "update @clients/tcp-80/n1 { ip saddr }"
    assert rules.collections["clients/tcp-80/n1"].declaration.endswith(
        "flags dynamic,timeout ; timeout 60s ;"
    )


@pytest.mark.parametrize(("deny", "verdict"), [("reject", "reject with tcp reset"), ("drop", "drop")])
def test_ranges_and_limits(deny: str, verdict: str) -> None:
    limits = FrontendLimits(connections=5, rate=7)
    ranges = ("10.0.0.0/25", "10.0.0.128/25", "192.0.2.0/24")
    rules = made(frontend(source_ranges=ranges, limits=limits), deny)
    first = "ip daddr 203.0.113.9 tcp dport 80 ct state new"
    assert rules.chains["checks"][1:] == (
        f"{first} ip saddr != {{ 10.0.0.0/24, 192.0.2.0/24 }} {verdict}",
        f"{first} ct count over 5 reject with tcp reset",
        f"{first} limit rate over 7/second burst 7 packets reject with tcp reset",
    )
    assert all(isinstance(rule, MeantRule) for rule in rules.chains["checks"][1:])


def test_ranges_of_the_other_family_alone_let_nobody_in() -> None:
    rules = made(frontend(source_ranges=("2001:db8::/32",)))
    assert rules.chains["checks"][1] == "ip daddr 203.0.113.9 tcp dport 80 ct state new reject with tcp reset"


def test_rules_of_both_families() -> None:
    targets = (TargetConfig("n1", "fd00::1", 80),)
    (six,) = forwarding_rules(
        BalancerRules("x", {"udp/2001:db8::9/53": frontend(targets=targets)}, "reject", {})
    )
    assert six.family == "ip6" and six.chains["target/udp-53/n1"][1].endswith("dnat ip6 to [fd00::1]:80")


def test_a_proxy_needs_rules_for_silence_alone() -> None:
    one = {"tcp/203.0.113.9/80": frontend(source_ranges=("10.0.0.0/24",)), "tcp/203.0.113.9/81": frontend()}
    assert guarding_rules(BalancerRules("x", one, "reject", {})) == []
    (silent,) = guarding_rules(BalancerRules("x", one, "drop", {}))
    assert silent.chains["checks"][1:] == (
        "ip daddr 203.0.113.9 tcp dport 80 ct state new ip saddr != { 10.0.0.0/24 } drop",
    )


def test_udp_flows_to_who_is_gone_are_forgotten() -> None:
    spec = '{network: internet, mode: nat, ports: ["53/UDP"], target: {service: {name: db, port: ping}}}'
    built = world(SERVICE_DB, balancer("u", spec))
    flows = built.network.rulesets["u", "udp-backends"]
    assert isinstance(flows, UdpBackends)
    assert flows.frontends == {("203.0.113.20", 53): frozenset({"10.0.0.11:30053", "10.0.0.12:30053"})}


def test_an_isolated_vpc_takes_from_the_internet_what_is_for_balancers() -> None:
    cluster = "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: c}\nspec: {network: {isolated: true}}\n---\n"
    assert ("router", "ip isolation") not in world(NAT).network.rulesets
    rules = table(world(cluster, SERVICE_DB, NAT), "router", "isolation")
    assert set(rules.collections["balancers"].elements) == {"203.0.113.10", "203.0.113.20"}
    assert rules.chains["forward"][1].endswith("ip daddr != @balancers drop")


def test_a_node_that_is_excluded_is_no_target() -> None:
    label = "node.kubernetes.io/exclude-from-external-load-balancers"
    cluster = (
        "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: c}\n"
        f"spec: {{nodes: [{{name: one, labels: {{{label}: ''}}}}, {{name: two}}]}}\n---\n"
    )
    config = world(cluster, SERVICE_DB, NAT).servers["nlb"].config
    assert isinstance(config, L4Config)
    assert [t.name for t in config.watched["tcp/203.0.113.20/80"].targets] == ["two"]


INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  annotations:
    alb.ingress.kubernetes.io/healthcheck-path: /ready
    alb.ingress.kubernetes.io/healthcheck-interval-seconds: "15"
    alb.ingress.kubernetes.io/healthy-threshold-count: "3"
    alb.ingress.kubernetes.io/success-codes: 200-299
spec:
  rules:
    - host: shop.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: db, port: {number: 5432}}}}]}
---
"""


def test_an_ingress_says_how_its_balancer_checks() -> None:
    config = world(SERVICE_DB, INGRESS).servers["public-lb"].config
    assert isinstance(config, L4Config)
    health = config.frontends["tcp/203.0.113.10/80"].health
    assert health is not None
    assert (health.path, health.host, health.interval, health.rise, health.codes) == (
        *("/ready", "shop.example.com", 15, 3, "200-299"),
    )


def test_services_that_share_an_address_are_at_one_place() -> None:
    objects, built = plan(shared("a", 80), shared("b", 81))
    config = built.servers["lb-default-a"].config
    assert isinstance(config, L4Config) and "lb-default-b" not in built.servers
    assert sorted(config.frontends) == ["tcp/203.0.113.70/80", "tcp/203.0.113.70/81"]
    local = shared("b", 81, ", externalTrafficPolicy: Local").replace("{a: b}", "{c: d}")
    for other in (shared("b", 80), local):
        objects, _ = plan(shared("a", 80), other)
        found = objects.get(SERVICE.key("default", "b"))
        assert found is not None and "loadBalancer" not in found.status


def shared(name: str, port: int, more: str = "") -> str:
    metadata = f"{{name: {name}, annotations: {{metallb.io/allow-shared-ip: k}}}}"
    ports = f"selector: {{a: b}}, ports: [{{port: {port}}}]{more}"
    spec = f"{{type: LoadBalancer, loadBalancerIP: 203.0.113.70, {ports}}}"
    return f"apiVersion: v1\nkind: Service\nmetadata: {metadata}\nspec: {spec}\n---\n"
