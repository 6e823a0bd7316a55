"""Fields of a Service that say how its traffic is led: policies, health checks, node ports of balancers, hints."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import accepted, described, refused

PORTS = [{"port": 80}]
BALANCED: dict[str, Any] = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
HEALTH_CHECK = "may only be set when type is LoadBalancer and externalTrafficPolicy is Local"
DISTRIBUTIONS = "PreferClose, PreferSameZone, PreferSameNode"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            {"type": "NodePort", "allocateLoadBalancerNodePorts": False},
            "allocateLoadBalancerNodePorts: may not be set when type is NodePort",
        ),
        (
            {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": "no"},
            'allocateLoadBalancerNodePorts: "no" is not true or false',
        ),
        ({"type": "LoadBalancer", "healthCheckNodePort": 30001}, f"healthCheckNodePort: {HEALTH_CHECK}"),
        (
            {**BALANCED, "type": "NodePort", "healthCheckNodePort": 30001},
            f"healthCheckNodePort: {HEALTH_CHECK}",
        ),
        (
            {**BALANCED, "healthCheckNodePort": 8080},
            "healthCheckNodePort: 8080 is not a node port (30000-32767)",
        ),
        (
            {"trafficDistribution": "PreferSameRack"},
            f'trafficDistribution: "PreferSameRack" is not one of {DISTRIBUTIONS}',
        ),
        (
            {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
            "sessionAffinityConfig.clientIP.timeoutSeconds: 0 is not a number of seconds (1-86400)",
        ),
        ({"externalIPs": ["0.0.0.0"]}, 'externalIPs[0]: "0.0.0.0" may not be the unspecified address'),
        (
            {"externalIPs": ["192.0.2.1", "127.0.0.9"]},
            'externalIPs[1]: "127.0.0.9" may not be in the loopback range (127.0.0.0/8, ::1/128)',
        ),
        ({"externalIPs": ["169.254.0.1"]}, 'externalIPs[0]: "169.254.0.1" may not be link-local'),
        ({"externalIPs": ["ff02::1"]}, 'externalIPs[0]: "ff02::1" may not be link-local'),
        (
            {"type": "NodePort", "externalTrafficPolicy": "Global"},
            'externalTrafficPolicy: "Global" is not one of Cluster, Local',
        ),
    ],
)
def test_refused(spec: dict[str, Any], problem: str) -> None:
    assert refused(described("Service", {"ports": PORTS, **spec})) == [f"spec.{problem}"]


@pytest.mark.parametrize(
    "spec",
    [
        {**BALANCED, "healthCheckNodePort": 30001, "allocateLoadBalancerNodePorts": False},
        {**BALANCED, "healthCheckNodePort": 0},
        {"healthCheckNodePort": 0, "trafficDistribution": "PreferClose"},
        {"externalIPs": ["192.0.2.1"], "externalTrafficPolicy": "Local"},
        {"internalTrafficPolicy": "Local", "trafficDistribution": "PreferSameNode"},
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}},
    ],
)
def test_accepted(spec: dict[str, Any]) -> None:
    assert accepted(described("Service", {"ports": PORTS, **spec}))


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("0.0.0.0", "may not be the unspecified address"),
        ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("169.254.169.254", "may not be link-local"),
        ("224.0.0.1", "may not be link-local"),
    ],
)
def test_endpoints_that_mean_another_place_to_everybody(address: str, problem: str) -> None:
    found = refused(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "web-1"},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.12"]}, {"addresses": [address]}],
            "ports": [{"port": 80}],
        }
    )
    assert found == [f'endpoints[1].addresses[0]: "{address}" {problem}']


def test_hints_of_endpoints() -> None:
    def raw(hints: Any) -> dict[str, Any]:
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "web-1"},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "hints": hints}],
        }

    assert accepted(raw({"forZones": [{"name": "a"}], "forNodes": [{"name": "node1"}]}))
    assert refused(raw({"forZones": ["a"]})) == ['endpoints[0].hints.forZones[0]: "a" is not a mapping']
    assert refused(raw({"forNodes": [{}]})) == ["endpoints[0].hints.forNodes[0].name: is required"]


@pytest.mark.parametrize(
    ("finalizers", "problem"),
    [
        ("a.b/c", 'finalizers: "a.b/c" is not a list'),
        ([""], "finalizers[0]: "),
        (["a b"], "finalizers[0]: "),
        ([7], "finalizers[0]: 7 is not a string"),
    ],
)
def test_finalizers_are_qualified_names(finalizers: Any, problem: str) -> None:
    metadata = {"name": "web", "finalizers": finalizers}
    (found,) = refused(described("ConfigMap", metadata=metadata))
    assert found.startswith(f"metadata.{problem}")
    assert accepted(described("ConfigMap", metadata={**metadata, "finalizers": ["kubernetes", "a.b/c"]}))
