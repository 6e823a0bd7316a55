"""The typed view of a Pod's `spec`, and of a template's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class ContainerPort:
    name: str
    protocol: str  # TCP | UDP | SCTP
    port: int


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe. Exactly one of `http`, `tcp_port`, `command` is set. Times are in seconds."""

    http: HTTPGet | None
    tcp_port: int | str | None
    command: tuple[str, ...] | None
    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int

    @staticmethod
    def of(probe: Mapping[str, Any] | None) -> Probe | None:
        """The view of a container's probe, or None where there is none.

        A `grpc` probe becomes a TCP probe of its port: nothing here speaks gRPC's health protocol.
        """
        if not probe:
            return None
        http, tcp = probe.get("httpGet"), probe.get("tcpSocket") or probe.get("grpc")
        command = (probe.get("exec") or {}).get("command")
        return Probe(
            http=HTTPGet.of(http) if http else None,
            tcp_port=tcp["port"] if tcp else None,
            command=tuple(command) if command else None,
            initial_delay=probe.get("initialDelaySeconds") or 0,
            period=probe.get("periodSeconds") or 10,
            timeout=probe.get("timeoutSeconds") or 1,
            success_threshold=probe.get("successThreshold") or 1,
            failure_threshold=probe.get("failureThreshold") or 3,
        )


@dataclass(frozen=True, slots=True)
class HTTPGet:
    path: str
    port: int | str
    host: str
    scheme: str  # HTTP | HTTPS
    headers: tuple[tuple[str, str], ...]

    @staticmethod
    def of(action: Mapping[str, Any]) -> HTTPGet:
        return HTTPGet(
            path=action.get("path") or "/",
            port=action["port"],
            host=action.get("host") or "",
            scheme=action.get("scheme") or "HTTP",
            headers=tuple((h["name"], h.get("value") or "") for h in action.get("httpHeaders") or ()),
        )


@dataclass(frozen=True, slots=True)
class Container:
    name: str
    image: str
    command: tuple[str, ...]  # command + args; empty: the stand-in of the image
    working_dir: str
    env: tuple[Mapping[str, Any], ...]  # as given: name, value or valueFrom
    ports: tuple[ContainerPort, ...]
    readiness: Probe | None
    liveness: Probe | None
    startup: Probe | None
    pre_stop: Mapping[str, Any] | None  # lifecycle.preStop as given (exec, httpGet, sleep)
    restarts: bool  # restartPolicy Always: of an init container, that it is a sidecar (KEP-753)

    @staticmethod
    def of(container: Mapping[str, Any]) -> Container:
        """The view of one entry of `containers` or `initContainers`."""
        command = container.get("command") or ()
        # args alone are arguments of the image's own program, which is not here: the stand-in takes none
        args = container.get("args") or () if command else ()
        return Container(
            name=container["name"],
            image=container.get("image") or "",
            command=(*command, *args),
            working_dir=container.get("workingDir") or "",
            env=tuple(container.get("env") or ()),
            ports=tuple(
                ContainerPort(p.get("name") or "", p.get("protocol") or "TCP", p["containerPort"])
                for p in container.get("ports") or ()
            ),
            readiness=Probe.of(container.get("readinessProbe")),
            liveness=Probe.of(container.get("livenessProbe")),
            startup=Probe.of(container.get("startupProbe")),
            pre_stop=(container.get("lifecycle") or {}).get("preStop"),
            restarts=container.get("restartPolicy") == "Always",
        )


@dataclass(frozen=True, slots=True)
class PodSpec:
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...]
    node_name: str
    node_selector: Mapping[str, str]
    topology_spread: tuple[Mapping[str, Any], ...]  # topologySpreadConstraints as given
    restart_policy: str  # Always | OnFailure | Never
    termination_grace: int  # seconds
    hostname: str
    hostname_as_fqdn: bool
    hostname_override: str
    subdomain: str
    dns_policy: str
    dns_config: Mapping[str, Any]
    host_aliases: tuple[Mapping[str, Any], ...]
    host_network: bool

    @property
    def sidecars(self) -> tuple[Container, ...]:
        """The init containers that go on running beside the containers (KEP-753)."""
        return tuple(c for c in self.init_containers if c.restarts)

    @property
    def lasting(self) -> tuple[Container, ...]:
        """All containers that the Pod's start doesn't wait to end."""
        return (*self.sidecars, *self.containers)

    @staticmethod
    def of(spec: Mapping[str, Any]) -> PodSpec:
        """The view of a Pod's `spec` or of a template's."""
        grace = spec.get("terminationGracePeriodSeconds")
        return PodSpec(
            containers=tuple(Container.of(c) for c in spec.get("containers") or ()),
            init_containers=tuple(Container.of(c) for c in spec.get("initContainers") or ()),
            node_name=spec.get("nodeName") or "",
            node_selector=spec.get("nodeSelector") or {},
            topology_spread=tuple(spec.get("topologySpreadConstraints") or ()),
            restart_policy=spec.get("restartPolicy") or "Always",
            termination_grace=30 if grace is None else grace,
            hostname=spec.get("hostname") or "",
            hostname_as_fqdn=bool(spec.get("setHostnameAsFQDN")),
            hostname_override=spec.get("hostnameOverride") or "",
            subdomain=spec.get("subdomain") or "",
            dns_policy=spec.get("dnsPolicy") or "ClusterFirst",
            dns_config=spec.get("dnsConfig") or {},
            host_aliases=tuple(spec.get("hostAliases") or ()),
            host_network=bool(spec.get("hostNetwork")),
        )
