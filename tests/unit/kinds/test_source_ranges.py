"""Ranges of a balancer's clients that mean nobody, and families that have none."""

from __future__ import annotations

import pytest

from emulab.cluster.admission.loader import load
from emulab.model.sources import Source

WORLD = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {network: {families: [IPv4, IPv6]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, image: x, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  {type: LoadBalancer, selector: {app: web}, ipFamilyPolicy: POLICY, ports: [{port: 80}],
  loadBalancerSourceRanges: RANGES}
"""


@pytest.mark.parametrize(
    ("policy", "ranges", "said"),
    [
        ("SingleStack", "[10.0.0.0/8]", []),
        ("PreferDualStack", '[10.0.0.0/8, "2001:db8::/32"]', []),
        ("PreferDualStack", "[]", []),
        ("SingleStack", '[10.0.0.0/8, "2001:db8::/32"]', ["[1]: means nobody: the Service has no IPv6"]),
        (
            "PreferDualStack",
            "[10.0.0.0/8]",
            [": has no range of IPv6, by which the balancer then lets nobody in"],
        ),
    ],
)
def test_families_of_ranges(policy: str, ranges: str, said: list[str]) -> None:
    lines = load([Source("s.yaml", WORLD.replace("POLICY", policy).replace("RANGES", ranges))]).warnings
    told = [line.partition("loadBalancerSourceRanges")[2] for line in lines]
    assert len(told) == len(said) and all(line.startswith(one) for line, one in zip(told, said, strict=True))
