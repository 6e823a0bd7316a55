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
