"""stale-endpoints: the EndpointSlices of a Service aren't written any more, and its Pods have been replaced.

Whoever goes by them (kube-proxy, the ingress, headless names) goes on asking addresses that nobody has, or that
somebody else has by now: https://github.com/kubernetes/kubernetes/issues/125638
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Unsliced
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.scene import SERVICE_TARGET, Scene, qualified


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (Unsliced(qualified(target)),)


FAULT = FaultKind(
    name="stale-endpoints",
    text="the EndpointSlices of a Service stay as they are while its pods are replaced",
    target=SERVICE_TARGET,
    effects=_effects,
    symptom=Symptom("{pod}", ("curl", "-sSf", "-m", "2", "http://{service}/"), after="pods-replaced"),
    says="nobody writes the EndpointSlices of Service {target} any more: they have the pods of before",
    reasons=frozenset(
        {"arp", "lost", "no-route", "no-answer", "refused", "unanswered", "closed-port", "rule", "dropped"}
    ),
    thread="https://github.com/kubernetes/kubernetes/issues/125638",
    traced=Traced("{pod}", "http://{service}/"),
)
