"""short-keep-alive: the backend closes idle connections sooner than the proxy before it does.

The proxy sends a request in the moment in which its server gives the connection up, and gets a reset: a 502 now and
then, of requests that it may not send a second time, a POST say. What is idempotent is tried again, and nobody notices:
https://github.com/kubernetes/ingress-nginx/issues/3099

It shows where the ingress keeps connections to pods: to a Service's own address, where it is asked for that
(`upstream: service`), it opens fresh ones as long as requests are few.

In a lab that moment is as long as the connection is idle, lest it has to be waited for. It is the lab's stand-ins that
do so; a real program has a time-out of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, ShortKeepAlive
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import Option, span
from emulab.kinds.faults.scene import SERVICE_TARGET, Scene, pods_asked_for
from emulab.kinds.lookup import Lookup


def _effects(scene: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    idle = float(options["timeout"])
    return [ShortKeepAlive(f"{o.namespace}.{o.name}", idle) for o in scene.pods(target)]


def _doubts(target: str, world: Lookup) -> str:
    pods = pods_asked_for(target, world) if target else ()
    alone = (
        len(pods) == 1 and pods[0].owner.kind != "DaemonSet" and pods[0].owner.spec.get("replicas", 1) == 1
    )
    if alone or world.cluster.ingress_upstream == "endpoints":
        return ""
    return (
        "it is seldom seen here: as long as requests are few each has a fresh connection to the Service's address;"
        " spec.ingress.upstream: endpoints of the Cluster has the ingress keep those of the pods"
    )


FAULT = FaultKind(
    name="short-keep-alive",
    text="the pods of a Service give idle connections up before the ingress does: a 502 for a POST now and then",
    target=SERVICE_TARGET,
    effects=_effects,
    symptom=Symptom(
        "client", ("curl", "-sSf", "-m", "5", "-X", "POST", "http://shop.test/"), after="kept-alive"
    ),
    says="the pods of Service {target} give a connection up that was idle for {timeout}, which the ingress keeps for"
    " 60 s (upstream-keepalive-timeout)",
    reasons=frozenset({"reset", "cut-off"}),
    options={"timeout": Option(span(1, 3600), "5s", "how long a connection may be idle", "{:.0f} s")},
    thread="https://github.com/kubernetes/ingress-nginx/issues/3099",
    doubts=_doubts,
    traced=Traced("client", "http://shop.test/", method="POST", options={"timeout": "1s"}),
)
