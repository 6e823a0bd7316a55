"""kube-router: what its nodes tell by BGP, the rules around its virtual servers, and what its annotations say."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Any

import pytest
from worlds import items, plan, world

from emulab.kinds.core import kuberouterservice
from emulab.kinds.core.serviceview import ServicePort
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.registry import NODE
from emulab.lab.offline import oddities, offline_world
from emulab.model.collection import Objects
from emulab.model.families import IPV4
from emulab.model.sources import Source
from emulab.plan.links import LOCAL, Address, Dummy, IpipEnd, Route, RoutingRule
from emulab.plan.proxy.intents import Intent, ProxiedEndpoint
from emulab.plan.proxy.modes.kuberouter import KubeRouterSum, fnv1a, marks_of
from emulab.plan.render import render
from emulab.plan.state import Ipvs, Ruleset, World
from emulab.plan.world import plan_world
from emulab.servers.bgp.config import BgpConfig, BgpPeer
from emulab.servers.engines.bird.conf import bird_conf

ABOUT = "kube-router.io/service."
ADDRESS, OUTSIDE, NODE_PORT = "10.96.1.7", "203.0.113.77", 30080


def given(annotations: str = "", more: str = "", proxy: str = "nftables", nodes: int = 2) -> str:
    """A cluster whose Service `web` has an endpoint on node1."""
    return f"""
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {{name: c}}
spec: {{nodes: {nodes}, network: {{plugin: kube-router}}, proxy: {{mode: {proxy}}}, ingress: {{replicas: 0}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, annotations: {{{annotations}}}}}
spec: {{type: NodePort, clusterIP: {ADDRESS}, externalIPs: [{OUTSIDE}], {more} selector: {{app: web}},
  ports: [{{port: 80, targetPort: 8080, nodePort: {NODE_PORT}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-x, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: [{{addresses: [10.244.1.9], nodeName: node1}}]
ports: [{{port: 8080}}]
"""


def built(*args: Any, **more: Any) -> World:
    return world(given(*args, **more).replace(" selector: {app: web},", ""))


def told(world: World, place: str) -> BgpConfig:
    config = world.servers[f"{place}/bgp"].config
    assert isinstance(config, BgpConfig)
    return config


def table(world: World, node: str) -> Ruleset:
    found = world.network.rulesets[node, "ip kube-proxy"]
    assert isinstance(found, Ruleset)
    return found


def servers(world: World, node: str) -> dict[tuple[str, int], tuple[str, list[str]]]:
    """Of the Service `web`: by address and port the scheduler, and who serves."""
    found = world.network.rulesets[node, "ipvs"]
    assert isinstance(found, Ipvs)
    own = {
        (str(s.address), s.port): (s.scheduler, [f"{a}:{p}" for a, p in real])
        for s, real in found.servers.items()
    }
    return {at: one for at, one in own.items() if at[0] in (ADDRESS, OUTSIDE) or at[1] == NODE_PORT}


def warnings_of(text: str) -> list[str]:
    return [line for line in oddities(offline_world([Source("a.yaml", text)])[0]) if ABOUT in line]


def test_each_node_tells_its_range_and_looks_into_the_tunnels_table_first() -> None:
    there = built()
    assert told(there, "node2").ranges == ("10.244.2.0/24",) and not told(there, "node2").services
    assert told(there, "node2").peers == (
        BgpPeer("Mesh_10_0_0_11", "10.0.0.11", least=1),
        BgpPeer("Global_10_0_0_1", "10.0.0.1", outside=True),
    )
    (rule,) = items(there.network, RoutingRule, "node2")
    assert rule.words() == "priority 32765 from 10.244.2.0/24 lookup 77"
    assert ip_network("10.244.1.0/24") not in {getattr(i, "destination", None) for i in there.network.items}


def test_what_pods_send_out_is_masqueraded_but_for_pods_and_nodes() -> None:
    found = built().network.rulesets["node1", "ip kube-router"]
    assert isinstance(found, Ruleset)
    sets = {name: [*c.elements] for name, c in found.collections.items()}
    assert sets == {
        "kube-router-pod-subnets": ["10.244.1.0/24", "10.244.2.0/24"],
        "kube-router-node-ips": ["10.0.0.11", "10.0.0.12"],
    }


@pytest.mark.parametrize(
    ("annotations", "more", "of_node1", "of_node2"),
    [
        ("", "", (), ()),
        (f'{ABOUT}advertise.clusterip: "true"', "", (ADDRESS,), (ADDRESS,)),
        (f'{ABOUT}advertise.externalip: "T"', "", (OUTSIDE,), (OUTSIDE,)),
        (f'{ABOUT}advertise.externalip: "yes"', "", (), ()),
        (f'{ABOUT}advertise.externalip: "true"', "externalTrafficPolicy: Local,", (OUTSIDE,), ()),
        (f'{ABOUT}advertise.externalip: "1", {ABOUT}local: "true"', "", (OUTSIDE,), ()),
        (f'{ABOUT}advertise.clusterip: "true"', "internalTrafficPolicy: Local,", (ADDRESS,), ()),
    ],
)
def test_the_router_is_told_of_services_that_say_so(
    annotations: str, more: str, of_node1: tuple[str, ...], of_node2: tuple[str, ...]
) -> None:
    there = built(annotations, more)
    for node, wanted in (("node1", of_node1), ("node2", of_node2)):
        assert told(there, node).services == tuple(f"{address}/32" for address in wanted)


def test_endpoints_count_be_they_ready_or_not_for_who_tells() -> None:
    """And what has no EndpointSlice is told by nobody (nodeHasEndpointsForService)."""
    text = given(f'{ABOUT}advertise.externalip: "true"', "externalTrafficPolicy: Local,")
    text = text.replace(" selector: {app: web},", "")
    unready = world(text.replace("nodeName: node1", "nodeName: node1, conditions: {ready: false}"))
    assert told(unready, "node1").services and not told(unready, "node2").services
    nobody = text.partition("---\napiVersion: discovery")[0].replace("externalTrafficPolicy: Local,", "")
    assert not told(world(nobody), "node1").services
    (line,) = warnings_of(nobody)
    assert "kube-router tells nobody of a Service without a selector and an EndpointSlice" in line
    assert not warnings_of(text)


def test_services_are_told_the_router_alone() -> None:
    text = bird_conf(told(built(f'{ABOUT}advertise.clusterip: "true"'), "node1"))
    accepted = text.partition("filter kube_router_export {")[2].partition("}\n\n")[0]
    assert "10.244.1.0/24" in accepted and ADDRESS not in accepted
    for peer, name in (
        ("Mesh_10_0_0_12", "kube_router_export"),
        ("Global_10_0_0_1", "kube_router_export_router"),
    ):
        session = text.partition(f"protocol bgp {peer} ")[2].partition("\n}")[0]
        assert f"export filter {name};" in session and "import filter kube_router_import;" in session
    imported = text.partition("filter kube_router_import {")[2].partition("}\n\n")[0]
    assert imported.split("\n")[1:] == ["  if ( net ~ 10.244.0.0/16 ) then { accept; }", "  reject;", ""]
    assert "hold time 90;" in text and f"route {ADDRESS}/32 unreachable;" in text and "blackhole" not in text


def test_addresses_and_virtual_servers_of_its_own_proxy() -> None:
    there = built(f"{ABOUT}scheduler: lc", proxy="kube-router")
    wanted = {
        at: ("lc", ["10.244.1.9:8080"]) for at in ((ADDRESS, 80), (OUTSIDE, 80), ("10.0.0.11", NODE_PORT))
    }
    assert servers(there, "node1") == wanted
    assert {d.name for d in items(there.network, Dummy)} == {"kube-dummy-if"}
    assert ("net/ipv4/vs/conn_reuse_mode", "0") in there.network.rulesets["node1", "ipvs"].sysctls  # type: ignore[union-attr]
    for node, own in (("node1", "10.0.0.11"), ("node2", "10.0.0.12")):
        words = {r.words() for r in items(there.network, Route, node) if r.table == LOCAL}
        assert f"local {ADDRESS}/32 dev kube-dummy-if src {own} table 255" in words
        assert "priority 32764 from all lookup 79" in {
            r.words() for r in items(there.network, RoutingRule, node)
        }
    assert servers(built(f"{ABOUT}scheduler: wlc", proxy="kube-router"), "node1")[ADDRESS, 80][0] == "rr"


@pytest.mark.parametrize("how", [f'{ABOUT}local: "true"', "externalTrafficPolicy: Local,"])
def test_without_an_endpoint_a_node_is_none_of_a_local_service(how: str) -> None:
    there = built(*((how, "") if how.startswith(ABOUT) else ("", how)), proxy="kube-router")
    assert servers(there, "node1").keys() == {(ADDRESS, 80), (OUTSIDE, 80), ("10.0.0.11", NODE_PORT)}
    assert servers(there, "node2").keys() == {(ADDRESS, 80)}
    assert OUTSIDE not in table(there, "node2").collections["virtual-ips"].elements
    assert OUTSIDE in table(there, "node1").collections["virtual-ips"].elements


def test_its_own_proxy_takes_endpoints_that_serve_and_heeds_no_hints() -> None:
    """And the annotation of external traffic says Cluster of what is internal (buildServicesInfo)."""
    text = given(f'{ABOUT}local: "true"', "internalTrafficPolicy: Local,", "kube-router")
    more = (
        ", hints: {forZones: [{name: zone-a}]}}, {addresses: [10.244.2.8], nodeName: node2,"
        " hints: {forZones: [{name: zone-b}]}, conditions: {ready: false, serving: true, terminating: true}}]"
    )
    text = text.replace(" selector: {app: web},", "").replace(
        "}]\nports: [{port: 8080}]", f"{more}\nports: [{{port: 8080}}]"
    )
    there = world(text)
    for node, own in (("node1", "10.244.1.9:8080"), ("node2", "10.244.2.8:8080")):
        found = servers(there, node)
        assert found[ADDRESS, 80][1] == ["10.244.1.9:8080", "10.244.2.8:8080"] and found[OUTSIDE, 80][1] == [
            own
        ]
    (line,) = oddities(
        offline_world(
            [Source("a.yaml", text.replace("ports:", "trafficDistribution: PreferSameZone,\n  ports:", 1))]
        )[0]
    )
    assert "spec.trafficDistribution: has no effect in proxy mode kube-router" in line


def test_who_gives_names_is_no_endpoint_that_answers() -> None:
    text = given(f"{ABOUT}dsr: tunnel", proxy="kube-router").replace(" selector: {app: web},", "")
    names = text.replace("addressType: IPv4", "addressType: FQDN").replace("10.244.1.9", "web.example.com")
    assert not items(world(names).network, IpipEnd)


def test_pods_of_a_nodes_network_have_no_end_of_a_tunnel() -> None:
    text = given(f"{ABOUT}dsr: tunnel", proxy="kube-router").replace("targetPort: 8080, ", "")
    pod = """---
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: web}}
spec: {hostNetwork: true, containers: [{name: c, image: web}]}
"""
    (line,) = warnings_of(text.partition("---\napiVersion: discovery")[0] + pod)
    assert "nobody serves externalIPs: Pod/default/a is of its node's" in line


def test_pods_reach_themselves_where_an_annotation_says_so() -> None:
    def hairpins(annotations: str) -> set[str]:
        found = table(built(annotations, proxy="kube-router"), "node1").collections
        assert bool(found["hairpin-connections"].elements) == bool(found["hairpin-addresses"].elements)
        ports = {f"10.244.1.9 . {NODE_PORT}"} if annotations else set()
        assert found["hairpin-nodeports"].elements.keys() == ports
        return {*found["hairpin-addresses"].elements}

    assert hairpins("") == set()
    assert hairpins(f'{ABOUT}hairpin: ""') == {f"10.244.1.9 . {ADDRESS} . 80"}
    both = {f"10.244.1.9 . {ADDRESS} . 80", f"10.244.1.9 . {OUTSIDE} . 80"}
    assert hairpins(f'{ABOUT}hairpin: "", {ABOUT}hairpin.externalips: ""') == both


def test_endpoints_may_answer_by_themselves() -> None:
    """Nobody has the external address but the endpoints, and what is sent to it is known by a mark."""
    text = given(f"{ABOUT}dsr: tunnel", "sessionAffinity: None,", "kube-router").replace(
        "targetPort: 8080, ", ""
    )
    pods = """---
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: web}}
spec: {nodeName: node2, containers: [{name: c, image: web, ports: [{containerPort: 80}]}]}
"""
    there = world(text.partition("---\napiVersion: discovery")[0] + pods)
    mark = next(marks_of(f"{OUTSIDE}-tcp-80"))
    for node in ("node1", "node2"):
        ipvs = there.network.rulesets[node, "ipvs"]
        assert isinstance(ipvs, Ipvs)
        (direct,) = (s for s in ipvs.servers if s.mark)
        assert (str(direct.address), direct.port, direct.mark) == (OUTSIDE, 80, mark)
        assert OUTSIDE not in table(there, node).collections["virtual-ips"].elements
        words = [rule.words() for rule in items(there.network, RoutingRule, node)]
        assert f"priority {16000 + mark} from all fwmark {mark:#x} lookup 78" in words
        (route,) = (r for r in items(there.network, Route, node) if r.table == 78)
        assert (str(route.destination), route.link, route.type) == ("0.0.0.0/0", "lo", "local")
    (end,) = items(there.network, IpipEnd)
    assert (end.name, str(end.local)) == ("kube-tunnel-if", str(there.places["default.a"].addresses[0]))
    assert OUTSIDE in {str(a.address.ip) for a in items(there.network, Address, end.namespace)}
    shown = [line.strip() for line in render(there).splitlines()]
    assert f"FWM {mark:#x} ({OUTSIDE}:80) rr" in shown and f"-> {end.local}:80 Tunnel 1" in shown
    assert any("maxseg size set 1440" in rule for rule in table(there, "node1").chains["mangle-prerouting"])


def test_a_pod_whose_node_has_gone_has_nothing_in_a_namespace_that_is_not_there() -> None:
    text = given(f"{ABOUT}dsr: tunnel", proxy="kube-router").replace("targetPort: 8080, ", "")
    pods = """---
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: web}}
spec: {nodeName: node2, containers: [{name: c, image: web, ports: [{containerPort: 80}]}]}
"""
    objects, before = plan(text.partition("---\napiVersion: discovery")[0] + pods)
    assert items(before.network, IpipEnd)
    left = Objects(o for o in objects if o.key != NODE.key("", "node2"))
    cluster = cluster_of(left)
    there = plan_world(left, replace(cluster, nodes=cluster.nodes[:1])).network
    places = {end[0] for item in there.items for end in (*item.ends(), *item.on())}
    assert places <= there.namespaces.keys() and {key[0] for key in there.rulesets} <= there.namespaces.keys()


@pytest.mark.parametrize(
    ("annotations", "passing"), [("", {ADDRESS, OUTSIDE}), (f"{ABOUT}dsr: tunnel", {ADDRESS})]
)
def test_policies_judge_what_goes_into_a_tunnel_by_the_address_that_is_asked(
    annotations: str, passing: set[str]
) -> None:
    """What IPVS translates they judge behind it."""
    text = given(annotations, proxy="kube-router").replace(" selector: {app: web},", "")
    text += """---
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {nodeName: node1, containers: [{name: c, image: web}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out}
spec: {podSelector: {}, policyTypes: [Egress]}
"""
    found = world(text).network.rulesets["node1", "ip network-policies"]
    assert isinstance(found, Ruleset)
    served = {element.partition(" ")[0] for element in found.collections["services"].elements}
    assert served & {ADDRESS, OUTSIDE} == passing


@pytest.mark.parametrize(("number", "said"), [(80, ""), (8080, "not targetPort http, which is 8080")])
def test_a_port_by_name_is_that_of_the_pods(number: int, said: str) -> None:
    text = given(f"{ABOUT}dsr: tunnel", proxy="kube-router").replace("targetPort: 8080", "targetPort: http")
    pod = f"""---
apiVersion: v1
kind: Pod
metadata: {{name: a, labels: {{app: web}}}}
spec: {{containers: [{{name: c, image: web, ports: [{{name: http, containerPort: {number}}}]}}]}}
"""
    found = warnings_of(text.partition("---\napiVersion: discovery")[0] + pod)
    assert len(found) == bool(said) and all(said in line for line in found), found


def intent_of(port: int) -> Intent:
    """A Service whose endpoint answers by itself."""
    own = ip_address(OUTSIDE)
    endpoint = ProxiedEndpoint(ip_address("10.244.1.9"), port, "node1", True, True, False, (), ())
    said = {"cluster": (endpoint,), "local": (), "has_any": True, "asked": ((f"{ABOUT}dsr", "tunnel"),)}
    where: dict[str, Any] = {
        "cluster_ips": (),
        "external_ips": (own,),
        "balancer_ips": (),
        "source_ranges": (),
    }
    how: dict[str, Any] = {"node_port": 0, "internal_local": False, "external_local": False, "affinity": 0}
    return Intent("default", f"web{port}", ServicePort("", "TCP", port, port, 0, ""), **where, **how, **said)


def test_the_mark_is_kube_routers_and_nobody_elses() -> None:
    assert fnv1a(b"foobar") == 0xBF9CF968, "of the reference implementation's test"
    first, second = islice(marks_of("10.1.1.1-tcp-80"), 2)
    assert first == fnv1a(b"10.1.1.1-tcp-80") & 0x3FFF and second == fnv1a(b"10.1.1.1-tcp-80-1") & 0x3FFF
    kept = KubeRouterSum(cluster_of(Objects([])), IPV4)
    direct = intent_of(183), intent_of(1100)
    assert next(marks_of(f"{OUTSIDE}-tcp-183")) == next(marks_of(f"{OUTSIDE}-tcp-1100")) == 2588
    assert kept.exchange((), direct) and len(set(kept.marks)) == 2 and 2588 in kept.marks
    other = kept.copy()
    assert kept.exchange(direct[:1], ()) and kept.marks == [m for m in other.marks if m != 2588]
    assert kept.exchange(direct[1:], direct[1:]) and 2588 not in kept.marks, "one that is there keeps its own"
    assert kept.exchange((), direct[:1]) and kept.marks == other.marks


@pytest.mark.parametrize(
    ("annotation", "proxy", "said"),
    [
        ("scheduler: lc", "kube-router", ""),
        (
            "scheduler: wlc",
            "kube-router",
            "knows no scheduler wlc, and takes rr; there are rr, lc, dh, sh, mh",
        ),
        ("scheduler: lc", "nftables", "has no effect in proxy mode nftables"),
        ('local: "true"', "nftables", "in proxy mode nftables it only says which nodes tell"),
        ("local: yes-please", "kube-router", "yes-please has no effect"),
        ("dsr: tunnel", "kube-router", "endpoints get port 80 as it is, and not targetPort 8080"),
        ("dsr: gre", "kube-router", "knows no way gre"),
        ("dsr: tunnel", "nftables", "has no effect in proxy mode nftables"),
        ("schedflags: flag-1", "kube-router", "not followed"),
        ("hairpn: x", "kube-router", "did you mean kube-router.io/service.hairpin?"),
        ("advertise.clusterip: perhaps", "nftables", "neither true nor false"),
        ('advertise.loadbalancerip: "true"', "nftables", "a balancer of the lab has these addresses"),
    ],
)
def test_what_has_no_effect_is_told(annotation: str, proxy: str, said: str) -> None:
    found = warnings_of(given(ABOUT + annotation, proxy=proxy))
    assert len(found) == bool(said) and all(
        said in line and line.startswith("a.yaml:7: Service/web metadata.annotations[") for line in found
    ), found


def test_what_agents_would_do_is_told() -> None:
    agent = """---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-router, namespace: kube-system}
spec:
  selector: {matchLabels: {app: r}}
  template:
    metadata: {labels: {app: r}}
    spec: {containers: [{name: c, image: docker.io/cloudnativelabs/kube-router:v2, args: [--overlay-type=full]}]}
"""
    (line,) = (
        one for one in oddities(offline_world([Source("a.yaml", given() + agent)])[0]) if "image" in one
    )
    assert line.endswith(
        "nothing, nor do its flags: the Cluster's network.plugin says what nodes have, which is kube-router"
    )


def test_of_other_networks_it_has_none() -> None:
    text = given(f'{ABOUT}local: "true"').replace("plugin: kube-router", "plugin: calico")
    (line,) = warnings_of(text)
    assert line.endswith("has no effect: it is kube-router's, and the network is calico")
    assert kuberouterservice.scheduler_of({}) == "rr"
