"""conntrack-full: a node whose connection tracking table takes no more: new connections get lost, old ones go on.

`nf_conntrack: table full, dropping packet`: https://github.com/kubernetes/kubernetes/issues/71261. The kernel's limit
(nf_conntrack_max) is one for all namespaces, the machine's own among them, and isn't touched. So it is emulated: a rule
counts the connections that there are in the node's table from when the fault is put, and drops the first packet of any
beyond `max`. The kernel's log has no line about it.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import NEW, Filtered, Harm
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import Option, amount
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    return (Filtered(target, NEW, beyond=int(options["max"])),)


FAULT = FaultKind(
    name="conntrack-full",
    text="a node's connection tracking table is full: packets of new connections are dropped",
    target=NODE_TARGET,
    effects=_effects,
    # Connections that have ended stay in the table for two minutes.
    symptom=Symptom(
        "{pod}",
        (
            "sh",
            "-c",
            "for n in $(seq 12); do curl -sSf -m 1 -o /dev/null http://{other_pod_address}/ || exit; done",
        ),
        options={"max": "8"},
    ),
    says="the connection tracking table of node {target} is full: it takes {max} new connections",
    reasons=frozenset({"rule", "lost", "dropped", "no-answer", "no-name-answer"}),
    options={"max": Option(amount(0, 1 << 20), "32", "connections that still fit in", "{:.0f}")},
    thread="https://github.com/kubernetes/kubernetes/issues/71261",
    traced=Traced("{pod}", "http://{other_pod_address}/", options={"max": "0"}),
)
