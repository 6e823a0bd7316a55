"""What every lab has without being asked for, by name: its DNS, its ingress controller, and their images."""

from __future__ import annotations

from emulab.kinds.emulab.clusterview import Cluster

DNS_IMAGE, INGRESS_IMAGE = "emulab.dev/coredns", "emulab.dev/ingress-nginx-controller"
SERVER_IMAGES = {DNS_IMAGE: "dns", INGRESS_IMAGE: "ingress"}
"""Images that are servers of emulab, run in a process of their own in the pod, and which server."""

INGRESS_NAMESPACE, INGRESS_NAME = "ingress-nginx", "ingress-nginx-controller"
DNS_NAMESPACE, DNS_SERVICE = "kube-system", "kube-dns"
INGRESS_CLASS_NAME, CONTROLLER = "nginx", "k8s.io/ingress-nginx"
API_NAMESPACE, API_SERVICE, API_PORT = "default", "kubernetes", 6443
"""The Service of the API server, and the port of its endpoint, which is kubeadm's."""
SERVED_BY = {"emulab.dev/served-by": "load-balancers"}


def cluster_dns_address(cluster: Cluster) -> str:
    """The cluster IP of kube-dns: the tenth of the service range, as kubeadm gives it (10.96.0.10)."""
    return str(cluster.service_cidrs[0][10])


def api_address(cluster: Cluster) -> str:
    """The cluster IP of the Service `kubernetes`: the first of the service range (`--service-cluster-ip-range`)."""
    return str(cluster.service_cidrs[0][1])
