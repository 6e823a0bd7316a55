"""dns-blocked: a firewall on a node that lets its pods ask nobody for names.

What a NetworkPolicy for egress does that forgets port 53: https://github.com/kubernetes/website/issues/17190
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import DNS, Filtered, Harm
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (Filtered(target, DNS),)


FAULT = FaultKind(
    name="dns-blocked",
    text="the pods of a node may not ask for names: port 53 is closed to them",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom(
        "{pod}", ("dig", "+time=1", "+tries=1", "+short", "kubernetes.default.svc.cluster.local")
    ),
    says="a firewall on node {target} drops its pods' questions to port 53",
    reasons=frozenset({"no-name-answer", "rule", "lost", "dropped"}),
    traced=Traced("{pod}", "http://{service_name}/"),
)
