"""dns-race: of two questions that a program asks at once from one socket, for A and for AAAA, the second gets lost.

Both make an entry of connection tracking, and the one that comes later to be confirmed clashes with the other and is
dropped; the resolver waits 5 seconds and asks again: https://github.com/kubernetes/kubernetes/issues/56903. The kernel
resolves most of such clashes since Linux 5.0, and has them only where two processors meet. So the clash is emulated: a
rule drops what comes from the same address and port to port 53 within 20 ms of the packet before.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import SECOND, Filtered, Harm
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (Filtered(target, SECOND),)


FAULT = FaultKind(
    name="dns-race",
    text="of two questions for a name that a pod asks at once, the second is lost: names take 5 seconds",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom(
        "{pod}", ("timeout", "3", "python3", "-c", "import socket; socket.getaddrinfo('{service_name}', 80)")
    ),
    says="node {target} drops the second of two questions from one socket: their connection tracking entries clash",
    reasons=frozenset({"no-name-answer", "rule", "lost", "dropped"}),
    thread="https://github.com/kubernetes/kubernetes/issues/56903",
    traced=None,
)
