"""Which kinds of servers there are, and what is true of some alone.

Another kind, or another engine of one, is another line of `SERVERS`.
"""

from __future__ import annotations

SERVERS = {
    "dns": "emulab.servers.dns.server",
    "dns-by-unbound": "emulab.servers.engines.unbound.server",
    "dns-by-dnsmasq": "emulab.servers.engines.dnsmasq.server",
    "l4": "emulab.servers.l4.server",
    "l4-by-haproxy": "emulab.servers.engines.balancer.server",
    "ingress": "emulab.servers.l7.workers.server",
    "ingress-worker": "emulab.servers.l7.shell.server",
    "ingress-by-haproxy": "emulab.servers.engines.haproxy.server",
    "ingress-by-nginx": "emulab.servers.engines.nginx.server",
    "echo": "emulab.servers.echo.server",
    "vrrp": "emulab.servers.vrrp.server",
    "bgp-by-bird": "emulab.servers.engines.bird.server",
    "vrrp-by-keepalived": "emulab.servers.engines.keepalived.server",
    "kube-proxy": "emulab.servers.kubeproxy.server",
}

JOURNALING = frozenset({"echo"})
"""Kinds of servers that write into logs of others (`base.Journaling`)."""

HOUSED = {"bgp-by-bird": "/run/bird"}
"""Kinds of servers that have a folder which programs beside them see (`base.Housed`), and where these look for it."""

FILED = {
    "bgp-by-bird": "/etc/bird",
    "dns-by-dnsmasq": "/usr/share/dnsmasq-base",
    "dns-by-unbound": "/etc/unbound",
    "ingress-by-haproxy": "/etc/haproxy",
    "ingress-by-nginx": "/etc/nginx",
    "l4-by-haproxy": "/etc/haproxy",
    "vrrp-by-keepalived": "/etc/keepalived",
}
"""Kinds of servers that have files in a folder which programs beside them see (`base.Filed`). They see it whether the
server runs or not: the host may have another one there."""

LEAVING_FIRST = frozenset({"bgp-by-bird"})
"""Kinds that end before what is planned without them is made: they have made some of it."""

TOLD_WHOLE = frozenset(
    {"dns-by-dnsmasq", "dns-by-unbound", "ingress-by-haproxy", "ingress-by-nginx", "l4-by-haproxy"}
)
"""Kinds that aren't `base.Patchable` though others with the same configuration are."""

HELPERS = {
    "logs": "emulab.servers.logs.keeper",
    "names": "emulab.kernel.names",
    "namespaces": "emulab.kernel.ahead",
}
"""Processes of the supervisor's that have no event loop, and no configuration."""
