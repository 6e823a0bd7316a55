"""What the fields of a LoadBalancer are: a part of the tables of `described`."""

from __future__ import annotations

from emulab.kinds.emulab.ownfield import METADATA, OwnField

LOAD_BALANCER_FIELDS = {
    "emulab.v1.LoadBalancer": {
        "metadata": METADATA,
        "spec": OwnField("emulab.v1.LoadBalancerSpec", "Where it listens, and whom it leads to"),
    },
    "emulab.v1.LoadBalancerSpec": {
        "network": OwnField(
            "string", "`internet`, with a public virtual address, or `vpc`, with a private one", "vpc"
        ),
        "address": OwnField("string", "Its virtual address", "the next one that is free"),
        "ports": OwnField(
            "[int-or-string]", 'Ports on which it listens: 443, or "53/UDP" for one of UDP', "[80, 443]"
        ),
        "target": OwnField("emulab.v1.LoadBalancerTarget", "Whom it leads to", "{ingress: true}"),
        "sourceRanges": OwnField(
            "[string]", "CIDRs that may connect; `deny` says what becomes of all others", "[], everyone"
        ),
        "mode": OwnField(
            "string",
            "`proxy`: it ends connections and makes its own, as HAProxy; `nat`: the kernel forwards packets, as IPVS or"
            " a cloud's network balancer",
            "proxy",
        ),
        "engine": OwnField(
            "string",
            "What serves a balancer of mode proxy: `builtin`, `haproxy` or `haproxy+keepalived`",
            "the Cluster's",
        ),
        "replicas": OwnField(
            "int32",
            "Nodes of it, of which one has its addresses; another takes these over by VRRP",
            "1; 2 with haproxy+keepalived",
        ),
        "vrrp": OwnField("emulab.v1.LoadBalancerVrrp", "How its nodes agree on who has its addresses"),
        "preserveClientIP": OwnField(
            "boolean", "With mode nat, whether backends see the client's address", "true in mode nat"
        ),
        "algorithm": OwnField(
            "string",
            "`roundrobin`, `leastconn` (mode proxy), or `source`, a consistent hash of the client's address",
            "roundrobin",
        ),
        "weights": OwnField(
            "{int32}", "Shares of backends by name, 0 to 256; nothing new goes to one of 0", "1 for each"
        ),
        "stickiness": OwnField(
            "int32", "Seconds for which a client that doesn't come keeps its backend", "0, not at all"
        ),
        "healthCheck": OwnField("emulab.v1.LoadBalancerHealthCheck", "How backends are checked"),
        "failOpen": OwnField("boolean", "Whether all backends are used where none is healthy", "false"),
        "draining": OwnField(
            "int32", "Seconds after which connections to a backend that was taken away are reset", "never"
        ),
        "deny": OwnField(
            "string",
            "What becomes of who isn't in sourceRanges: `reject`, a reset, or `drop`, silence",
            "reject",
        ),
        "proxyProtocol": OwnField(
            "string",
            "`v1` or `v2`: backends are told the client's address by that header (mode proxy); `none`",
            "v2 before an ingress whose ConfigMap says use-proxy-protocol, else none",
        ),
        "limits": OwnField("emulab.v1.LoadBalancerLimits", "How much it takes; what is more is refused"),
        "idleTimeout": OwnField(
            "int32", "Seconds without a packet after which a connection ends", "never; UDP 30"
        ),
        "workers": OwnField(
            "int32",
            "Processes that serve, 16 at most (mode proxy), each at sockets of its own and with its part of the limits",
            "1",
        ),
    },
    "emulab.v1.LoadBalancerVrrp": {
        "version": OwnField("int32", "2 (RFC 3768) or 3 (RFC 9568); of IPv6 it is 3", "3"),
        "interval": OwnField(
            "double",
            "Seconds between advertisements, whole ones in version 2; three that are missed are a failure",
            "0.25; 1 in version 2",
        ),
        "preempt": OwnField(
            "boolean", "Whether the first node takes the addresses back when it is well", "true"
        ),
    },
    "emulab.v1.LoadBalancerHealthCheck": {
        "protocol": OwnField("string", "`TCP`, `HTTP` or `HTTPS` (any certificate)", "TCP; HTTP with a path"),
        "path": OwnField("string", "Path that is asked for", "/ with HTTP"),
        "host": OwnField("string", "Host that is asked for", "the backend's address"),
        "port": OwnField("int32", "Port that is asked", "the backend's own"),
        "codes": OwnField(
            "int-or-string", "Statuses that are in order: 200, 200-399, or several with commas", "200"
        ),
        "interval": OwnField(
            "number", "Seconds from one check to the next", "1; 2 to 10 of more than 100 backends"
        ),
        "timeout": OwnField("number", "Seconds that an answer may take", "1"),
        "rise": OwnField("int32", "Checks in a row that must pass until a backend is healthy", "1"),
        "fall": OwnField("int32", "Checks in a row that must fail until it isn't", "2"),
    },
    "emulab.v1.LoadBalancerLimits": {
        "connections": OwnField("int32", "Connections at a time, of each port", "any number"),
        "connectionsPerSource": OwnField("int32", "The same of one address (mode proxy)", "any number"),
        "rate": OwnField("int32", "New connections a second, of each port", "any number"),
    },
    "emulab.v1.LoadBalancerTarget": {
        "ingress": OwnField("boolean", "true: the ingress' node ports on every healthy node"),
        "service": OwnField("emulab.v1.LoadBalancerService", "A Service instead"),
    },
    "emulab.v1.LoadBalancerService": {
        "namespace": OwnField("string", "Its Namespace", "default"),
        "name": OwnField("string", "Its name", required=True),
        "port": OwnField("int-or-string", "Its port, by number or name", required=True),
    },
}
