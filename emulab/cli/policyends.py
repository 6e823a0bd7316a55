"""Ends of flows that `emulab policy check` is asked about and that aren't pods behind a selector."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from emulab.cli.kinds import Reference
from emulab.cli.selection import fetch
from emulab.cli.usage import UsageError
from emulab.errors import UserError
from emulab.kinds.core.serviceview import Service
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.kind import PLACE
from emulab.kinds.registry import ENDPOINT_SLICE, KINDS, NODE
from emulab.lab.client.client import LabClient, connect
from emulab.model.objects import Object

if TYPE_CHECKING:
    from emulab.kinds.cells import Raw
    from emulab.plan.policies.verdicts import PolicyEnd
    from emulab.toolbox.policies import Policies


def endpoints_of(
    lab: str, there: Policies, o: Raw, target: str, port: int | None, protocol: str
) -> list[tuple[list[PolicyEnd], list[tuple[int, str]]]]:
    """Where a Service leads that selects no Pods, as `kubernetes` does: the ready endpoints of its EndpointSlices, each
    with the ports that it has. Raises UserError where there is none."""
    service = Service.of(Object(o))
    if service.type == "ExternalName":
        raise UserError(f"{target}: is another name for {service.external_name}: ask for who has that one")
    asked = {
        (one.name, one.protocol): one
        for one in service.ports
        if port is None or (one.port, one.protocol.lower()) == (port, protocol)
    }
    if not asked:
        raise UserError(f"{target} has no port {port}/{protocol}" if port else f"{target} has no ports")
    with connect(lab) as client:
        slices = fetch(client, Reference(ENDPOINT_SLICE, ""), service.namespace)
    found: dict[str, dict[tuple[int, str], None]] = {}
    for view in map(EndpointSlice.of, map(Object, slices)):
        if view.service != service.name or view.address_type == "FQDN":
            continue
        for one in view.ports:
            said = asked.get((one.name, one.protocol))
            number = said.port if said is not None and service.headless else one.port
            for endpoint in view.endpoints if said is not None and number else ():
                if endpoint.ready and endpoint.addresses:
                    found.setdefault(endpoint.addresses[0], {})[number, one.protocol.lower()] = None
    if not found:
        raise UserError(f"{target} selects no Pods, and its EndpointSlices have no endpoint that is ready")
    return [([there.end(ip_address(address))], [*ports]) for address, ports in found.items()]


def check_place(client: LabClient, name: str) -> None:
    """Raises UsageError for a name that no pod has and a place of the world does: what policies see are addresses."""
    for kind in KINDS.of(PLACE):
        for o in fetch(client, Reference(kind, name), ""):
            if kind == NODE:
                raise UsageError(f"{name}: there is no such pod; of a node ask for node/{name}")
            own = (o.get("status") or {}).get("addresses") or ()
            addresses = " or ".join(one["address"] for one in own if one["type"] == "InternalIP")
            said = f"{name}: there is no such pod; of that {kind.kind} ask for {addresses or 'its address'}"
            raise UsageError(f"{said}, or whatever it has become on the way to the pod")
