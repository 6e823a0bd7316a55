"""readiness-flaps: pods that are Ready, and not, and Ready again.

Their readiness probes fail now and then, as of a program that is short of time, so that the Service has its endpoints
at times and at times has none, and no pod restarts: https://github.com/GoogleCloudPlatform/bank-of-anthos/issues/265

Pods without a readiness probe are always ready.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Unready
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import Option, span
from emulab.kinds.faults.scene import SERVICE_TARGET, Scene, pods_asked_for
from emulab.kinds.lookup import Lookup


def _effects(scene: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    return [Unready(f"{o.namespace}.{o.name}", int(options["period"])) for o in scene.pods(target)]


def _doubts(target: str, world: Lookup) -> str:
    pods = pods_asked_for(target, world) if target else ()
    probed = any(c.get("readinessProbe") for pod in pods for c in pod.spec.get("containers") or ())
    return "" if probed or not pods else "it has no effect: none of its pods has a readinessProbe"


FAULT = FaultKind(
    name="readiness-flaps",
    text="the readiness probes of a Service's pods fail for a while, again and again",
    target=SERVICE_TARGET,
    effects=_effects,
    doubts=_doubts,
    symptom=Symptom("{pod}", ("curl", "-sSf", "-m", "2", "http://{probed_service}/"), after="pods-not-ready"),
    says="the readiness probes of the pods of Service {target} fail for {period} out of every two such spans",
    reasons=frozenset({"no-endpoints", "no-local-endpoints", "no-target"}),
    options={"period": Option(span(1, 3600), "20s", "for how long they fail, and then don't", "{:.0f} s")},
    thread="https://github.com/GoogleCloudPlatform/bank-of-anthos/issues/265",
    traced=Traced("{pod}", "http://{probed_service}/", options={"period": "1h"}),
)
