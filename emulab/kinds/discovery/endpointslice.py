"""EndpointSlices."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from emulab.errors import UserError
from emulab.kinds import cells
from emulab.kinds.addresses import special
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.checks import protocol, whole
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.following import kind_table, table
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import ENDPOINT_SLICE
from emulab.model.checks import (
    Problems,
    dns_label,
    dns_subdomain,
    ip,
    is_ipv4,
    maybe_empty,
    one_of,
    port,
    sequence,
    show,
    string,
    unique,
    wrong,
)

if TYPE_CHECKING:
    from emulab.model.objects import Object

MAX_ENDPOINTS = 3  # that an EndpointSlice's row lists

# What it may say, as discovery.k8s.io/v1 validates it

_SPECIAL_BEGINNINGS = ("0.0.0.0", "127.", "169.254.", "224.0.0.")
"""Of IPv4 addresses that `special` may refuse; the others need not be looked at."""


def _addresses_fit(slice_: dict[str, Any]) -> Problems:
    kind = slice_["addressType"]
    version = {"IPv4": 4, "IPv6": 6}.get(kind)
    found: list[Any] = []
    for i, endpoint in enumerate(slice_.get("endpoints", ())):
        for j, address in enumerate(endpoint["addresses"]):
            if version == 4 and is_ipv4(address) and not address.startswith(_SPECIAL_BEGINNINGS):
                continue
            path = ("endpoints", i, "addresses", j)
            sound = not dns_subdomain(address) if version is None else not ip(address)
            if not sound or (version and ip_address(address).version != version):
                found += wrong(f"{show(address)} is not an {kind} address", *path)
            elif version:
                found += special(address, *path)
    return found


_FIELDS = {
    "addressType": one_of("IPv4", "IPv6", "FQDN"),
    "endpoints": sequence(
        typed(
            "discovery.v1.Endpoint",
            {
                "addresses": sequence(string, least=1),
                "hostname": maybe_empty(dns_label),
                "nodeName": dns_subdomain,
            },
        )
    ),
    "ports": sequence(
        typed(
            "discovery.v1.EndpointPort",
            {"name": maybe_empty(dns_label), "protocol": protocol, "port": port},
        ),
        rules=(unique("name", defaults={"name": ""}),),
    ),
}


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    if new.raw.get("addressType") != old.raw.get("addressType"):
        raise UserError(
            f"{new.position}: {new.key} addressType: can't be changed; it is {old.raw.get('addressType')};"
            " delete the EndpointSlice first"
        )
    return spec


def _cells(o: Raw, now: float) -> Cells:
    ports = ",".join(str(p.get("port") or "*") for p in o.get("ports") or ()) or "<unset>"
    found = [address for e in o.get("endpoints") or () for address in e.get("addresses") or ()]
    more = f" + {len(found) - MAX_ENDPOINTS} more..." if len(found) > MAX_ENDPOINTS else ""
    endpoints = ",".join(found[:MAX_ENDPOINTS]) + more
    return [
        cells.name(o),
        str(o.get("addressType") or "IPv4"),
        ports,
        endpoints or "<unset>",
        cells.age(o, now),
    ], []


def _describe(o: Raw, _: Slices) -> Fields:
    ports = [
        f"{p.get('name') or '<unset>'}  {p.get('port')}/{p.get('protocol') or 'TCP'}"
        for p in o.get("ports") or ()
    ]
    fields: Fields = [("AddressType", str(o.get("addressType") or "IPv4")), ("Ports", ports)]
    found: Fields = []
    for e in o.get("endpoints") or ():
        target = e.get("targetRef") or {}
        conditions = ", ".join(f"{k}={v}" for k, v in (e.get("conditions") or {}).items())
        where = f"{target.get('kind')}/{target.get('name')} on {e.get('nodeName')}" if target else NONE
        found.append((",".join(e.get("addresses") or ()), [where, conditions or NONE]))
    return [*fields, ("Endpoints", found or "<none>")]


DEFINITION = Definition(
    check=whole(
        ENDPOINT_SLICE, dns_subdomain, fields=_FIELDS, rules=(_addresses_fit,), optional=("endpoints",)
    ),
    merge=_merge,
    fields=kind_table()
    | table(
        "addressType endpoints.addresses endpoints.conditions endpoints.hints endpoints.hostname endpoints.nodeName"
        " endpoints.targetRef ports",
        kept="endpoints.deprecatedTopology endpoints.zone",
    ),
    columns=Columns(("NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"), (), _cells),
    describe=_describe,
)
