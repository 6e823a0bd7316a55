"""Typed views of Pod and of the workloads that make Pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emulab.model.objects import Object


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


@dataclass(frozen=True, slots=True)
class HTTPGet:
    path: str
    port: int | str
    host: str
    scheme: str  # HTTP | HTTPS
    headers: tuple[tuple[str, str], ...]


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
    subdomain: str
    dns_policy: str
    dns_config: Mapping[str, Any]
    host_aliases: tuple[Mapping[str, Any], ...]
    host_network: bool

    @staticmethod
    def of(spec: Mapping[str, Any]) -> PodSpec:
        """The view of a Pod's `spec` or of a template's."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment, ReplicaSet, StatefulSet or DaemonSet."""

    kind: str
    namespace: str
    name: str
    replicas: int  # 1 when not given; meaningless for DaemonSet
    selector: Mapping[str, Any]  # LabelSelector
    template: Mapping[str, Any]  # metadata and spec of the pods, as given
    service_name: str  # StatefulSet
    pod_management: str  # StatefulSet: OrderedReady | Parallel
    strategy: str  # Deployment: RollingUpdate | Recreate; others: RollingUpdate | OnDelete
    max_surge: int | str  # Deployment rolling update: a number or "25%"
    max_unavailable: int | str

    @staticmethod
    def of(o: Object) -> Workload:
        raise NotImplementedError
