"""What every lab has without being asked for, by name: its DNS and its ingress controller."""

from __future__ import annotations

from collections.abc import Mapping

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import IPV4, IPV6, Family

INGRESS_NAMESPACE, INGRESS_NAME = "ingress-nginx", "ingress-nginx-controller"
DNS_NAMESPACE, DNS_SERVICE = "kube-system", "kube-dns"
INGRESS_CLASS_NAME, CONTROLLER = "nginx", "k8s.io/ingress-nginx"
API_NAMESPACE, API_SERVICE, API_PORT = "default", "kubernetes", 6443
"""The Service of the API server, and the port of its endpoint, which is kubeadm's."""
NODE_CACHE_NAME, NODE_CACHE_UPSTREAM = "node-local-dns", "kube-dns-upstream"
"""NodeLocal DNSCache, as its manifest in kubernetes/kubernetes has it."""
NODE_CACHE_ADDRESSES: Mapping[Family, str] = {IPV4: "169.254.20.10", IPV6: "fd00:20::10"}
"""The usual one in IPv4; in IPv6 the documentation wants a unique local one (RFC 4193), as links' are a link's own."""
SERVED_BY = {"emulab.dev/served-by": "load-balancers"}
INGRESS_SETTINGS: Mapping[str, str] = {"use-proxy-protocol": "true"}
"""What the ConfigMap of the ingress controller says: the balancers in front of it tell it who clients are."""
KEPT_SETTINGS = "emulab.dev/kept-settings"
"""The annotation of a user's ConfigMap in that one's place, with the keys that it has of the lab's own."""


def cluster_dns_address(cluster: Cluster) -> str:
    """The cluster IP of kube-dns: the tenth of the service range, as kubeadm gives it (10.96.0.10)."""
    return str(cluster.service_cidrs[0][10])


def node_cache_address(cluster: Cluster) -> str:
    """Where the caches of all nodes answer, in the primary family as kube-dns does."""
    return NODE_CACHE_ADDRESSES[cluster.families[0]]


def asked_dns_address(cluster: Cluster) -> str:
    """Whom Pods ask (the kubelet's `clusterDNS`): kube-dns, or the cache of their node."""
    return node_cache_address(cluster) if cluster.node_cache else cluster_dns_address(cluster)


def api_address(cluster: Cluster) -> str:
    """The cluster IP of the Service `kubernetes`: the first of the service range (`--service-cluster-ip-range`)."""
    return str(cluster.service_cidrs[0][1])
