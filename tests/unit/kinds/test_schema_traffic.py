"""Services, EndpointSlices, Ingresses, Secrets and their kin: what is refused, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_texts import BACKEND, SERVICE, accepted, described, patched, refused, warned

from emulab.model.checks import dns_label, dns_subdomain, port

LABEL = "(a-z, 0-9 and inside '-', at most 63)"
PORT_NAME = "a port name (a-z, 0-9 and single '-' inside, with a letter, at most 15)"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (None, "spec: is required"),
        ({}, "spec.ports: is required"),
        ({"ports": []}, "spec.ports: is required"),
        ({"ports": 80}, "spec.ports: 80 is not a list"),
        ({"ports": [{}]}, "spec.ports[0].port: is required"),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port: 0 is not a port (1-65535)"),
        ({"ports": [{"port": -1}]}, "spec.ports[0].port: -1 is not a port (1-65535)"),
        ({"ports": [{"port": "http"}]}, 'spec.ports[0].port: "http" is not a port (1-65535)'),
        (
            {"ports": [{"port": 80, "targetPort": 70000}]},
            "spec.ports[0].targetPort: 70000 is not a port (1-65535)",
        ),
        ({"ports": [{"port": 80, "targetPort": "80"}]}, f'spec.ports[0].targetPort: "80" is not {PORT_NAME}'),
        ({"ports": [{"port": 80, "name": "a_b"}]}, f'spec.ports[0].name: "a_b" is not a DNS label {LABEL}'),
        (
            {"ports": [{"port": 80, "protocol": "HTTP"}]},
            'spec.ports[0].protocol: "HTTP" is not one of TCP, UDP, SCTP',
        ),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 81}]},
            "spec.ports[1].name: is required when there are several ports",
        ),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]},
            'spec.ports[1].name: "a" is already the name of item 0',
        ),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b", "protocol": "TCP"}]},
            "spec.ports[1].port: 80 TCP is already the port and protocol of item 0",
        ),
        (
            {"ports": [{"port": 80}], "type": "Nodeport"},
            'spec.type: "Nodeport" is not one of ClusterIP, NodePort, LoadBalancer, ExternalName',
        ),
        ({"ports": [{"port": 80}], "selector": "app"}, 'spec.selector: "app" is not a mapping'),
        (
            {"ports": [{"port": 80}], "selector": {"v": 1}},
            "spec.selector.v: 1 is not a string; put it in quotes",
        ),
        ({"ports": [{"port": 80}], "clusterIP": "10.96.0"}, 'spec.clusterIP: "10.96.0" is not an IP address'),
        ({"ports": [{"port": 80}], "clusterIP": "none"}, 'spec.clusterIP: "none" is not an IP address'),
        (
            {"ports": [{"port": 80}], "clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.21"]},
            'spec.clusterIPs[0]: "10.96.0.21" must be what clusterIP says: "10.96.0.20"',
        ),
        (
            {"ports": [{"port": 80}], "clusterIPs": ["10.96.0.20", "10.96.0.21"]},
            "spec.clusterIPs[1]: must be of the other IP family than the first",
        ),
        (
            {"ports": [{"port": 80, "nodePort": 8080}], "type": "NodePort"},
            "spec.ports[0].nodePort: 8080 is not a node port (30000-32767)",
        ),
        (
            {"ports": [{"port": 80, "nodePort": 30080}]},
            "spec.ports[0].nodePort: may not be set when type is ClusterIP",
        ),
        (
            {
                "type": "NodePort",
                "ports": [
                    {"port": 1, "name": "a", "nodePort": 30001},
                    {"port": 2, "name": "b", "nodePort": 30001},
                ],
            },
            "spec.ports[1].nodePort: 30001 TCP is already the nodePort and protocol of item 0",
        ),
        (
            {"ports": [{"port": 80}], "type": "LoadBalancer", "clusterIP": "None"},
            'spec.clusterIP: may not be "None" when type is LoadBalancer',
        ),
        ({"type": "ExternalName"}, "spec.externalName: is required when type is ExternalName"),
        ({"type": "ExternalName", "externalName": "a b"}, 'spec.externalName: "a b" is not a DNS name'),
        (
            {"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.9"},
            "spec.clusterIP: may not be set when type is ExternalName",
        ),
        (
            {"ports": [{"port": 80}], "sessionAffinity": "clientIP"},
            'spec.sessionAffinity: "clientIP" is not one of None, ClientIP',
        ),
        (
            {"ports": [{"port": 80}], "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 86401 is not a number of seconds (1-86400)",
        ),
        (
            {"ports": [{"port": 80}], "externalTrafficPolicy": "Local"},
            "spec.externalTrafficPolicy: may not be set when type is ClusterIP",
        ),
        (
            {"ports": [{"port": 80}], "internalTrafficPolicy": "local"},
            'spec.internalTrafficPolicy: "local" is not one of Cluster, Local',
        ),
        (
            {"ports": [{"port": 80}], "type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.1"]},
            'spec.loadBalancerSourceRanges[0]: "10.0.0.1" is not a CIDR such as 10.0.0.0/24',
        ),
        (
            {"ports": [{"port": 80}], "loadBalancerSourceRanges": ["10.0.0.0/8"]},
            "spec.loadBalancerSourceRanges: may not be set when type is ClusterIP",
        ),
        (
            {"ports": [{"port": 80}], "loadBalancerClass": "example.com/own"},
            "spec.loadBalancerClass: may not be set when type is ClusterIP",
        ),
        (
            {"ports": [{"port": 80}], "type": "LoadBalancer", "loadBalancerClass": "a b"},
            'spec.loadBalancerClass: "a b" is not a name such as app or example.com/app'
            " (A-Z, a-z, 0-9 and inside '-', '_' and '.', at most 63)",
        ),
        (
            {"ports": [{"port": 80, "appProtocol": ""}]},
            'spec.ports[0].appProtocol: "" is not a name such as app or example.com/app'
            " (A-Z, a-z, 0-9 and inside '-', '_' and '.', at most 63)",
        ),
        (
            {"ports": [{"port": 80}], "externalIPs": ["host"]},
            'spec.externalIPs[0]: "host" is not an IP address',
        ),
        (
            {"ports": [{"port": 80}], "publishNotReadyAddresses": "yes"},
            'spec.publishNotReadyAddresses: "yes" is not true or false',
        ),
    ],
)
def test_services(spec: Any, problem: str) -> None:
    assert refused(described("Service", spec)) == [problem]


@pytest.mark.parametrize(
    "spec",
    [
        {"ports": [{"port": 53, "name": "a"}, {"port": 53, "name": "b", "protocol": "UDP"}]},
        {"ports": [{"port": 80, "name": "", "targetPort": "web-1"}]},
        {"ports": [{"port": 80, "nodePort": 0}], "clusterIP": ""},
        {
            "type": "NodePort",
            "ports": [
                {"port": 53, "name": "a", "nodePort": 30053},
                {"port": 53, "name": "b", "protocol": "UDP", "nodePort": 30053},
            ],
        },
        {
            "type": "LoadBalancer",
            "ports": [{"port": 80, "nodePort": 32767}],
            "externalTrafficPolicy": "Local",
        },
        {"type": "ExternalName", "externalName": "db.example.com."},
    ],
)
def test_sound_services(spec: dict[str, Any]) -> None:
    assert accepted(described("Service", spec))


def test_a_service_of_both_families() -> None:
    cluster = described("Cluster", {"network": {"families": ["IPv4", "IPv6"]}}, "c")
    ips = {"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20", "fd00:96::20"]}
    assert accepted(cluster, described("Service", {**SERVICE, **ips}))


@given(st.integers())
def test_ports_are_accepted_in_their_range_alone(number: int) -> None:
    assert (not port(number)) == (1 <= number <= 65535)


@given(st.integers(1, 65535))
def test_every_port_makes_a_sound_service(number: int) -> None:
    (service,) = accepted(described("Service", {**SERVICE, "ports": [{"port": number}]}))
    assert service.spec["ports"][0]["port"] == number


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True))
def test_labels_are_names_too(name: str) -> None:
    assert not dns_label(name)
    assert not dns_subdomain(f"{name}.{name}")


@given(st.text(max_size=70))
def test_what_is_a_label_is_so_by_its_definition(name: str) -> None:
    letters = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    sound = 1 <= len(name) <= 63 and set(name) <= letters and "-" not in (name[0], name[-1])
    assert (not dns_label(name)) == sound


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "addressType: is required"),
        ({"addressType": "ipv4"}, 'addressType: "ipv4" is not one of IPv4, IPv6, FQDN'),
        ({"addressType": "IPv4", "endpoints": [{}]}, "endpoints[0].addresses: is required"),
        (
            {"addressType": "IPv4", "endpoints": [{"addresses": []}]},
            "endpoints[0].addresses: must not be empty",
        ),
        (
            {"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"]}]},
            'endpoints[0].addresses[0]: "fd00::1" is not an IPv4 address',
        ),
        (
            {"addressType": "IPv6", "endpoints": [{"addresses": ["web"]}]},
            'endpoints[0].addresses[0]: "web" is not an IPv6 address',
        ),
        (
            {
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": "no"}}],
            },
            'endpoints[0].conditions.ready: "no" is not true or false',
        ),
        ({"addressType": "IPv4", "ports": [{"port": 0}]}, "ports[0].port: 0 is not a port (1-65535)"),
        (
            {"addressType": "IPv4", "ports": [{"port": 1}, {"port": 2}]},
            'ports[1].name: "" is already the name of item 0',
        ),
    ],
)
def test_endpoint_slices(fields: dict[str, Any], problem: str) -> None:
    assert refused(described("EndpointSlice", **fields)) == [problem]


INGRESS: dict[str, Any] = {
    "rules": [
        {
            "host": "a.example.com",
            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]},
        }
    ]
}
HOST = "is not a host: a DNS name in lower case, with or without a leading '*.'"


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("rules", [], ": needs rules or defaultBackend"),
        ("rules.0.host", "Example.com", f'.rules[0].host: "Example.com" {HOST}'),
        ("rules.0.host", "*", f'.rules[0].host: "*" {HOST}'),
        ("rules.0.host", "*.*.com", f'.rules[0].host: "*.*.com" {HOST}'),
        ("rules.0.host", "a.*.com", f'.rules[0].host: "a.*.com" {HOST}'),
        ("rules.0.host", "a.com:80", f'.rules[0].host: "a.com:80" {HOST}'),
        (
            "rules.0.host",
            "10.0.0.1",
            '.rules[0].host: "10.0.0.1" is an IP address; a host must be a DNS name',
        ),
        ("rules.0.http.paths", [], ".rules[0].http.paths: must not be empty"),
        ("rules.0.http.paths.0.pathType", None, ".rules[0].http.paths[0].pathType: is required"),
        (
            "rules.0.http.paths.0.pathType",
            "prefix",
            '.rules[0].http.paths[0].pathType: "prefix" is not one of Exact, Prefix, ImplementationSpecific',
        ),
        (
            "rules.0.http.paths.0.path",
            "api",
            ".rules[0].http.paths[0].path: \"api\" must begin with '/' when pathType is Prefix",
        ),
        (
            "rules.0.http.paths.0.path",
            None,
            ".rules[0].http.paths[0].path: \"\" must begin with '/' when pathType is Prefix",
        ),
        ("rules.0.http.paths.0.path", "/a//b", '.rules[0].http.paths[0].path: "/a//b" must not contain "//"'),
        (
            "rules.0.http.paths.0.path",
            "/a/..",
            '.rules[0].http.paths[0].path: "/a/.." must not contain "/.."',
        ),
        ("rules.0.http.paths.0.backend", None, ".rules[0].http.paths[0].backend: is required"),
        (
            "rules.0.http.paths.0.backend",
            {},
            ".rules[0].http.paths[0].backend: needs exactly one of service, resource; it has none",
        ),
        (
            "rules.0.http.paths.0.backend.service.port",
            None,
            ".rules[0].http.paths[0].backend.service.port: is required",
        ),
        (
            "rules.0.http.paths.0.backend.service.port",
            {"number": 80, "name": "http"},
            ".rules[0].http.paths[0].backend.service.port: needs exactly one of number, name; "
            "not number and name together",
        ),
        ("defaultBackend.service", {"name": "web"}, ".defaultBackend.service.port: is required"),
        ("tls", [{"hosts": "a.example.com"}], '.tls[0].hosts: "a.example.com" is not a list'),
        ("tls", [{"hosts": ["a_b"]}], f'.tls[0].hosts[0]: "a_b" {HOST}'),
    ],
)
def test_ingresses(path: str, value: Any, problem: str) -> None:
    assert refused(described("Ingress", patched(INGRESS, path, value))) == [f"spec{problem}"]


A_KEY = "a key (A-Z, a-z, 0-9, '-', '_' and '.', at most 253, neither '.' nor with '..' first)"


@pytest.mark.parametrize("host", ["a.example.com", "*.example.com", "localhost", ""])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "Exact"),
        ("/a/b/", "Prefix"),
        ("", "ImplementationSpecific"),
        ("/a//b", "ImplementationSpecific"),
    ],
)
def test_sound_ingresses(host: str, path: str, kind: str) -> None:
    rule = {"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": BACKEND}]}}
    assert accepted(described("Ingress", {"rules": [rule, {"host": "b.example.com"}]}))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"data": {"a": "%%%"}}, "data.a: is not base64"),
        ({"data": {"a": "abc"}}, "data.a: is not base64"),
        ({"data": {"a": 1}}, "data.a: 1 is not a string; put it in quotes"),
        (
            {"data": {"a b": "YQ=="}},
            f'data[a b]: "a b" is not {A_KEY}',
        ),
        ({"data": {".": "YQ=="}}, f'data[.]: "." is not {A_KEY}'),
        ({"data": {"..data": "YQ=="}}, f'data[..data]: "..data" is not {A_KEY}'),
        ({"stringData": {"a": 5}}, "stringData.a: 5 is not a string; put it in quotes"),
        (
            {"type": "kubernetes.io/tls", "data": {"tls.crt": "YQ=="}},
            "data[tls.key]: is required when type is kubernetes.io/tls",
        ),
        (
            {"type": "kubernetes.io/tls", "stringData": {"tls.key": "k"}},
            "data[tls.crt]: is required when type is kubernetes.io/tls",
        ),
        (
            {"type": "kubernetes.io/basic-auth"},
            "data: username or password is required when type is kubernetes.io/basic-auth",
        ),
        (
            {"type": "kubernetes.io/dockerconfigjson", "data": {}},
            "data[.dockerconfigjson]: is required when type is kubernetes.io/dockerconfigjson",
        ),
        (
            {"type": "kubernetes.io/service-account-token"},
            "metadata.annotations[kubernetes.io/service-account.name]: is required when type is "
            "kubernetes.io/service-account-token",
        ),
        (
            {"stringData": {"a": "x" * (1 << 20)}, "data": {"b": "YQ=="}},
            "may not hold more than 1048576 bytes; these are 1048577",
        ),
    ],
)
def test_secrets(fields: dict[str, Any], problem: str) -> None:
    assert refused(described("Secret", **fields)) == [problem]


def test_secret_data_may_be_broken_into_lines() -> None:
    assert accepted(described("Secret", data={"a": "YWFh\nYWFh\n"}))


def test_what_a_secret_says_twice_counts_once() -> None:
    """`stringData` goes before `data` (`Strategy.PrepareForCreate`), and the rest is kept nowhere."""
    assert accepted(described("Secret", stringData={"a": "x" * 700_000}, data={"a": "YWFh" * 230_000}))


def test_config_maps() -> None:
    assert refused(described("ConfigMap", data={"port": 80})) == [
        "data.port: 80 is not a string; put it in quotes"
    ]
    assert refused(described("ConfigMap", binaryData={"x": "?"})) == ["binaryData.x: is not base64"]
    assert refused(described("ConfigMap", data={"x": "a"}, binaryData={"x": "YQ=="})) == [
        "binaryData.x: duplicate of key present in data"
    ]
    assert accepted(described("ConfigMap", data={"port": "80", "large": "x" * ((1 << 20) - 2)}))


def test_network_policies() -> None:
    assert refused(described("NetworkPolicy", {"policyTypes": ["ingress"]})) == [
        'spec.policyTypes[0]: "ingress" is not one of Ingress, Egress'
    ]
    assert refused(described("NetworkPolicy", {"podSelector": {"matchLabels": {"a": 1}}})) == [
        "spec.podSelector.matchLabels.a: 1 is not a string; put it in quotes"
    ]
    assert accepted(described("NetworkPolicy", {"podSelector": {}, "policyTypes": ["Egress"]}))


def test_ingress_classes() -> None:
    assert accepted(described("IngressClass", {"controller": "k8s.io/ingress-nginx"}, "nginx"))
    assert refused(described("IngressClass", {"controller": 1}, "nginx")) == [
        "spec.controller: 1 is not a string; put it in quotes"
    ]


def test_a_resource_may_be_a_backend_and_is_not_followed() -> None:
    ingress = described("Ingress", {"defaultBackend": {"resource": {"kind": "Bucket", "name": "x"}}})
    assert warned(ingress) == [
        "Ingress/web spec.defaultBackend.resource: isn't followed: its requests go where all else of the host goes"
    ]
