"""ClusterNetworkPolicies: what their CustomResourceDefinition refuses, and what is said of the rest."""

from __future__ import annotations

import pytest

from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.admission.loader import load
from emulab.errors import ManifestError
from emulab.kinds.networking.clusterpolicyview import ClusterNetworkPolicy
from emulab.kinds.networking.policyview import EGRESS, INGRESS, NodeSelection, PodSelection, PolicyPort
from emulab.kinds.registry import CLUSTER_NETWORK_POLICY, KINDS
from emulab.model.objects import Object
from emulab.model.sources import Source

POLICY = """
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: tenants}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {tenant: a}}}
  ingress:
  - {name: same, action: Pass, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}]}
  egress:
  - {action: Deny, to: [{networks: [10.0.0.0/8]}, {nodes: {}}]}
  - action: Accept
    to: [{pods: {podSelector: {}}}, {domainNames: ["*.kubernetes.io"]}]
    protocols: [{udp: {destinationPort: {range: {start: 53, end: 54}}}}]
"""


def loaded(text: str = POLICY) -> Object:
    (o,) = load([Source("p.yaml", text)]).objects
    return o


def test_it_is_read() -> None:
    policy = ClusterNetworkPolicy.of(loaded())
    assert (policy.tier, policy.rank) == ("Admin", (10, "tenants"))
    [same] = policy.rules[INGRESS]
    assert same.matches.ports == (PolicyPort("tcp", 80, 80),) and same.action == "Pass"
    deny, accept = policy.rules[EGRESS]
    assert deny.matches.peers is not None and deny.matches.peers[1] == NodeSelection({})
    assert accept.matches.peers == (PodSelection({}, {}, ""),)  # a name means nobody
    assert accept.matches.ports == (PolicyPort("udp", 53, 54),)
    assert policy.whose(INGRESS, 0) == "spec.ingress[0] (same) of ClusterNetworkPolicy tenants (Admin tier)"


def test_what_is_not_followed_is_a_warning() -> None:
    [line] = load([Source("p.yaml", POLICY)]).warnings
    assert line.startswith(
        "p.yaml:14: ClusterNetworkPolicy/tenants spec.egress[1].to[1].domainNames: isn't followed"
    )
    services = POLICY.replace("10.0.0.0/8", "10.96.0.0/24").replace(
        ', {domainNames: ["*.kubernetes.io"]}', ""
    )
    [line] = load([Source("p.yaml", services)]).warnings
    assert "spec.egress[0].to[0].networks[0]: means nobody: addresses of Services are translated" in line
    other = loaded(POLICY.replace("name: tenants", "name: more"))
    found = warnings([loaded(), other])
    assert len(found) == 2 and "spec.priority: is that of more, too" in found[0]
    assert not warnings(
        [loaded(), loaded(POLICY.replace("name: tenants", "name: more").replace("Admin", "Baseline"))]
    )


def test_it_is_described_in_a_few_lines() -> None:
    told = dict(CLUSTER_NETWORK_POLICY.definition.describe(loaded().raw, ()))
    assert told["Subject"] == "NamespaceSelector tenant=a"
    assert told["Egress rules"][:4] == [
        "Deny",
        "To Port: <any>",
        "To: IPBlock 10.0.0.0/8",
        "To: NodeSelector <any>",
    ]
    assert KINDS.named("cnp") is CLUSTER_NETWORK_POLICY


@pytest.mark.parametrize(
    ("right", "wrong", "why"),
    [
        ("Admin", "admin", '"admin" is not one of Admin, Baseline'),
        ("priority: 10", "priority: 1001", "1001 is not a number (0-1000)"),
        ("Pass", "Allow", '"Allow" is not one of Accept, Deny, Pass'),
        (
            "subject: {namespaces",
            "subject: {pods: {podSelector: {}}, namespaces",
            "not namespaces and pods together",
        ),
        ("from: [{namespaces: {}}]", "from: []", "must not be empty"),
        ("from: [{namespaces: {}}]", "from: [{}]", "needs exactly one of namespaces, pods"),
        ("from: [{namespaces: {}}]", "from: [{nodes: {}}]", 'unknown field "spec.ingress[0].from[0].nodes"'),
        ("start: 53", "start: 54", "must be greater than start"),
        ("{tcp: {destinationPort: {number: 80}}}", "{tcp: {}}", "is required"),
        ("10.0.0.0/8", "10.0.0.0", '"10.0.0.0" has no prefix length'),
        ("10.0.0.0/8", "'10.0.0.0/8 '", '"10.0.0.0/8 " is not a network'),
        ("10.0.0.0/8", "10.0.0.0/8, 10.9.0.0/16, 10.0.0.0/8", 'networks[2]: "10.0.0.0/8" is given twice'),
        ("Accept", "Deny", "is for rules with action Accept alone"),
        (
            "protocols: [{udp: {destinationPort: {range: {start: 53, end: 54}}}}]",
            "protocols: [{destinationNamedPort: dns}]",
            "may not be given with networks, nodes or domainNames",
        ),
    ],
)
def test_what_is_wrong_is_refused(right: str, wrong: str, why: str) -> None:
    assert right in POLICY
    with pytest.raises(ManifestError) as refused:
        loaded(POLICY.replace(right, wrong))
    assert why in str(refused.value)
