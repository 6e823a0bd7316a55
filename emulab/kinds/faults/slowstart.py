"""slow-start: a program that listens some seconds after its container has started, and a pod that is Ready at once.

It is a rule of nftables in the pod that refuses until then, so whatever runs there starts slowly.

Without a readiness probe a pod is Ready when its containers run, so that after each rollout requests are refused until
the programs have come up. A readiness probe mends it: https://github.com/kubernetes/kubernetes/issues/38355
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from emulab.kinds.faults.effects import Harm, LateStart
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import Option, span
from emulab.kinds.faults.scene import SERVICE_TARGET, Scene
from emulab.model.objects import Object


def _effects(scene: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    late = int(options["seconds"])
    return [LateStart(f"{o.namespace}.{o.name}", _until(o, late)) for o in scene.pods(target)]


def _until(pod: Object, late: int) -> int:
    """So many seconds after the last of a Pod's containers started; 0 as long as none has: what asks a pod as soon as
    it runs, its probes say, is refused from the very beginning."""
    states = (s.get("state") or {} for s in pod.status.get("containerStatuses") or ())
    stamps = [str(s["running"]["startedAt"]) for s in states if (s.get("running") or {}).get("startedAt")]
    return late + int(max(datetime.fromisoformat(stamp).timestamp() for stamp in stamps)) if stamps else 0


FAULT = FaultKind(
    name="slow-start",
    text="the programs of a Service's pods listen some seconds after their start; without a readiness probe the"
    " pods are Ready before",
    target=SERVICE_TARGET,
    effects=_effects,
    symptom=Symptom("{pod}", ("curl", "-sSf", "-m", "2", "http://{service}/"), after="pods-replaced"),
    says="the programs of Service {target}'s pods listen {seconds} after their start; a readiness probe would hold"
    " requests back until then",
    reasons=frozenset({"closed-port", "refused", "rule", "prohibited", "reset"}),
    options={"seconds": Option(span(1, 3600), "10s", "how long nobody listens", "{:.0f} s")},
    thread="https://github.com/kubernetes/kubernetes/issues/38355",
    traced=Traced("{pod}", "http://{service}/", options={"seconds": "1h"}),
)
