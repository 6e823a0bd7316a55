"""kube-proxy-stuck: a node whose kube-proxy doesn't follow any more.

Its rules lead to the endpoints that there were; who is new is never asked, and who has gone still is:
https://github.com/kubernetes/kubernetes/issues/72595
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Unsynced
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (Unsynced(target),)


FAULT = FaultKind(
    name="kube-proxy-stuck",
    text="a node's kube-proxy writes no rules any more: Services lead to the endpoints that they had",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom("{pod}", ("curl", "-sSf", "-m", "2", "http://{service}/"), after="pods-replaced"),
    says="kube-proxy of node {target} is stuck: its rules are those of before",
    reasons=frozenset(
        {"arp", "lost", "no-route", "no-answer", "refused", "unanswered", "closed-port", "rule"}
    ),
    thread="https://github.com/kubernetes/kubernetes/issues/72595",
    decides=True,
    traced=Traced("{pod}", "http://{service}/"),
)
