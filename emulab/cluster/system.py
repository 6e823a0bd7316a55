"""The objects that every lab has without being asked for: what a cluster's installer would have put there.

A user's object of the same key takes the place of the one here; a user's ingress controller takes that of all that is
the ingress controller here (`emulab.cluster.brought`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.podnetworks import CALICO
from emulab.kinds.images import DNS_IMAGE, NODE_CACHE_IMAGE, ingress_image
from emulab.kinds.installed import (
    API_NAMESPACE,
    API_PORT,
    API_SERVICE,
    CONTROLLER,
    DNS_NAMESPACE,
    DNS_SERVICE,
    INGRESS_CLASS_NAME,
    INGRESS_NAME,
    INGRESS_NAMESPACE,
    INGRESS_SETTINGS,
    NODE_CACHE_NAME,
    NODE_CACHE_UPSTREAM,
    SERVED_BY,
    api_address,
    cluster_dns_address,
    node_cache_address,
)
from emulab.kinds.kind import Kind
from emulab.kinds.networking.ippoolview import pool_spec
from emulab.kinds.registry import (
    CLIENT,
    CONFIG_MAP,
    DAEMON_SET,
    DEPLOYMENT,
    INGRESS_CLASS,
    IP_POOL,
    LOAD_BALANCER,
    NAMESPACE,
    SERVICE,
    STORAGE_CLASS,
)
from emulab.kinds.storage.storageclass import IS_DEFAULT, WAITS
from emulab.model.objects import Object

_APART = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
"""Where Pods of the ingress controller are as far apart as they can be, so that one zone's end isn't that of all."""


def system_objects(cluster: Cluster, ingress: bool = True) -> list[Object]:
    """Namespaces, the API's Service, cluster DNS, the default client and the public balancer; the ingress controller,
    unless there is another one; a class of volumes."""
    return [
        *(_object(NAMESPACE, name) for name in ("default", DNS_NAMESPACE, INGRESS_NAMESPACE)),
        _object(CLIENT, "client", spec={"network": "internet"}),
        _object(
            LOAD_BALANCER,
            "public-lb",
            spec={
                "network": "internet",
                "address": str(cluster.underlays[0].public_lb),
                "ports": [80, 443],
                "target": {"ingress": True},
            },
        ),
        _storage_class(),
        _api(cluster),
        *_cluster_dns(cluster),
        *_address_pools(cluster),
        *(_node_caches(cluster) if cluster.node_cache else ()),
        *(_ingress_controller(cluster) if ingress else ()),
    ]


def _object(
    kind: Kind,
    name: str,
    namespace: str = "",
    spec: Mapping[str, Any] | None = None,
    **metadata: Any,
) -> Object:
    raw: dict[str, Any] = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, **metadata},
    }
    if namespace:
        raw["metadata"]["namespace"] = namespace
    if spec is not None:
        raw["spec"] = dict(spec)
    return Object(raw)


def _deployment(
    name: str,
    namespace: str,
    labels: dict[str, str],
    replicas: int,
    container: dict[str, Any],
    dns_policy: str,
    spread_over: tuple[str, ...] = (),
) -> Object:
    """`spread_over`: the labels of nodes whose values shall have as many Pods as the others, as far as that goes."""
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": label,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
        for label in spread_over
    ]
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "containers": [container],
                "dnsPolicy": dns_policy,
                "terminationGracePeriodSeconds": 30,
                **({"topologySpreadConstraints": spread} if spread else {}),
            },
        },
    }
    return _object(DEPLOYMENT, name, namespace, spec, labels=labels)


def _storage_class() -> Object:
    """A class for claims that name none, as small clusters have it."""
    raw = {
        "apiVersion": STORAGE_CLASS.api_version,
        "kind": STORAGE_CLASS.kind,
        "metadata": {"name": "standard", "annotations": {IS_DEFAULT: "true"}},
        "provisioner": "emulab.dev/folder",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": WAITS,
        "allowVolumeExpansion": True,
    }
    return Object(raw)


def _api(cluster: Cluster) -> Object:
    """The Service `kubernetes`, which an API server makes at its start."""
    address = api_address(cluster)
    service = {
        "type": "ClusterIP",
        "clusterIP": address,
        "clusterIPs": [address],
        "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": API_PORT}],
    }
    labels = {"component": "apiserver", "provider": "kubernetes"}
    return _object(SERVICE, API_SERVICE, API_NAMESPACE, service, labels=labels)


def _address_pools(cluster: Cluster) -> list[Object]:
    """What calico-node makes of a network of which no pool gives addresses (node/pkg/lifecycle/startup)."""
    if cluster.network_plugin != CALICO or cluster.chain:
        return []
    return [
        _object(
            IP_POOL,
            f"default-ipv{family.version}-ippool",
            spec=pool_spec(network, cluster.network_mode, not cluster.has_global_pods(family)),
        )
        for family in cluster.families
        for network in cluster.pods_of(family)
        if not any(pool.has_pods((network,)) for pool in cluster.pools)
    ]


def _cluster_dns(cluster: Cluster) -> list[Object]:
    labels = {"k8s-app": "kube-dns"}
    address = cluster_dns_address(cluster)
    container = {
        "name": "coredns",
        "image": DNS_IMAGE,
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9153, "protocol": "TCP"},
            {"name": "liveness-probe", "containerPort": 8080, "protocol": "TCP"},
            {"name": "readiness-probe", "containerPort": 8181, "protocol": "TCP"},
        ],
        # As kubeadm has them (cmd/kubeadm/app/phases/addons/dns/manifests.go): a Corefile without the plug-ins that
        # answer them costs its pods their readiness, and then their lives.
        "livenessProbe": {
            "httpGet": {"path": "/health", "port": "liveness-probe", "scheme": "HTTP"},
            "initialDelaySeconds": 60,
            "timeoutSeconds": 5,
            "failureThreshold": 5,
        },
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "readiness-probe", "scheme": "HTTP"}},
    }
    service = {
        "type": "ClusterIP",
        "clusterIP": address,
        "clusterIPs": [address],
        "selector": labels,
        "ports": [
            {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53},
            {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": 53},
            {"name": "metrics", "protocol": "TCP", "port": 9153, "targetPort": 9153},
        ],
    }
    return [
        _deployment("coredns", DNS_NAMESPACE, labels, 2, container, "Default"),
        _object(SERVICE, DNS_SERVICE, DNS_NAMESPACE, service, labels=labels),
    ]


_NODE_CACHE_COREFILE = """\
DOMAIN:53 {
    errors
    cache {
        success 9984 30
        denial 9984 5
    }
    reload
    loop
    bind __PILLAR__LOCAL__DNS__
    forward . __PILLAR__CLUSTER__DNS__ {
        force_tcp
    }
    prometheus :9253
    health __PILLAR__LOCAL__DNS__:8080
}
in-addr.arpa:53 ip6.arpa:53 {
    errors
    cache 30
    reload
    loop
    bind __PILLAR__LOCAL__DNS__
    forward . __PILLAR__CLUSTER__DNS__ {
        force_tcp
    }
    prometheus :9253
}
.:53 {
    errors
    cache 30
    reload
    loop
    bind __PILLAR__LOCAL__DNS__
    forward . __PILLAR__UPSTREAM__SERVERS__
    prometheus :9253
}
"""


def _node_caches(cluster: Cluster) -> list[Object]:
    """NodeLocal DNSCache as kubelets are told of it (cluster/addons/dns/nodelocaldns of kubernetes/kubernetes)."""
    name, labels = NODE_CACHE_NAME, {"k8s-app": NODE_CACHE_NAME}
    dns = [
        {"name": f"dns{p}", "port": 53, "protocol": q, "targetPort": 53}
        for p, q in (("", "UDP"), ("-tcp", "TCP"))
    ]
    metrics = [{"name": "metrics", "port": 9253, "targetPort": 9253, "protocol": "TCP"}]
    corefile = {**_object(CONFIG_MAP, name, DNS_NAMESPACE).raw}
    corefile["data"] = {"Corefile": _NODE_CACHE_COREFILE.replace("DOMAIN", cluster.cluster_domain, 1)}
    container = {
        "name": "node-cache",
        "image": NODE_CACHE_IMAGE,
        "args": [
            "-localip",
            node_cache_address(cluster),
            "-conf",
            "/etc/Corefile",
            "-upstreamsvc",
            NODE_CACHE_UPSTREAM,
        ],
        "ports": [
            *({"name": p["name"], "containerPort": 53, "protocol": p["protocol"]} for p in dns),
            {"name": "metrics", "containerPort": 9253, "protocol": "TCP"},
        ],
        "livenessProbe": {
            "httpGet": {"host": node_cache_address(cluster), "path": "/health", "port": 8080},
            "initialDelaySeconds": 60,
            "timeoutSeconds": 5,
        },
        "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/coredns"}],
    }
    volume = {"configMap": {"name": name, "items": [{"key": "Corefile", "path": "Corefile.base"}]}}
    pod = {
        "hostNetwork": True,
        "dnsPolicy": "Default",
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [{"name": "config-volume", **volume}],
    }
    daemons = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    upstream = {"selector": {"k8s-app": "kube-dns"}, "ports": dns}
    return [
        _object(SERVICE, NODE_CACHE_UPSTREAM, DNS_NAMESPACE, upstream, labels={"k8s-app": "kube-dns"}),
        Object(corefile),
        _object(DAEMON_SET, name, DNS_NAMESPACE, daemons, labels=labels),
        _object(
            SERVICE,
            name,
            DNS_NAMESPACE,
            {"clusterIP": "None", "selector": labels, "ports": metrics},
            labels=labels,
        ),
    ]


def _ingress_controller(cluster: Cluster) -> list[Object]:
    labels = {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}
    container = {
        "name": "controller",
        "image": ingress_image(cluster.ingress_engine),
        "args": [
            f"--publish-service={INGRESS_NAMESPACE}/{INGRESS_NAME}",
            f"--controller-class={CONTROLLER}",
            f"--ingress-class={INGRESS_CLASS_NAME}",
            "--watch-ingress-without-class=true",
            f"--configmap={INGRESS_NAMESPACE}/{INGRESS_NAME}",
            "--enable-metrics=true",
        ],
        "ports": [{"name": "http", "containerPort": 80}, {"name": "https", "containerPort": 443}],
    }
    dual = {"ipFamilyPolicy": "PreferDualStack"} if len(cluster.families) > 1 else {}
    service = {
        "type": "LoadBalancer",
        **dual,
        "selector": labels,
        "ports": [
            {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"},
            {"name": "https", "protocol": "TCP", "port": 443, "targetPort": "https"},
        ],
    }
    settings = {**_object(CONFIG_MAP, INGRESS_NAME, INGRESS_NAMESPACE, labels=labels).raw}
    settings["data"] = dict(INGRESS_SETTINGS)
    return [
        Object(settings),
        _object(INGRESS_CLASS, INGRESS_CLASS_NAME, spec={"controller": CONTROLLER}),
        _deployment(
            *(INGRESS_NAME, INGRESS_NAMESPACE, labels, cluster.ingress_replicas, container, "ClusterFirst"),
            spread_over=_APART,
        ),
        _object(SERVICE, INGRESS_NAME, INGRESS_NAMESPACE, service, labels=labels, annotations=SERVED_BY),
    ]
