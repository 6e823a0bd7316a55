"""no-dns-egress: somebody has written a NetworkPolicy for the egress of pods and forgotten port 53.

Whatever the pods ask for by name can't be found, and what they ask for by address answers as ever, so that everybody
looks at the name servers: https://github.com/kubernetes/website/issues/17190

It is a NetworkPolicy indeed, which `get`, `policy check` and a trace show. Policies add up: another one for egress that
allows port 53 mends it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from emulab.kinds.faults.effects import Harm, Isolated
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.scene import SERVICE_TARGET, Scene, pods_asked_for, qualified
from emulab.kinds.lookup import Lookup, Pods
from emulab.kinds.networking.policyview import EGRESS, NetworkPolicy, selected
from emulab.kinds.registry import NETWORK_POLICY

_PORT = 53
_LONGEST = 50  # letters of a Service's name that are kept


def _effects(scene: Scene, target: str, _: FaultOptions) -> Sequence[Harm]:
    service = qualified(target)
    namespace, name = service.split("/")
    digest = hashlib.sha256(service.encode()).hexdigest()[:5]
    selector = tuple(sorted(scene.selector(service).items()))
    return (Isolated(f"{namespace}/{name[:_LONGEST]}-egress-{digest}", selector, _PORT),)


def _doubts(target: str, world: Lookup) -> str:
    if world.cluster.chain:
        return "it has no effect here: plug-ins of network.cni don't enforce NetworkPolicies"
    if world.cluster.proxy_mode == "userspace":
        return "it has no effect here: in userspace mode it is the node that connects to name servers"
    namespace = qualified(target).partition("/")[0]
    for pods in pods_asked_for(target, world) if target else ():
        for policy in _letting(pods, namespace, world):
            return f"it may have no effect: {policy} lets its pods reach port {_PORT}"
    return ""


def _letting(pods: Pods, namespace: str, world: Lookup) -> Iterator[NetworkPolicy]:
    """The policies by which these pods may reach that port of somebody."""
    policies = map(NetworkPolicy.of, world.kind(NETWORK_POLICY, namespace))
    for policy in selected(policies, EGRESS, pods.labels, namespace):
        for rule in policy.rules[EGRESS]:
            ports = [p for p in rule.ports or () if p.protocol == "udp" and not p.name]
            if rule.ports is None or any(not p.first or p.first <= _PORT <= p.last for p in ports):
                yield policy


FAULT = FaultKind(
    name="no-dns-egress",
    text="a NetworkPolicy lets the pods of a Service reach everybody, and forgets port 53: they find no names",
    target=SERVICE_TARGET,
    effects=_effects,
    doubts=_doubts,
    symptom=Symptom(
        "{pod}", ("dig", "+time=1", "+tries=1", "+short", "kubernetes.default.svc.cluster.local")
    ),
    says="a NetworkPolicy for the egress of Service {target}'s pods has no rule for port 53",
    reasons=frozenset({"no-name-answer", "rule", "lost", "dropped"}),
    thread="https://github.com/kubernetes/website/issues/17190",
    traced=Traced("{pod}", "http://{service_name}/"),
)
