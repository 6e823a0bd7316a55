"""NetworkPolicies that say what nobody will notice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulab.cluster.admission.loader import Source, load

WORLD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, image: x, ports: [{name: http, containerPort: 80}, {containerPort: 53, protocol: UDP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host, labels: {app: host}}
spec: {hostNetwork: true, containers: [{name: c, image: x}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: x}]}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        metadata: {labels: {app: nightly}}
        spec: {restartPolicy: Never, containers: [{name: c, image: x}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: one}
spec: """
SERVICES = "means nobody: addresses of Services are translated to those of pods before policies are asked, so say which"


def about(app: str, **more: Any) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {"app": app}}, **more}


def labelled(label: str, value: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {label: value}}}


def warned(spec: dict[str, Any]) -> list[str]:
    lines = load([Source("p.yaml", WORLD + json.dumps(spec))]).warnings
    return [line.partition("NetworkPolicy/one ")[2] for line in lines if "NetworkPolicy/one " in line]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (about("wep"), "spec.podSelector: matches no Pod and no workload's template"),
        (
            about("web")
            | {
                "podSelector": {
                    "matchLabels": {"app": "web"},
                    "matchExpressions": [{"key": "tier", "operator": "Exists"}],
                }
            },
            "spec.podSelector: matches no Pod and no workload's template",
        ),
        (about("host"), "spec.podSelector: matches nobody but Pods with hostNetwork"),
        (labelled("statefulset.kubernetes.io/pod-name", "web-0"), "spec.podSelector: matches no Pod"),
        (labelled("job-name", "other-28"), "spec.podSelector: matches no Pod"),
        (
            about("web", policyTypes=["Ingress"], egress=[{}]),
            "spec.egress: counts for nothing, as spec.policyTypes has no Egress",
        ),
        (
            about("web", ingress=[{"from": [{"ipBlock": {"cidr": "10.96.0.0/16"}}]}]),
            f"spec.ingress[0].from[0].ipBlock.cidr: {SERVICES}",
        ),
        (
            about("web", egress=[{"to": [{"podSelector": {}}, {"ipBlock": {"cidr": "fd00::/8"}}]}]),
            "spec.egress[0].to[1].ipBlock.cidr: means nobody: the lab has no IPv6",
        ),
        (
            about("web", ingress=[{"ports": [{"port": "http"}, {"port": "http", "protocol": "UDP"}]}]),
            'spec.ingress[0].ports[1].port: no Pod that the policy is about has a UDP port named "http"',
        ),
    ],
)
def test_what_nobody_will_notice_is_said(spec: dict[str, Any], said: str) -> None:
    [line] = warned(spec)
    assert line.startswith(said)


@pytest.mark.parametrize(
    "spec",
    [
        {"podSelector": {}, "policyTypes": ["Egress"]},
        about("web", egress=[{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}]}]),
        about("web", ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": "http"}]}]),
        about("web", egress=[{"ports": [{"port": "anybodys"}]}]),
        about("nightly"),
        labelled("statefulset.kubernetes.io/pod-name", "db-0"),
        labelled("batch.kubernetes.io/job-name", "nightly-29"),
        {
            "podSelector": {
                "matchLabels": {"app": "db"},
                "matchExpressions": [
                    {"key": "apps.kubernetes.io/pod-index", "operator": "In", "values": ["0"]}
                ],
            }
        },
    ],
)
def test_what_counts_is_not(spec: dict[str, Any]) -> None:
    assert not warned(spec)


def test_of_services_that_nodes_proxy_policies_see_nothing() -> None:
    cluster = (
        "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: c}\nspec: {proxy: {mode: userspace}}\n---"
    )
    spec = about("web", ingress=[{"from": [{"ipBlock": {"cidr": "10.96.0.0/16"}}]}])
    [line] = load([Source("p.yaml", cluster + WORLD + json.dumps(spec))]).warnings
    assert line.endswith("means nobody: what is sent to Services a node's proxy gets, whatever policies say")
