"""When Faults begin and end, and where they are put."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_store import Store, make, node

from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.controllers import next_due
from emulab.kinds.emulab.fault import Fault
from emulab.kinds.networking.policyview import EGRESS, NetworkPolicy
from emulab.model.collection import Objects
from emulab.model.objects import Object


def fault(name: str = "f", **spec: Any) -> Object:
    return make("Fault", name, "", spec={"fault": "node-lost", **spec})


def there(store: Store, name: str = "f") -> Fault:
    return Fault.of(next(o for o in store.objects.values() if o.kind == "Fault" and o.name == name))


def lab(*faults: Object) -> Store:
    store = Store(node("node1", "zone-a"), node("node2", "zone-b"), *faults)
    store.settle()
    return store


def test_one_without_times_is_at_work_at_once_and_until_it_is_deleted() -> None:
    store = lab(fault(target="node2"))
    assert (there(store).phase, there(store).target) == ("Active", "node2")
    assert next_due(store.snapshot(), store.now) == store.now + 50  # the node won't be ready then
    assert [(t.reason, t.message) for t in store.told] == [("FaultPut", "the cable of node node2 is pulled")]


def test_a_timeline() -> None:
    store = lab(fault(fault="packet-loss", target="node1", at="10s", **{"for": "1m30s"}))
    begin = store.now
    assert there(store).phase == "Pending" and next_due(store.snapshot(), store.now) == begin + 10
    store.now = begin + 9.9
    store.settle()
    assert there(store).phase == "Pending"
    store.now = begin + 10.5  # whoever wakes late begins later, and lasts as long
    store.settle()
    assert there(store).phase == "Active"
    due = next_due(store.snapshot(), store.now)
    assert due is not None and abs(due - (begin + 100.5)) < 0.001
    store.now = due
    store.settle()
    assert there(store).phase == "Mended" and next_due(store.snapshot(), store.now) is None
    assert [t.reason for t in store.told] == ["FaultPut", "FaultMended"]


def test_a_target_that_is_not_there_is_waited_for() -> None:
    store = lab(fault(target="node3"))
    assert there(store).phase == "Pending"
    o = next(o for o in store.objects.values() if o.kind == "Fault")
    assert o.status["message"] == "there is no node node3"
    store.put(node("node3"))
    store.settle()
    assert there(store).phase == "Active"


def test_one_target_is_drawn_and_stays_whatever_comes() -> None:
    store = lab(fault(seed=3))
    drawn = there(store).target
    assert drawn in ("node1", "node2")
    for number in range(3, 9):
        store.put(node(f"node{number}"))
    store.settle()
    assert there(store).target == drawn
    assert {there(lab(fault(seed=seed))).target for seed in range(20)} == {"node1", "node2"}


def test_a_hidden_one_is_not_told_of() -> None:
    assert lab(fault(target="node1", hidden=True)).told == []


WEB = make("Service", "web", spec={"selector": {"app": "web"}})


def test_a_policy_that_a_fault_consists_of_comes_and_goes_with_it() -> None:
    store = lab(WEB, fault(fault="no-dns-egress", target="web", **{"for": "10s"}))
    [made] = [o for o in store.objects.values() if o.kind == "NetworkPolicy"]
    [rule] = NetworkPolicy.of(made).rules[EGRESS]
    assert rule.peers is None and rule.ports is not None

    def allowed(protocol: str, port: int) -> bool:
        return any(p.protocol == protocol and p.first <= port <= p.last for p in rule.ports or ())

    for protocol in ("tcp", "udp"):
        assert [allowed(protocol, port) for port in (1, 52, 53, 54, 65535)] == [True, True, False, True, True]
    assert made.spec["podSelector"] == {"matchLabels": {"app": "web"}}
    store.put(WEB.replace(spec={"selector": {"app": "shop"}}))
    store.settle()
    [made] = [o for o in store.objects.values() if o.kind == "NetworkPolicy"]
    assert made.spec["podSelector"] == {"matchLabels": {"app": "shop"}}
    store.now += 10
    store.settle()
    assert there(store).phase == "Mended"
    assert not [o for o in store.objects.values() if o.kind == "NetworkPolicy"]


@pytest.mark.parametrize(
    ("egress", "told"),
    [
        ([{}], ["it may have no effect: NetworkPolicy default/mine lets its pods reach port 53"]),
        ([{"ports": [{"port": 80}]}], []),
        (
            [{"ports": [{"port": 53, "protocol": "UDP"}]}],
            ["it may have no effect: NetworkPolicy default/mine"],
        ),
    ],
)
def test_another_policy_that_mends_it_is_told(egress: list[Any], told: list[str]) -> None:
    labels = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}
    web = make("Deployment", "web", spec={"selector": {"matchLabels": {"app": "web"}}, "template": labels})
    mine = make(
        "NetworkPolicy", "mine", spec={"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}
    )
    o = fault(fault="no-dns-egress", target="web")
    found = warnings([o], Objects([WEB, web, mine, o]))
    assert len(found) == len(told) and all(text in line for text, line in zip(told, found, strict=True))


@pytest.mark.parametrize(("zone", "phase"), [("zone-b", "Active"), ("zone-x", "Pending")])
def test_a_zone_is_there_when_a_node_is_in_it(zone: str, phase: str) -> None:
    assert there(lab(make("Fault", "f", "", spec={"fault": "zone-lost", "target": zone}))).phase == phase


@pytest.mark.parametrize(
    ("spec", "network", "told"),
    [
        ({"fault": "stale-vtep", "target": "node1"}, "vxlan", []),
        (
            {"fault": "stale-vtep", "target": "node1"},
            "routed",
            ["it has no effect here: pods' networks have no overlay"],
        ),
        ({"fault": "node-lost", "target": "node1"}, "routed", []),
        (
            {"fault": "node-lost", "target": "node7"},
            "vxlan",
            ["there is no node node7: the fault waits for it"],
        ),
        ({"fault": "zone-lost", "target": "zone-b"}, "vxlan", []),
        (
            {"fault": "zone-lost", "target": "node1"},
            "vxlan",
            ["there is no zone node1: the fault waits for it"],
        ),
        ({"fault": "one-way", "target": "router"}, "vxlan", []),
        (
            {"fault": "one-way", "target": "nobody"},
            "vxlan",
            ["there is no place nobody: the fault waits for it"],
        ),
    ],
)
@pytest.mark.parametrize("plugin", ["flannel", "ptp"])
def test_what_would_have_no_effect_is_told(
    spec: dict[str, Any], network: str, told: list[str], plugin: str
) -> None:
    cluster = make("Cluster", "c", "", spec={"nodes": 2, "network": {"plugin": plugin, "mode": network}})
    o = make("Fault", "f", "", spec=spec)
    objects = Objects([cluster, node("node1", "zone-a"), node("node2", "zone-b"), o])
    found = warnings([o], objects)
    assert len(found) == len(told) and all(text in line for text, line in zip(told, found, strict=True)), (
        found
    )
