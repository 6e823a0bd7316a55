"""half-open: the connections that there were are gone, and neither end was told (no RST).

As when a balancer or its backend was exchanged, or forgot what was idle: clients hold connections that are dead until
their own time-outs, which take minutes, while new ones are fine: https://github.com/kubernetes/kubernetes/issues/48638
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import OLD, Filtered, Harm
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (Filtered(target, OLD),)


FAULT = FaultKind(
    name="half-open",
    text="the TCP connections that a node carried are dead and nobody is told; new ones are fine",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom(
        "{other_pod}",
        (
            "bash",
            "-c",
            "exec 3<>/dev/tcp/{pod_address}/80; sleep {held};"
            r" printf 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' >&3;"
            " timeout 2 head -c 12 <&3 | grep -q HTTP",
        ),
        after="while-it-runs",
    ),
    says="connections over node {target} that are older than the fault are dead",
    reasons=frozenset({"lost", "dropped", "rule", "no-answer", "unanswered"}),
    thread="https://github.com/kubernetes/kubernetes/issues/48638",
    traced=None,
)
