"""The typed view of workloads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.dataclass import dataclass
from emulab.kinds.apps.rollouts import OF_DEPLOYMENTS, OF_SETS
from emulab.kinds.registry import DEPLOYMENT
from emulab.model.objects import Object


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment, ReplicaSet, StatefulSet or DaemonSet."""

    kind: str
    namespace: str
    name: str
    replicas: int  # 1 when not given; meaningless for DaemonSet
    selector: Mapping[str, Any]  # LabelSelector
    template: Mapping[str, Any]  # metadata and spec of the pods, as given
    service_name: str  # StatefulSet
    pod_management: str  # StatefulSet: OrderedReady | Parallel
    strategy: str  # Deployment: RollingUpdate | Recreate; others: RollingUpdate | OnDelete
    max_surge: int | str  # Deployment rolling update: a number or "25%"
    max_unavailable: int | str

    @staticmethod
    def of(o: Object) -> Workload:
        spec = o.spec
        rollout = OF_DEPLOYMENTS if o.type == DEPLOYMENT else OF_SETS
        strategy = spec.get(rollout.field) or {}
        rolling = strategy.get("rollingUpdate") or {}
        replicas = spec.get("replicas")
        return Workload(
            kind=o.kind,
            namespace=o.namespace,
            name=o.name,
            replicas=1 if replicas is None else replicas,
            selector=spec.get("selector") or {},
            template=spec.get("template") or {},
            service_name=spec.get("serviceName") or "",
            pod_management=spec.get("podManagementPolicy") or "OrderedReady",
            strategy=strategy.get("type") or "RollingUpdate",
            max_surge=_given(rolling.get("maxSurge"), rollout.max_surge),
            max_unavailable=_given(rolling.get("maxUnavailable"), rollout.max_unavailable),
        )


def _given(value: int | str | None, default: int | str) -> int | str:
    return default if value is None else value
