"""What a pass of the reconciler tells the server that speaks for the nodes' proxies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lab_objects import obj

from emulab.cluster.store import Store
from emulab.kernel.network import Sync
from emulab.kinds.registry import ENDPOINT_SLICE
from emulab.lab.supervisor import proxysyncs
from emulab.lab.supervisor.proxysyncs import ProxySyncs
from emulab.plan.state import Iptables, Ipvs, Ruleset, UdpBackends
from emulab.servers.host import _MESSAGE

TABLE = Ruleset("ip", "kube-proxy", {})
FLOWS = UdpBackends({})
NOW = 1000.0
ONE = {"conntrack": 0.0, "forgotten": 0, "full": False, "written": {}}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets time stand still, but for what a test says."""
    monkeypatch.setattr(proxysyncs, "time", lambda: NOW)


class Servers:
    """Takes the place of `ServerHosts`."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def tell(self, name: str, message: dict[str, Any]) -> None:
        assert name == "kube-proxy" and len(json.dumps(message)) < _MESSAGE - 200
        self.told.append(message)


def told(syncs: ProxySyncs) -> list[dict[str, Any]]:
    servers = Servers()
    syncs.tell(servers)  # type: ignore[arg-type]
    return servers.told


def table(seconds: float | None, node: str = "node1", before: Ruleset | None = TABLE) -> Sync:
    return Sync(node, "ip kube-proxy", before, TABLE, seconds)


def in_ipv4(**told: Any) -> dict[str, Any]:
    return {"failed": False, "families": {"IPv4": {**ONE, **told}}}


def test_syncs_are_told_by_family() -> None:
    six = Ruleset("ip6", "kube-proxy", TABLE.chains)
    syncs = ProxySyncs(Store())
    writes = [table(0.25), Sync("node1", "ip6 kube-proxy", None, six, 0.5)]
    syncs.note([*writes, Sync("node1", "udp-backends", FLOWS, FLOWS, 1.0, {6: 2})], NOW)
    (message,) = told(syncs)
    assert message["nodes"]["node1"]["families"] == {
        "IPv4": {**ONE, "seconds": 1.25, "conntrack": 1.0},
        "IPv6": {**ONE, "seconds": 1.5, "conntrack": 1.0, "forgotten": 2, "full": True},
    }
    ipvs = Ipvs({})
    syncs.note([Sync("node1", "ipvs", ipvs, ipvs, 0.5)], NOW)
    assert list(told(syncs)[0]["nodes"]["node1"]["families"]) == ["IPv4", "IPv6"]


def test_a_pass_without_anything_for_proxies_is_no_message() -> None:
    store = Store()
    syncs = ProxySyncs(store)
    store.put(obj("Pod"))
    syncs.note([Sync("node1", "ip pod-masquerade", None, TABLE, 0.1)], NOW)
    assert told(syncs) == []


def test_changes_wait_for_their_rules() -> None:
    store = Store()
    syncs = ProxySyncs(store)
    store.put(obj("Service", "web", spec={}))
    store.put(obj("EndpointSlice", "web-1", spec={"a": 1}))
    store.put(obj("EndpointSlice", "web-1", spec={"a": 2}))
    store.remove(ENDPOINT_SLICE.key("default", "gone"))
    now = NOW + 2.0
    writes = [
        table(0.25),
        Sync("node1", "udp-backends", FLOWS, FLOWS, 0.5, {4: 3}),
        table(0.125, "node2", None),
    ]
    syncs.note(writes, now)
    (message,) = told(syncs)
    assert message == {
        "at": now,
        "queued": NOW,
        "programmed": {"2.00": 1},
        "services": 1,
        "endpoints": 2,
        "nodes": {
            "node1": in_ipv4(seconds=0.75, conntrack=0.5, forgotten=3),
            "node2": in_ipv4(seconds=0.125, full=True),
        },
    }
    assert told(syncs) == [], "it is told once"
    syncs.note([table(0.25)], now)
    assert [(m["services"], m["queued"], m["programmed"]) for m in told(syncs)] == [(0, 0.0, {})]


def test_a_failure_leaves_its_changes_waiting() -> None:
    store = Store()
    syncs = ProxySyncs(store)
    store.put(obj("EndpointSlice", "web-1", spec={}))
    syncs.note([table(None), table(0.1)], NOW)  # the second is the way back
    syncs.note([table(0.1)], NOW + 5)
    failed, mended = told(syncs)
    assert failed["nodes"]["node1"]["failed"] and failed["programmed"] == {}
    assert not mended["nodes"]["node1"]["failed"] and list(mended["programmed"]) == ["5.00"]


def test_rules_of_iptables_that_were_written_are_those_of_changed_chains() -> None:
    before = Iptables(
        {"nat": {"KUBE-SERVICES": ("a", "b"), "KUBE-SVC-X": ("c",)}, "filter": {"FORWARD": ("x",)}}
    )
    after = Iptables(
        {"nat": {"KUBE-SERVICES": ("a", "b"), "KUBE-SVC-X": ("c", "d")}, "filter": {"FORWARD": ("x",)}}
    )
    syncs = ProxySyncs(Store())
    syncs.note(
        [Sync("node1", "iptables", None, before, 0.1), Sync("node2", "iptables", before, after, 0.1)], 1.0
    )
    gone = Sync("node1", "ip kube-proxy", TABLE, None, 0.1)  # the mode has changed
    syncs.note([Sync("node1", "iptables", None, before, 0.1), gone], 2.0)
    message, changed = told(syncs)
    assert message["nodes"]["node1"]["families"]["IPv4"]["written"] == {"nat": 3, "filter": 1}
    assert changed["nodes"]["node1"]["families"]["IPv4"]["written"] == {"nat": 3, "filter": 1}
    assert message["nodes"]["node2"]["families"]["IPv4"]["written"] == {"nat": 2, "filter": 0}


def test_thousands_of_changes_fit_into_a_message() -> None:
    store = Store()
    syncs = ProxySyncs(store)
    for n in range(5000):
        store.put(obj("EndpointSlice", f"web-{n}", spec={}))
    syncs._pending = {key: n / 500 for n, key in enumerate(syncs._pending)}
    syncs.note([table(0.1, f"node{n}") for n in range(200)], 20.0)
    (message,) = told(syncs)
    assert sum(message["programmed"].values()) == 5000
