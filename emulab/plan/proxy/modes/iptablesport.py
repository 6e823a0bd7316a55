"""What one Service port has in kube-proxy's iptables chains: `emulab.plan.proxy.modes.iptables` puts them together."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Sequence
from hashlib import sha256

from emulab.model.addresses import socket_name
from emulab.plan.proxy.intents import Intent, ProxiedEndpoint
from emulab.plan.proxy.meanings import REFUSALS, shuts_out, translates

RulesByChain = dict[str, list[str]]


def chain_name(kind: str, title: str, protocol: str, endpoint: str = "") -> str:
    """kube-proxy's name of a chain: SVC, SVL, EXT, FW or SEP and a hash, for 28 characters is all it may have."""
    digest = sha256(f"{title}{protocol}{endpoint}".encode()).digest()
    return f"KUBE-{kind}-{b32encode(digest[:10]).decode()}"


def probability(number: int) -> str:
    """One in `number`, as kube-proxy writes it; iptables-save shows the nearest part of 2^31."""
    return f"{1 / number:.10f}"


class PortChains:
    """The rules of one Service port."""

    def __init__(self, intent: Intent, pods: str, terse: bool) -> None:
        """`pods`: the network of pods, "" where it isn't known. `terse`: without comments."""
        self._i = intent
        self._pods = pods
        self._terse = terse
        self._title = intent.title
        self._protocol = intent.protocol
        self._match = f"-m {self._protocol} -p {self._protocol}"
        self._svc, self._svl, self._ext, self._fw = (
            chain_name(kind, self._title, self._protocol) for kind in ("SVC", "SVL", "EXT", "FW")
        )
        self._seps = {b: chain_name("SEP", self._title, self._protocol, _target(b)) for b in intent.reachable}
        self._guarded = bool(intent.has_any and intent.balancer_ips and intent.source_ranges)

    def _to(self, address: object) -> str:
        return f"{self._match} -d {address} --dport {self._i.port.port}"

    def refuse(self, chains: RulesByChain) -> None:
        """Adds to the table filter what refuses traffic."""
        i, title = self._i, self._title
        missing = f'-m comment --comment "{title} has no {"local " if i.has_any else ""}endpoints"'
        external: list[str] = []
        if i.internal_verdict:
            refuse = REFUSALS[i.internal_verdict]
            rule = f"{missing} {self._to(i.cluster_ips[0])} -j {i.internal_verdict.upper()}"
            chains["KUBE-SERVICES"] = [refuse(rule)]
        if i.external_verdict:
            refuse, verdict = REFUSALS[i.external_verdict], f"-j {i.external_verdict.upper()}"
            external += [refuse(f"{missing} {self._to(ip)} {verdict}") for ip in i.outside_ips]
            if i.node_port:
                local = f"-m addrtype --dst-type LOCAL {self._match} --dport {i.node_port}"
                external.append(refuse(f"{missing} {local} {verdict}"))
        if external:
            chains["KUBE-EXTERNAL-SERVICES"] = external
        if self._guarded:
            comment = f'-m comment --comment "{title} traffic not accepted by {self._fw}"'
            chains["KUBE-PROXY-FIREWALL"] = [
                shuts_out(f"{comment} {self._to(ip)} -j DROP") for ip in i.balancer_ips
            ]
        if i.health_check_port:
            comment = f'-m comment --comment "{title} health check node port"'
            chains["KUBE-NODEPORTS"] = [f"{comment} -m tcp -p tcp --dport {i.health_check_port} -j ACCEPT"]

    def lead(self, chains: RulesByChain) -> None:
        """Adds to the table nat what leads to the Service's chains."""
        i, services = self._i, list[str]()

        def capture(what: str, address: object, chain: str) -> None:
            services.append(f'-m comment --comment "{self._title} {what}" {self._to(address)} -j {chain}')

        if i.internal:
            capture("cluster IP", i.cluster_ips[0], self._internal)
        for ip in i.external_ips:
            capture("external IP", ip, self._ext)
        for ip in i.balancer_ips:
            capture("loadbalancer IP", ip, self._fw if self._guarded else self._ext)
        if i.node_port:
            # Not subject to source ranges, in kube-proxy neither.
            match = f"{self._match} --dport {i.node_port}"
            chains["KUBE-NODEPORTS"] = [f"-m comment --comment {self._title} {match} -j {self._ext}"]
        if services:
            chains["KUBE-SERVICES"] = services

    @property
    def _internal(self) -> str:
        return self._svl if self._i.internal_local else self._svc

    def chains(self) -> RulesByChain:
        """The Service's own chains of the table nat."""
        i = self._i
        found: RulesByChain = {}
        if i.externally_accessible:
            found[self._ext] = self._external()
        if self._guarded:
            found[self._fw] = self._firewall()
        choices = ((self._svc, i.cluster, False), (self._svl, i.local, True))
        for chain, backends, local in choices:
            if not backends:
                continue
            masquerade = self._cluster_ip_masquerade() if local == i.internal_local else []
            found[chain] = masquerade + self._choice(backends)
        for backend, chain in self._seps.items():
            found[chain] = self._endpoint(backend, chain)
        return found

    def _cluster_ip_masquerade(self) -> list[str]:
        """A cluster IP works from outside the pod network too, whose answers must come back through this node."""
        if not self._pods:
            return []
        match = f'-m comment --comment "{self._title} cluster IP" {self._to(self._i.cluster_ips[0])}'
        return [f"{match} ! -s {self._pods} -j KUBE-MARK-MASQ"]

    def _external(self) -> list[str]:
        """Policy Cluster may cross nodes, so the source can't be kept. With Local it is, except for the cluster's
        own traffic: that goes to any endpoint, as if it had left and come back by a balancer (KEP-1669)."""

        def comment(text: str) -> str:
            return f'-m comment --comment "{text} for {self._title} external destinations"'

        if not self._i.external_local:
            return [f"{comment('masquerade traffic')} -j KUBE-MARK-MASQ", f"-j {self._svc}"]
        node = "-m addrtype --src-type LOCAL"
        lines = [
            f"{comment('masquerade LOCAL traffic')} {node} -j KUBE-MARK-MASQ",
            f"{comment('route LOCAL traffic')} {node} -j {self._svc}",
        ]
        if self._pods:
            lines.insert(0, f"{comment('pod traffic')} -s {self._pods} -j {self._svc}")
        return [*lines, f"-j {self._svl}"] if self._i.local else lines

    def _firewall(self) -> list[str]:
        i = self._i
        comment = f'-m comment --comment "{self._title} loadbalancer IP"'
        lines = [f"{comment} -s {r} -j {self._ext}" for r in i.source_ranges]
        rest = f"other traffic to {self._title} will be dropped by KUBE-PROXY-FIREWALL"
        return [*lines, f'-m comment --comment "{rest}"']

    def _choice(self, backends: Sequence[ProxiedEndpoint]) -> list[str]:
        """Clients that are known to an endpoint first; then one in n, one in n - 1 of the others, …, the last."""
        lines = []
        if self._i.affinity:
            for b in backends:
                known = f"-m recent --name {self._seps[b]} --rcheck --seconds {self._i.affinity} --reap"
                lines.append(f"{self._comment(b)}{known} -j {self._seps[b]}")
        for index, b in enumerate(backends):
            left = len(backends) - index
            chance = f"-m statistic --mode random --probability {probability(left)} " if left > 1 else ""
            lines.append(f"{self._comment(b)}{chance}-j {self._seps[b]}")
        return lines

    def _comment(self, backend: ProxiedEndpoint) -> str:
        return "" if self._terse else f'-m comment --comment "{self._title} -> {_target(backend)}" '

    def _endpoint(self, backend: ProxiedEndpoint, chain: str) -> list[str]:
        comment = "" if self._terse else f"-m comment --comment {self._title} "
        seen = f"-m recent --name {chain} --set " if self._i.affinity else ""
        return [
            f"{comment}-s {backend.address} -j KUBE-MARK-MASQ",
            translates(f"{comment}{seen}{self._match} -j DNAT --to-destination {_target(backend)}"),
        ]


def _target(backend: ProxiedEndpoint) -> str:
    return socket_name(*backend.target)
