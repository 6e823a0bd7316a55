"""kube-proxy's own nftables rules: a chain a Service, a chain an endpoint, maps that lead to them. Pure.

What is here was taken down from pkg/proxy/nftables/proxier.go of Kubernetes (1.33), for cluster IPs alone and with
`--cluster-cidr`, so that the two forms can be loaded beside each other. kube-proxy also flushes each chain that it
has just added; that is left out here, to its advantage. Like kube-proxy's first sync, it is one transaction; the kernel
looks for each Service's anonymous map among all that is in it, so time grows with the square of the number.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Iterable, Iterator
from hashlib import sha256

from benchmarks.many import PORT, TARGET, Many

TABLE = "ip kube-proxy"
PODS = "10.244.0.0/16"

_SERVICE = "ip daddr . meta l4proto . th dport"
_NODE_PORT = "fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport"
_BASE_CHAINS = {
    "filter-prerouting-pre-dnat": "type filter hook prerouting priority -110 ;",
    "filter-output-pre-dnat": "type filter hook output priority -110 ;",
    "filter-input": "type filter hook input priority 0 ;",
    "filter-forward": "type filter hook forward priority 0 ;",
    "filter-output": "type filter hook output priority 0 ;",
    "nat-prerouting": "type nat hook prerouting priority -100 ;",
    "nat-output": "type nat hook output priority -100 ;",
    "nat-postrouting": "type nat hook postrouting priority 100 ;",
}
_MAPS = {
    "service-ips": "type ipv4_addr . inet_proto . inet_service : verdict ;",
    "service-nodeports": "type inet_proto . inet_service : verdict ;",
    "no-endpoint-services": "type ipv4_addr . inet_proto . inet_service : verdict ;",
    "no-endpoint-nodeports": "type inet_proto . inet_service : verdict ;",
    "firewall-ips": "type ipv4_addr . inet_proto . inet_service : verdict ;",
}
_RULES = (
    ("cluster-ips-check", "ip daddr @cluster-ips reject"),
    ("cluster-ips-check", "ip daddr { 10.96.0.0/12 } drop"),
    ("filter-prerouting-pre-dnat", "ct state new jump firewall-check"),
    ("filter-output-pre-dnat", "ct state new jump firewall-check"),
    ("filter-input", "ct state new jump nodeport-endpoints-check"),
    ("filter-input", "ct state new jump service-endpoints-check"),
    ("filter-forward", "ct state new jump service-endpoints-check"),
    ("filter-forward", "ct state new jump cluster-ips-check"),
    ("filter-output", "ct state new jump service-endpoints-check"),
    ("filter-output", "ct state new jump cluster-ips-check"),
    ("firewall-check", f"{_SERVICE} vmap @firewall-ips"),
    ("mark-for-masquerade", "mark set mark or 0x4000"),
    ("masquerading", "mark and 0x4000 == 0 return"),
    ("masquerading", "mark set mark xor 0x4000"),
    ("masquerading", "masquerade fully-random"),
    ("nat-prerouting", "jump services"),
    ("nat-output", "jump services"),
    ("nat-postrouting", "jump masquerading"),
    ("nodeport-endpoints-check", f"{_NODE_PORT} vmap @no-endpoint-nodeports"),
    ("reject-chain", "reject"),
    ("services", f"{_SERVICE} vmap @service-ips"),
    ("services", f"{_NODE_PORT} vmap @service-nodeports"),
    ("service-endpoints-check", f"{_SERVICE} vmap @no-endpoint-services"),
)


def script(services: Iterable[Many]) -> str:
    """The nft commands that kube-proxy's first sync of these Services consists of, for an empty namespace."""
    lines = [f"add table {TABLE}", f"add set {TABLE} cluster-ips {{ type ipv4_addr ; }}"]
    lines += [f"add map {TABLE} {name} {{ {kind} }}" for name, kind in _MAPS.items()]
    lines += [f"add chain {TABLE} {name} {{ {hook} }}" for name, hook in _BASE_CHAINS.items()]
    regular = dict.fromkeys(chain for chain, _ in _RULES if chain not in _BASE_CHAINS)
    lines += [f"add chain {TABLE} {name}" for name in regular]
    lines += [f"add rule {TABLE} {chain} {rule}" for chain, rule in _RULES]
    for service in services:
        lines += _service(service)
    return "\n".join(lines) + "\n"


def _service(service: Many) -> Iterator[str]:
    title = f"default/{service.name}/tcp/"
    chain = f"service-{_hashed(title)}"
    key = f"{service.address} . tcp . {PORT}"
    targets = {_hashed(f"{title}__{address}/{TARGET}"): address for address in service.endpoints}
    for name in (chain, *(f"endpoint-{t}" for t in targets)):
        yield f"add chain {TABLE} {name}"
    yield f"add element {TABLE} cluster-ips {{ {service.address} }}"
    yield f"add element {TABLE} service-ips {{ {key} : goto {chain} }}"
    outside = f"ip daddr {service.address} ip saddr != {PODS} jump mark-for-masquerade"
    yield f"add rule {TABLE} {chain} {outside}"
    choices = " , ".join(f"{i} : goto endpoint-{t}" for i, t in enumerate(targets))
    yield f"add rule {TABLE} {chain} numgen random mod {len(targets)} vmap {{ {choices} }}"
    for name, address in targets.items():
        yield f"add rule {TABLE} endpoint-{name} ip saddr {address} jump mark-for-masquerade"
        yield f"add rule {TABLE} endpoint-{name} meta l4proto tcp dnat to {address}:{TARGET}"


def _hashed(name: str) -> str:
    """kube-proxy's names: a hash of the name and itself."""
    return f"{b32encode(sha256(name.encode()).digest()).decode()[:8]}-{name}"
