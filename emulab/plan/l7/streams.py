"""Ports of an ingress controller that lead to TCP and UDP ports of Services, past all Ingresses. Pure.

Its ConfigMaps `--tcp-services-configmap` and `--udp-services-configmap` say which: `9000: NAMESPACE/SERVICE:PORT`. A
port without a ready endpoint isn't opened (`getStreamServices` of internal/ingress/controller).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emulab.kinds.core.serviceview import Service
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.controllersettings import StreamedPort, streams
from emulab.kinds.registry import CONFIG_MAP, SERVICE
from emulab.plan.endpoints import views
from emulab.plan.kept import PlanSource
from emulab.plan.pods import listens_everywhere
from emulab.plan.proxy.intents import backends, usable
from emulab.plan.state import Place, PlannedServer
from emulab.servers.l4.config import FrontendConfig, L4Config, TargetConfig

StreamPorts = Mapping[tuple[str, int], FrontendConfig]
"""What is behind each port, by protocol (`tcp`, `udp`) and number."""


def stream_ports(source: PlanSource, flags: ControllerFlags) -> StreamPorts:
    """The ports of a controller with these flags."""
    own = {flags.http_port, flags.https_port, flags.healthz_port, flags.webhook_port}
    found: dict[tuple[str, int], FrontendConfig] = {}
    for protocol, text in (("tcp", flags.tcp_services), ("udp", flags.udp_services)):
        namespace, _, name = text.partition("/")
        config_map = source.get(CONFIG_MAP.key(namespace, name)) if name else None
        for stream in streams((config_map.raw.get("data") or {}) if config_map is not None else {}):
            targets = tuple(_targets(source, stream, protocol.upper()))
            if targets and stream.number not in own:
                found[protocol, stream.number] = FrontendConfig("roundrobin", targets)
    return found


def _targets(source: PlanSource, stream: StreamedPort, protocol: str) -> Iterator[TargetConfig]:
    o = source.get(SERVICE.key(stream.namespace, stream.service))
    if o is None:
        return
    slices = views(source.slices((stream.namespace, stream.service)))
    for port in Service.of(o).ports:
        if port.protocol == protocol and stream.port in (str(port.port), port.name):
            for backend in usable(backends(slices, port)):
                yield TargetConfig.nameless(str(backend.address), backend.port)
            return


def stream_server(name: str, place: Place, ports: StreamPorts) -> PlannedServer:
    """The server of these ports in one of the controller's pods."""
    frontends = {
        f"{protocol}/{address}/{number}": frontend
        for address in place.addresses
        for (protocol, number), frontend in ports.items()
    }
    config = L4Config.at(frontends)
    sockets, everywhere = (
        dict.fromkeys(config.listen, place.namespace),
        listens_everywhere(place, config.listen),
    )
    return PlannedServer(f"{name}-streams", "l4", place.namespace, config, sockets, everywhere)
