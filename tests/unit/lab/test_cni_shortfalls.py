"""What is warned of before a chain of CNI plug-ins is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab_objects import obj, pod

from emulab.kernel import plugins
from emulab.lab.cni.shortfalls import shortfalls
from emulab.model.collection import Objects
from emulab.model.objects import Object


def told(*objects: Object) -> list[str]:
    return [finding.line() for finding in shortfalls(objects, Objects(objects))]


def cluster(**network: Any) -> Object:
    return obj("Cluster", "c", "", spec={"network": network})


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two plug-ins in a folder of its own, and a kernel that filters bridges."""
    for name in ("bridge", "host-local"):
        (tmp_path / name).touch()
    monkeypatch.setattr(plugins, "FOLDERS", ("/nowhere",))
    monkeypatch.setenv("CNI_PATH", f"{tmp_path}:")
    monkeypatch.setattr(plugins, "filters_bridges", lambda: True)
    return tmp_path


def test_plugins_that_are_not_here(machine: Path) -> None:
    (line,) = told(cluster(cni="ptp"))
    assert line == (
        "f.yaml:3: Cluster/c spec.network.cni: there is no plug-in ptp, portmap, bandwidth in "
        f"{machine}, /nowhere; Debian has the usual ones in containernetworking-plugins"
    )
    assert told(cluster(cni={"plugins": [{"type": "bridge", "ipam": {"type": "host-local"}}]})) == []
    (line,) = told(cluster(cni={"plugins": [{"type": "bridge", "ipam": {"type": "dhcp"}}]}))
    assert "spec.network.cni: there is no plug-in dhcp in" in line
    assert told(cluster()) == [], "the lab's own network needs none"
    (line,) = told(cluster(plugin="flanel"))
    assert "spec.network.plugin: there is no plug-in flanel, portmap, bandwidth in" in line
    assert line.endswith("; the lab's own are flannel, bridge, kindnet, calico, cilium, kube-router")


def test_a_bridge_whose_packets_meet_no_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "filters_bridges", lambda: False)
    (line,) = told(cluster(cni={"plugins": [{"type": "bridge"}]}))
    assert line.endswith("modprobe br_netfilter")
    (line,) = told(cluster(plugin="bridge"))
    assert "spec.network: neither Services" in line and line.endswith("modprobe br_netfilter")
    assert told(cluster(plugin="flannel")) == []


def test_host_ports_that_lead_nowhere() -> None:
    ports = {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 8080}]}]}
    workload = obj("Deployment", "d", spec={"template": {"spec": ports}})
    chain = {"type": "bridge", "ipam": {"type": "host-local"}}
    lines = told(cluster(cni={"plugins": [chain]}), pod("p", spec=ports), workload)
    assert [line.partition(": leads nowhere")[0] for line in lines] == [
        "f.yaml:3: Pod/p spec.containers[0].ports[0].hostPort",
        "f.yaml:3: Deployment/d spec.template.spec.containers[0].ports[0].hostPort",
    ]
    mapped = {**chain, "capabilities": {"portMappings": True}}
    assert told(cluster(cni={"plugins": [mapped]}), pod("p", spec=ports)) == []
    assert told(cluster(cni={"plugins": [chain]}), pod("p", spec={**ports, "hostNetwork": True})) == []
