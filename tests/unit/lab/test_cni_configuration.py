"""What CNI plug-ins are told, and what is made of their answers."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from lab_objects import obj, pod

from emulab.kinds.emulab.clusterview import Cluster
from emulab.lab.cni import configuration
from emulab.lab.cni.arguments import arguments, capabilities
from emulab.lab.cni.configuration import Attachment, PluginError
from emulab.plan.cni.plugin import Node

NODE = Node("node1", (ip_address("10.0.0.11"),), (ip_network("10.244.1.0/24"),))
RANGE = [[{"subnet": "10.244.1.0/24"}]]


def cluster(**network: Any) -> Cluster:
    return Cluster.of(obj("Cluster", namespace="", spec={"network": network}))


def plugins(**network: Any) -> list[Any]:
    found: list[Any] = configuration.conflist(cluster(**network), NODE)["plugins"]
    return found


def test_a_chain_by_its_name_has_the_nodes_range_and_the_pods_mtu() -> None:
    chain = configuration.conflist(cluster(cni="ptp"), NODE)
    assert (chain["cniVersion"], chain["name"]) == ("1.0.0", "lab")
    first, *others = chain["plugins"]
    ipam = {"type": "host-local", "ranges": RANGE, "routes": [{"dst": "0.0.0.0/0"}]}
    assert first == {"type": "ptp", "mtu": 1450, "ipam": ipam}
    assert [(o["type"], o["capabilities"]) for o in others] == [
        ("portmap", {"portMappings": True}),
        ("bandwidth", {"bandwidth": True}),
    ]
    assert plugins(cni="ptp", mode="routed")[0]["mtu"] == 1500
    assert configuration.conflist(cluster(plugin="ptp"), NODE) == chain, "which is none of the lab's own"


def test_a_bridge_is_the_router_of_its_pods() -> None:
    first = plugins(cni="bridge")[0]
    assert (first["bridge"], first["isDefaultGateway"], first["hairpinMode"]) == ("cni0", True, True)
    assert first["ipam"] == {"type": "host-local", "ranges": RANGE}, (
        "the bridge adds the default route itself"
    )


def test_what_a_chain_says_itself_is_left_to_it() -> None:
    own = {"type": "bridge", "mtu": 900, "ipam": {"type": "host-local", "subnet": "10.5.0.0/24"}, "x": [1]}
    other = {"type": "mine", "ipam": {"type": "static"}}
    chain = configuration.conflist(
        cluster(cni={"cniVersion": "0.4.0", "name": "n", "plugins": [own, other]}), NODE
    )
    assert chain == {"cniVersion": "0.4.0", "name": "n", "plugins": [own, other]}


def test_a_plugin_is_told_what_it_can_do_something_with() -> None:
    chain = {"cniVersion": "1.0.0", "name": "n", "plugins": []}
    mappings = [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]
    attachment = Attachment("c", "/run/netns/c", (), {"portMappings": mappings, "dns": {}})
    plugin = {"type": "p", "key": [1], "capabilities": {"portMappings": True, "dns": False, "mac": True}}
    before = {"ips": [{"address": "10.244.1.2/24"}]}
    assert json.loads(configuration.request(chain, plugin, attachment, before)) == {
        "cniVersion": "1.0.0",
        "name": "n",
        "type": "p",
        "key": [1],
        "runtimeConfig": {"portMappings": mappings},
        "prevResult": before,
    }
    first = json.loads(configuration.request(chain, {"type": "q"}, attachment, None))
    assert first == {"cniVersion": "1.0.0", "name": "n", "type": "q"}


def test_parameters_are_variables() -> None:
    given = Attachment("c1", "/run/netns/x", (("A", "1"), ("B", "2")))
    assert configuration.environment("DEL", given, ["/a", "/b"]) == {
        "CNI_COMMAND": "DEL",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/x",
        "CNI_ARGS": "A=1;B=2",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/a:/b",
    }


@pytest.mark.parametrize(
    ("chain", "has"),
    [
        ({"cniVersion": "1.0.0"}, True),
        ({"cniVersion": "0.4.0"}, True),
        ({"cniVersion": "0.3.1"}, False),
        ({"cniVersion": "1.0.0", "disableCheck": True}, False),
    ],
)
def test_who_may_be_checked(chain: dict[str, Any], has: bool) -> None:
    assert configuration.has_check(chain) is has


@pytest.mark.parametrize(
    ("status", "printed", "complained", "words"),
    [
        (1, b'{"code": 11, "msg": "no cable", "details": "look"}', b"", "no cable; look"),
        (1, b'{"code": 7, "msg": "no cable"}', b"log", "no cable"),
        (2, b"", b"", "netplugin failed with no error message: exit status 2"),
        (137, b"", b"", "netplugin failed with no error message: signal: 9"),
        (1, b"", b"oh no\n", 'netplugin failed: "oh no": exit status 1'),
        (1, b"hm", b"", 'netplugin failed but error parsing its diagnostic message "hm": Expecting value'),
    ],
)
def test_failures_are_told_in_libcnis_words(
    status: int, printed: bytes, complained: bytes, words: str
) -> None:
    assert configuration.failure(status, printed, complained).startswith(words)


def test_a_result_of_each_version_has_the_pods_addresses() -> None:
    interfaces = [{"name": "veth1"}, {"name": "eth0", "sandbox": "/n"}, {"name": "net1", "sandbox": "/n"}]
    ips = [
        {"address": "10.244.1.1/24", "interface": 0},
        {"version": "6", "address": "fd00::2/64", "interface": 1},
        {"version": "4", "address": "10.244.1.2/24", "interface": 1},
        {"address": "10.9.9.9/24", "interface": 2},
    ]
    found = configuration.addresses({"interfaces": interfaces, "ips": ips}, "eth0")
    assert [*map(str, found)] == ["10.244.1.2", "fd00::2"]
    assert [*map(str, configuration.addresses({"ips": [{"address": "10.244.1.3/32"}]}, "eth0"))] == [
        "10.244.1.3"
    ]
    with pytest.raises(PluginError, match="failed to parse its result"):
        configuration.result(b"hello", {"cniVersion": "1.0.0"})


def test_the_arguments_of_a_pod() -> None:
    given = pod("web", metadata={"uid": "u-1"})
    assert dict(arguments(given, "s1")) == {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": "default",
        "K8S_POD_NAME": "web",
        "K8S_POD_INFRA_CONTAINER_ID": "s1",
        "K8S_POD_UID": "u-1",
    }


def test_the_capabilities_of_a_pod() -> None:
    annotations = {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "2k", "a": "b"}
    ports = [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]
    dns = {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "10.0.0.11"}
    more = {"name": "d", "image": "i", "ports": [dns]}
    given = pod(
        metadata={"annotations": annotations},
        spec={"containers": [{"name": "c", "image": "i", "ports": ports}, more]},
    )
    assert capabilities(given, Cluster()) == {
        "io.kubernetes.cri.pod-annotations": annotations,
        "portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
            {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "10.0.0.11"},
        ],
        "bandwidth": {
            "ingressRate": 10_000_000,
            "ingressBurst": 4294967295,
            "egressRate": 2000,
            "egressBurst": 4294967295,
        },
        "dns": {
            "servers": ["10.96.0.10"],
            "searches": ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"],
            "options": ["ndots:5"],
        },
    }


@pytest.mark.parametrize(
    ("rate", "why"),
    [("1", "unreasonably small"), ("2P", "unreasonably large"), ("much", "quantities must match")],
)
def test_a_rate_that_makes_no_sense_is_refused(rate: str, why: str) -> None:
    given = pod(metadata={"annotations": {"kubernetes.io/ingress-bandwidth": rate}})
    with pytest.raises(PluginError, match=why):
        capabilities(given, Cluster())
