"""What every lab has without being asked for, by name: its DNS and its ingress controller."""

from __future__ import annotations

from emulab.kinds.emulab.clusterview import Cluster

INGRESS_NAMESPACE, INGRESS_NAME = "ingress-nginx", "ingress-nginx-controller"
DNS_NAMESPACE, DNS_SERVICE = "kube-system", "kube-dns"
INGRESS_CLASS_NAME, CONTROLLER = "nginx", "k8s.io/ingress-nginx"
API_NAMESPACE, API_SERVICE, API_PORT = "default", "kubernetes", 6443
"""The Service of the API server, and the port of its endpoint, which is kubeadm's."""
NODE_CACHE_NAME, NODE_CACHE_UPSTREAM, NODE_CACHE_ADDRESS = (
    "node-local-dns",
    "kube-dns-upstream",
    "169.254.20.10",
)
"""NodeLocal DNSCache, as its manifest in kubernetes/kubernetes has it."""
SERVED_BY = {"emulab.dev/served-by": "load-balancers"}


def cluster_dns_address(cluster: Cluster) -> str:
    """The cluster IP of kube-dns: the tenth of the service range, as kubeadm gives it (10.96.0.10)."""
    return str(cluster.service_cidrs[0][10])


def asked_dns_address(cluster: Cluster) -> str:
    """Whom Pods ask (the kubelet's `clusterDNS`): kube-dns, or the cache of their node."""
    return NODE_CACHE_ADDRESS if cluster.node_cache else cluster_dns_address(cluster)


def api_address(cluster: Cluster) -> str:
    """The cluster IP of the Service `kubernetes`: the first of the service range (`--service-cluster-ip-range`)."""
    return str(cluster.service_cidrs[0][1])
