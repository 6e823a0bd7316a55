"""Pods whose network plug-ins make, and pods whose namespace somebody else has made: what is planned of them."""

from __future__ import annotations

from worlds import items, world

from emulab.kinds.emulab.clusterview import cluster_of
from emulab.lab.offline import offline_world
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.model.sources import Source
from emulab.plan.links import Address, Route, Veth
from emulab.plan.state import Namespace, World
from emulab.plan.world import Planner

CHAINED = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {network: {cni: bridge}}
---"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {nodeName: node1, containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080}]}]}
---"""
FOREIGN = POD.replace("name: web}", "name: web, annotations: {emulab.dev/foreign: c1/net0}}")


def namespace_of(built: World, place: str) -> Namespace:
    (found,) = (n for n in built.network.namespaces.values() if n.name.startswith(f"{place}~"))
    return found


def with_addresses(objects: Objects, name: str, *addresses: str) -> Objects:
    """The objects with a Pod that has these addresses, or waits for some."""
    status = {"phase": "Pending", **({"podIPs": [{"ip": a} for a in addresses]} if addresses else {})}
    return Objects([Object({**o.raw, "status": status}) if o.name == name else o for o in objects])


def test_a_pod_that_waits_for_plugins_has_an_empty_namespace_and_is_no_place_yet() -> None:
    objects, _ = offline_world([Source("text", CHAINED + POD)])
    cluster, planner = cluster_of(objects), Planner()
    built = planner.plan(with_addresses(objects, "web"), cluster)
    namespace = namespace_of(built, "default.web").name
    assert "default.web" not in built.places
    assert not [i for i in built.network.items if i.namespace == namespace]
    assert built.servers["stand-ins"].listen == {}

    after = planner.plan(with_addresses(objects, "web", "10.244.1.7"), cluster)
    assert [*map(str, after.places["default.web"].addresses)] == ["10.244.1.7"]
    assert after.network.namespaces == built.network.namespaces, "it is the very same namespace"
    assert after.network.items == built.network.items, "all that is in it is the plug-ins'"
    assert "tcp/10.244.1.7/80" in after.servers["stand-ins"].listen


def test_nodes_reach_each_others_pods_as_ever() -> None:
    built, usual = world(CHAINED + POD), world(POD)
    for node in ("node1", "node2"):
        assert built.network.rulesets[node, "mesh-ip"] == usual.network.rulesets[node, "mesh-ip"]
        assert built.network.rulesets[node, "ip pod-masquerade"]


def test_host_ports_are_portmaps_then() -> None:
    objects, _ = offline_world([Source("text", CHAINED + POD)])
    objects = with_addresses(objects, "web", "10.244.1.7")
    built = Planner().plan(objects, cluster_of(objects))
    assert ("node1", "ip cni_hostport") not in built.network.rulesets
    assert ("node1", "ip cni_hostport") in world(POD).network.rulesets


def test_a_foreign_pod_is_given_its_namespace_and_has_no_stand_in() -> None:
    built = world(FOREIGN)
    namespace = namespace_of(built, "default.web")
    assert namespace.given == "c1/net0" and namespace.sysctls == ()
    (link,) = (v for v in items(built.network, Veth) if v.peer_namespace == namespace.name)
    assert link.peer == "net0"
    assert {a.link for a in items(built.network, Address, namespace.name)} == {"net0"}
    assert {r.link for r in items(built.network, Route, namespace.name)} == {"net0"}
    assert built.servers["stand-ins"].listen == {}
    assert ("node1", "ip cni_hostport") in built.network.rulesets


def test_who_only_plans_guesses_the_addresses() -> None:
    built = world(CHAINED + POD)
    assert [*map(str, built.places["default.web"].addresses)] == ["10.244.1.2"]


def test_all_others_are_given_none() -> None:
    assert {n.given for n in world(POD).network.namespaces.values()} == {""}
