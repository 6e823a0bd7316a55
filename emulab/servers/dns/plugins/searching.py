"""Search domains gone through in the place of a client (plugin/autopath of CoreDNS). Pure.

A client with search domains asks for its first guess, `web.example.com.app.svc.cluster.local`, of which everybody knows
that it isn't there. So what it would ask for next is looked up at once, and what is found is answered as if the guess
had been an alias of it.
"""

from __future__ import annotations

from typing import Protocol

from emulab.servers.dns import names
from emulab.servers.dns.config import AutopathConfig
from emulab.servers.dns.names import Name, lower
from emulab.servers.dns.plugins.made import Below

_SERVICES = b"svc"


class PodDirectory(Protocol):
    """Where Pods are by their addresses."""

    domain: str

    def namespace_of(self, address: str) -> str:
        """The Namespace of the Pod with that address, "" where there is none."""


class Autopath:
    """One server block's."""

    def __init__(self, config: AutopathConfig) -> None:
        """Raises ValueError."""
        self._zones = Below(config.zones)
        self.of_pods = config.of_pods
        self._search = (*map(_name, config.search), ()) if config.search else ()

    def names(self, name: Name, client: str, pods: PodDirectory | None) -> tuple[Name, ...]:
        """What a client looks for that asks for a lower-case name, in this order and beginning with it; nothing where
        the name is no first guess."""
        if name not in self._zones:
            return ()
        search = self._search_of(client, pods) if self.of_pods else self._search
        first = search[0] if search else ()
        if not first or len(name) <= len(first) or name[-len(first) :] != first:
            return ()
        return tuple(name[: -len(first)] + domain for domain in search)

    @staticmethod
    def _search_of(client: str, pods: PodDirectory | None) -> tuple[Name, ...]:
        namespace = pods.namespace_of(client) if pods is not None else ""
        if pods is None or not namespace:
            return ()
        domain = _name(pods.domain)
        services = (_SERVICES, *domain)
        return (namespace.encode(), *services), services, domain, ()


def _name(text: str) -> Name:
    return lower(names.from_text(text))
