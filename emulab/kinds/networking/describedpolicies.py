"""What the fields of a ClusterNetworkPolicy are, for `emulab explain`: no OpenAPI of Kubernetes' own has that kind."""

from __future__ import annotations

from collections.abc import Mapping

from emulab.kinds.emulab.ownfield import METADATA, OwnField

_D = "policy.v1alpha2."
ABOUT = {
    f"{_D}ClusterNetworkPolicy": "What pods may send and receive, as an administrator of the cluster has it: asked "
    "before NetworkPolicies (tier Admin) or behind them (tier Baseline). It isolates nobody: what no rule matches "
    "stays allowed."
}
_SELECTOR = "meta.v1.LabelSelector"
_PODS = {
    "namespaces": OwnField(_SELECTOR, "All pods of these Namespaces; {} is every Namespace"),
    "pods": OwnField(f"{_D}NamespacedPod", "Pods by their labels, in Namespaces by theirs"),
}
_RULE = {
    "name": OwnField("string", "What the rule is called in messages, of at most 100 characters"),
    "action": OwnField(
        "string",
        "Accept or Deny, for good, or Pass: the rest of the tier is left out, and the next one decides",
        required=True,
    ),
    "protocols": OwnField(f"[{_D}ClusterNetworkPolicyProtocol]", "The ports, any of which is meant", "all"),
}
_BY_PROTOCOL = OwnField(f"{_D}ClusterNetworkPolicyPorts", "Ports of this protocol")

FIELDS: Mapping[str, Mapping[str, OwnField]] = {
    f"{_D}ClusterNetworkPolicy": {
        "metadata": METADATA,
        "spec": OwnField(f"{_D}ClusterNetworkPolicySpec", "Whom it is about, and its rules", required=True),
    },
    f"{_D}ClusterNetworkPolicySpec": {
        "tier": OwnField("string", "Admin, before NetworkPolicies, or Baseline, behind them", required=True),
        "priority": OwnField("int32", "0 to 1000; within a tier the lower one is asked first", required=True),
        "subject": OwnField(
            f"{_D}ClusterNetworkPolicySubject",
            "The pods that it is about, none with hostNetwork",
            required=True,
        ),
        "ingress": OwnField(
            f"[{_D}ClusterNetworkPolicyIngressRule]",
            "At most 25 rules for what comes to them, in their order",
        ),
        "egress": OwnField(
            f"[{_D}ClusterNetworkPolicyEgressRule]", "At most 25 rules for what they send, in their order"
        ),
    },
    f"{_D}ClusterNetworkPolicySubject": _PODS,
    f"{_D}ClusterNetworkPolicyIngressRule": {
        **_RULE,
        "from": OwnField(
            f"[{_D}ClusterNetworkPolicyIngressPeer]", "Who sends: any of these pods", required=True
        ),
    },
    f"{_D}ClusterNetworkPolicyEgressRule": {
        **_RULE,
        "to": OwnField(
            f"[{_D}ClusterNetworkPolicyEgressPeer]", "Who is sent to: any of these", required=True
        ),
    },
    f"{_D}ClusterNetworkPolicyIngressPeer": _PODS,
    f"{_D}ClusterNetworkPolicyEgressPeer": {
        **_PODS,
        "networks": OwnField("[string]", "Addresses as CIDRs, those of pods as well"),
        "nodes": OwnField(_SELECTOR, "The addresses of these nodes (experimental)"),
        "domainNames": OwnField(
            "[string]",
            "Names, or *.NAME, for Accept alone (experimental); it isn't followed and means nobody",
        ),
    },
    f"{_D}NamespacedPod": {
        "namespaceSelector": OwnField(_SELECTOR, "The Namespaces, by their labels", "every one"),
        "podSelector": OwnField(_SELECTOR, "The pods there; {} is every one", required=True),
    },
    f"{_D}ClusterNetworkPolicyProtocol": {
        "tcp": _BY_PROTOCOL,
        "udp": _BY_PROTOCOL,
        "sctp": _BY_PROTOCOL,
        "destinationNamedPort": OwnField("string", "The port that the pod which is reached calls so"),
    },
    f"{_D}ClusterNetworkPolicyPorts": {
        "destinationPort": OwnField(f"{_D}Port", "A number or a range", required=True)
    },
    f"{_D}Port": {
        "number": OwnField("int32", "One port"),
        "range": OwnField(f"{_D}PortRange", "Several ports"),
    },
    f"{_D}PortRange": {
        "start": OwnField("int32", "The first port", required=True),
        "end": OwnField("int32", "The last port, which is greater", required=True),
    },
}
