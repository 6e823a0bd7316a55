"""Pods: what they resolve names by, and what stands in for their containers."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from controllers_store import make
from worlds import plan, world

from emulab.kinds.core.podspec import FOREIGN, PodSpec
from emulab.kinds.emulab.clusterview import Cluster, cluster_of
from emulab.kinds.registry import POD
from emulab.model.members import Members
from emulab.model.objects import Object
from emulab.plan.cni.plugin import Node
from emulab.plan.pods import PodsPlan, identity, namespaces_to_come, place_name, pod_place, resolv_conf
from emulab.plan.standins import STANDINS
from emulab.plan.state import PlannedServer
from emulab.servers.configuration import to_json
from emulab.servers.echo.config import EchoConfig

CLUSTER_FIRST = (
    "search app.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
)
NODE = "nameserver 10.0.0.2\n"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, CLUSTER_FIRST),
        ({"dnsPolicy": "ClusterFirst"}, CLUSTER_FIRST),
        ({"dnsPolicy": "Default"}, NODE),
        ({"hostNetwork": True}, NODE),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirst"}, NODE),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, CLUSTER_FIRST),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"]}}, "nameserver 192.0.2.1\n"),
        (
            {
                "dnsConfig": {
                    "nameservers": ["192.0.2.1", "10.96.0.10"],
                    "searches": ["x.test", "cluster.local"],
                }
            },
            "search app.svc.cluster.local svc.cluster.local cluster.local x.test\n"
            "nameserver 10.96.0.10\nnameserver 192.0.2.1\noptions ndots:5\n",
        ),
        (
            {"dnsConfig": {"options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}},
            CLUSTER_FIRST.replace("ndots:5", "ndots:2 edns0"),
        ),
        (
            {"dnsPolicy": "Default", "dnsConfig": {"searches": ["x.test"], "options": [{"name": "rotate"}]}},
            "search x.test\nnameserver 10.0.0.2\noptions rotate\n",
        ),
    ],
)
def test_resolv_conf(spec: dict[str, Any], expected: str) -> None:
    assert resolv_conf("app", PodSpec.of(spec), Cluster()) == expected


def test_resolv_conf_in_another_domain_and_range() -> None:
    from ipaddress import ip_network

    other = Cluster(cluster_domain="k.test", service_cidrs=(ip_network("10.50.0.0/16"),))
    assert resolv_conf("app", PodSpec.of({}), other) == (
        "search app.svc.k.test svc.k.test k.test\nnameserver 10.50.0.10\noptions ndots:5\n"
    )


def pod(name: str = "web-0", uid: str = "0123456789", **spec: Any) -> Object:
    spec = {"nodeName": "node1", "containers": [{"name": "c"}], **spec}
    return make(
        "Pod", name, "app", metadata={"uid": uid}, spec=spec, status={"podIPs": [{"ip": "10.244.1.2"}]}
    )


def place(o: Object) -> Any:
    return pod_place(o, PodSpec.of(o.spec), Cluster())


def test_a_pods_place() -> None:
    found = place(pod())
    assert (found.name, found.namespace, found.hostname) == ("app.web-0", "app.web-0~01234567", "web-0")
    assert [str(a) for a in found.addresses] == ["10.244.1.2"] and found.kind == "pod"
    assert found.hosts == (
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
        "10.244.1.2\tweb-0\n"
    )


def test_a_pods_names() -> None:
    aliases = [{"ip": "192.0.2.1", "hostnames": ["a.test", "b.test"]}]
    found = place(pod(hostname="db", subdomain="pg", hostAliases=aliases))
    assert found.hostname == "db"
    assert found.hosts.splitlines()[7:] == [
        "10.244.1.2\tdb.pg.app.svc.cluster.local\tdb",
        "192.0.2.1\ta.test\tb.test",
    ]
    assert len(place(pod("x" * 100)).hostname) == 63
    assert place(pod("x" * 60 + "-.-" + "y")).hostname == "x" * 60  # a host's name ends in neither
    on_host = place(pod(hostNetwork=True))
    assert (on_host.name, on_host.namespace, on_host.hostname) == ("app.web-0", "node1", "node1")


def test_a_pod_of_a_freed_name_is_another_one() -> None:
    one, other = pod(uid="aaaaaaaa-1"), pod(uid="bbbbbbbb-1")
    assert place_name(one) == place_name(other) and identity(one) != identity(other)


def alone(*pods: Object) -> Members:
    return {o.key: o for o in pods}


def test_how_containers_are_changes_nothing_of_a_pods_part_and_all_else_does() -> None:
    planned = PodsPlan(Cluster(), [Node("node1", (ip_address("10.0.0.11"),), (ip_network("10.244.1.0/24"),))])
    began = pod()
    there = planned.follow(alone(began))
    assert identity(began) in there.network.namespaces
    ready = began.replace(status={**began.status, "conditions": [{"type": "Ready", "status": "True"}]})
    assert planned.follow(alone(ready)) is there
    moved = ready.replace(status={"podIPs": [{"ip": "10.244.1.9"}]})
    assert planned.follow(alone(moved)).places["app.web-0"].addresses == (ip_address("10.244.1.9"),)
    foreign = make("Pod", "web-0", "app", metadata={**moved.metadata, "annotations": {FOREIGN: "c/eth0"}})
    foreign = foreign.replace(spec=moved.spec, status=moved.status)
    assert planned.follow(alone(foreign)).network.namespaces[identity(foreign)].given == "c/eth0"
    other = make("Pod", "web-0", "app", metadata={"uid": "feedbeef"})
    other = other.replace(spec=moved.spec, status=moved.status)
    assert [*planned.follow(alone(other)).network.namespaces] == [identity(other)]
    aliased = other.replace(
        spec={**other.spec, "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a.test"]}]}
    )
    assert "a.test" in planned.follow(alone(aliased)).places["app.web-0"].hosts
    ended = aliased.replace(status={**aliased.status, "phase": "Succeeded"})
    assert not planned.follow(alone(ended)).places


def test_the_namespaces_to_come_are_those_that_are_planned() -> None:
    objects, planned = plan(
        manifest("one", "[{name: c, image: i}]"),
        manifest("two", "[{name: c, image: i}]", more=", hostNetwork: true"),
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: more}\nspec:\n  replicas: 3\n"
        "  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n"
        "    spec: {containers: [{name: c, image: i}]}\n",
    )
    pods = {o.name: o for o in objects.kind(POD)}
    own = {identity(o) for o in pods.values() if not o.spec.get("hostNetwork")}
    assert identity(pods["two"]) not in own and len(own) >= 4
    expected = {name: planned.network.namespaces[name] for name in own}
    first, *others = own
    cluster = cluster_of(objects)
    assert {n.name: n for n in namespaces_to_come(objects, cluster, ())} == expected
    assert {n.name for n in namespaces_to_come(objects, cluster, {first})} == {*others}


# Stand-ins


def manifest(name: str, containers: str, labels: str = "{app: web}", more: str = "") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {labels}}}
spec: {{nodeName: node1, containers: {containers}{more}}}
---
"""


def service(name: str, ports: str, selector: str = "{app: web}") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {selector}, ports: {ports}}}
---
"""


INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules:
  - {host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}
---
"""


def standins(*texts: str) -> tuple[PlannedServer, dict[str, str]]:
    """The stand-ins' server, and each pod's address by name."""
    objects, built = plan("".join(texts))
    ips = {o.name: o.status["podIP"] for o in objects.kind(POD)}
    return built.servers[STANDINS], ips


def told(server: PlannedServer) -> dict[str, Any]:
    """The configuration as the server's process gets it."""
    return dict(to_json(server.config))


def ports_of(server: PlannedServer, ip: str) -> set[str]:
    """PROTOCOL/PORT of the sockets of one pod."""
    return {"/".join(k.split("/")[::2]) for k in told(server)["listen"] if k.split("/")[1] == ip}


def test_a_stand_in_answers_on_container_ports_and_target_ports_that_lead_to_them() -> None:
    containers = "[{name: c, image: x, ports: [{name: http, containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]"
    ports = "[{name: a, port: 80, targetPort: http}, {name: b, port: 81}, {name: c, port: 82, targetPort: nobody}]"
    server, ips = standins(
        manifest("web", containers),
        service("web", ports),
        service("other", "[{port: 99}]", "{app: other}"),
        INGRESS,
    )
    assert ports_of(server, ips["web"]) == {"tcp/8080", "udp/53"}, "81 is no port of the pod"
    assert told(server)["identities"][ips["web"]] == {
        "namespace": "default",
        "pod": "web",
        "node": "node1",
        "pod_ip": ips["web"],
        "ports": {"8080": {"service": "web", "ingress": "shop"}},
    }
    assert set(told(server)["listen"]) == set(server.listen)
    assert len(set(server.listen.values())) == 1 and next(iter(server.listen.values())).startswith(
        "default.web~"
    )


@pytest.mark.parametrize(
    ("container", "ports"),
    [
        ("", {"tcp/81", "udp/53"}),
        ("ports: [{containerPort: 8080}]", {"tcp/8080"}),
        ("ports: [{containerPort: 53}]", {"tcp/53", "udp/53"}),
        ("ports: [{containerPort: 8080}], args: [--port=81]", {"tcp/8080", "tcp/81"}),
        ("ports: [{containerPort: 8080}], args: [--port=8081]", {"tcp/8080"}),
        ("ports: [{containerPort: 8080}], env: [{name: LISTEN, value: ':81'}]", {"tcp/8080", "tcp/81"}),
    ],
)
def test_where_a_service_leads_a_stand_in_listens_if_it_may(container: str, ports: set[str]) -> None:
    """Where the pod says no port at all, or its container is told of that one, which is documentation too."""
    containers = f"[{{name: c, image: x, {container}}}]"
    asked = "[{name: a, port: 81}, {name: b, port: 53, protocol: UDP}]"
    server, ips = standins(manifest("web", containers), service("web", asked))
    assert ports_of(server, ips["web"]) == ports


def test_real_programs_keep_their_ports() -> None:
    containers = (
        "[{name: real, image: x, command: [sleep, '1'], ports: [{name: http, containerPort: 8080}]},"
        " {name: side, image: x, ports: [{containerPort: 9090}]}]"
    )
    server, ips = standins(
        manifest("web", containers),
        service("web", "[{name: a, port: 80, targetPort: http}, {name: b, port: 9090}]"),
    )
    assert ports_of(server, ips["web"]) == {"tcp/9090"}


def test_a_stand_in_answers_where_its_probes_and_hooks_ask() -> None:
    containers = (
        "[{name: c, image: x, ports: [{name: http, containerPort: 8080}],"
        " readinessProbe: {httpGet: {port: 9000}}, livenessProbe: {tcpSocket: {port: http}},"
        " startupProbe: {grpc: {port: 9001}},"
        " lifecycle: {preStop: {httpGet: {port: 9002}}, postStart: {sleep: {seconds: 1}}}},"
        " {name: real, command: [sleep], ports: [{containerPort: 9003}], livenessProbe: {tcpSocket: {port: 9004}}},"
        " {name: d, image: x, readinessProbe: {tcpSocket: {port: 9003}}, livenessProbe: {httpGet: {port: nobody}}}]"
    )
    server, ips = standins(manifest("web", containers))
    assert ports_of(server, ips["web"]) == {"tcp/8080", "tcp/9000", "tcp/9001", "tcp/9002"}
    assert told(server)["logs"] == {ips["web"]: "default.web.c.log"}


def test_a_stand_in_on_a_nodes_network_answers_its_probes_on_loopback() -> None:
    containers = (
        "[{name: c, image: x, livenessProbe: {httpGet: {host: 127.0.0.1, port: 9099}},"
        " readinessProbe: {httpGet: {port: 10256}}}]"
    )
    server, ips = standins(manifest("net", containers, more=", hostNetwork: true"))
    keys = {"tcp/127.0.0.1/9099@node1", f"tcp/{ips['net']}/9099"}  # 10256 is kube-proxy's
    assert set(told(server)["listen"]) == keys == set(told(server)["identities"])
    assert server.everywhere == frozenset()
    assert told(server)["logs"] == dict.fromkeys(keys, "default.net.c.log")


@pytest.mark.parametrize(
    ("host", "families", "loopbacks"),
    [
        ("127.0.0.1", "IPv6", ["127.0.0.1"]),
        ("'::1'", "IPv6", ["::1"]),
        ("'::1'", "IPv4", []),
        ("localhost", "IPv4", ["127.0.0.1"]),
        ("localhost", "IPv4, IPv6", ["127.0.0.1", "::1"]),
    ],
)
def test_a_stand_in_answers_at_the_loopback_of_the_family_that_its_probe_asks(
    host: str, families: str, loopbacks: list[str]
) -> None:
    containers = f"[{{name: c, image: x, livenessProbe: {{httpGet: {{host: {host}, port: 9099}}}}}}]"
    cluster = (
        "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: c}\n"
        f"spec: {{network: {{families: [{families}]}}}}\n---\n"
    )
    server, _ = standins(cluster, manifest("net", containers, more=", hostNetwork: true"))
    assert [k for k in told(server)["listen"] if "@" in k] == [f"tcp/{one}/9099@node1" for one in loopbacks]


def test_datagrams_have_the_log_of_their_container() -> None:
    containers = (
        "[{name: a, image: x, ports: [{containerPort: 1, protocol: UDP}]},"
        " {name: b, image: x, ports: [{containerPort: 1}]}]"
    )
    server, ips = standins(manifest("web", containers))
    assert told(server)["logs"] == {
        f"udp/{ips['web']}/1": "default.web.a.log",
        f"tcp/{ips['web']}/1": "default.web.b.log",
    }


def test_each_containers_requests_have_their_own_log() -> None:
    containers = (
        "[{name: a, image: x, ports: [{containerPort: 1}]}, {name: b, image: x, ports: [{containerPort: 2}]}]"
    )
    server, ips = standins(manifest("web", containers))
    assert told(server)["logs"] == {
        f"tcp/{ips['web']}/1": "default.web.a.log",
        f"tcp/{ips['web']}/2": "default.web.b.log",
    }


def test_a_pod_of_programs_alone_has_no_stand_in() -> None:
    server, ips = standins(
        manifest("web", "[{name: real, image: x, command: [sleep, '1'], ports: [{containerPort: 80}]}]"),
        service("web", "[{port: 80}]"),
    )
    assert ports_of(server, ips["web"]) == set() and ips["web"] not in told(server).get("identities", {})


def test_the_systems_own_servers_are_no_stand_ins() -> None:
    built = world("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n")
    assert built.servers[STANDINS].config == EchoConfig(())
    own = {n.split("/")[1]: s.kind for n, s in built.servers.items() if "/" in n}
    assert own == {"coredns": "dns", "controller": "ingress"}


def test_two_pods_on_one_nodes_network_are_told_apart() -> None:
    """They share an address, so who answers is a matter of the port."""
    more = ", hostNetwork: true"
    server, ips = standins(
        manifest("one", "[{name: c, image: x, ports: [{containerPort: 7001}]}]", more=more),
        manifest("two", "[{name: c, image: x, ports: [{containerPort: 7002}]}]", more=more),
    )
    assert ips["one"] == ips["two"] == "10.0.0.11"
    assert ports_of(server, ips["one"]) == {"tcp/7001", "tcp/7002"}
    text = repr(told(server)["identities"])
    assert "'one'" in text and "'two'" in text


@pytest.mark.parametrize(
    ("spec", "name", "line"),
    [
        ({}, "p", "p"),
        ({"hostname": "h", "subdomain": "s"}, "h", "h.s.app.svc.cluster.local\th"),
        (
            {"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": True},
            "h.s.app.svc.cluster.local",
            "h.s.app.svc.cluster.local\th",
        ),
        (
            {"subdomain": "s", "setHostnameAsFQDN": True},
            "p.s.app.svc.cluster.local",
            "p.s.app.svc.cluster.local\tp",
        ),
        ({"hostname": "h", "setHostnameAsFQDN": True}, "h", "h"),
        (
            {"hostname": "h", "subdomain": "s", "hostnameOverride": "my.host.test"},
            "my.host.test",
            "my.host.test",
        ),
        (
            {"hostNetwork": True, "subdomain": "s", "setHostnameAsFQDN": True},
            "node1",
            "node1.s.app.svc.cluster.local\tnode1",
        ),
    ],
)
def test_what_a_pod_is_called(spec: dict[str, Any], name: str, line: str) -> None:
    """The kubelet's GetNodenameForKernel, and the pod's line in /etc/hosts."""
    pod = make(
        "Pod", "p", "app", spec={**spec, "nodeName": "node1"}, status={"podIPs": [{"ip": "10.244.1.2"}]}
    )
    place = pod_place(pod, PodSpec.of(pod.spec), Cluster())
    assert place.hostname == name
    assert f"10.244.1.2\t{line}\n" in place.hosts


def test_name_servers_beyond_the_third_are_left_out() -> None:
    spec = PodSpec.of({"dnsConfig": {"nameservers": [f"192.0.2.{n}" for n in range(3)]}})
    servers = [
        x.split()[1] for x in resolv_conf("app", spec, Cluster()).splitlines() if x.startswith("nameserver")
    ]
    assert servers == ["10.96.0.10", "192.0.2.0", "192.0.2.1"]
