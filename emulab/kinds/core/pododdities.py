"""What looks odd in a Pod, or in a template of Pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emulab.kinds.core import accounts, configoddities, podnetworkoddities
from emulab.kinds.core.coredns import CoreDnsFlags
from emulab.kinds.core.nodecache import NodeCacheFlags, own_addresses
from emulab.kinds.core.podspec import ECHO, PROGRAM, REQUIRED, STANDIN, Container, PodSpec, asked_program
from emulab.kinds.core.resourceoddities import of_resources
from emulab.kinds.images import AGENTS, DNS, INGRESS, NODE_CACHE, entry_of, repository, server_of
from emulab.kinds.standins import is_played, sockets_of, unread
from emulab.model.checks import show
from emulab.model.findings import Finding
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.core.podspec import PodImage
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

_NAMESERVERS = 3


def oddities(
    o: Object, base: FieldPath, pod: Mapping[str, Any], world: Lookup, ends: bool = False
) -> Iterator[Finding]:
    """Of the Pod, or the template, that stands at `base` of an object. `ends`: it is there to end well."""
    annotations, spec = (pod.get("metadata") or {}).get("annotations") or {}, pod["spec"]
    node = spec.get("nodeName")
    if node and node not in world.nodes:
        yield Finding(o, (*base, "spec", "nodeName"), f"there is no node {node}")
    yield from podnetworkoddities.oddities(o, (*base, "metadata", "annotations"), annotations, world)
    yield from _left_out(o, (*base, "spec"), spec)
    yield from _not_allowed(o, (*base, "spec", "volumes"), spec.get("volumes") or (), world)
    yield from configoddities.oddities(o, (*base, "spec"), spec, world)
    yield from accounts.oddities(o, (*base, "spec"), spec, world)
    yield from of_resources(o, (*base, "spec"), spec)
    yield from _of_controllers(o, (*base, "spec", "containers"), spec.get("containers") or (), world)
    yield from _of_node_caches(o, (*base, "spec"), spec, world)
    yield from _of_corednses(o, (*base, "spec", "containers"), spec)
    yield from _of_publishers(o, (*base, "spec", "containers"), spec)
    yield from _of_agents(o, (*base, "spec", "containers"), spec, world)
    program = annotations.get(PROGRAM, REQUIRED)
    if program not in (REQUIRED, STANDIN, ECHO):
        what = f"{show(program)} is neither {REQUIRED}, {STANDIN} nor {ECHO}, and not heeded"
        yield Finding(o, (*base, "metadata", "annotations", PROGRAM), what)
    missing = world.missing_programs(annotations, spec)
    for field in ("initContainers", "containers") if missing else ():
        for index, container in enumerate(spec.get(field) or ()):
            word = missing.get(container["name"])
            if word and not server_of(container.get("image") or ""):
                what = f"{word} isn't on this host; {_instead(spec, field, index, ends)}"
                yield Finding(o, (*base, "spec", field, index, "command"), what)
    images = world.images(annotations, spec)
    stand_ins = [*missing, *(c["name"] for c in spec["containers"] if _is_stood_in_for(c))]
    for path, what in _unheard(pod, [name for name in stand_ins if name not in images], images):
        yield Finding(o, (*base, *path), what)


def _is_stood_in_for(container: Mapping[str, Any]) -> bool:
    return not asked_program(container) or is_played(Container.of(container))


def _unheard(
    pod: Mapping[str, Any], stand_ins: Sequence[str], images: Mapping[str, PodImage]
) -> Iterator[tuple[FieldPath, str]]:
    """What of a container its stand-in doesn't do: the ports that it declares on which its image's program doesn't
    listen, as far as that is known, and a configuration."""
    containers = PodSpec.of(pod["spec"], stand_ins).containers
    for index, container in enumerate(containers):
        if container.command or container.name in images:
            continue
        if (mount := unread(container)) is not None:
            path = ("spec", "containers", index, "volumeMounts", mount, "mountPath")
            yield (
                path,
                f"isn't read: a stand-in answers in place of {container.image} as it is configured there",
            )
        if not container.ports:
            continue
        sockets = sockets_of(container, pod)
        for number, port in enumerate(container.ports if sockets is not None else ()):
            if (port.protocol, port.port) not in (sockets or ()):
                listening = ", ".join(f"{known}/{protocol}" for protocol, known in sockets or ()) or "no port"
                path = ("spec", "containers", index, "ports", number, "containerPort")
                yield path, f"{container.image}, as it is asked, listens on {listening}"


def _of_controllers(
    o: Object, base: FieldPath, containers: Sequence[Mapping[str, Any]], world: Lookup
) -> Iterator[Finding]:
    """What of ingress controllers' flags and ConfigMaps isn't followed."""
    for index, container in enumerate(containers):
        if server_of(container.get("image") or "") == INGRESS:
            from emulab.kinds.networking.controlleroddities import oddities  # here: few Pods are any

            for path, what in oddities(o, container, world):
                yield Finding(o, (*base, index, *path), what)


def _of_agents(o: Object, base: FieldPath, spec: Mapping[str, Any], world: Lookup) -> Iterator[Finding]:
    """Agents of nodes, whose work is the lab's: what their flags ask for isn't done."""
    for index, container in enumerate(spec.get("containers") or ()):
        if field := entry_of(container.get("image") or "", AGENTS):
            there = world.cluster.proxy_mode if field == "proxy.mode" else world.cluster.network_plugin
            if field != "proxy.mode" and world.cluster.chain:
                field, there = world.cluster.chain_field, "plug-ins of this machine"
            what = f"changes nothing, nor do its flags: the Cluster's {field} says what nodes have, which is {there}"
            yield Finding(o, (*base, index, "image"), what)


def _of_node_caches(o: Object, base: FieldPath, spec: Mapping[str, Any], world: Lookup) -> Iterator[Finding]:
    """What of NodeLocal DNSCache's addresses isn't followed."""
    for index, container in enumerate(spec.get("containers") or ()):
        if server_of(container.get("image") or "") == NODE_CACHE:
            flags, path = (
                NodeCacheFlags.of(o.namespace, spec, container),
                (*base, "containers", index, "args"),
            )
            own = own_addresses(flags, world.own_networks) if spec.get("hostNetwork") else ()
            for address in flags.local:
                if address not in own:
                    yield Finding(o, path, f"-localip {address}: the cache doesn't answer there; {_INSTEAD}")
            if not flags.local:
                yield Finding(o, path, f"without -localip the cache answers nowhere; {_INSTEAD}")


def _of_corednses(o: Object, base: FieldPath, spec: Mapping[str, Any]) -> Iterator[Finding]:
    """Servers of CoreDNS that have no Corefile of their own."""
    for index, container in enumerate(spec.get("containers") or ()):
        if server_of(container.get("image") or "") == DNS:
            flags = CoreDnsFlags.of(o.namespace, spec, container)
            if flags.bare:
                where = f"ConfigMap {flags.namespace}/{flags.config_map}, or by the stock one"
                what = f"no ConfigMap is mounted at {flags.bare}: it answers by the Corefile of {where}"
                yield Finding(o, (*base, index, "volumeMounts"), what)


def _of_publishers(o: Object, base: FieldPath, spec: Mapping[str, Any]) -> Iterator[Finding]:
    """Containers of external-dns, whose work is the lab's."""
    for index, container in enumerate(spec.get("containers") or ()):
        if repository(container.get("image") or "").rpartition("/")[2] == "external-dns":
            words = (*(container.get("command") or ()), *(container.get("args") or ()))
            flags = dict.fromkeys(word.partition("=")[0] for word in words if word.startswith("--"))
            followed = f"; of its flags none is followed: {', '.join(flags)}" if flags else ""
            what = f"the lab publishes Ingresses and Services by itself, as their annotations say{followed}"
            yield Finding(o, (*base, index, "image"), what)


_INSTEAD = "an address of no Service and no network, such as 169.254.20.10, is one of each node with hostNetwork: true"


def doing_nothing(o: Object, base: FieldPath, pod: Mapping[str, Any]) -> Iterator[Finding]:
    """Of a template of Pods that are there to end well: which of their containers do so at once, as only their image
    says what they do, which isn't run."""
    for index, container in enumerate(pod["spec"]["containers"]):
        if not asked_program(container):
            path = (*base, "spec", "containers", index, "image")
            yield Finding(o, path, "isn't run unless it was loaded; the container does nothing and ends well")


def _instead(spec: Mapping[str, Any], field: str, index: int, ends: bool) -> str:
    """What happens instead of a program."""
    view = PodSpec.of(spec)
    container = (view.init_containers if field == "initContainers" else view.containers)[index]
    if container not in view.lasting:
        return "the init container does nothing and ends well"
    if ends and field == "containers":
        return "the container does nothing and ends well"
    ports = ", ".join(str(p.port) for p in container.ports)
    return f"a stand-in answers on {ports}" if ports else "a stand-in takes its place"


def _not_allowed(
    o: Object, base: FieldPath, volumes: Sequence[Mapping[str, Any]], world: Lookup
) -> Iterator[Finding]:
    """Folders of the host that no Pod of the lab may see."""
    for index, volume in enumerate(volumes):
        path = (volume.get("hostPath") or {}).get("path")
        if path and not world.allows_host_path(path):
            what = "isn't allowed by spec.pods.hostPaths of the Cluster: a program that sees it isn't started"
            yield Finding(o, (*base, index, "hostPath", "path"), what)


def _left_out(o: Object, base: FieldPath, spec: Mapping[str, Any]) -> Iterator[Finding]:
    """Name servers for which a resolv.conf has no line left behind the kubelet's own (`DNSConfigForming`)."""
    servers = (spec.get("dnsConfig") or {}).get("nameservers") or ()
    own = 0 if spec.get("dnsPolicy") == "None" else 1
    if len(servers) + own > _NAMESERVERS:
        path = (*base, "dnsConfig", "nameservers", _NAMESERVERS - own)
        yield Finding(
            o, path, "is left out: the kubelet writes three name servers, of which its own is the first"
        )
