"""`emulab cni`: the specification's parameters, configuration, results and errors."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from lab_objects import obj
from worlds import items

from emulab.cli import attachments, main
from emulab.cli.attachments import CniError, call_of, pod_of, result
from emulab.kinds import registry
from emulab.kinds.emulab.clusterview import Cluster, cluster_of
from emulab.lab.offline import offline_world
from emulab.model.sources import Source
from emulab.plan.cni import PLUGINS
from emulab.plan.cni.plugin import Node
from emulab.plan.links import Address, Bridge, Route, Veth
from emulab.plan.pods import identity
from emulab.plan.world import Planner

VARIABLES = {"CNI_CONTAINERID": "c-1", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "net0"}
CONFIG = {"cniVersion": "1.0.0", "name": "n", "type": "emulab"}


def call(command: str = "ADD", config: dict[str, Any] | None = None, **variables: str) -> attachments.Call:
    return call_of(command, {**VARIABLES, **variables}, json.dumps({**CONFIG, **(config or {})}))


def error(command: str, variables: dict[str, str], text: str) -> tuple[int, str]:
    with pytest.raises(CniError) as raised:
        call_of(command, variables, text)
    answer = raised.value.answer("1.0.0")
    assert answer["cniVersion"] == "1.0.0" and answer["msg"]
    return int(answer["code"]), str(answer["msg"])


@pytest.mark.parametrize(
    ("command", "variables", "text", "code", "words"),
    [
        ("MEND", VARIABLES, "{}", 4, "unknown CNI_COMMAND: MEND"),
        ("ADD", {"CNI_IFNAME": "eth0"}, "{}", 4, "[CNI_CONTAINERID,CNI_NETNS] missing"),
        ("DEL", {"CNI_IFNAME": "eth0"}, "{}", 4, "[CNI_CONTAINERID] missing"),
        ("ADD", {**VARIABLES, "CNI_CONTAINERID": "a/b"}, "{}", 4, "CNI_CONTAINERID"),
        ("ADD", {**VARIABLES, "CNI_IFNAME": "a" * 16}, "{}", 4, "interface name"),
        ("ADD", {**VARIABLES, "CNI_IFNAME": ".."}, "{}", 4, "interface name"),
        ("ADD", VARIABLES, "hm", 6, "unmarshall"),
        ("ADD", VARIABLES, "[]", 6, "no object"),
        ("ADD", VARIABLES, '{"cniVersion": "0.1.0"}', 1, "incompatible CNI versions"),
    ],
)
def test_errors_have_the_specifications_codes(
    command: str, variables: dict[str, str], text: str, code: int, words: str
) -> None:
    found, message = error(command, variables, text)
    assert found == code and words in message


def test_a_container_becomes_a_pod() -> None:
    config = {
        "node": "node2",
        "namespace": "shop",
        "podName": "Legacy DB_1",
        "labels": {"app": "db"},
        "args": {"cni": {"labels": [{"key": "tier", "value": "back"}]}},
        "ports": [{"name": "sql", "containerPort": 5432}],
        "runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "udp"}]},
    }
    pod = pod_of(call(config=config), {})
    assert pod["metadata"] == {
        "name": "legacy-db-1",
        "namespace": "shop",
        "labels": {"app": "db", "tier": "back"},
        "annotations": {"emulab.dev/foreign": "c-1/net0", "emulab.dev/cni-network": "n"},
    }
    assert pod["spec"]["nodeName"] == "node2"
    assert pod["spec"]["containers"][0]["ports"] == [
        {"protocol": "TCP", "name": "sql", "containerPort": 5432},
        {"containerPort": 8080, "hostPort": 80, "protocol": "UDP"},
    ]


def test_a_pods_name_is_what_the_runtime_says() -> None:
    arguments = {"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web"}
    named = pod_of(call(**arguments), {"shop": {}})["metadata"]
    assert (named["namespace"], named["name"]) == ("shop", "web")
    assert pod_of(call(**arguments), {})["metadata"]["namespace"] == "default", (
        "the lab has no such Namespace"
    )
    assert pod_of(call(), {})["metadata"]["name"] == "foreign-c-1"
    assert "nodeName" not in pod_of(call(), {})["spec"], "the scheduler picks one"


def test_labels_that_are_none_are_refused() -> None:
    with pytest.raises(CniError, match="labels are a mapping"):
        pod_of(call(config={"labels": ["app"]}), {})


POD = obj(
    "Pod",
    "web",
    metadata={"uid": "12345678-0000"},
    spec={"nodeName": "node1", "containers": [{"name": "c", "image": "i"}]},
    status={"phase": "Running", "podIPs": [{"ip": "10.244.1.5"}]},
)


NODE = Node("node1", (ip_address("10.0.0.11"),), (ip_network("10.244.1.0/24"),))


@pytest.mark.parametrize("version", attachments.VERSIONS)
def test_a_result_of_each_version(version: str) -> None:
    answer = result(call(config={"cniVersion": version}), POD, Cluster(), NODE)
    assert answer["cniVersion"] == version
    (ip,) = answer["ips"]
    assert (ip["address"], ip["gateway"], ip["interface"]) == ("10.244.1.5/32", "169.254.1.1", 1)
    assert ip.get("version") == ("4" if version < "1" else None), "it went with 1.0.0"
    host, own = answer["interfaces"]
    assert "sandbox" not in host and (own["name"], own["sandbox"]) == ("net0", "/run/netns/x")
    assert own["mac"] == "0a:58:0a:f4:01:05"
    assert own.get("mtu") == (1450 if version == "1.1.0" else None), "it came with 1.1.0"
    assert answer["routes"] == [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]
    assert answer["dns"]["nameservers"] == ["10.96.0.10"]


CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {network: {plugin: PLUGIN, families: [IPv4, IPv6]}, ingress: {replicas: 0}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, annotations: {emulab.dev/foreign: c-1/eth0}}
spec: {nodeName: node1, containers: [{name: c}]}
"""


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_result_says_what_is_made(plugin: str) -> None:
    text = CLUSTER.replace("PLUGIN", plugin)
    objects, _ = offline_world([Source("text", text)])
    cluster = cluster_of(objects)
    network = Planner().plan(objects, cluster).network
    [pod] = (o for o in objects.kind(registry.POD) if o.name == "web")
    [node] = (Node.of(o) for o in objects.kind(registry.NODE) if o.name == "node1")
    answer = result(call(CNI_IFNAME="eth0"), pod, cluster, node)

    [link] = (i for i in network.items if isinstance(i, Veth) and i.peer_namespace == identity(pod))
    own = [i for i in network.items if i.namespace == identity(pod)]
    bridges = [(b.name, b.mac) for b in items(network, Bridge, "node1")]
    ends = [(i["name"], i["mac"]) for i in answer["interfaces"]]
    assert ends == [*bridges, (link.name, link.mac), (link.peer, link.peer_mac)]
    assert len(bridges) == (plugin in ("bridge", "kube-router"))
    assert {answer["interfaces"][ip["interface"]]["name"] for ip in answer["ips"]} == {link.peer}
    assert {ip["address"] for ip in answer["ips"]} == {str(a.address) for a in own if isinstance(a, Address)}
    ways = [r for r in own if isinstance(r, Route) and not r.destination.prefixlen]
    routers = {str(r.destination): str(r.gateway) for r in ways}
    assert {r["dst"]: r["gw"] for r in answer["routes"]} == routers
    assert sorted(ip["gateway"] for ip in answer["ips"]) == sorted(routers.values())


def test_what_is_not_as_it_was_is_said() -> None:
    before = {"ips": [{"address": "10.244.1.5/32"}]}
    assert attachments.differences(call("CHECK", {"prevResult": before}), POD) == ""
    other = {"ips": [{"address": "10.244.1.6/32"}]}
    assert "has 10.244.1.5, and had 10.244.1.6" in attachments.differences(
        call("CHECK", {"prevResult": other}), POD
    )
    waiting = POD.replace(status={**POD.status, "phase": "Pending"})
    assert "is Pending" in attachments.differences(call("CHECK"), waiting)


def test_a_runtime_calls_without_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    monkeypatch.setenv("CNI_COMMAND", "VERSION")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"cniVersion": "0.4.0"}'))
    assert main([]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"cniVersion": "0.4.0", "supportedVersions": [*attachments.VERSIONS]}
