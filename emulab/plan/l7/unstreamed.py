"""What is to be said of ConfigMaps that lead ports of an ingress controller to Services. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emulab.kinds.core.serviceview import Service
from emulab.kinds.networking.controllersettings import StreamedPort, streams
from emulab.kinds.networking.ingresscontrollers import controllers
from emulab.kinds.registry import CONFIG_MAP, SERVICE
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.objects import Object


def unstreamed(given: Sequence[Object], objects: Objects) -> Iterator[Finding]:
    """Ports that lead nowhere, and ConfigMaps that say so of ports and that no controller is told of."""
    maps = [o for o in given if o.type == CONFIG_MAP and o.raw.get("data")]
    if not maps:
        return
    read: dict[str, str] = {}
    for controller in controllers(objects):
        flags = controller.flags
        read |= {flags.tcp_services: "TCP", flags.udp_services: "UDP"}
    for o in maps:
        data = o.raw["data"]
        found = list(streams(data))
        protocol = read.get(f"{o.namespace}/{o.name}")
        if protocol is None and len(found) == len(data):
            yield Finding(o, ("data",), _UNREAD)
        for one in found if protocol is not None else ():
            if why := _leads_nowhere(one, protocol or "", objects):
                yield Finding(o, ("data", str(one.number)), f"the port isn't opened: {why}")


_UNREAD = (
    "no port is opened: no ingress controller has --tcp-services-configmap or --udp-services-configmap for this "
    "ConfigMap; the lab's own one, which has neither, stands aside for one of yours"
)


def _leads_nowhere(one: StreamedPort, protocol: str, objects: Objects) -> str:
    o = objects.get(SERVICE.key(one.namespace, one.service))
    if o is None:
        return f"there is no Service {one.namespace}/{one.service}"
    there = [port for port in Service.of(o).ports if port.protocol == protocol]
    if any(one.port in (str(port.port), port.name) for port in there):
        return ""
    return f"Service {one.namespace}/{one.service} has no {protocol} port {one.port}"
