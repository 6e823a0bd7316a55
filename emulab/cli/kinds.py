"""The kinds of objects by all the names that kubectl knows them by."""

from __future__ import annotations

from emulab.cli.usage import UsageError
from emulab.dataclass import dataclass
from emulab.model.objects import CLUSTER_SCOPED


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind, its plural (kubectl's resource name), API group and short names."""

    kind: str
    plural: str
    group: str = ""
    short: tuple[str, ...] = ()

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def namespaced(self) -> bool:
        return self.kind not in CLUSTER_SCOPED

    @property
    def resource(self) -> str:
        """Singular and group, as `-o name` begins: `deployment.apps`."""
        return f"{self.singular}.{self.group}" if self.group else self.singular

    @property
    def resources(self) -> str:
        """Plural and group, as errors name them: `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


KINDS = (
    Kind("Pod", "pods", short=("po",)),
    Kind("Service", "services", short=("svc",)),
    Kind("DaemonSet", "daemonsets", "apps", ("ds",)),
    Kind("Deployment", "deployments", "apps", ("deploy",)),
    Kind("ReplicaSet", "replicasets", "apps", ("rs",)),
    Kind("StatefulSet", "statefulsets", "apps", ("sts",)),
    Kind("Ingress", "ingresses", "networking.k8s.io", ("ing",)),
    Kind("IngressClass", "ingressclasses", "networking.k8s.io"),
    Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io", ("netpol",)),
    Kind("EndpointSlice", "endpointslices", "discovery.k8s.io", ("ep", "endpoints", "eps")),
    Kind("ConfigMap", "configmaps", short=("cm",)),
    Kind("Secret", "secrets"),
    Kind("Namespace", "namespaces", short=("ns",)),
    Kind("Node", "nodes", short=("no",)),
    Kind("Cluster", "clusters", "emulab.dev"),
    Kind("LoadBalancer", "loadbalancers", "emulab.dev", ("lb",)),
    Kind("Client", "clients", "emulab.dev"),
    Kind("Zone", "zones", "emulab.dev"),
)

ALL = ("Pod", "Service", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")
"""What `get all` lists."""

_BY_NAME = {
    name: kind
    for kind in KINDS
    for name in (kind.singular, kind.plural, kind.resource, kind.resources, *kind.short)
}


def find(name: str) -> Kind:
    """The kind of that name, in whichever form and case. Raises UsageError."""
    kind = _BY_NAME.get(name.lower())
    if kind is None:
        raise UsageError(f"there is no kind {name!r}; the kinds are {', '.join(k.plural for k in KINDS)}")
    return kind


def find_all(names: str) -> list[Kind]:
    """The kinds of a comma-separated list; `all` stands for pods, Services and workloads. Raises UsageError."""
    found: list[Kind] = []
    for name in names.split(","):
        found += [find(kind) for kind in ALL] if name == "all" else [find(name)]
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Reference:
    """A kind, and a name within it or "" for all."""

    kind: Kind
    name: str


def references(words: list[str], name_required: bool = False) -> list[Reference]:
    """What `KIND`, `KIND NAME…` or `KIND/NAME…` refer to. Raises UsageError."""
    if any("/" in word for word in words):
        found = []
        for word in words:
            kind, slash, name = word.partition("/")
            if not (kind and slash and name):
                raise UsageError(f"{word!r}: write either KIND NAME… or KIND/NAME… for all")
            found.append(Reference(find(kind), name))
        return found
    kinds, names = find_all(words[0]), words[1:]
    if not names and name_required:
        raise UsageError(f"which of the {kinds[0].plural}? Add a name")
    if names and len(kinds) > 1:
        raise UsageError("names go with one kind only")
    return [Reference(kind, name) for kind in kinds for name in (names or [""])]


def not_found(reference: Reference) -> str:
    """kubectl's words for a name that isn't there."""
    return f'Error from server (NotFound): {reference.kind.resources} "{reference.name}" not found'
