"""Services and Pods become EndpointSlices: pkg/controller/endpointslice (KEP-752), conditions by KEP-1672.

One slice for each address family and each set of resolved ports (a named targetPort may be another number
in another Pod), at most 100 endpoints each. Slices are numbered: the name is a hash over Service, family and
number, so a slice keeps its name when its content changes. A Service without endpoints has one empty slice.
Slices that do not carry this controller's label are somebody else's. As in Kubernetes, a Service without a
selector, or of type ExternalName, is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from emulab.cluster.controllers.faults import stale_services
from emulab.cluster.controllers.names import LONGEST_BASE, controller_reference, new_uid, safe_hash
from emulab.cluster.controllers.pods import has_ended, is_ending, is_ready
from emulab.cluster.controllers.world import WorkingCopy, uid
from emulab.kinds.core.podports import container_port
from emulab.kinds.core.serviceview import HEADLESS_LABEL, Service, ServicePort
from emulab.kinds.registry import ENDPOINT_SLICE, NODE, POD, SERVICE
from emulab.model.keys import Key
from emulab.model.objects import Object

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
ZONE = "topology.kubernetes.io/zone"
MAX_ENDPOINTS = 100

Ports = tuple[tuple[str, str, int, str], ...]  # name, protocol, number, appProtocol


class _Member(NamedTuple):
    """A Pod that may be an endpoint, with what every Service asks of it."""

    pod: Object
    name: str
    addresses: Mapping[str, list[str]]  # by family
    ready: bool
    terminating: bool


class _Index:
    """The Pods by namespace and label, for the labels that Services select by; and the nodes' zones."""

    def __init__(self, world: WorkingCopy, services: Sequence[Service]) -> None:
        self.zones = {node.name: node.labels.get(ZONE, "") for node in world.kind(NODE)}
        self.families = _cluster_families(world)
        self._by_label: dict[str, dict[tuple[str, str], list[_Member]]] = {}  # by namespace and label
        for service in services:
            wanted = self._by_label.setdefault(service.namespace, {})
            for label in (service.selector or {}).items():
                wanted[label] = []
        for pod in world.kind(POD):
            self._add(pod, pod.metadata)

    def _add(self, pod: Object, metadata: Mapping[str, Any]) -> None:
        wanted = self._by_label.get(metadata.get("namespace", ""))
        labels = metadata.get("labels")
        if not wanted or not labels:
            return
        lists = [wanted[label] for label in labels.items() if label in wanted]
        if lists:
            addresses = {} if has_ended(pod) else _addresses(pod)
            member = _Member(pod, metadata["name"], addresses, is_ready(pod), is_ending(pod))
            for members in lists:
                members.append(member)

    def select(self, namespace: str, selector: Mapping[str, str]) -> list[_Member]:
        """The Pods that a Service's selector picks, by name."""
        wanted = selector.items()
        lists = [self._by_label[namespace][label] for label in wanted]
        candidates = min(lists, key=len)
        chosen = candidates if len(lists) == 1 else [m for m in candidates if wanted <= m.pod.labels.items()]
        return sorted(chosen, key=lambda m: m.name)


def publish(world: WorkingCopy) -> None:
    """Writes the slices of every Service that has a selector, and deletes those it no longer needs."""
    slices: dict[tuple[str, str], dict[Key, Object]] = {}
    for key, (service_name, o) in world.facts(ENDPOINT_SLICE, _managed).items():
        slices.setdefault((key.namespace, service_name), {})[key] = o
    views = list(world.facts(SERVICE, _selecting).values())
    index = _Index(world, [service for _, service in views])
    stuck = stale_services(world)
    for o, service in views:
        if f"{o.namespace}/{o.name}" in stuck:
            continue
        members = index.select(service.namespace, service.selector or {})
        mine = slices.get((service.namespace, service.name), {})
        metadata = _metadata(o, service)
        for family in _families(o, service, index.families):
            _publish_family(world, o, service, index, family, members, metadata, mine)
        for _, surplus in sorted(mine.items()):
            world.delete(surplus)


def _managed(o: Object) -> tuple[str, Object] | None:
    """The Service of a slice that is this controller's, and the slice."""
    return (str(o.labels.get(SERVICE_NAME, "")), o) if o.labels.get(MANAGED_BY) == CONTROLLER else None


def _selecting(o: Object) -> tuple[Object, Service] | None:
    """A Service that has slices by its selector."""
    service = Service.of(o)
    return (o, service) if service.selector and service.type != "ExternalName" else None


def _publish_family(
    world: WorkingCopy,
    o: Object,
    service: Service,
    index: _Index,
    family: str,
    members: Sequence[_Member],
    metadata: Mapping[str, Any],
    mine: dict[Key, Object],
) -> None:
    """Writes one family's slices; takes those that there are out of `mine`, which keeps the ones to be deleted."""
    groups: dict[Ports, list[dict[str, Any]]] = {}
    resolved: dict[tuple[int, int], Ports] = {}  # by the container lists, which a template's Pods share
    for member in members:
        if addresses := member.addresses.get(family):
            spec = member.pod.spec
            shared = id(spec.get("containers")), id(spec.get("initContainers"))
            ports = resolved.get(shared)
            if ports is None:
                ports = resolved[shared] = _resolve(service.ports, spec)
            groups.setdefault(ports, []).append(_endpoint(service, index, member, addresses))
    number = count()
    for ports, endpoints in sorted(groups.items()) or [((), [])]:
        for start in range(0, len(endpoints) or 1, MAX_ENDPOINTS):
            key = _slice_key(world, o, family, next(number), mine)
            old = mine.pop(key, None)
            raw = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    **(old.metadata if old else {"uid": new_uid(key, uid(o))}),
                    "name": key.name,
                    "namespace": key.namespace,
                    **metadata,
                },
                "addressType": family,
                "endpoints": endpoints[start : start + MAX_ENDPOINTS],
                "ports": [_port(*port) for port in ports],
            }
            if raw != old.raw if old is not None else not world.is_over(o):
                world.put(Object(raw))


def _slice_key(
    world: WorkingCopy, service: Object, family: str, number: int, mine: Mapping[Key, Object]
) -> Key:
    """The key of a Service's slice by number; names that somebody else's slice has are passed over."""
    namespace, base = service.namespace, f"{service.name}-"[:LONGEST_BASE]
    for attempt in count():
        suffix = safe_hash(namespace, service.name, family, number, attempt)
        key = ENDPOINT_SLICE.key(namespace, base + suffix)
        if key in mine or world.get(key) is None:
            return key
    raise AssertionError("unreachable")


def _metadata(o: Object, service: Service) -> dict[str, Any]:
    """Labels and owner of a Service's slices: the Service's own labels are passed on, but for those that say what a
    slice is."""
    labels = {**o.labels, SERVICE_NAME: o.name, MANAGED_BY: CONTROLLER}
    labels.pop(HEADLESS_LABEL, None)
    if service.headless:
        labels[HEADLESS_LABEL] = ""
    return {"labels": labels, "ownerReferences": [controller_reference(o)]}


def _endpoint(service: Service, index: _Index, member: _Member, addresses: list[str]) -> dict[str, Any]:
    """One Pod as an endpoint."""
    metadata, spec = member.pod.metadata, member.pod.spec
    node = spec.get("nodeName")
    endpoint: dict[str, Any] = {
        "addresses": addresses,
        "conditions": _conditions(service, member.ready, member.terminating),
        "targetRef": {
            "kind": "Pod",
            "namespace": service.namespace,
            "name": member.name,
            "uid": metadata.get("uid", ""),
        },
    }
    if node:
        endpoint["nodeName"] = node
        if zone := index.zones.get(node):
            endpoint["zone"] = zone
    if spec.get("hostname") and spec.get("subdomain") == service.name:
        endpoint["hostname"] = spec["hostname"]
    if hints := _hints(service, endpoint):
        endpoint["hints"] = hints
    return endpoint


def _conditions(service: Service, ready: bool, terminating: bool) -> dict[str, bool]:
    """`ready` says whom to send to; KEP-1672 tells the three conditions apart."""
    return {
        "ready": service.publish_not_ready_addresses or (ready and not terminating),
        "serving": ready,
        "terminating": terminating,
    }


def _hints(service: Service, endpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Who shall send to a ready endpoint, by the Service's trafficDistribution (KEP-4444, KEP-3015)."""
    node, zone = endpoint.get("nodeName"), endpoint.get("zone")
    if not service.traffic_distribution or not endpoint["conditions"]["ready"]:
        return {}
    hints: dict[str, Any] = {}
    if zone:
        hints["forZones"] = [{"name": zone}]
    if node and service.traffic_distribution == "PreferSameNode":
        hints["forNodes"] = [{"name": node}]
    return hints


def _resolve(ports: Sequence[ServicePort], spec: Mapping[str, Any]) -> Ports:
    """The Service's ports as numbers; a name that the Pod's containers don't have is left out."""
    resolved = []
    for port in ports:
        number = port.target_port
        if isinstance(number, str):
            number = container_port(spec, number, port.protocol)
        if number:
            resolved.append((port.name, port.protocol, number, port.app_protocol))
    return tuple(resolved)


def _port(name: str, protocol: str, number: int, app_protocol: str) -> dict[str, Any]:
    port: dict[str, Any] = {"name": name, "protocol": protocol, "port": number}
    return {**port, "appProtocol": app_protocol} if app_protocol else port


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _addresses(pod: Object) -> dict[str, list[str]]:
    """The Pod's addresses by family."""
    status = pod.status
    given = [entry["ip"] for entry in status.get("podIPs") or ()] or [status.get("podIP")]
    if len(given) == 1:
        return {_family(given[0]): given} if given[0] else {}
    families: dict[str, list[str]] = {}
    for address in filter(None, given):
        families.setdefault(_family(address), []).append(address)
    return families


def _cluster_families(world: WorkingCopy) -> list[str]:
    """The families that Pods have, the primary one first, as the nodes' Pod ranges say."""
    for node in world.kind(NODE):
        ranges = node.spec.get("podCIDRs") or [node.spec.get("podCIDR")]
        if families := list(dict.fromkeys(_family(str(cidr)) for cidr in ranges if cidr)):
            return families
    return ["IPv4"]


def _families(o: Object, service: Service, cluster: list[str]) -> list[str]:
    """The Service's families: as asked, else as its addresses say, else as its `ipFamilyPolicy` (KEP-563)."""
    if given := o.spec.get("ipFamilies"):
        return list(given)
    if service.cluster_ips:
        return list(dict.fromkeys(f"IPv{address.version}" for address in service.cluster_ips))
    dual = o.spec.get("ipFamilyPolicy") in ("PreferDualStack", "RequireDualStack")
    return cluster if dual else cluster[:1]
