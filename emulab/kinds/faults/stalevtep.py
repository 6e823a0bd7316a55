"""stale-vtep: a node's overlay still has the forwarding entry of a node that was replaced.

What is for the pods of one node is sent to the address of another one, which drops it:
https://github.com/flannel-io/flannel/issues/1155
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, WrongWay
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import NODE_TARGET, Scene
from emulab.kinds.lookup import Lookup

_KEYED = ("wireguard",)


def _effects(scene: Scene, target: str, _: FaultOptions) -> Sequence[Harm]:
    return [WrongWay(node, to=target) for node in scene.nodes if node != target]


def _doubts(_: str, world: Lookup) -> str:
    mode = world.cluster.network_mode
    return (
        f"it has no effect here: peers of {mode} are known by their keys, wherever they are"
        if mode in _KEYED
        else ""
    )


FAULT = FaultKind(
    name="stale-vtep",
    text="the other nodes' overlay sends what is for a node's pods to an address that was its own once",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom("{other_pod}", ("ping", "-c", "1", "-W", "1", "{pod_address}")),
    says="the other nodes have a stale entry (VXLAN's FDB, IP in IP's route) for the overlay of {target}",
    reasons=frozenset({"lost", "no-answer", "arp", "misled"}),
    thread="https://github.com/flannel-io/flannel/issues/1155",
    needs_overlay=True,
    doubts=_doubts,
)
