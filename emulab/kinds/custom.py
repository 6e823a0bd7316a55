"""Objects of API groups that aren't Kubernetes' own: kept as they are, with a word on what they would make in a cluster
that has their controllers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.kinds.checks import custom_metadata
from emulab.kinds.definition import CUSTOM, Definition
from emulab.kinds.fields import generic
from emulab.kinds.registry import KINDS
from emulab.model.checks import Problems, mapping, string, wrong

PODS, ROUTES, RULES = "pods", "routes", "rules of packets"
NETWORKS = "addresses or networks"

_OF_CALICO = "BGPConfiguration BGPFilter BGPPeer FelixConfiguration IPAMConfiguration IPReservation"

WOULD_MAKE: Mapping[str, Mapping[str, str]] = {
    PODS: {
        "acid.zalan.do": "postgresql",
        "agent.k8s.elastic.co": "Agent",
        "apm.k8s.elastic.co": "ApmServer",
        "app.redislabs.com": "RedisEnterpriseCluster",
        "apps.kruise.io": "AdvancedCronJob BroadcastJob CloneSet DaemonSet StatefulSet UnitedDeployment",
        "argoproj.io": "ArgoCD CronWorkflow Rollout Workflow",
        "beat.k8s.elastic.co": "Beat",
        "cassandra.datastax.com": "CassandraDatacenter",
        "ceph.rook.io": "CephCluster CephFilesystem CephFilesystemMirror CephNFS CephNVMeOFGateway CephObjectStore"
        " CephRBDMirror",
        "databases.spotahome.com": "RedisFailover",
        "elasticsearch.k8s.elastic.co": "Elasticsearch",
        "enterprisesearch.k8s.elastic.co": "EnterpriseSearch",
        "jaegertracing.io": "Jaeger",
        "jobset.x-k8s.io": "JobSet",
        "k8s.nginx.org": "NginxIngress",
        "k8ssandra.io": "K8ssandraCluster",
        "kafka.strimzi.io": "Kafka KafkaBridge KafkaConnect KafkaMirrorMaker2",
        "keda.sh": "ScaledJob",
        "kibana.k8s.elastic.co": "Kibana",
        "kubeflow.org": "MPIJob PyTorchJob TFJob XGBoostJob",
        "kubevirt.io": "VirtualMachine VirtualMachineInstance",
        "leaderworkerset.x-k8s.io": "LeaderWorkerSet",
        "logstash.k8s.elastic.co": "Logstash",
        "maps.k8s.elastic.co": "ElasticMapsServer",
        "minio.min.io": "Tenant",
        "mongodbcommunity.mongodb.com": "MongoDBCommunity",
        "monitoring.coreos.com": "Alertmanager Prometheus PrometheusAgent ThanosRuler",
        "mysql.oracle.com": "InnoDBCluster",
        "opentelemetry.io": "OpenTelemetryCollector",
        "postgresql.cnpg.io": "Cluster",
        "rabbitmq.com": "RabbitmqCluster",
        "ray.io": "RayCluster RayJob RayService",
        "redis.redis.opstreelabs.in": "Redis RedisCluster RedisReplication RedisSentinel",
        "serving.knative.dev": "Configuration Revision Service",
        "serving.kserve.io": "InferenceService",
        "tekton.dev": "PipelineRun TaskRun",
    },
    ROUTES: {
        "cilium.io": "CiliumClusterwideEnvoyConfig CiliumEnvoyConfig",
        "configuration.konghq.com": "TCPIngress UDPIngress",
        "consul.hashicorp.com": "IngressGateway ServiceResolver ServiceRouter ServiceSplitter TerminatingGateway",
        "gateway.networking.k8s.io": "GRPCRoute Gateway HTTPRoute TCPRoute TLSRoute UDPRoute",
        "elbv2.k8s.aws": "TargetGroupBinding",
        "getambassador.io": "Host Listener Mapping TCPMapping",
        "inference.networking.k8s.io": "InferencePool",
        "inference.networking.x-k8s.io": "InferencePool",
        "k8s.nginx.org": "TransportServer VirtualServer VirtualServerRoute",
        "multicluster.x-k8s.io": "ServiceExport ServiceImport",
        "networking.internal.knative.dev": "Ingress",
        "networking.istio.io": "EnvoyFilter Gateway ServiceEntry Sidecar VirtualService WorkloadEntry",
        "projectcontour.io": "HTTPProxy",
        "route.openshift.io": "Route",
        "serving.knative.dev": "DomainMapping Route",
        "split.smi-spec.io": "TrafficSplit",
        "traefik.containo.us": "IngressRoute IngressRouteTCP IngressRouteUDP TraefikService",
        "traefik.io": "IngressRoute IngressRouteTCP IngressRouteUDP TraefikService",
    },
    RULES: {
        "cilium.io": "CiliumClusterwideNetworkPolicy CiliumNetworkPolicy",
        "crd.antrea.io": "ClusterNetworkPolicy NetworkPolicy",
        "consul.hashicorp.com": "ServiceIntentions",
        "crd.projectcalico.org": "GlobalNetworkPolicy HostEndpoint NetworkPolicy",
        "k8s.cni.cncf.io": "MultiNetworkPolicy",
        "k8s.ovn.org": "AdminPolicyBasedExternalRoute EgressFirewall EgressQoS",
        "networking.gke.io": "FQDNNetworkPolicy",
        "policy.networking.k8s.io": "AdminNetworkPolicy BaselineAdminNetworkPolicy ClusterNetworkPolicy",
        "projectcalico.org": "GlobalNetworkPolicy HostEndpoint NetworkPolicy",
        "security.istio.io": "AuthorizationPolicy PeerAuthentication RequestAuthentication",
        "vpcresources.k8s.aws": "SecurityGroupPolicy",
    },
    NETWORKS: {
        "cilium.io": "CiliumBGPAdvertisement CiliumBGPClusterConfig CiliumBGPPeerConfig CiliumBGPPeeringPolicy"
        " CiliumEgressGatewayPolicy CiliumL2AnnouncementPolicy CiliumLoadBalancerIPPool CiliumLocalRedirectPolicy"
        " CiliumNodeConfig CiliumPodIPPool",
        "crd.antrea.io": "BGPPolicy Egress ExternalIPPool ExternalNode IPPool TrafficControl",
        "crd.k8s.amazonaws.com": "ENIConfig",
        "crd.projectcalico.org": _OF_CALICO,
        "k8s.ovn.org": "ClusterUserDefinedNetwork EgressIP EgressService UserDefinedNetwork",
        "kubeovn.io": "Subnet Vpc VpcNatGateway",
        "k8s.cni.cncf.io": "NetworkAttachmentDefinition",
        "metallb.io": "AddressPool BGPAdvertisement BGPPeer IPAddressPool L2Advertisement",
        "operator.tigera.io": "Installation",
        "projectcalico.org": _OF_CALICO,
    },
}
"""What objects of well-known kinds make in a cluster, by API group."""


def define(crd: Mapping[str, Any]) -> None:
    """The kind of a CustomResourceDefinition: what it is called, and whether it is in namespaces."""
    spec = crd["spec"]
    names, version = spec["names"], spec["versions"][0]["name"] if spec["versions"] else "v1"
    KINDS.adopt(
        *(f"{spec['group']}/{version}", names["kind"], names["plural"], *(names.get("shortNames") or ())),
        namespaced=spec["scope"] == "Namespaced",
    )


def would_make(group: str, kind: str, spec: Mapping[str, Any]) -> str:
    """What an object would make, or "". One that has a Pod's template is taken to make Pods, whatever it is."""
    for what, groups in WOULD_MAKE.items():
        if kind in groups.get(group, "").split():
            return what
    return PODS if _has_template(spec) else ""


def _has_template(spec: Mapping[str, Any]) -> bool:
    for template in spec.values() if isinstance(spec, Mapping) else ():
        inner = template.get("spec") if isinstance(template, Mapping) else None
        if isinstance(inner, Mapping) and isinstance(inner.get("containers"), list):
            return True
    return False


_FILES = {
    "apiserver.config.k8s.io": "kube-apiserver",
    "k3d.io": "k3d",
    "kind.x-k8s.io": "kind",
    "kubeadm.k8s.io": "kubeadm",
    "kubelet.config.k8s.io": "the kubelet",
    "kubeproxy.config.k8s.io": "kube-proxy",
    "kubescheduler.config.k8s.io": "kube-scheduler",
}
"""Groups whose kinds are files that programs read, with no metadata, and whose files these are."""

_object = mapping({"apiVersion": string, "kind": string, "metadata": custom_metadata}, required=("metadata",))


def _check(raw: dict[str, Any]) -> Problems:
    whose = _FILES.get(str(raw.get("apiVersion")).partition("/")[0])
    if whose and "metadata" not in raw:
        what = "and no object: what nodes have is said by a Cluster of emulab.dev/v1 (`emulab explain cluster.spec`)"
        return wrong(f"is {whose}'s own configuration, {what}")
    return _object(raw)


DEFINITION = Definition(
    check=_check,
    standing=CUSTOM,
    describe=generic,
)
