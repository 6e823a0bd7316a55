"""The one server that answers for all containers without a command."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from emulab.kinds.core.podspec import FOREIGN, Container, PodSpec
from emulab.kinds.core.serviceview import Service
from emulab.kinds.core.updates import program_runs_yet
from emulab.kinds.images import server_of
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.registry import CONFIG_MAP, INGRESS, POD, SECRET, SERVICE
from emulab.kinds.standins import sockets_of
from emulab.kinds.standins.asked import Speech
from emulab.model.families import IPV4, Families, family_of
from emulab.model.keys import GroupKind, Key
from emulab.model.members import Members, changed_keys
from emulab.model.objects import Object
from emulab.model.selectors import matches_labels
from emulab.model.shortened import log_name
from emulab.plan.kept import Kept, PlanSource
from emulab.plan.mounted import text_at
from emulab.plan.pods import place_name
from emulab.plan.proxy.health import HEALTHZ_PORT, METRICS_PORT
from emulab.plan.state import Place, PlannedServer
from emulab.servers.echo.config import EchoConfig, PodConfig, PortConfig

STANDINS = "stand-ins"
Pair = tuple[str, str, str]
"""A namespace, and the key and value of a label."""


def is_standin(container: Container) -> bool:
    """Whether a container is answered for: it has no command, and its image isn't one of emulab's servers."""
    return not container.command and not server_of(container.image)


class _Socket(NamedTuple):
    """A socket of a stand-in: whose it is, and what leads to it."""

    container: str
    leads: PortConfig | None = None
    speech: Speech | None = None
    began: float = 0.0  # when the container's life did


class _Part(NamedTuple):
    """What the server has for one pod."""

    listen: Mapping[str, str]
    everywhere: tuple[str, ...]
    identities: Mapping[str, PodConfig]
    draining: tuple[str, ...]
    logs: Mapping[str, str]


def _played_ports(
    pod: Object, containers: list[Container], others: Collection[tuple[str, int]]
) -> tuple[dict[tuple[str, int], _Socket], list[Container]]:
    """The sockets of those containers that play a program of which it is known where it listens, and the other ones."""
    ports: dict[tuple[str, int], _Socket] = {}
    rest: list[Container] = []
    for container in containers:
        sockets = sockets_of(container, pod.raw)
        if sockets is None:
            rest.append(container)
            continue
        for key, speech in sockets.items():
            if key not in others:
                began = _began(pod, container.name) if speech.timed else 0.0
                ports.setdefault(key, _Socket(container.name, None, speech, began))
    return ports, rest


def _began(pod: Object, container: str) -> float:
    """When the life of a container began that its status tells of; Unix time, 0 where there is none."""
    for status in pod.status.get("containerStatuses") or ():
        if status.get("name") == container:
            at = ((status.get("state") or {}).get("running") or {}).get("startedAt")
            return datetime.fromisoformat(at).timestamp() if at else 0.0
    return 0.0


def _name(key: tuple[str, int]) -> str:
    """A port as the server's configuration has it."""
    protocol, port = key
    return str(port) if protocol == "TCP" else f"{protocol.lower()}/{port}"


def _port(one: _Socket) -> PortConfig:
    leads = one.leads or PortConfig()
    if one.speech is None:
        return leads
    says, options = one.speech.says, one.speech.options
    return replace(leads, says=says, options=options, container=one.container, began=one.began)


def _local_sockets(containers: Iterable[Container], node: str, families: Families) -> Mapping[str, str]:
    """The sockets on a node's loopback of Pods that share its addresses, those that their probes ask there: the
    container of each."""
    found: dict[str, str] = {}
    for container in containers:
        for probe in (container.readiness, container.liveness, container.startup):
            port = container.port(probe.port) if probe and probe.port is not None else None
            if probe is None or port in (None, METRICS_PORT, HEALTHZ_PORT):
                continue
            for family in families:
                loopback = str(family.loopback)
                if probe.host in (loopback, "localhost"):
                    found.setdefault(f"tcp/{loopback}/{port}@{node}", container.name)
    return found


def _logs(
    pod: Object, ports: Mapping[tuple[str, int], _Socket], addresses: Iterable[str], shared: bool
) -> Mapping[str, str]:
    """The container's log of each socket: by address where one container has all of them."""
    containers = {one.container for one in ports.values()}
    if len(containers) == 1 and not shared:
        return dict.fromkeys(addresses, log_name(pod.namespace, pod.name, *containers))
    return {
        f"{protocol.lower()}/{address}/{port}": log_name(pod.namespace, pod.name, one.container)
        for address in addresses
        for (protocol, port), one in ports.items()
        if protocol in ("TCP", "UDP")
    }


class StandIns:
    """The server, as the sum of what it has for each pod."""

    def __init__(self, families: Families) -> None:
        self._families = families
        # By one pair of the selector, so that a pod looks at the few Services that may select it.
        self._selecting: dict[Pair, dict[Key, Service]] = {}
        self._services: Members = {}
        self._ingresses = Kept(_ingresses)
        self._leads: Mapping[tuple[str, str], str] = {}
        self._pods: Members = {}
        self._places: Mapping[str, Place] = {}
        self._parts: dict[Key, _Part] = {}
        self._server: PlannedServer | None = None
        # The Secrets and ConfigMaps that stand-ins read, by Pod, and those that there were.
        self._read: dict[Key, set[Key]] = {}
        self._kept: Mapping[GroupKind, Members] = {}
        self._get: Callable[[Key], Object | None] = lambda _: None

    def follow(self, source: PlanSource, places: Mapping[str, Place]) -> PlannedServer:
        """The server for these objects and places."""
        pods, leads = source.members(POD), self._ingresses.now(source)
        keys: Iterable[Key] = dict.fromkeys(
            [*changed_keys(self._pods, pods), *self._selected(self._select(source.members(SERVICE)), pods)]
        )
        if leads != self._leads:
            keys = dict.fromkeys([*keys, *pods])
        if places is not self._places:
            keys = dict.fromkeys([*keys, *self._moved(places, pods)])
        keys = dict.fromkeys([*keys, *self._changed_files(source)])
        self._pods, self._leads, self._places = pods, leads, places
        changed = False
        for key in keys:
            new = self._part(pods[key]) if key in pods else None
            if new == self._parts.get(key):
                continue
            changed = True
            if new is None:
                self._read.pop(key, None)
                del self._parts[key]
            else:
                self._parts[key] = new
        if changed or self._server is None:
            self._server = self._sum()
        return self._server

    def _moved(self, places: Mapping[str, Place], pods: Members) -> list[Key]:
        """Pods whose place isn't the same any more."""
        old = self._places
        return [key for key in pods if old.get(f"{key[2]}.{key[3]}") is not places.get(f"{key[2]}.{key[3]}")]

    def _select(self, services: Members) -> set[Pair]:
        """Takes over the Services that there are; by which labels those select Pods that changed."""
        old, self._services = self._services, services
        touched: set[Pair] = set()
        for key in changed_keys(old, services):
            was, will = (_pair(o) if o is not None else None for o in (old.get(key), services.get(key)))
            touched |= {pair for pair in (was, will) if pair is not None}
            if was is not None and was != will:
                del self._selecting[was][key]
            if will is not None:
                self._selecting.setdefault(will, {})[key] = Service.of(services[key])
        return touched

    @staticmethod
    def _selected(pairs: set[Pair], pods: Members) -> list[Key]:
        if not pairs:
            return []
        return [
            key
            for key, o in pods.items()
            if any((key.namespace, *label) in pairs for label in o.labels.items())
        ]

    def _part(self, pod: Object) -> _Part | None:
        place = self._places.get(place_name(pod))
        if place is None or FOREIGN in pod.annotations:
            return None
        spec = PodSpec.of_pod(pod)
        # A program that is yet to end has the sockets until then.
        containers = [c for c in spec.lasting if is_standin(c) and not program_runs_yet(pod, c)]
        if not containers:
            return None
        ports = self._with_files(pod, self._ports(pod, spec, containers))
        addresses = [str(a) for a in place.addresses if family_of(a) in self._families]
        identity = PodConfig(
            namespace=pod.namespace,
            pod=pod.name,
            node=spec.node_name,
            pod_ip=addresses[0],
            ports={_name(key): _port(one) for key, one in ports.items() if one.leads or one.speech},
        )
        if any(one.speech for one in ports.values()):
            identity = replace(identity, hostname=place.hostname, addresses=tuple(addresses))
        spoken = [(protocol.lower(), port) for protocol, port in ports if protocol in ("TCP", "UDP")]
        keys = tuple(f"{protocol}/{address}/{port}" for address in addresses for protocol, port in spoken)
        # Pods that share the node's address have an identity for each of their sockets. Neighbours in a pod of its own
        # reach a container's program at localhost too.
        shared = spec.host_network
        loopbacks = tuple(dict.fromkeys((IPV4, *self._families)))  # nodes have IPv4's in every world
        local = _local_sockets(containers, spec.node_name, loopbacks) if shared else {}
        return _Part(
            listen=dict.fromkeys((*keys, *local), place.namespace),
            everywhere=() if shared else keys,
            identities=dict.fromkeys((*keys, *local) if shared else addresses, identity),
            draining=(*keys, *local) if pod.metadata.get("deletionTimestamp") else (),
            logs={
                **_logs(pod, ports, addresses, shared),
                **{key: log_name(pod.namespace, pod.name, name) for key, name in local.items()},
            },
        )

    def _with_files(
        self, pod: Object, ports: Mapping[tuple[str, int], _Socket]
    ) -> Mapping[tuple[str, int], _Socket]:
        """The sockets with what stands in the files that somebody who is played reads."""
        self._read.pop(pod.key, None)
        if not any(one.speech and one.speech.files for one in ports.values()):
            return ports
        asked = self._read[pod.key] = set[Key]()
        found = dict(ports)
        for key, one in ports.items():
            if one.speech is None:
                continue
            told = {
                option: text_at(pod, one.container, path, self._get, asked)
                for option, path in one.speech.files.items()
            }
            options = {**one.speech.options, **{option: text for option, text in told.items() if text}}
            found[key] = one._replace(speech=one.speech._replace(options=options))
        return found

    def _changed_files(self, source: PlanSource) -> list[Key]:
        """Pods whose stand-ins read what has changed."""
        self._get = source.get
        if not self._read:
            return []
        kept: dict[GroupKind, Members] = {kind: source.members(kind) for kind in (SECRET, CONFIG_MAP)}
        changed = {
            key for kind, there in kept.items() for key in changed_keys(self._kept.get(kind, {}), there)
        }
        self._kept = kept
        return [pod for pod, asked in self._read.items() if not asked.isdisjoint(changed)]

    def _ports(
        self, pod: Object, spec: PodSpec, containers: list[Container]
    ) -> Mapping[tuple[str, int], _Socket]:
        """Protocol and port of each stand-in's socket.

        A port that belongs to a container with a command is left to that program. Who plays an image's program listens
        where that would. A Service's `targetPort` that no container is told of makes one in Pods alone that declare no
        port at all: elsewhere it is as likely a mistake, which is warned of.
        """
        others = {(p.protocol, p.port) for c in spec.lasting if not is_standin(c) for p in c.ports}
        named = {p.name: p.port for c in spec.lasting for p in c.ports if p.name}
        ports, containers = _played_ports(pod, containers, others)
        ports |= {(p.protocol, p.port): _Socket(c.name) for c in containers for p in c.ports}
        kept = (METRICS_PORT, HEALTHZ_PORT) if spec.host_network else ()  # the node listens there itself
        for container in containers:
            for probed in container.asked_ports:
                if ("TCP", probed) not in others and probed not in kept:
                    ports.setdefault(("TCP", probed), _Socket(container.name))
        silent = bool(containers) and not any(c.ports for c in spec.lasting)  # a port is anybody's guess
        likely = (self._selecting.get((pod.namespace, *pair), {}) for pair in sorted(pod.labels.items()))
        for service in (s for services in likely for s in services.values()):
            if not matches_labels(service.selector or {}, pod.labels):
                continue
            for port in service.ports:
                number = (
                    port.target_port if isinstance(port.target_port, int) else named.get(port.target_port)
                )
                if number is None or (port.protocol, number) in others:
                    continue
                told = (
                    containers[0] if silent else next((c for c in containers if c.names_port(number)), None)
                )
                one = ports.get((port.protocol, number)) or (_Socket(told.name) if told else None)
                if one is None:
                    continue
                ingress = self._leads.get((service.namespace, service.name), "")
                if not one.leads:
                    ports[port.protocol, number] = one._replace(leads=PortConfig(service.name, ingress))
        return ports

    def _sum(self) -> PlannedServer:
        listen: dict[str, str] = {}
        everywhere: list[str] = []
        identities: dict[str, PodConfig] = {}
        draining: list[str] = []
        logs: dict[str, str] = {}
        for key in self._pods:
            if (part := self._parts.get(key)) is not None:
                listen |= part.listen
                everywhere += part.everywhere
                identities |= part.identities
                draining += part.draining
                logs |= part.logs
        config = EchoConfig(tuple(sorted(listen)), identities, tuple(sorted(draining)), logs)
        return PlannedServer(STANDINS, "echo", "", config, listen, frozenset(everywhere))


def _pair(o: Object) -> Pair | None:
    """The label, with its value, that a Service is looked up by, of those that it selects Pods by."""
    selector = o.spec.get("selector")
    return (o.namespace, *min(selector.items())) if selector else None


def _ingresses(source: PlanSource) -> Mapping[tuple[str, str], str]:
    """The first Ingress that leads to each Service, by the Service's namespace and name."""
    found: dict[tuple[str, str], str] = {}
    for o in source.members(INGRESS).values():
        ingress = Ingress.of(o)
        backends = [p.backend for r in ingress.rules for p in r.paths]
        for backend in (*backends, *([ingress.default_backend] if ingress.default_backend else [])):
            found.setdefault((ingress.namespace, backend.service), ingress.name)
    return found
