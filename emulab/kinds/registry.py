"""All kinds that there are, one line each. Nothing else lists kinds."""

from __future__ import annotations

from collections.abc import Iterator

from emulab.kinds.kind import ADDRESSED, ALL, PLACE, SCALABLE, WORKLOAD, Kind
from emulab.model.keys import GroupKind


class Registry:
    """Kinds by what they are and by all their names, in the order in which messages list them."""

    def __init__(self) -> None:
        self._kinds: dict[GroupKind, Kind] = {}

    def add(self, kind: Kind) -> Kind:
        self._kinds[kind] = kind
        return kind

    def remove(self, kind: GroupKind) -> None:
        del self._kinds[kind]

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def __getitem__(self, kind: GroupKind) -> Kind:
        return self._kinds[kind]

    def get(self, kind: GroupKind) -> Kind | None:
        return self._kinds.get(kind)

    def of(self, category: str) -> list[Kind]:
        """The kinds of a category."""
        return [kind for kind in self if category in kind.categories]

    def named(self, name: str) -> Kind | None:
        """The kind that kubectl knows by that name, in whichever form and case.

        That is its kind, its plural or a short name, with or without its group and version: `deploy`,
        `Deployment`, `deployments.apps`, `deployments.v1.apps`. A bare name is that of the first kind which has it.
        """
        first, _, rest = name.lower().partition(".")
        for kind in self:
            if first in (kind.singular, kind.plural, *kind.short) and (not rest or rest in kind.qualifiers):
                return kind
        return None


KINDS = Registry()
_add = KINDS.add

_EMULAB = "emulab.dev/v1"
_NETWORKING = "networking.k8s.io/v1"

NAMESPACE = _add(Kind("v1", "Namespace", "namespaces", "ns", namespaced=False))
POD = _add(Kind("v1", "Pod", "pods", "po", categories=(ALL,)))
DEPLOYMENT = _add(
    Kind("apps/v1", "Deployment", "deployments", "deploy", categories=(ALL, WORKLOAD, SCALABLE))
)
REPLICA_SET = _add(Kind("apps/v1", "ReplicaSet", "replicasets", "rs", categories=(ALL, WORKLOAD, SCALABLE)))
STATEFUL_SET = _add(
    Kind("apps/v1", "StatefulSet", "statefulsets", "sts", categories=(ALL, WORKLOAD, SCALABLE))
)
DAEMON_SET = _add(Kind("apps/v1", "DaemonSet", "daemonsets", "ds", categories=(ALL, WORKLOAD)))
SERVICE = _add(Kind("v1", "Service", "services", "svc", categories=(ALL, ADDRESSED)))
ENDPOINT_SLICE = _add(
    Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", "ep", "endpoints", "eps")
)
INGRESS = _add(Kind(_NETWORKING, "Ingress", "ingresses", "ing"))
INGRESS_CLASS = _add(Kind(_NETWORKING, "IngressClass", "ingressclasses", namespaced=False))
CONFIG_MAP = _add(Kind("v1", "ConfigMap", "configmaps", "cm"))
SECRET = _add(Kind("v1", "Secret", "secrets"))
EVENT = _add(Kind("v1", "Event", "events", "ev", served_as=("events.k8s.io/v1",)))
NETWORK_POLICY = _add(Kind(_NETWORKING, "NetworkPolicy", "networkpolicies", "netpol"))
CLUSTER = _add(Kind(_EMULAB, "Cluster", "clusters", namespaced=False))
LOAD_BALANCER = _add(
    Kind(_EMULAB, "LoadBalancer", "loadbalancers", "lb", namespaced=False, categories=(PLACE, ADDRESSED))
)
NODE = _add(Kind("v1", "Node", "nodes", "no", namespaced=False, categories=(PLACE, ADDRESSED)))
CLIENT = _add(Kind(_EMULAB, "Client", "clients", namespaced=False, categories=(PLACE, ADDRESSED)))
ZONE = _add(Kind(_EMULAB, "Zone", "zones", namespaced=False))
