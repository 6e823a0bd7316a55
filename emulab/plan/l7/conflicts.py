"""What several Ingresses say of one host where one of them alone can be heard, and names that others have. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.servernames import catch_all, server_names
from emulab.plan.l7.annotations import read
from emulab.plan.l7.annotations.clientcertificates import CLIENT_CERTIFICATES
from emulab.plan.l7.annotations.naming import NAMING
from emulab.plan.l7.annotations.redirects import REDIRECTS
from emulab.plan.l7.annotations.table import Theme
from emulab.plan.l7.hosts import root_order, www_of

_OF_HOSTS: tuple[tuple[Theme, str, str], ...] = (
    (NAMING, "aliases", "server-alias"),
    (CLIENT_CERTIFICATES, "secret", "auth-tls-secret"),
)
"""The themes of whole hosts, with the field and the annotation that decide."""


_NOT_OF_ALL_HOSTS = (
    "permanent-redirect",
    "temporal-redirect",
    "app-root",
    "rewrite-target",
    "force-ssl-redirect",
)
"""What an Ingress without rules can't say of what no rule of any takes (`createServers` of ingress-nginx)."""


def conflicts(ingresses: Sequence[Ingress], prefix: str) -> Iterator[tuple[Ingress, str, str]]:
    """What isn't heard: of whom, which annotation, and why. `ingresses`: the oldest first."""
    for theme, field, name in _OF_HOSTS:
        first: dict[str, tuple[Ingress, Any]] = {}
        for ingress, host, value in _said(ingresses, theme, field, prefix, name):
            heard, known = first.setdefault(host, (ingress, value))
            if heard is not ingress and known != value:
                yield ingress, name, _heard(heard, host, name)
    yield from _roots(ingresses, prefix)
    yield from _without_rules(ingresses, prefix)
    sent = list(_said(ingresses, REDIRECTS, "www", prefix, "from-to-www-redirect"))
    hosts = {rule.host for one in ingresses for rule in one.rules} if sent else set()
    for ingress, host, _ in sent:
        if host and www_of(host) in hosts:
            why = f"{www_of(host)} is the host of another rule, which keeps it: nobody is sent to {host}"
            yield ingress, "from-to-www-redirect", why


def _without_rules(ingresses: Sequence[Ingress], prefix: str) -> Iterator[tuple[Ingress, str, str]]:
    """Those who redirect or rewrite what is only theirs as no rule takes it."""
    for ingress in ingresses:
        for name in _NOT_OF_ALL_HOSTS if not ingress.rules else ():
            if ingress.annotations.get(prefix + name, "false") != "false":
                yield (
                    ingress,
                    name,
                    "isn't heeded for a defaultBackend without rules; a rule without a host has it heeded",
                )


def _said(
    ingresses: Sequence[Ingress], theme: Theme, field: str, prefix: str, name: str
) -> Iterator[tuple[Ingress, str, Any]]:
    """Who says something, of which host, and what; there may be ten thousand who don't."""
    for ingress in ingresses:
        if prefix + name in ingress.annotations:
            value = read(theme, ingress.annotations, prefix).get(field)
            for host in dict.fromkeys(rule.host for rule in ingress.rules) if value else ():
                yield ingress, host, value


def _roots(ingresses: Sequence[Ingress], prefix: str) -> Iterator[tuple[Ingress, str, str]]:
    """app-root is told in the order of locations, which is that of paths."""
    found: dict[str, list[tuple[Ingress, str]]] = {}
    for ingress, host, value in _said(ingresses, REDIRECTS, "root", prefix, "app-root"):
        found.setdefault(host, []).append((ingress, value))
    for host, said in found.items():
        heard, known = max(said, key=lambda one: max(map(root_order, _paths(one[0], host))))
        for ingress, value in said:
            if ingress is not heard and value != known:
                yield ingress, "app-root", _heard(heard, host, "app-root")


def _paths(ingress: Ingress, host: str) -> list[tuple[str, str]]:
    paths = [(one.path, one.taken_as) for rule in ingress.rules if rule.host == host for one in rule.paths]
    return paths or [("/", "Prefix")]


def unheard_defaults(mains: Sequence[Ingress]) -> Iterator[tuple[Ingress, str]]:
    """Default backends to which nothing goes: whose, and why. `mains`: those that are no canaries, the oldest first."""
    everything = catch_all(mains)
    having = [one for one in mains if one.default_backend is not None]
    names = server_names(mains, lambda *_: None) if having else {}
    for one in having:
        if one is everything:
            continue
        if not one.rules:
            by = everything.full_name if everything is not None else ""
            yield one, f"Ingress {by}, which is older, has the hosts that no rule has"
            continue
        hosts = {rule.host for rule in one.rules}
        if any(names[host].first is one and names[host].rest is not None for host in hosts):
            continue
        first = next(
            (names[host].first for host in sorted(hosts) if host and names[host].first is not one), None
        )
        if first is not None:
            yield one, f"Ingress {first.full_name}, which is older, says what no path of the host takes"
        elif hosts == {""}:
            yield (
                one,
                "rules without a host have none in ingress-nginx; an Ingress without any rules has one for them",
            )
        else:
            yield one, "a path / takes all of the host"


def _heard(heard: Ingress, host: str, name: str) -> str:
    return f"Ingress {heard.namespace}/{heard.name} has {name} for host {host or '_'}, too, and is heard"
