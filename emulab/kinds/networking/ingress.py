"""Ingresses."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.core.servicetext import endpoints
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.following import kind_table, table
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import INGRESS, SECRET
from emulab.model.checks import (
    Problems,
    dns_1035_label,
    dns_label,
    dns_subdomain,
    exactly_one,
    ip,
    maybe_empty,
    one_of,
    port,
    sequence,
    show,
    string,
    wrong,
)

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.kinds.networking.ingressview import Ingress as IngressView
    from emulab.model.findings import Finding
    from emulab.model.objects import Object

# What it may say, as networking.k8s.io/v1 validates it


def _host(value: Any) -> Problems:
    if type(value) is not str:
        return string(value)
    name = value.removeprefix("*.")
    if dns_subdomain(name):
        return wrong(f"{show(value)} is not a host: a DNS name in lower case, with or without a leading '*.'")
    return () if ip(value) else wrong(f"{show(value)} is an IP address; a host must be a DNS name")


_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")

_NOT_AT_END = ("/..", "/.")


def _path_is_absolute(entry: dict[str, Any]) -> Problems:
    path, kind = entry.get("path", ""), entry["pathType"]
    if kind == "ImplementationSpecific":
        return wrong(f"{show(path)} must begin with '/'", "path") if path and path[0] != "/" else ()
    if path[:1] != "/":
        return wrong(f"{show(path)} must begin with '/' when pathType is {kind}", "path")
    bad = [part for part in _NOT_IN_PATHS if part in path] + [e for e in _NOT_AT_END if path.endswith(e)]
    return wrong(f"{show(path)} must not contain {show(bad[0])}", "path") if bad else ()


_backend_check = typed(
    "networking.v1.IngressBackend",
    {
        "service": typed(
            "networking.v1.IngressServiceBackend",
            {
                "name": dns_1035_label,
                "port": typed(
                    "networking.v1.ServiceBackendPort",
                    {"number": port, "name": dns_label},
                    rules=(exactly_one("number", "name"),),
                ),
            },
            required=("port",),
        ),
    },
    rules=(exactly_one("service", "resource"),),
)

_path = typed(
    "networking.v1.HTTPIngressPath",
    {"pathType": one_of("Exact", "Prefix", "ImplementationSpecific"), "backend": _backend_check},
    rules=(_path_is_absolute,),
)


def _leads_somewhere(spec: dict[str, Any]) -> Problems:
    return () if spec.get("rules") or "defaultBackend" in spec else wrong("needs rules or defaultBackend")


ingress_spec = typed(
    "networking.v1.IngressSpec",
    {
        "ingressClassName": dns_subdomain,
        "defaultBackend": _backend_check,
        "rules": sequence(
            typed(
                "networking.v1.IngressRule",
                {
                    "host": maybe_empty(_host),
                    "http": typed("networking.v1.HTTPIngressRuleValue", {"paths": sequence(_path, least=1)}),
                },
            )
        ),
        "tls": sequence(
            typed(
                "networking.v1.IngressTLS",
                {"hosts": sequence(_host), "secretName": maybe_empty(dns_subdomain)},
            )
        ),
    },
    rules=(_leads_somewhere,),
)

# How it is printed


def _cells(o: Raw, now: float) -> Cells:
    spec = cells.spec(o)
    hosts = [str(rule["host"]) for rule in spec.get("rules") or () if rule.get("host")]
    shown = ",".join(hosts[:3]) + (f" + {len(hosts) - 3} more..." if len(hosts) > 3 else "")
    entries = (cells.status(o).get("loadBalancer") or {}).get("ingress") or ()
    address = ",".join(str(e.get("ip") or e.get("hostname")) for e in entries)
    ports = "80, 443" if spec.get("tls") else "80"
    return [
        cells.name(o),
        str(spec.get("ingressClassName") or NONE),
        shown or "*",
        address,
        ports,
        cells.age(o, now),
    ], []


def _describe(o: Raw, slices: Slices) -> Fields:
    spec = o.get("spec") or {}
    entries = ((o.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    default = spec.get("defaultBackend")
    fields: Fields = [
        ("Address", ",".join(str(e.get("ip") or e.get("hostname")) for e in entries) or NONE),
        ("Ingress Class", str(spec.get("ingressClassName") or NONE)),
        ("Default backend", _backend(default, slices) if default else "<default>"),
    ]
    if spec.get("tls"):
        texts = [
            f"{t.get('secretName') or NONE} terminates {','.join(t.get('hosts') or ())}" for t in spec["tls"]
        ]
        fields.append(("TLS", texts))
        fields.append(("Certificates", _certificates(o, slices)))
    rules: Fields = []
    for rule in spec.get("rules") or ():
        paths = (rule.get("http") or {}).get("paths") or ()
        texts = [
            f"{p.get('path') or '/'} ({p.get('pathType')})  {_backend(p['backend'], slices)}" for p in paths
        ]
        rules.append((str(rule.get("host") or "*"), texts))
    if rules:
        fields.append(("Rules", rules))
    return fields


def _certificates(o: Raw, beside: Slices) -> Fields:
    """Which certificate each host has by this Ingress, and what is wrong with it; or who has the word, being older."""
    from emulab.kinds.networking.ingressview import (  # here and below: of who looks at one
        Ingress,
        oldest_first,
    )
    from emulab.kinds.networking.servernames import host_certificate
    from emulab.model.objects import Object

    secrets = {s["metadata"]["name"]: Object(s) for s in beside if s.get("kind") == SECRET.kind}
    ingress, now = Ingress.of(Object(o)), time.time()
    there = oldest_first(Ingress.of(Object(one)) for one in beside if one.get("kind") == INGRESS.kind)
    found: Fields = []
    for host in dict.fromkeys(rule.host for rule in ingress.rules if rule.host):
        first = next((one for one in there if one.tls and _are_of_one_host(one, ingress, host)), ingress)
        if first.full_name != ingress.full_name:
            found.append((host, f"that of Ingress {first.full_name}, which is older"))
            continue
        one = host_certificate(host, ingress, lambda _, name: secrets.get(name))
        if one.leaf is not None:
            end = datetime.fromtimestamp(one.leaf.not_after, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            text = f"Secret {one.secret}, for {', '.join(one.leaf.names or (one.leaf.common_name,))}, until {end}"
        else:
            text = "the default one"
        problem = one.problem_at(now)
        found.append((host, text if problem is None else [text, f"{problem.reason}: {problem.message}"]))
    return found or [("*", "the default one")]


def _are_of_one_host(one: IngressView, other: IngressView, host: str) -> bool:
    """Whether both are of one class, as far as they say so, and the one has a rule for the host of the other."""
    return one.class_name == other.class_name and any(rule.host == host for rule in one.rules)


def _backend(backend: Raw, slices: Slices) -> str:
    slices = [o for o in slices if o.get("kind") not in (SECRET.kind, INGRESS.kind)]
    service = backend.get("service") or {}
    name, port = service.get("name") or "", service.get("port") or {}
    return f"{name}:{port.get('number') or port.get('name')} ({endpoints(name, None, slices)})"


def _warnings(o: Object, world: Lookup) -> Iterable[Finding]:
    from emulab.kinds.networking.ingressoddities import (
        oddities,  # here: who lists Ingresses needs no view of them
    )

    return oddities(o, world)


_BACKEND_FIELDS = table("service", ignored={"resource": "its requests go where all else of the host goes"})
DEFINITION = Definition(
    check=whole(INGRESS, dns_subdomain, ingress_spec),
    warnings=_warnings,
    fields=kind_table(
        table(
            "ingressClassName rules.host rules.http.paths.path rules.http.paths.pathType tls",
            defaultBackend=_BACKEND_FIELDS,
            rules__http__paths__backend=_BACKEND_FIELDS,
        )
    ),
    columns=Columns(("NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"), (), _cells),
    describe=_describe,
)
