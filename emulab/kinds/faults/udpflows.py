"""stale-udp-flows: a kube-proxy that forgets no UDP flows when an endpoint goes.

Whoever goes on sending from one socket is translated to the pod that there was, for as long as he sends:
https://github.com/kubernetes/kubernetes/issues/139628
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emulab.kinds.emulab.proxymodes import EBPF
from emulab.kinds.faults.effects import Harm, KeptFlows
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import NODE_TARGET, Scene

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (KeptFlows(target),)


def _doubts(_: str, world: Lookup) -> str:
    if world.cluster.proxy_mode == EBPF:
        return "it has no effect here: in ebpf mode no flow of UDP goes on to an endpoint that is gone"
    return ""


FAULT = FaultKind(
    name="stale-udp-flows",
    text="a node's kube-proxy leaves the connection tracking entries of UDP flows to endpoints that are gone",
    target=NODE_TARGET,
    effects=_effects,
    # One source port is one flow. A name server answers what it doesn't know, too.
    symptom=Symptom(
        "{pod}",
        ("sh", "-c", "dig +time=1 +tries=1 -b 0.0.0.0#40123 @{names} . >/dev/null"),
        after="name-servers-replaced",
    ),
    says="kube-proxy of node {target} forgets no UDP flows: they lead to endpoints that are gone",
    reasons=frozenset({"lost", "no-answer", "unanswered", "arp", "no-name-answer", "refused", "no-route"}),
    thread="https://github.com/kubernetes/kubernetes/issues/139628",
    traced=None,
    doubts=_doubts,
)
