"""Endpoints as users write them, of which EndpointSlices are made (`emulab.cluster.controllers.mirroring`)."""

from __future__ import annotations

from typing import Any

from emulab.kinds import cells
from emulab.kinds.addresses import special
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.checks import protocol, whole
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.following import kind_table, table
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import ENDPOINTS
from emulab.model.checks import Problems, dns_label, dns_subdomain, ip, maybe_empty, port, sequence, wrong

MOST_SHOWN = 3  # that a row of kubectl lists

# What it may say, as core/v1 validates it (`ValidateEndpoints`)


def _reachable(value: Any) -> Problems:
    return ip(value) or special(value)


_address = typed("core.v1.EndpointAddress", {"hostname": maybe_empty(dns_label), "ip": _reachable})


def _has_addresses(subset: dict[str, Any]) -> Problems:
    if subset.get("addresses") or subset.get("notReadyAddresses"):
        return ()
    return wrong("must specify `addresses` or `notReadyAddresses`")


def _ports_are_named(subset: dict[str, Any]) -> Problems:
    ports = subset.get("ports", ())
    return [
        problem
        for index, entry in enumerate(ports)
        if len(ports) > 1 and not entry.get("name")
        for problem in wrong("is required when there are several ports", "ports", index, "name")
    ]


_subset = typed(
    "core.v1.EndpointSubset",
    {
        "addresses": sequence(_address),
        "notReadyAddresses": sequence(_address),
        "ports": sequence(
            typed(
                "core.v1.EndpointPort",
                {"name": maybe_empty(dns_label), "port": port, "protocol": protocol},
            )
        ),
    },
    rules=(_has_addresses, _ports_are_named),
)


def _pairs(o: Raw) -> list[str]:
    return [
        cells.socket_name(address["ip"], entry["port"])
        for subset in o.get("subsets") or ()
        for entry in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]


def _cells(o: Raw, now: float) -> Cells:
    found = _pairs(o)
    more = f" + {len(found) - MOST_SHOWN} more..." if len(found) > MOST_SHOWN else ""
    return [cells.name(o), ",".join(found[:MOST_SHOWN]) + more or NONE, cells.age(o, now)], []


def _describe(o: Raw, _: Slices) -> Fields:
    return [("Endpoints", _pairs(o) or NONE)]


DEFINITION = Definition(
    check=whole(ENDPOINTS, dns_subdomain, fields={"subsets": sequence(_subset)}),
    fields=kind_table() | table("subsets"),
    columns=Columns(("NAME", "ENDPOINTS", "AGE"), (), _cells),
    describe=_describe,
)
