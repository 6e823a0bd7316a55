"""All kinds that there are, one line each. Nothing else lists kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emulab.kinds.kind import ADDRESSED, ALL, BROUGHT, COUNTED, EXPOSED, PLACE, SCALABLE, WORKLOAD, Kind
from emulab.model.keys import GroupKind


class Registry:
    """Kinds by what they are and by all their names, in the order in which messages list them."""

    def __init__(self) -> None:
        self._kinds: dict[GroupKind, Kind] = {}
        self._custom: dict[GroupKind, Kind] = {}
        self._served: dict[tuple[str, str], Kind] = {}

    def add(self, kind: Kind) -> Kind:
        self._kinds[kind] = kind
        self._served |= {(version, kind.kind): kind for version in kind.served_as}
        return kind

    def serving(self, api_version: object, kind: object) -> Kind | None:
        """The kind whose objects an API server also has in that version of another group (`served_as`)."""
        return self._served.get((str(api_version), str(kind)))

    def remove(self, kind: GroupKind) -> None:
        del self._kinds[kind]

    def adopt(
        self, api_version: str, kind: str, plural: str = "", *short: str, namespaced: bool = True
    ) -> Kind:
        """The kind of that name in an API group that isn't the registry's: a cluster has CustomResourceDefinitions.

        Such kinds are no part of the registry's list. What one is called is guessed where nobody says it, as kubectl
        guesses it (apimachinery's `UnsafeGuessKindToResource`).
        """
        group, lower = api_version.rpartition("/")[0], kind.lower()
        known = self._custom.get(GroupKind(group, kind))
        if known is None or plural:
            ending = "es" if lower.endswith("s") else "ies" if lower.endswith("y") else "s"
            guess = lower.removesuffix("y") + ending if ending == "ies" else lower + ending
            home = "emulab.kinds.custom"
            known = Kind(api_version, kind, plural or guess, *short, namespaced=namespaced, home=home)
            self._custom[known] = known
        return known

    @property
    def custom(self) -> list[Kind]:
        """The kinds that were adopted."""
        return list(self._custom.values())

    def is_own(self, group: str) -> bool:
        """Whether an API group is one of the registry's, or of Kubernetes': those of CustomResourceDefinitions have a
        dot in them (`ValidateCustomResourceDefinition`). Beside a kind that others bring there may be more."""
        return "." not in group or any(
            kind.group == group and BROUGHT not in kind.categories for kind in self
        )

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def __getitem__(self, kind: GroupKind) -> Kind:
        own = self._kinds.get(kind)
        return own if own is not None else self._custom[kind]

    def get(self, kind: GroupKind) -> Kind | None:
        if kind in self._kinds:
            return self._kinds[kind]
        return self._custom.get(kind)

    def of(self, category: str) -> list[Kind]:
        """The kinds of a category."""
        return [kind for kind in self if category in kind.categories]

    def named(self, name: str) -> Kind | None:
        """The kind that kubectl knows by that name, in whichever form and case.

        That is its kind, its plural or a short name, with or without its group and version: `deploy`,
        `Deployment`, `deployments.apps`, `deployments.v1.apps`. A bare name is that of the first kind which has it.
        """
        first, _, rest = name.lower().partition(".")
        kinds: list[Kind] = [*self, *self.custom]
        for kind in kinds:
            if first in (kind.singular, kind.plural, *kind.short) and (not rest or rest in kind.qualifiers):
                return kind
        return None


KINDS = Registry()
_add = KINDS.add

_EMULAB = "emulab.dev/v1"
_NETWORKING = "networking.k8s.io/v1"

NAMESPACE = _add(Kind("v1", "Namespace", "namespaces", "ns", namespaced=False))
POD = _add(Kind("v1", "Pod", "pods", "po", categories=(ALL, EXPOSED)))
DEPLOYMENT = _add(
    Kind("apps/v1", "Deployment", "deployments", "deploy", categories=(ALL, WORKLOAD, SCALABLE, EXPOSED))
)
REPLICA_SET = _add(
    Kind("apps/v1", "ReplicaSet", "replicasets", "rs", categories=(ALL, WORKLOAD, SCALABLE, EXPOSED))
)
STATEFUL_SET = _add(
    Kind("apps/v1", "StatefulSet", "statefulsets", "sts", categories=(ALL, WORKLOAD, SCALABLE))
)
REPLICATION_CONTROLLER = _add(
    Kind(
        "v1",
        "ReplicationController",
        "replicationcontrollers",
        "rc",
        categories=(ALL, WORKLOAD, SCALABLE, EXPOSED, COUNTED),
    )
)
DAEMON_SET = _add(Kind("apps/v1", "DaemonSet", "daemonsets", "ds", categories=(ALL, WORKLOAD)))
SERVICE = _add(Kind("v1", "Service", "services", "svc", categories=(ALL, ADDRESSED, COUNTED, EXPOSED)))
ENDPOINT_SLICE = _add(Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", "eps"))
ENDPOINTS = _add(Kind("v1", "Endpoints", "endpoints", "ep"))
INGRESS = _add(Kind(_NETWORKING, "Ingress", "ingresses", "ing"))
INGRESS_CLASS = _add(Kind(_NETWORKING, "IngressClass", "ingressclasses", namespaced=False))
CONFIG_MAP = _add(Kind("v1", "ConfigMap", "configmaps", "cm", categories=(COUNTED,)))
SECRET = _add(Kind("v1", "Secret", "secrets", categories=(COUNTED,)))
EVENT = _add(Kind("v1", "Event", "events", "ev", served_as=("events.k8s.io/v1",)))
DESTINATION_RULE = _add(
    Kind(
        *("networking.istio.io/v1", "DestinationRule", "destinationrules", "dr"),
        categories=(BROUGHT,),
        also=("networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"),
    )
)
NETWORK_POLICY = _add(Kind(_NETWORKING, "NetworkPolicy", "networkpolicies", "netpol"))
CLUSTER_NETWORK_POLICY = _add(
    Kind(
        *("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", "clusternetworkpolicies", "cnp"),
        namespaced=False,
        categories=(BROUGHT,),
        home="emulab.kinds.networking.clusternetworkpolicy",
    )
)
IP_POOL = _add(
    Kind(
        *("projectcalico.org/v3", "IPPool", "ippools"),
        namespaced=False,
        categories=(BROUGHT,),
        home="emulab.kinds.networking.ippool",
        served_as=("crd.projectcalico.org/v1",),
    )
)
CLUSTER = _add(Kind(_EMULAB, "Cluster", "clusters", namespaced=False))
LOAD_BALANCER = _add(
    Kind(_EMULAB, "LoadBalancer", "loadbalancers", "lb", namespaced=False, categories=(PLACE, ADDRESSED))
)
NODE = _add(Kind("v1", "Node", "nodes", "no", namespaced=False, categories=(PLACE, ADDRESSED)))
CLIENT = _add(Kind(_EMULAB, "Client", "clients", namespaced=False, categories=(PLACE, ADDRESSED)))
RESOLVER = _add(Kind(_EMULAB, "Resolver", "resolvers", namespaced=False, categories=(PLACE, ADDRESSED)))
ZONE = _add(Kind(_EMULAB, "Zone", "zones", namespaced=False))
FAULT = _add(Kind(_EMULAB, "Fault", "faults", namespaced=False))

# Kinds of Kubernetes that have no bearing on packets or programs: kept and shown.

_RBAC, _STORAGE, _ADMISSION = (
    "rbac.authorization.k8s.io/v1",
    "storage.k8s.io/v1",
    "admissionregistration.k8s.io/v1",
)
_RESOURCE, _FLOW = "resource.k8s.io/v1", "flowcontrol.apiserver.k8s.io/v1"


def _aside(
    api_version: str, kind: str, plural: str, *short: str, home: str = "emulab.kinds.aside", **more: Any
) -> Kind:
    return _add(Kind(api_version, kind, plural, *short, home=home, **more))


SERVICE_ACCOUNT = _aside("v1", "ServiceAccount", "serviceaccounts", "sa")
PERSISTENT_VOLUME_CLAIM = _add(
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", categories=(COUNTED,))
)
PERSISTENT_VOLUME = _add(Kind("v1", "PersistentVolume", "persistentvolumes", "pv", namespaced=False))
LIMIT_RANGE = _add(Kind("v1", "LimitRange", "limitranges", "limits"))
RESOURCE_QUOTA = _add(Kind("v1", "ResourceQuota", "resourcequotas", "quota", categories=(COUNTED,)))
_aside("v1", "PodTemplate", "podtemplates")
CONTROLLER_REVISION = _add(Kind("apps/v1", "ControllerRevision", "controllerrevisions"))
CLUSTER_ROLE = _aside(_RBAC, "ClusterRole", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDING = _aside(_RBAC, "ClusterRoleBinding", "clusterrolebindings", namespaced=False)
ROLE = _aside(_RBAC, "Role", "roles")
ROLE_BINDING = _aside(_RBAC, "RoleBinding", "rolebindings")
STORAGE_CLASS = _add(Kind(_STORAGE, "StorageClass", "storageclasses", "sc", namespaced=False))
_aside(_STORAGE, "CSIDriver", "csidrivers", namespaced=False)
_aside(_STORAGE, "CSINode", "csinodes", namespaced=False)
_aside(_STORAGE, "CSIStorageCapacity", "csistoragecapacities")
_aside(_STORAGE, "VolumeAttachment", "volumeattachments", namespaced=False)
_aside(_STORAGE, "VolumeAttributesClass", "volumeattributesclasses", "vac", namespaced=False)
HORIZONTAL_POD_AUTOSCALER = _aside(
    *("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa"),
    categories=(ALL,),
    also=("autoscaling/v1",),
    home="emulab.kinds.apps.horizontalpodautoscaler",
)
POD_DISRUPTION_BUDGET = _aside(
    *("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb"),
    home="emulab.kinds.apps.poddisruptionbudget",
)
PRIORITY_CLASS = _aside("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", "pc", namespaced=False)
RUNTIME_CLASS = _aside("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", namespaced=False)
_aside("coordination.k8s.io/v1", "Lease", "leases")
_aside(_NETWORKING, "IPAddress", "ipaddresses", "ip", namespaced=False)
_add(
    Kind(
        *(_NETWORKING, "ServiceCIDR", "servicecidrs"),
        namespaced=False,
        home="emulab.kinds.networking.servicecidr",
    )
)
CUSTOM_RESOURCE_DEFINITION = _aside(
    *("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", "crd", "crds"),
    namespaced=False,
)
_aside("apiregistration.k8s.io/v1", "APIService", "apiservices", namespaced=False)
_aside(_ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", namespaced=False)
_aside(_ADMISSION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", namespaced=False)
_aside(_ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", namespaced=False)
_aside(_ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", namespaced=False)
_aside(
    "certificates.k8s.io/v1",
    "CertificateSigningRequest",
    "certificatesigningrequests",
    "csr",
    namespaced=False,
)
_aside(_FLOW, "FlowSchema", "flowschemas", namespaced=False)
_aside(_FLOW, "PriorityLevelConfiguration", "prioritylevelconfigurations", namespaced=False)
_aside(_RESOURCE, "DeviceClass", "deviceclasses", namespaced=False)
_aside(_RESOURCE, "ResourceClaim", "resourceclaims")
_aside(_RESOURCE, "ResourceClaimTemplate", "resourceclaimtemplates")
_aside(_RESOURCE, "ResourceSlice", "resourceslices", namespaced=False)

JOB = _add(Kind("batch/v1", "Job", "jobs", categories=(ALL, WORKLOAD)))
CRON_JOB = _add(Kind("batch/v1", "CronJob", "cronjobs", "cj", categories=(ALL,)))
