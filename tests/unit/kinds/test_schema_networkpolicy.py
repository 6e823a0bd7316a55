"""NetworkPolicies: what is refused, and what the others mean."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import accepted, described, refused

from emulab.kinds.networking.policytext import described as in_words
from emulab.kinds.networking.policyview import NetworkPolicy
from emulab.model.objects import Object


def ingress(**rule: Any) -> dict[str, Any]:
    return {"podSelector": {}, "ingress": [rule]}


def block(cidr: Any, *exceptions: str) -> dict[str, Any]:
    return ingress(**{"from": [{"ipBlock": {"cidr": cidr, "except": list(exceptions)}}]})


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (ingress(**{"from": [{}]}), "ingress[0].from[0]: must specify a peer"),
        (
            ingress(**{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}),
            "ingress[0].from[0].ipBlock: may not specify both ipBlock and another peer",
        ),
        (block("10.0.0.0"), 'ingress[0].from[0].ipBlock.cidr: "10.0.0.0" has no prefix length'),
        (
            block("10.0.0.0/255.0.0.0"),
            'ingress[0].from[0].ipBlock.cidr: "10.0.0.0/255.0.0.0" is not a network',
        ),
        (block("10.0.0.0/8 "), 'ingress[0].from[0].ipBlock.cidr: "10.0.0.0/8 " is not a network'),
        (block("ten"), 'ingress[0].from[0].ipBlock.cidr: "ten" is not a network'),
        (
            block("10.0.0.0/8", "11.0.0.0/16"),
            'ingress[0].from[0].ipBlock.except[0]: "11.0.0.0/16" must be a strict subset of cidr 10.0.0.0/8',
        ),
        (block("10.0.0.0/8", "10.0.0.0/8"), "except[0]: "),
        (block("10.0.0.0/8", "fd00::/64"), "except[0]: "),
        (
            ingress(ports=[{"endPort": 90}]),
            "ingress[0].ports[0].endPort: may not be specified when port is not",
        ),
        (
            ingress(ports=[{"port": "http", "endPort": 90}]),
            "endPort: may not be specified when port is a name",
        ),
        (ingress(ports=[{"port": 91, "endPort": 90}]), "endPort: must be greater than or equal to port"),
        (ingress(ports=[{"port": 0}]), "ingress[0].ports[0].port: "),
        (ingress(ports=[{"protocol": "ICMP"}]), 'protocol: "ICMP" is not one of TCP, UDP, SCTP'),
        (
            {"podSelector": {}, "policyTypes": ["Both"]},
            'policyTypes[0]: "Both" is not one of Ingress, Egress',
        ),
        ({"podSelector": {}, "egress": [{"from": []}]}, "from"),
    ],
)
def test_what_is_refused(spec: dict[str, Any], problem: str) -> None:
    (found,) = refused(described("NetworkPolicy", spec))
    assert problem in found


@pytest.mark.parametrize(
    "spec",
    [
        {"podSelector": {}},
        block("10.0.0.9/8", "10.1.0.0/16"),
        block("fd00::/8"),
        ingress(ports=[{"port": 80, "endPort": 80}, {"protocol": "SCTP"}, {"port": "http"}]),
        {"podSelector": {}, "egress": [{}], "policyTypes": ["Egress"]},
    ],
)
def test_what_is_accepted(spec: dict[str, Any]) -> None:
    assert accepted(described("NetworkPolicy", spec))


def policy(**spec: Any) -> Object:
    raw = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}, **spec}}
    return Object({**raw, "metadata": {"name": "p", "namespace": "ns"}})


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ({}, ["ingress"]),
        ({"egress": []}, ["ingress"]),
        ({"egress": [{}]}, ["ingress", "egress"]),
        ({"policyTypes": ["Egress"]}, ["egress"]),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, ["egress"]),
        ({"policyTypes": ["Egress", "Ingress"]}, ["ingress", "egress"]),
    ],
)
def test_in_which_directions_a_policy_isolates(spec: dict[str, Any], directions: list[str]) -> None:
    assert list(NetworkPolicy.of(policy(**spec)).rules) == directions


def test_in_words() -> None:
    peers = [
        {"podSelector": {"matchLabels": {"a": "b"}}},
        {"namespaceSelector": {}, "podSelector": {"matchLabels": {"a": "b"}}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
    ]
    ports = [{"port": 80, "endPort": 90}, {"protocol": "UDP"}, {"port": "dns"}]
    said = dict(in_words(policy(ingress=[{"from": peers, "ports": ports}, {}])))
    assert said["Allowing ingress traffic"] == [
        "To Port: 80-90/TCP",
        "To Port: <any>/UDP",
        "To Port: dns/TCP",
        "From: PodSelector a=b",
        "From: NamespaceSelector <any>, PodSelector a=b",
        "From: IPBlock 10.0.0.0/8, except 10.1.0.0/16",
        "----------",
        "To Port: <any> (traffic allowed to all ports)",
        "From: <any> (traffic not restricted by source)",
    ]
    assert "Not affecting egress traffic" in said and said["Policy Types"] == "Ingress"
