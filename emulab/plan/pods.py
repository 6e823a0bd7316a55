"""Pods: their places and links."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from ipaddress import ip_address
from typing import TypeVar

from emulab.kinds.core.hostnames import hostname, kernel_hostname, whole_hostname
from emulab.kinds.core.podschema import MAX_NAMESERVERS, MAX_SEARCH_LETTERS, MAX_SEARCHES
from emulab.kinds.core.podspec import FOREIGN, PodSpec, foreign_interface
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.installed import asked_dns_address
from emulab.kinds.registry import POD
from emulab.model.addresses import IPAddress
from emulab.model.collection import Objects
from emulab.model.keys import Key
from emulab.model.members import Members, changed_keys
from emulab.model.objects import Object
from emulab.plan.cni import plugin_of, pod_mtu
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft
from emulab.plan.hostsfiles import MANAGED_HOSTS
from emulab.plan.links import Translated
from emulab.plan.links.translated import POD as POD_LINK
from emulab.plan.nodecache import plan_addresses
from emulab.plan.proxy.modes import MODES
from emulab.plan.state import Namespace, Network, Place, World, world_of
from emulab.plan.sysctls import host

T = TypeVar("T")
_ENDED = ("Succeeded", "Failed")


def place_name(pod: Object) -> str:
    """A pod's name as a place: `NAMESPACE.POD`, as below /run/netns after the lab's name."""
    return f"{pod.namespace}.{pod.name}"


def identity(pod: Object) -> str:
    """What tells a pod from one of the same name before or after it."""
    return f"{pod.namespace}.{pod.name}~{str(pod.metadata.get('uid', ''))[:8]}"


def listens_everywhere(place: Place, listen: Iterable[str]) -> frozenset[str]:
    """Those of a pod's sockets that are on loopback too: all of them, unless it shares its node's network."""
    own = place.namespace.partition("~")[0] == place.name
    return frozenset(listen) if own else frozenset()


def pod_addresses(pod: Object) -> tuple[IPAddress, ...]:
    return tuple(ip_address(e["ip"]) for e in pod.status.get("podIPs") or ())


def has_network(pod: Object) -> bool:
    """Whether the pod's sandbox must exist: it has an address and hasn't ended."""
    return bool(pod.status.get("podIPs")) and pod.status.get("phase") not in _ENDED


def awaits_network(pod: Object, cluster: Cluster) -> bool:
    """Whether plug-ins are to make the pod's network: its namespace must exist, and has no address yet."""
    ended = pod.metadata.get("deletionTimestamp") or pod.status.get("phase") in _ENDED
    own = bool(cluster.chain) and bool(pod.spec.get("nodeName")) and not pod.spec.get("hostNetwork")
    return own and not ended and not pod.status.get("podIPs")


def namespaces_to_come(objects: Objects, cluster: Cluster, there: Container[str]) -> list[Namespace]:
    """The network namespaces that the Pods will have, once planned, and that aren't there yet."""
    settings = host(cluster.families)
    own = (p for p in objects.kind(POD) if has_network(p) and not p.spec.get("hostNetwork"))
    names = (identity(p) for p in own if FOREIGN not in p.annotations)
    return [Namespace(name, settings) for name in names if name not in there]


def pod_place(pod: Object, spec: PodSpec, cluster: Cluster) -> Place:
    """Where a pod's programs run, and what they resolve names by."""
    addresses = pod_addresses(pod)
    namespace = spec.node_name if spec.host_network else identity(pod)
    return Place(
        name=place_name(pod),
        namespace=namespace,
        hostname=kernel_hostname(pod, spec, cluster),
        resolv_conf=resolv_conf(pod.namespace, spec, cluster),
        hosts=_hosts(pod, spec, addresses, cluster),
        addresses=addresses,
        kind="pod",
        interface=foreign_interface(pod) or "eth0",
        node=spec.node_name,
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
        servers = [asked_dns_address(cluster)]
        search = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        options = ["ndots:5"]
    extra = spec.dns_config
    servers += [s for s in extra.get("nameservers") or () if s not in servers]
    search += [s for s in extra.get("searches") or () if s not in search]
    for option in extra.get("options") or ():
        options = [o for o in options if o.split(":")[0] != option["name"]]
        options.append(f"{option['name']}:{option['value']}" if option.get("value") else option["name"])
    search = search[:MAX_SEARCHES]
    while len(" ".join(search)) > MAX_SEARCH_LETTERS:
        search.pop()
    lines = [f"search {' '.join(search)}"] if search else []
    lines += [f"nameserver {s}" for s in servers[:MAX_NAMESERVERS]]
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"


def _hosts(pod: Object, spec: PodSpec, addresses: tuple[IPAddress, ...], cluster: Cluster) -> str:
    names = "\t".join(filter(None, (whole_hostname(pod, spec, cluster), hostname(pod, spec))))
    lines = ["# Kubernetes-managed hosts file.", *MANAGED_HOSTS]
    lines += [f"{a}\t{names}" for a in addresses]
    for alias in spec.host_aliases:
        lines.append(f"{alias['ip']}\t" + "\t".join(alias.get("hostnames") or ()))
    return "\n".join(lines) + "\n"


def _changing(pod: Object) -> tuple[object, ...]:
    """What a Pod's part of the plan depends on, but for its name and its spec."""
    metadata, status = pod.metadata, pod.status
    asked = metadata.get("uid"), metadata.get("annotations"), metadata.get("deletionTimestamp")
    return (*asked, status.get("podIPs"), status.get("phase") in _ENDED)


def _exchanged(there: Mapping[str, T], gone: Mapping[str, T], come: Mapping[str, T]) -> dict[str, T]:
    return {**{name: value for name, value in there.items() if name not in gone}, **come}


class PodsPlan:
    """The places and links of all pods on some nodes of a cluster, for as long as these are the same."""

    def __init__(self, cluster: Cluster, nodes: Iterable[Node]) -> None:
        self._cluster = cluster
        self._nodes = {n.name: n for n in nodes}
        self._plugin, self._mtu = plugin_of(cluster), pod_mtu(cluster)
        self._members: Members = {}
        self._again: set[Key] = set()  # what has to be planned whether the Pod has changed or not
        self._parts: dict[Key, World] = {}
        self._world = World(Network(), {}, {})

    def on(self, cluster: Cluster, nodes: Iterable[Node]) -> PodsPlan:
        """The plan goes on with other nodes, of a cluster that is the same but for these: pods of others stay."""
        before, self._nodes, self._cluster = self._nodes, {n.name: n for n in nodes}, cluster
        others = {n for n in {*before, *self._nodes} if before.get(n) != self._nodes.get(n)}
        self._again |= {k for k, pod in self._members.items() if pod.spec.get("nodeName") in others}
        return self

    def follow(self, members: Members) -> World:
        """The pods' part of the world when these are the Pods that there are."""
        gone, come = list[World](), list[World]()
        again, self._again = self._again, set()
        for key in again.union(self._changed(members)):
            old = self._parts.get(key)
            new = self._part(members[key]) if key in members else None
            if old == new:
                continue
            if old is not None:
                gone.append(self._parts.pop(key))
            if new is not None:
                come.append(new)
                self._parts[key] = new
        self._members = members
        if gone or come:
            left, joined, there = world_of(gone), world_of(come), self._world
            network = Network(
                _exchanged(there.network.namespaces, left.network.namespaces, joined.network.namespaces),
                there.network.items.difference(left.network.items).union(joined.network.items),
            )
            self._world = World(network, {}, _exchanged(there.places, left.places, joined.places))
        return self._world

    def _changed(self, members: Members) -> Iterable[Key]:
        """The Pods of which more has changed than how their containers are."""
        before = self._members
        for key in changed_keys(before, members):
            old, new = before.get(key), members.get(key)
            if old is None or new is None or old.spec is not new.spec or _changing(old) != _changing(new):
                yield key

    def _part(self, pod: Object) -> World | None:
        if pod.spec.get("nodeName") not in self._nodes:
            return None
        draft = Draft(self._cluster.families)
        if awaits_network(pod, self._cluster):
            draft.namespace(identity(pod))
            return draft.world()
        if not has_network(pod):
            return None
        spec = PodSpec.of_pod(pod)
        place = pod_place(pod, spec, self._cluster)
        draft.places[place.name] = place
        if spec.host_network:
            plan_addresses(draft, pod, spec.node_name, self._cluster)
        if self._cluster.chain and not spec.host_network:
            draft.namespace(identity(pod))  # all that is in it is the plug-ins'
        elif not spec.host_network:
            node = self._nodes[spec.node_name]
            self._plugin.plan_pod(draft, place, node, identity(pod), self._cluster, self._mtu)
            if MODES[self._cluster.proxy_mode].pods:
                draft.add(Translated(node.name, self._plugin.link_name(identity(pod)), POD_LINK))
        if (given := pod.annotations.get(FOREIGN)) and place.namespace in draft.namespaces:
            draft.namespaces[place.namespace] = Namespace(place.namespace, given=given)
        return draft.world()
