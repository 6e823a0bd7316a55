"""The typed views: what they read, and what stands where nothing is given."""

from __future__ import annotations

from base64 import b64encode
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from manifest_texts import BACKEND, POD, SERVICE, WORKLOAD, accepted, described, patched

from emulab.kinds.apps.workloadview import Workload
from emulab.kinds.core.podspec import ContainerPort, PodSpec
from emulab.kinds.core.probespec import Hook, HTTPGet, Probe
from emulab.kinds.core.secret import TLSPair, tls_pair
from emulab.kinds.core.serviceview import Service, ServicePort
from emulab.kinds.discovery.endpointsliceview import Endpoint, EndpointPort, EndpointSlice
from emulab.kinds.emulab.client import Client
from emulab.kinds.emulab.clusterview import Cluster, NodeSpec
from emulab.kinds.emulab.loadbalancerview import BalancerTarget, LoadBalancer
from emulab.kinds.emulab.zone import Record, Zone
from emulab.kinds.networking.ingressview import Backend, Ingress, IngressPath, IngressTLS
from emulab.model.families import IPV4, IPV6
from emulab.model.objects import Object


def view(raw: dict[str, Any]) -> Object:
    """The object, through the loader, so that no view is tested with what could not reach it."""
    return accepted(raw)[0]


def test_service_defaults() -> None:
    service = Service.of(view(described("Service", SERVICE)))
    assert service == Service(
        namespace="default",
        name="web",
        type="ClusterIP",
        headless=False,
        cluster_ips=(),
        ports=(ServicePort("", "TCP", 80, 80, 0, ""),),
        selector={"app": "web"},
        external_name="",
        external_ips=(),
        publish_not_ready_addresses=False,
        session_affinity="None",
        affinity_timeout=10800,
        external_traffic_policy="Cluster",
        internal_traffic_policy="Cluster",
        load_balancer_ip="",
        load_balancer_source_ranges=(),
        health_check_node_port=0,
        traffic_distribution="",
        annotations={},
    )


def test_service_with_everything() -> None:
    spec = {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.20",
        "clusterIPs": ["10.96.0.20"],
        "ports": [
            {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": "dns-udp", "nodePort": 30053},
            {"name": "web", "port": 80, "targetPort": 8080, "appProtocol": "http"},
        ],
        "externalIPs": ["198.51.100.7"],
        "publishNotReadyAddresses": True,
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "externalTrafficPolicy": "Local",
        "internalTrafficPolicy": "Local",
        "loadBalancerIP": "203.0.113.20",
        "loadBalancerSourceRanges": ["198.51.100.9/24"],
    }
    service = Service.of(view(described("Service", spec)))
    assert service.ports == (
        ServicePort("dns", "UDP", 53, "dns-udp", 30053, ""),
        ServicePort("web", "TCP", 80, 8080, 0, "http"),
    )
    assert service.cluster_ips == (ip_address("10.96.0.20"),)
    assert service.selector is None
    assert service.external_ips == (ip_address("198.51.100.7"),)
    assert (service.publish_not_ready_addresses, service.headless) == (True, False)
    assert (service.session_affinity, service.affinity_timeout) == ("ClientIP", 60)
    assert (service.external_traffic_policy, service.internal_traffic_policy) == ("Local", "Local")
    assert service.load_balancer_ip == "203.0.113.20"
    assert service.load_balancer_source_ranges == (ip_network("198.51.100.0/24"),)


@pytest.mark.parametrize("fields", [{"clusterIP": "None"}, {"clusterIPs": ["None"]}])
def test_headless_service_needs_no_ports(fields: dict[str, Any]) -> None:
    service = Service.of(view(described("Service", {"selector": {"app": "web"}, **fields})))
    assert (service.headless, service.cluster_ips, service.ports) == (True, (), ())


def test_external_name() -> None:
    service = Service.of(
        view(described("Service", {"type": "ExternalName", "externalName": "db.example.com"}))
    )
    assert (service.type, service.external_name, service.ports) == ("ExternalName", "db.example.com", ())


def test_endpoint_slice_conditions_default_as_documented() -> None:
    slice_ = EndpointSlice.of(
        view(
            described(
                "EndpointSlice",
                addressType="IPv4",
                endpoints=[
                    {"addresses": ["10.244.0.2"]},
                    {
                        "addresses": ["10.244.0.3"],
                        "conditions": {"ready": False, "terminating": True},
                        "hostname": "web-1",
                        "nodeName": "node1",
                        "zone": "a",
                        "targetRef": {"kind": "Pod", "name": "web-1"},
                    },
                    {"addresses": ["10.244.0.4"], "conditions": {"ready": False, "serving": True}},
                ],
                ports=[{"name": "http", "port": 8080}],
                metadata={"name": "web", "labels": {"kubernetes.io/service-name": "shop"}},
            )
        )
    )
    assert (slice_.service, slice_.address_type, slice_.namespace) == ("shop", "IPv4", "default")
    assert slice_.ports == (EndpointPort("http", "TCP", 8080),)
    assert slice_.endpoints == (
        Endpoint(("10.244.0.2",), True, True, False, "", "", "", ""),
        Endpoint(("10.244.0.3",), False, True, True, "web-1", "node1", "a", "web-1"),
        Endpoint(("10.244.0.4",), False, True, False, "", "", "", ""),
    )


def test_pod_defaults() -> None:
    pod = PodSpec.of(view(described("Pod", POD)).spec)
    assert (pod.restart_policy, pod.termination_grace, pod.dns_policy) == ("Always", 30, "ClusterFirst")
    assert (pod.node_name, pod.node_selector, pod.hostname, pod.host_network) == ("", {}, "", False)
    (container,) = pod.containers
    assert (container.name, container.image, container.command, container.env) == ("web", "web:1", (), ())
    assert (container.readiness, container.liveness, container.startup, container.pre_stop) == (None,) * 4


def test_a_grace_period_of_zero_is_kept() -> None:
    assert PodSpec.of(patched(POD, "terminationGracePeriodSeconds", 0)).termination_grace == 0


def test_container_with_everything() -> None:
    spec = patched(
        POD,
        "containers.0",
        {
            "name": "web",
            "command": ["python3", "-m"],
            "args": ["http.server"],
            "workingDir": "/srv",
            "env": [{"name": "MODE", "value": "x"}],
            "ports": [{"containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}],
            "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        },
    )
    (container,) = PodSpec.of(view(described("Pod", spec)).spec).containers
    assert container.command == ("python3", "-m", "http.server")
    assert container.working_dir == "/srv"
    assert container.env == ({"name": "MODE", "value": "x"},)
    assert container.ports == (ContainerPort("", "TCP", 8080), ContainerPort("dns", "UDP", 53))
    assert container.pre_stop == Hook(sleep=5.0)


def test_args_without_command_belong_to_the_image_and_leave_the_stand_in() -> None:
    spec = patched(POD, "containers.0.args", ["--verbose"])
    assert PodSpec.of(view(described("Pod", spec)).spec).containers[0].command == ()


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        (
            {"httpGet": {"port": "http"}},
            Probe(HTTPGet("/", "http", "", "HTTP", ()), None, None, 0, 10, 1, 1, 3),
        ),
        (
            {
                "httpGet": {
                    "path": "/z",
                    "port": 8443,
                    "host": "h",
                    "scheme": "HTTPS",
                    "httpHeaders": [{"name": "X", "value": "1"}],
                },
                "initialDelaySeconds": 1,
                "periodSeconds": 2,
                "timeoutSeconds": 3,
                "successThreshold": 4,
                "failureThreshold": 5,
            },
            Probe(HTTPGet("/z", 8443, "h", "HTTPS", (("X", "1"),)), None, None, 1, 2, 3, 4, 5),
        ),
        ({"tcpSocket": {"port": 5432}}, Probe(None, 5432, None, 0, 10, 1, 1, 3)),
        ({"grpc": {"port": 9000}}, Probe(None, None, None, 0, 10, 1, 1, 3, grpc_port=9000)),
        ({"exec": {"command": ["true"]}}, Probe(None, None, ("true",), 0, 10, 1, 1, 3)),
    ],
)
def test_probes(probe: dict[str, Any], expected: Probe) -> None:
    spec = patched(POD, "containers.0.readinessProbe", probe)
    assert PodSpec.of(view(described("Pod", spec)).spec).containers[0].readiness == expected


@pytest.mark.parametrize(
    ("kind", "surge", "unavailable"),
    [("Deployment", "25%", "25%"), ("StatefulSet", 0, 1), ("DaemonSet", 0, 1)],
)
def test_workload_defaults(kind: str, surge: int | str, unavailable: int | str) -> None:
    workload = Workload.of(view(described(kind, WORKLOAD)))
    assert (workload.kind, workload.namespace, workload.name) == (kind, "default", "web")
    assert (workload.replicas, workload.strategy, workload.pod_management) == (
        1,
        "RollingUpdate",
        "OrderedReady",
    )
    assert (workload.max_surge, workload.max_unavailable) == (surge, unavailable)
    assert workload.selector == WORKLOAD["selector"]
    assert workload.template == WORKLOAD["template"]


def test_workload_values() -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    deployment = Workload.of(view(described("Deployment", {**WORKLOAD, "replicas": 0, "strategy": rolling})))
    assert (deployment.replicas, deployment.max_surge, deployment.max_unavailable) == (0, 0, 1)
    spec = {
        **WORKLOAD,
        "serviceName": "db",
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
    }
    stateful = Workload.of(view(described("StatefulSet", spec)))
    assert (stateful.service_name, stateful.pod_management, stateful.strategy) == (
        "db",
        "Parallel",
        "OnDelete",
    )


def test_ingress() -> None:
    spec = {
        "ingressClassName": "nginx",
        "defaultBackend": {"service": {"name": "fallback", "port": {"name": "http"}}},
        "rules": [
            {
                "host": "*.example.com",
                "http": {"paths": [{"pathType": "Prefix", "path": "/a", "backend": BACKEND}]},
            },
            {"http": {"paths": [{"pathType": "ImplementationSpecific", "backend": BACKEND}]}},
        ],
        "tls": [{"hosts": ["a.example.com"], "secretName": "cert"}, {}],
    }
    ingress = Ingress.of(view(described("Ingress", spec)))
    assert (ingress.class_name, ingress.load_balancer) == ("nginx", "public-lb")
    assert ingress.default_backend == Backend("fallback", "http")
    assert [rule.host for rule in ingress.rules] == ["*.example.com", ""]
    assert ingress.rules[0].paths == (IngressPath("/a", "Prefix", Backend("web", 80)),)
    assert ingress.rules[1].paths == (IngressPath("/", "ImplementationSpecific", Backend("web", 80)),)
    assert ingress.tls == (IngressTLS(("a.example.com",), "cert"), IngressTLS((), ""))


def test_ingress_annotations() -> None:
    metadata = {
        "name": "web",
        "annotations": {"kubernetes.io/ingress.class": "old", "emulab.dev/load-balancer": "private-lb"},
    }
    ingress = Ingress.of(view(described("Ingress", {"defaultBackend": BACKEND}, metadata=metadata)))
    assert (ingress.class_name, ingress.load_balancer) == ("old", "private-lb")


def test_tls_pair() -> None:
    encoded = b64encode(b"CERT").decode()
    data = {"tls.crt": encoded, "tls.key": b64encode(b"KEY").decode()}
    assert tls_pair(view(described("Secret", data=data))) == TLSPair("CERT", "KEY")
    mixed = described("Secret", data=data, stringData={"tls.key": "PLAIN"})
    assert tls_pair(view(mixed)) == TLSPair("CERT", "PLAIN")
    assert tls_pair(view(described("Secret", data={"tls.crt": encoded}))) is None
    assert tls_pair(view(described("Secret"))) is None


def test_cluster_without_a_spec_is_the_default_one() -> None:
    assert Cluster.of(view(described("Cluster", name="emulab"))) == Cluster()
    assert [node.name for node in Cluster().nodes] == ["node1", "node2"]


def test_cluster_values() -> None:
    spec = {
        "nodes": [{"name": "a", "zone": "z1", "labels": {"disk": "ssd"}}, {"name": "b"}],
        "podCIDR": "10.200.0.0/16,fd00:200::/48",
        "serviceCIDR": "10.50.0.0/16,fd00:50::/112",
        "clusterDomain": "lab.test",
        "network": {"mode": "routed", "mtu": 9000},
        "proxy": {"mode": "nftables"},
        "ingress": {"replicas": 0, "upstream": "endpoints", "workers": 4},
    }
    assert Cluster.of(view(described("Cluster", spec, "shop"))) == Cluster(
        name="shop",
        nodes=(NodeSpec("a", {"disk": "ssd"}, "z1"), NodeSpec("b", {}, "")),
        pod_cidrs=(ip_network("10.200.0.0/16"), ip_network("fd00:200::/48")),
        service_cidrs=(ip_network("10.50.0.0/16"), ip_network("fd00:50::/112")),
        families=(IPV4, IPV6),
        vpcs=(ip_network("10.0.0.0/24"), ip_network("fd00:10::/64")),
        cluster_domain="lab.test",
        network_mode="routed",
        mtu=9000,
        proxy_mode="nftables",
        ingress_replicas=0,
        ingress_upstream="endpoints",
        ingress_workers=4,
    )


def test_nodes_as_a_number() -> None:
    cluster = Cluster.of(view(described("Cluster", {"nodes": 3})))
    assert cluster.nodes == (NodeSpec("node1", {}, ""), NodeSpec("node2", {}, ""), NodeSpec("node3", {}, ""))


def test_load_balancer() -> None:
    assert LoadBalancer.of(view(described("LoadBalancer", name="lb"))) == LoadBalancer(
        "lb", "vpc", None, (80, 443), BalancerTarget(ingress=True), ()
    )
    spec = {
        "network": "internet",
        "address": "203.0.113.77",
        "ports": [5432],
        "target": {"service": {"namespace": "app", "name": "db", "port": "sql"}},
        "sourceRanges": ["10.0.0.0/24"],
    }
    assert LoadBalancer.of(view(described("LoadBalancer", spec, "lb"))) == LoadBalancer(
        "lb",
        "internet",
        ip_address("203.0.113.77"),
        (5432,),
        BalancerTarget(False, "app", "db", "sql"),
        (ip_network("10.0.0.0/24"),),
    )


def test_client() -> None:
    assert Client.of(view(described("Client", name="phone"))) == Client("phone", "internet", "")
    spec = {"network": "vpc", "resolver": "eu"}
    assert Client.of(view(described("Client", spec, "office"))) == Client("office", "vpc", "eu")


def test_zone() -> None:
    records = [
        {"type": "A", "value": "203.0.113.10"},
        {"name": "app1", "type": "CNAME", "value": "app2", "ttl": 0},
    ]
    assert Zone.of(view(described("Zone", {"records": records}, "qas.abc.com"))) == Zone(
        "qas.abc.com",
        "public",
        (Record("@", "A", "203.0.113.10", 60), Record("app1", "CNAME", "app2", 0)),
    )
    assert Zone.of(view(described("Zone", {"visibility": "private"}, "abc.com"))).visibility == "private"
