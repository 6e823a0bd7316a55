"""LoadBalancers: L4 balancers outside the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.checks import port_or_name, whole
from emulab.kinds.definition import Definition
from emulab.kinds.emulab.balancing import BALANCING, balancer_port, modes_agree
from emulab.kinds.emulab.networks import network
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.lookup import leads_nowhere
from emulab.kinds.registry import LOAD_BALANCER
from emulab.model.checks import (
    Problems,
    boolean,
    cidr,
    distinct,
    dns_1035_label,
    dns_label,
    exactly_one,
    ip,
    mapping,
    sequence,
    show,
    wrong,
)
from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

# What it may say


def _distinct_ports(values: list[Any]) -> Problems:
    """80 is "80/TCP"."""
    meant = distinct([f"{value}".removesuffix("/TCP") for value in values])
    return [(path, f"{show(values[int(path[0])])} is given twice") for path, _ in meant]


_service_target = mapping(
    {"namespace": dns_label, "name": dns_1035_label, "port": port_or_name},
    required=("name", "port"),
    closed=True,
)

load_balancer_spec = mapping(
    {
        "network": network,
        "address": ip,
        "ports": sequence(balancer_port, rules=(_distinct_ports,), least=1),
        "target": mapping(
            {
                "ingress": lambda value: (
                    boolean(value) or (() if value else wrong("must be true, or left out"))
                ),
                "service": _service_target,
            },
            rules=(exactly_one("ingress", "service"),),
            closed=True,
        ),
        "sourceRanges": sequence(cidr),
        **BALANCING,
    },
    rules=(modes_agree,),
    closed=True,
)

# A changed one, and what is odd


def _outdated(old: Object, new: Object) -> tuple[str, ...]:
    moves = any(old.spec.get(field) != new.spec.get(field) for field in ("network", "address"))
    return ("address", "addresses", "vip", "vips") if moves else ()


def _warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    from emulab.kinds.emulab.loadbalancerview import (
        LoadBalancer,  # here: who lists LoadBalancers needs no view of them
        port_of,
    )

    for name in LoadBalancer.of(o).balancing.weights:
        if name not in world.nodes:
            yield Finding(o, ("spec", "weights", name), "there is no node of that name")
    target = LoadBalancer.of(o).target
    if target.ingress:
        return
    base = ("spec", "target", "service")
    paths = ((*base, "name"), (*base, "port"))
    nowhere = [*leads_nowhere(world, target.namespace, target.service, target.port, paths)]
    for where, why in nowhere:
        yield Finding(o, where, why)
    service = world.service(target.namespace, target.service)
    if service is None or nowhere:
        return
    spoken = sorted({port.protocol for port in service.ports if target.port in (port.port, port.name)})
    given = o.spec.get("ports") or ()
    for index, (protocol, number) in enumerate(map(port_of, given or (80, 443))):
        if service.type != "ExternalName" and protocol not in spoken:
            name = f"Service {target.namespace}/{target.service}"
            why = f"nobody answers at {number}/{protocol}: port {target.port} of {name} is of {', '.join(spoken)}"
            yield Finding(o, ("spec", "ports", index) if given else paths[1], why)


# How it is printed


def balancer_target(o: Raw) -> str:
    """`ingress`, or `service/NS/NAME:PORT`."""
    service = (cells.spec(o).get("target") or {}).get("service")
    if not service:
        return "ingress"
    return f"service/{service.get('namespace') or 'default'}/{service['name']}:{service['port']}"


def _addresses(spec: Raw, status: Raw) -> str:
    """The virtual addresses, of each family one."""
    given = status.get("vips") or [status.get("vip") or spec.get("address") or "<pending>"]
    return ",".join(map(str, given))


def _cells(o: Raw, now: float) -> Cells:
    spec, status = cells.spec(o), cells.status(o)
    address = _addresses(spec, status)
    ports = ",".join(str(p) for p in spec.get("ports") or (80, 443))
    ranges = ",".join(spec.get("sourceRanges") or ()) or NONE
    narrow = [
        cells.name(o),
        str(spec.get("network") or "vpc"),
        address,
        ports,
        balancer_target(o),
        cells.age(o, now),
    ]
    return narrow, [ranges, str(status.get("address") or NONE)]


def _describe(o: Raw, beside: Slices) -> Fields:
    # Here, as who lists LoadBalancers needs none of it.
    from emulab.kinds.emulab.backendtext import backends, counted, engine, nodes

    spec, status = o.get("spec") or {}, o.get("status") or {}
    mode = str(spec.get("mode") or "proxy")
    return [
        ("Network", str(spec.get("network") or "vpc")),
        ("Address", _addresses(spec, status)),
        ("Ports", ",".join(str(p) for p in spec.get("ports") or (80, 443))),
        ("Target", balancer_target(o)),
        ("Source Ranges", [str(r) for r in spec.get("sourceRanges") or ()] or ["everyone"]),
        ("Mode", mode),
        ("Engine", engine(beside)),
        *nodes(status.get("replicas") or ()),
        ("Algorithm", str(spec.get("algorithm") or "roundrobin")),
        *((name, _told(spec[field])) for field, name in _ASKED.items() if spec.get(field) is not None),
        *backends(counted(beside), mode == "nat"),
    ]


_ASKED = {
    "preserveClientIP": "Preserve Client IP",
    "proxyProtocol": "PROXY Protocol",
    "weights": "Weights",
    "stickiness": "Stickiness",
    "healthCheck": "Health Check",
    "vrrp": "VRRP",
    "failOpen": "Fail Open",
    "draining": "Draining",
    "deny": "Deny",
    "limits": "Limits",
    "idleTimeout": "Idle Timeout",
    "workers": "Workers",
}


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={one}" for name, one in value.items()) or NONE
    return str(value).lower() if isinstance(value, bool) else str(value)


DEFINITION = Definition(
    check=whole(LOAD_BALANCER, dns_label, load_balancer_spec, optional_spec=True),
    outdated=_outdated,
    warnings=_warnings,
    columns=Columns(
        ("NAME", "NETWORK", "ADDRESS", "PORTS", "TARGET", "AGE"),
        ("SOURCE-RANGES", "VPC-ADDRESS"),
        _cells,
    ),
    describe=_describe,
)
