"""What the fields of emulab's own kinds are, as `emulab explain` says it and docs/kinds.md shows it.

A table beside the schemas, which say what is right and not what it is for; a test holds that both have the same fields.
It has the form of `emulab.kinds.openapi.table`, so that who explains Kubernetes' kinds explains these.
"""

from __future__ import annotations

from collections.abc import Mapping

from emulab.kinds.emulab.describedbalancer import LOAD_BALANCER_FIELDS
from emulab.kinds.emulab.describednames import RESOLVER, ZONE
from emulab.kinds.emulab.ownfield import METADATA, OwnField
from emulab.kinds.kind import Kind
from emulab.kinds.networking.describedpolicies import ABOUT as ABOUT_CLUSTER_POLICY
from emulab.kinds.networking.describedpolicies import FIELDS as CLUSTER_POLICY
from emulab.kinds.openapi.table import ApiField

_CLUSTER = {
    "emulab.v1.Cluster": {
        "metadata": METADATA,
        "spec": OwnField("emulab.v1.ClusterSpec", "What the cluster has"),
    },
    "emulab.v1.ClusterSpec": {
        "nodes": OwnField(
            "[emulab.v1.ClusterNode]", "The nodes, or their number: node1, node2, … A lab has 1 to 2000", "2"
        ),
        "podCIDR": OwnField(
            "string",
            "Network of the pods, of which each node has a /24, or a /64 of IPv6 (by default of fd00:244::/48), "
            "with calico blocks, a /26 or a /122 at least; of two families, one of each with a comma between. "
            "Can't be changed in a running lab",
            "10.244.0.0/16",
        ),
        "serviceCIDR": OwnField(
            "string",
            "Network of the Services' addresses, a /27 at least, or a /123 of IPv6 (by default fd00:96::/112); of two "
            "families, one of each. Its first is that of `kubernetes`, its tenth that of `kube-dns`. Can't be changed "
            "in a running lab",
            "10.96.0.0/12",
        ),
        "clusterDomain": OwnField(
            "string", "Zone of the cluster's DNS. Can't be changed in a running lab", "cluster.local"
        ),
        "network": OwnField("emulab.v1.ClusterNetwork", "How pods of different nodes reach each other"),
        "proxy": OwnField("emulab.v1.ClusterProxy", "How a node makes Services' addresses work"),
        "containers": OwnField("emulab.v1.ClusterContainers", "What runs in containers"),
        "pods": OwnField("emulab.v1.ClusterPods", "What pods have of this machine"),
        "dns": OwnField("emulab.v1.ClusterDNS", "Caches on nodes, and the internet's DNS"),
        "nodeLifecycle": OwnField(
            "emulab.v1.ClusterNodeLifecycle",
            "What becomes of nodes that nobody hears of (kube-controller-manager)",
        ),
        "ingress": OwnField("emulab.v1.ClusterIngress", "The ingress controller"),
        "balancers": OwnField("emulab.v1.ClusterBalancers", "The L4 balancers outside the cluster"),
    },
    "emulab.v1.ClusterNode": {
        "name": OwnField("string", "A DNS label; the node is the place of that name", required=True),
        "labels": OwnField("{string}", "Labels beside those of the kubelet"),
        "capacity": OwnField(
            "{quantity}",
            "What it has for Pods, by resource: `cpu`, `memory`, `ephemeral-storage`, `pods`, or a name with a domain "
            "such as nvidia.com/gpu. It is declared, and no part of the machine",
            "cpu: 32, memory: 128Gi, ephemeral-storage: 100Gi, pods: 110",
        ),
        "zone": OwnField("string", "Its topology.kubernetes.io/zone", "zone-a, zone-b and zone-c by turns"),
    },
    "emulab.v1.ClusterNodeLifecycle": {
        "nodeMonitorGracePeriod": OwnField(
            "string", "How long nothing is heard of a node until it isn't ready, and its pods aren't", "50s"
        ),
        "defaultTolerationSeconds": OwnField(
            "integer",
            "How many seconds later pods are deleted there that don't say themselves how long they tolerate that",
            "300",
        ),
    },
    "emulab.v1.ClusterNetwork": {
        "plugin": OwnField(
            "string",
            "How pods are joined, as that network plug-in does it: `flannel`; `bridge`: on a bridge of their node; "
            "`kindnet`: as in clusters of kind; `calico`: in blocks of 64 addresses; `cilium`: "
            "over one overlay device, with Services by BPF programs; `kube-router`: on a bridge, with routes by BGP. "
            "Can't be changed in a running lab",
            "flannel",
        ),
        "mode": OwnField(
            "string",
            "How packets travel between nodes. `vxlan`: in those of an overlay; `routed`: as they are, by routes that "
            "the nodes have to each other; `ipip`: in those of IP in IP; `bgp`: as they are, by routes that BIRD "
            "learns by BGP; `wireguard`: encrypted. flannel has vxlan, routed and wireguard, cilium vxlan and routed, "
            "calico vxlan, ipip and bgp, kube-router bgp, the others routed alone; by default it is a plug-in's first",
            "vxlan",
        ),
        "families": OwnField(
            "[string]",
            "The families of addresses, `IPv4`, `IPv6` or both, the primary one first: of pods, nodes, Services and "
            "all that is outside. Without it those that podCIDR has. Can't be changed in a running lab",
            "[IPv4]",
        ),
        "mtu": OwnField(
            "int32",
            "MTU of the underlay in bytes, 576 to 9216; VXLAN leaves pods 50 less, between nodes of IPv6 70 less. "
            "Can't be changed in a running lab",
            "1500",
        ),
        "underlay": OwnField(
            "string",
            "The nodes' network (the vpc), a /24 to a /8, or a /120 to a /32 of IPv6 (by default fd00:10::/64); of two "
            "families one of each with a comma between. A /24 and a /120 have room for 200 nodes. Can't be changed in "
            "a running lab",
            "10.0.0.0/24",
        ),
        "isolated": OwnField(
            "boolean",
            "Whether the router lets the internet reach balancers alone: no ports of nodes, nothing else of the vpc",
            "false",
        ),
        "cni": OwnField(
            "emulab.v1.ClusterCni",
            "CNI plug-ins of this machine that make pods' networks on their nodes instead: `bridge`, `ptp`, …, with "
            "addresses of host-local, portmap and bandwidth behind it; or a whole chain, as a network configuration "
            "list. Can't be changed in a running lab",
        ),
        "links": OwnField(
            "[emulab.v1.ClusterZoneLink]", "The ways between zones that are far from each other", "[]"
        ),
    },
    "emulab.v1.ClusterZoneLink": {
        "from": OwnField("string", "A zone that nodes are in, as zone/zone-a", required=True),
        "to": OwnField("string", "The other one; the way back is as long", required=True),
        "delay": OwnField("string", "How much longer packets take, one way, as 2ms", "0"),
        "jitter": OwnField("string", "How much longer or shorter that may be", "0"),
        "rate": OwnField(
            "string", "Bits a second that each node may send there, as 1gbit", "as many as there are"
        ),
        "loss": OwnField("string", "The share of packets that is lost, each way, as 1%", "0%"),
    },
    "emulab.v1.ClusterCni": {
        "cniVersion": OwnField("string", "Of the CNI's specification: 0.3.0 to 1.1.0", "1.0.0"),
        "name": OwnField("string", "The network's name", "lab"),
        "disableCheck": OwnField(
            "boolean", "Don't ask plug-ins whether a network is as they made it", "false"
        ),
        "plugins": OwnField(
            "[emulab.v1.ClusterPlugin]", "The plug-ins, in the order of their calls", required=True
        ),
    },
    "emulab.v1.ClusterPlugin": {
        "type": OwnField("string", "The plug-in's file; other fields are passed on to it", required=True),
        "capabilities": OwnField(
            "{boolean}",
            "What it is told of a pod: portMappings, bandwidth, dns, io.kubernetes.cri.pod-annotations",
        ),
        "ipam": OwnField("emulab.v1.ClusterIpam", "Who gives addresses; its fields are passed on, too"),
    },
    "emulab.v1.ClusterIpam": {
        "type": OwnField(
            "string", "The file of the IPAM plug-in; host-local without a range has the node's", required=True
        ),
    },
    "emulab.v1.ClusterProxy": {
        "mode": OwnField(
            "string",
            "`nftables`, `iptables`, `ipvs` or `userspace`, as kube-proxy's; `ebpf`: programs at nodes' links, as "
            "Cilium's, and with network.plugin cilium the default; `kube-router`: IPVS as with that plug-in, whose "
            "default it is",
            "nftables",
        ),
        "scheduler": OwnField(
            "string",
            "Of mode ipvs: how it picks an endpoint: rr, wrr, lc, wlc, sh, dh, lblc, sed or nq (ipvsadm(8))",
            "rr",
        ),
        "strictARP": OwnField("boolean", "Of mode ipvs: answer no ARP for Services' addresses", "false"),
        "conntrack": OwnField(
            "emulab.v1.ClusterConntrack", "kube-proxy's settings of the connection tracking"
        ),
    },
    "emulab.v1.ClusterConntrack": {
        "tcpEstablishedTimeout": OwnField(
            "string",
            "How long an idle TCP connection is remembered, as 24h or 1h30m; 0: as the kernel",
            "24h",
        ),
        "tcpCloseWaitTimeout": OwnField(
            "string", "How long one that is half closed is; 0: as the kernel", "1h"
        ),
        "udpTimeout": OwnField("string", "How long a datagram without an answer is", "0, as the kernel"),
        "udpStreamTimeout": OwnField("string", "How long datagrams with answers are", "0, as the kernel"),
        "tcpBeLiberal": OwnField("boolean", "Track TCP packets outside of the window, too", "false"),
    },
    "emulab.v1.ClusterContainers": {
        "program": OwnField(
            "string",
            "`auto`: a program that the host has, or else a stand-in, with a warning; `required`: a program that isn't "
            "here is a failure; `standin`: stand-ins alone. A Pod's annotation emulab.dev/program decides before it",
            "auto",
        ),
    },
    "emulab.v1.ClusterPods": {
        "hostPaths": OwnField(
            "[emulab.v1.ClusterHostPath]",
            "Folders of the host below which hostPath volumes may be",
            "[], none",
        ),
        "runtime": OwnField(
            "string",
            "What runs pods' containers: `builtin`, or an OCI runtime that is installed: `crun`, `runc`. Pods that are "
            "there keep theirs",
            "builtin",
        ),
        "missingImages": OwnField(
            "string",
            "What becomes of containers whose image wasn't loaded: `standin`: their `command` is run where this "
            "machine has it, and a stand-in answers otherwise; `fail`: they wait for it in ImagePullBackOff",
            "standin",
        ),
        "userNamespaces": OwnField(
            "boolean", "Pods that don't say hostUsers have users of their own; in a lab of root", "false"
        ),
    },
    "emulab.v1.ClusterHostPath": {
        "path": OwnField("string", "The folder's absolute path, as /srv/data", required=True),
        "readOnly": OwnField("boolean", "Whether pods can't write there, whatever they ask for", "true"),
    },
    "emulab.v1.ClusterBalancers": {
        "engine": OwnField(
            "string",
            "What serves balancers of mode proxy that say none: `builtin`, emulab's own; or a real program that is "
            "installed, configured from the same objects: `haproxy`, or `haproxy+keepalived` on two nodes each",
            "builtin",
        ),
    },
    "emulab.v1.ClusterDNS": {
        "nodeLocalCache": OwnField(
            "boolean",
            "NodeLocal DNSCache: each node has a cache at 169.254.20.10 (of IPv6: fd00:20::10), which its pods ask. "
            "Can't be changed in a running lab",
            "false",
        ),
        "engine": OwnField("string", "What serves in `dns`: `builtin`, `unbound` or `dnsmasq`", "builtin"),
    },
    "emulab.v1.ClusterIngress": {
        "replicas": OwnField("int32", "Pods of the ingress controller", "1"),
        "upstream": OwnField(
            "string",
            "`service`: it asks Services' addresses, so that kube-proxy's rules pick the pod; `endpoints`: it picks "
            "itself. An Ingress' annotation service-upstream says it for its own backends",
            "service",
        ),
        "engine": OwnField(
            "string",
            "What serves: `builtin`, emulab's own; or a real program that is installed, configured from the same "
            "routes: `nginx`, `haproxy`",
            "builtin",
        ),
        "workers": OwnField(
            "int32",
            "Processes that serve in each pod, 1-64; threads of haproxy. The ConfigMap's worker-processes outranks it, "
            "where that is a number",
            "1",
        ),
        "classes": OwnField(
            "[string]",
            'IngressClasses of other controllers that it serves besides, as [alb]; ["*"] for all',
            "[]",
        ),
    },
}

_CLIENT = {
    "emulab.v1.Client": {
        "metadata": METADATA,
        "spec": OwnField("emulab.v1.ClientSpec", "Where it is"),
    },
    "emulab.v1.ClientSpec": {
        "network": OwnField("string", "`internet`, or `vpc`, the nodes' network", "internet"),
        "resolver": OwnField("string", "The Resolver that its resolv.conf names", "resolver, the lab's own"),
    },
}

_FAULT = {
    "emulab.v1.Fault": {
        "metadata": METADATA,
        "spec": OwnField("emulab.v1.FaultSpec", "What is broken, where, and when", required=True),
    },
    "emulab.v1.FaultSpec": {
        "fault": OwnField(
            "string",
            "One of the library's: `emulab fault list` shows them ([faults.md](faults.md))",
            required=True,
        ),
        "target": OwnField(
            "string", "The node, zone or place where it is, as the fault wants one", "one that `seed` draws"
        ),
        "set": OwnField("{int-or-string}", "The fault's own options", "{}"),
        "at": OwnField("string", "How long after it is applied it begins, as 30s", "0"),
        "for": OwnField("string", "How long it lasts, as 1m30s", "until it is deleted"),
        "seed": OwnField("int32", "What draws the target where none is given", "0"),
        "hidden": OwnField("boolean", "Neither `get` nor `trace` tells of it: an exercise", "false"),
    },
}

FIELDS: Mapping[str, Mapping[str, OwnField]] = {
    **_CLUSTER,
    **LOAD_BALANCER_FIELDS,
    **_CLIENT,
    **RESOLVER,
    **ZONE,
    **_FAULT,
    **CLUSTER_POLICY,
}
"""Definition → its fields by name. A ClusterNetworkPolicy isn't emulab's, but no OpenAPI of Kubernetes' own has it."""

_ABOUT = {
    "emulab.v1.Cluster": "The cluster itself: nodes, networks, proxy mode. A lab has one at most; without one it has "
    "all defaults.",
    "emulab.v1.LoadBalancer": "An L4 balancer outside the cluster. `public-lb`, which leads to the ingress, is there "
    "without being asked for; an Ingress goes to another one by the annotation emulab.dev/load-balancer.",
    "emulab.v1.Client": "A place outside the cluster, with a resolver: a user, or a server that pods call. `client`, "
    "on the internet, is there without being asked for.",
    "emulab.v1.Resolver": "A caching name server beside the lab's `resolver`, or, by that name, how that one resolves. "
    "Clients are told of it by spec.resolver; `emulab dns` shows, empties and spoils its cache.",
    "emulab.v1.Zone": "DNS records in `dns`, beside those of Ingress hosts and LoadBalancer Services, which are "
    "published by themselves.",
    "emulab.v1.Fault": "Something that is broken on purpose, until it is deleted or its time is over. `emulab fault` "
    "puts and mends them.",
    **ABOUT_CLUSTER_POLICY,
}


def definition_of(kind: Kind) -> str:
    """The definition of a kind that is described here, "" for another one."""
    name = f"{kind.group.partition('.')[0]}.{kind.version}.{kind.kind}"
    return name if name in _ABOUT else ""


def fields(definition: str) -> Mapping[str, ApiField]:
    """The fields of a definition by name."""
    return {name: ApiField(own.type, own.required, ()) for name, own in FIELDS[definition].items()}


def described(definition: str, field: str = "") -> str:
    """What a kind, or a field of a definition, is."""
    if not field:
        return _ABOUT[definition]
    own = FIELDS[definition][field]
    return f"{own.text} (default: {own.default})" if own.default else own.text
