"""ipvs-port-reuse: IPVS that takes a new connection for an old one, as it comes from the same address and port.

With conn_reuse_mode 0, which kube-proxy set before Linux 5.9 to spare such connections a second, they go to the pod
that the one before went to, even if that is gone: https://github.com/kubernetes/kubernetes/issues/81775. Since Linux
5.16 that takes expire_nodest_conn 0, too, so both are set.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, ReusedPorts
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (ReusedPorts(target),)


FAULT = FaultKind(
    name="ipvs-port-reuse",
    text="a node's IPVS sends a connection from a port that was used before to the pod of then, gone or not",
    target=NODE_TARGET,
    effects=_effects,
    # The server ends the connection, so that the client may use its port again at once: by the length of the answer
    # curl would know before the server's end of it comes, and might be first.
    symptom=Symptom(
        "{node}",
        (
            "sh",
            "-c",
            "curl -sSf -m 4 -o /dev/null -H 'Connection: close' --ignore-content-length --local-port 40123"
            " http://{service}/",
        ),
        after="pods-replaced",
    ),
    says="IPVS of node {target} leads connections from used ports where they led before (conn_reuse_mode is 0)",
    reasons=frozenset({"lost", "no-answer", "unanswered", "arp", "refused", "no-route", "dropped"}),
    thread="https://github.com/kubernetes/kubernetes/issues/81775",
    traced=None,
    needs_mode="ipvs",
)
