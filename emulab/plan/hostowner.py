"""Whose a host is: the Ingress that has it, with its certificate and paths, as they are decided over all. Pure."""

from __future__ import annotations

from typing import Any

from emulab.kinds.core.secret import tls_pair
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Ingress, oldest_first
from emulab.kinds.networking.servernames import HostCertificate, ServerName, server_names
from emulab.kinds.registry import INGRESS, SECRET
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.plan.owner import Owner


def host_owner(objects: Objects, name: str) -> Owner | None:
    """The first Ingress that has a host, or the wildcard that it is one of; one that is served before others.

    `by` is the Ingress whose word the certificate is, `secret` the Secret that it names, `problem` why that isn't
    shown. `unserved` says why nobody serves the Ingress; `no_rule` that it has the host for TLS alone.
    """
    name = name.lower().removesuffix(".")
    known = {name, "*." + name.partition(".")[2]}
    classes = IngressClasses.among(objects, cluster_of(objects))
    ingresses = oldest_first(map(Ingress.of, objects.kind(INGRESS)))
    having = [one for one in ingresses if not known.isdisjoint(rule.host for rule in one.rules)]
    for controller in classes.controllers:
        own = [one for one in having if classes.takes(controller.flags, one)]
        names = server_names(own, lambda *of: objects.get(SECRET.key(*of)))
        for server in (names[one] for one in sorted(known, key=lambda one: one != name) if one in names):
            return _served(objects, server, names.get("*." + name.partition(".")[2]))
    for one in having:
        why, wanted = classes.why_not(one), classes.class_of(one)
        details = {
            "unserved": f"{why}, its class" if f"IngressClass {wanted}" in why else why,
            "class": wanted,
            "classes": classes.known(),
        }
        return _owner(one, details)
    for one in ingresses:
        if any(name in tls.hosts for tls in one.tls):
            return _owner(one, {"no_rule": True})
    return None


def _owner(ingress: Ingress, details: dict[str, Any]) -> Owner:
    text = f"Ingress {ingress.full_name}"
    return Owner("Ingress", ingress.namespace, ingress.name, text, {"by": text, **details})


def _served(objects: Objects, server: ServerName, above: ServerName | None) -> Owner:
    certificate = server.certificate or (above.certificate if above is not None else None)
    details = {"paths": [f"{path.path} ({path.path_type})" for _, path in server.paths]}
    return _owner(server.first, {**details, **_told(objects, certificate)})


def _told(objects: Objects, certificate: HostCertificate | None) -> dict[str, Any]:
    if certificate is None:
        return {}
    by = certificate.ingress
    there: Object | None = objects.get(SECRET.key(by.namespace, certificate.secret))
    return {
        "tls": True,
        "by": f"Ingress {by.full_name}",
        "secret": f"Secret {by.namespace}/{certificate.secret}" if certificate.secret else "",
        "exists": there is not None,
        "usable": there is not None and tls_pair(there) is not None,
        "problem": certificate.problem.message if certificate.problem is not None else "",
    }
