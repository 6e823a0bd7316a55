"""Pods: their places, links, and the stand-ins that answer for containers without a command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.installed import SERVER_IMAGES, cluster_dns_address
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.registry import INGRESS, POD, SERVICE
from emulab.model.addresses import IPAddress
from emulab.model.collection import Objects
from emulab.model.families import family_of
from emulab.model.objects import Object
from emulab.model.selectors import matches_labels
from emulab.plan.cni import plugin_of, pod_mtu
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import LOCALHOST, Draft
from emulab.plan.state import Place, Server
from emulab.plan.sysctls import Families
from emulab.servers.echo.config import EchoConfig, PodConfig, PortConfig

STANDINS = "stand-ins"
_HOSTNAME_MAX = 63  # sethostname(2): 64 with its end


def place_name(pod: Object) -> str:
    """A pod's name as a place: `NAMESPACE.POD`, as below /run/netns after the lab's name."""
    return f"{pod.namespace}.{pod.name}"


def identity(pod: Object) -> str:
    """What tells a pod from one of the same name before or after it."""
    return f"{pod.namespace}.{pod.name}~{str(pod.metadata.get('uid', ''))[:8]}"


def pod_addresses(pod: Object) -> tuple[IPAddress, ...]:
    return tuple(ip_address(e["ip"]) for e in pod.status.get("podIPs") or ())


def has_network(pod: Object) -> bool:
    """Whether the pod's sandbox must exist: it has an address and hasn't ended."""
    return bool(pod.status.get("podIPs")) and pod.status.get("phase") not in ("Succeeded", "Failed")


def pod_place(pod: Object, spec: PodSpec, cluster: Cluster) -> Place:
    """Where a pod's programs run, and what they resolve names by."""
    addresses = pod_addresses(pod)
    namespace = spec.node_name if spec.host_network else identity(pod)
    own = (spec.hostname or pod.name)[:_HOSTNAME_MAX].rstrip("-.")  # as the kubelet truncates it
    hostname = spec.node_name if spec.host_network else own
    return Place(
        name=place_name(pod),
        namespace=namespace,
        hostname=hostname,
        resolv_conf=resolv_conf(pod.namespace, spec, cluster),
        hosts=_hosts(pod, spec, hostname, addresses, cluster),
        addresses=addresses,
        kind="pod",
    )


def resolv_conf(namespace: str, spec: PodSpec, cluster: Cluster) -> str:
    """A pod's /etc/resolv.conf, as the kubelet writes it for its dnsPolicy and dnsConfig."""
    policy = spec.dns_policy
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    if policy == "Default" or (policy == "ClusterFirst" and spec.host_network):
        servers = [str(cluster.underlays[0].resolver_vpc)]
    elif policy != "None":
        domain = cluster.cluster_domain
        servers = [cluster_dns_address(cluster)]
        search = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        options = ["ndots:5"]
    extra = spec.dns_config
    servers += [s for s in extra.get("nameservers") or () if s not in servers]
    search += [s for s in extra.get("searches") or () if s not in search]
    for option in extra.get("options") or ():
        options = [o for o in options if o.split(":")[0] != option["name"]]
        options.append(f"{option['name']}:{option['value']}" if option.get("value") else option["name"])
    lines = [f"search {' '.join(search)}"] if search else []
    lines += [f"nameserver {s}" for s in servers]
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"


def _hosts(
    pod: Object, spec: PodSpec, hostname: str, addresses: tuple[IPAddress, ...], cluster: Cluster
) -> str:
    names = hostname
    if spec.subdomain:
        names = f"{hostname}.{spec.subdomain}.{pod.namespace}.svc.{cluster.cluster_domain}\t{hostname}"
    lines = ["# Kubernetes-managed hosts file.", *LOCALHOST]
    lines += [f"{a}\t{names}" for a in addresses]
    for alias in spec.host_aliases:
        lines.append(f"{alias['ip']}\t" + "\t".join(alias.get("hostnames") or ()))
    return "\n".join(lines) + "\n"


def plan_pods(draft: Draft, objects: Objects, cluster: Cluster, nodes: Iterable[Node]) -> None:
    """Places and links of all pods, and the configuration of their stand-ins."""
    by_name = {n.name: n for n in nodes}
    plugin, mtu = plugin_of(cluster), pod_mtu(cluster)
    standins = _Standins(objects, cluster.families)
    for pod in objects.kind(POD):
        if not has_network(pod) or pod.spec.get("nodeName") not in by_name:
            continue
        spec = PodSpec.of(pod.spec)
        place = pod_place(pod, spec, cluster)
        draft.places[place.name] = place
        if not spec.host_network:
            plugin.plan_pod(draft, place, by_name[spec.node_name], identity(pod), cluster, mtu)
        standins.add(pod, spec, place)
    draft.servers[STANDINS] = standins.server()


class _Standins:
    """The one server that answers for all containers without a command."""

    def __init__(self, objects: Objects, families: Families) -> None:
        self._families = families
        # By namespace and one pair of the selector, so that a pod looks at the few Services that may select it.
        self._services: dict[tuple[str, str, str], list[Service]] = {}
        for o in objects.kind(SERVICE):
            service = Service.of(o)
            if service.selector:
                pair = min(service.selector.items())
                self._services.setdefault((service.namespace, *pair), []).append(service)
        self._ingresses: dict[tuple[str, str], str] = {}
        for o in objects.kind(INGRESS):
            ingress = Ingress.of(o)
            backends = [p.backend for r in ingress.rules for p in r.paths]
            for backend in (*backends, *([ingress.default_backend] if ingress.default_backend else [])):
                self._ingresses.setdefault((ingress.namespace, backend.service), ingress.name)
        self._listen: dict[str, str] = {}
        self._everywhere: set[str] = set()
        self._identities: dict[str, PodConfig] = {}
        self._draining: list[str] = []

    def add(self, pod: Object, spec: PodSpec, place: Place) -> None:
        containers = [c for c in spec.lasting if is_standin(c)]
        if not containers:
            return
        ports = self._ports(pod, spec, containers)
        addresses = [str(a) for a in place.addresses if family_of(a) in self._families]
        identity = PodConfig(
            namespace=pod.namespace,
            pod=pod.name,
            node=spec.node_name,
            pod_ip=addresses[0],
            ports={str(port): who for (_, port), who in ports.items() if who},
        )
        spoken = [(protocol.lower(), port) for protocol, port in ports if protocol in ("TCP", "UDP")]
        keys = [f"{protocol}/{address}/{port}" for address in addresses for protocol, port in spoken]
        self._listen.update(dict.fromkeys(keys, place.namespace))
        if (
            spec.host_network
        ):  # pods share the node's address: each of their sockets has an identity of its own
            self._identities.update(dict.fromkeys(keys, identity))
        else:  # neighbours in the pod reach a container's program at localhost too
            self._identities.update(dict.fromkeys(addresses, identity))
            self._everywhere.update(keys)
        if pod.metadata.get("deletionTimestamp"):
            self._draining += keys

    def _ports(
        self, pod: Object, spec: PodSpec, containers: list[Container]
    ) -> Mapping[tuple[str, int], PortConfig | None]:
        """Protocol and port of each stand-in's socket, and the Service and Ingress that lead to it.

        A port that belongs to a container with a command is left to that program.
        """
        others = {(p.protocol, p.port) for c in spec.lasting if not is_standin(c) for p in c.ports}
        named = {p.name: p.port for c in spec.lasting for p in c.ports if p.name}
        ports: dict[tuple[str, int], PortConfig | None] = {
            (p.protocol, p.port): None for c in containers for p in c.ports
        }
        likely = (self._services.get((pod.namespace, *pair), ()) for pair in sorted(pod.labels.items()))
        for service in (s for services in likely for s in services):
            if not matches_labels(service.selector or {}, pod.labels):
                continue
            for port in service.ports:
                number = (
                    port.target_port if isinstance(port.target_port, int) else named.get(port.target_port)
                )
                if number is None or (port.protocol, number) in others:
                    continue
                ingress = self._ingresses.get((service.namespace, service.name), "")
                if not ports.get((port.protocol, number)):
                    ports[port.protocol, number] = PortConfig(service.name, ingress)
        return ports

    def server(self) -> Server:
        listen, draining = tuple(sorted(self._listen)), tuple(sorted(self._draining))
        config = EchoConfig(listen, self._identities, draining)
        return Server(STANDINS, "echo", "", config, self._listen, frozenset(self._everywhere))


def is_standin(container: Container) -> bool:
    """Whether a container is answered for: it has no command, and its image isn't one of emulab's servers."""
    return not container.command and container.image not in SERVER_IMAGES
