"""Whose certificates are looked at: what the annotations of all Ingresses come to, host by host. Pure."""

from __future__ import annotations

from dataclasses import replace

from emulab.kinds.networking.ingressview import Ingress
from emulab.plan.l7.annotations import read
from emulab.plan.l7.annotations.clientcertificates import CLIENT_CERTIFICATES, verification
from emulab.plan.l7.annotations.table import Beside
from emulab.servers.l7.config import ClientVerification


class HostVerifications:
    """What all Ingresses want, host by host."""

    def __init__(self) -> None:
        self._found: dict[str, ClientVerification] = {}

    def add(self, ingress: Ingress, prefix: str, world: Beside) -> None:
        """An Ingress; the older ones come first."""
        if not any(name.startswith(f"{prefix}auth-tls-") for name in ingress.annotations):
            return
        wished = verification(read(CLIENT_CERTIFICATES, ingress.annotations, prefix), ingress, world)
        if wished is None or not (wished.authorities or wished.error or wished.match):
            return
        for host in dict.fromkeys(rule.host.lower() for rule in ingress.rules):
            known = self._found.get(host)
            if known is None:
                self._found[host] = wished
            elif wished.error and not known.error:
                self._found[host] = replace(known, error=wished.error)
            elif wished.authorities and not known.authorities:
                self._found[host] = replace(wished, error=known.error or wished.error)

    def told(self) -> tuple[ClientVerification, ...]:
        """Each wish with its hosts."""
        hosts: dict[ClientVerification, list[str]] = {}
        for host, wished in self._found.items():
            hosts.setdefault(wished, []).append(host)
        return tuple(replace(wished, hosts=tuple(found)) for wished, found in hosts.items())
