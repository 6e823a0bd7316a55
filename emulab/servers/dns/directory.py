"""A cluster's Services and endpoints, found by their names and addresses. Pure.

What is told of them stays as it came (`servers.late`) until somebody asks for it: a directory of ten thousand knows
their keys, by which Services are told, and which of these a slice is of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple, TypeVar

from emulab.dataclass import dataclass
from emulab.servers.dns.config import Kubernetes, NamedEndpoint, NamedPort, ServiceNames, SliceNames
from emulab.servers.dns.names import Name
from emulab.servers.dns.plugins.made import Below
from emulab.servers.dns.zone import Found, LookupKind
from emulab.servers.late import held

T = TypeVar("T")
KeyedChanges = Mapping[str, T | None]
"""By the keys of what changed; None for what is gone."""

_SERVICES = "svc"
NO_PORTS = (NamedPort("", "", 0),)
_ADDRESS = re.compile(r'"([0-9A-Fa-f]*[.:][0-9A-Fa-f.:]+)"')
"""In JSON a string that may be an address, as every address is."""
_Keys = dict[str, tuple[str, ...]]


class ClusterChanges(NamedTuple):
    """What changed of a cluster's Services and endpoints."""

    services: KeyedChanges[ServiceNames]
    slices: KeyedChanges[SliceNames]


NO_CHANGES = ClusterChanges({}, {})


class Directory:
    """Services, and the endpoints of each."""

    def __init__(
        self, given: Kubernetes, known: Directory | None = None, changes: ClusterChanges = NO_CHANGES
    ) -> None:
        """`known`: one of the same cluster before these changes, from which is taken over what stays as it is."""
        self.given = given
        self.domain, self.ttl = given.domain, given.ttl
        self._through = Below(given.fallthrough)
        self.namespaces: frozenset[str]
        self._addressed: _Addressed | None = None  # until somebody asks for an address
        if known is None:
            self.namespaces, self._pods = _namespaces(given), _pods(given)
            self._slices = _by_service(given.slices)
            return
        before = known.given
        self.namespaces = known.namespaces if before.services is given.services else _namespaces(given)
        self._pods = known._pods if before.verified is given.verified else _pods(given)
        self._slices = _with_changes(known._slices, changes.slices)
        if known._addressed is not None:
            self._addressed = known._addressed.changed(before, changes)

    def namespace_of(self, address: str) -> str:
        """The Namespace of the Pod with that address, "" where it isn't known."""
        return self._pods.get(canonical(address), "")

    def service(self, namespace: str, name: str) -> ServiceNames | None:
        """The Service of that name, if it is there and has names."""
        if self.given.exposed is not None and namespace not in self.given.exposed:
            return None
        return self.any_service(namespace, name)

    def any_service(self, namespace: str, name: str) -> ServiceNames | None:
        """The Service of that name, if it is there, whether it has names or not."""
        return self.given.services.get(f"{namespace}/{name}")

    def _pointed(self, key: str) -> ServiceNames | None:
        """The Service of that key, if reverse names lead to it: of `namespaces` alone, but of all whatever
        `namespace_labels` says (plugin/kubernetes/reverse.go)."""
        return self.given.services.get(key) if self.given.points_everywhere else self.service(*key.split("/"))

    def endpoints(self, service: ServiceNames) -> Iterator[tuple[NamedEndpoint, Sequence[NamedPort]]]:
        """Those that a Service's names lead to."""
        for key in self._slices.get(f"{service.namespace}/{service.name}", ()):
            yield from _led_to(service, self.given.slices[key])

    def nothing(self, name: Name) -> Found:
        """That there is no such name; or that others are to be asked for it."""
        return Found(LookupKind.ELSEWHERE if name in self._through else LookupKind.NXDOMAIN)

    def whole_name(self, service: ServiceNames) -> str:
        return f"{service.name}.{service.namespace}.{_SERVICES}.{self.domain}"

    def pointers(self, address: str) -> Sequence[str]:
        """The names of an address: that of its Service, or one under each Service of which it is an endpoint's."""
        if self._addressed is None:
            self._addressed = _Addressed.of(self.given)
        for key in self._addressed.services.get(address, ()):
            service = self._pointed(key)
            if service and address in map(canonical, service.addresses):
                return [self.whole_name(service)]
        found = []
        for key in self._addressed.slices.get(address, ()):
            service = self._pointed(key.rpartition("/")[0])
            if service is None:
                continue
            for endpoint, _ in _led_to(service, self.given.slices[key]):
                if canonical(endpoint.address) == address:
                    found.append(f"{host(endpoint)}.{self.whole_name(service)}")
        return [*dict.fromkeys(found)]  # while slices change, two may have an endpoint


def _led_to(service: ServiceNames, told: SliceNames) -> Iterator[tuple[NamedEndpoint, Sequence[NamedPort]]]:
    for endpoint in told.endpoints:
        if endpoint.ready or service.tolerant:
            yield endpoint, told.ports or NO_PORTS


def _namespaces(given: Kubernetes) -> frozenset[str]:
    there = frozenset(given.namespaces) | {key.partition("/")[0] for key in given.services}
    return there if given.exposed is None else there & frozenset(given.exposed)


def _pods(given: Kubernetes) -> dict[str, str]:
    """The namespaces of Pods, by their addresses."""
    return {canonical(a): pod.namespace for pod in (given.verified or {}).values() for a in pod.addresses}


def _by_service(slices: Iterable[str]) -> _Keys:
    """The keys of each Service's slices."""
    found: dict[str, list[str]] = {}
    for key in slices:
        found.setdefault(key.rpartition("/")[0], []).append(key)
    return {service: tuple(keys) for service, keys in found.items()}


def _with_changes(known: _Keys, slices: KeyedChanges[SliceNames]) -> _Keys:
    if not slices:
        return known
    found = dict(known)
    for key, told in slices.items():
        service = key.rpartition("/")[0]
        keys = found.get(service, ())
        if told is None:
            _keep(found, service, tuple(one for one in keys if one != key))
        elif key not in keys:
            found[service] = (*keys, key)
    return found


def _keep(found: dict[str, tuple[str, ...]], name: str, keys: tuple[str, ...]) -> None:
    """What is left of a name's keys; a name without any isn't known."""
    if keys:
        found[name] = keys
    else:
        found.pop(name, None)


@dataclass(frozen=True, slots=True)
class _Addressed:
    """By an address the keys of what may have it: in what nobody has read yet, more looks like an address."""

    services: _Keys
    slices: _Keys

    @classmethod
    def of(cls, given: Kubernetes) -> _Addressed:
        return cls(_by_address(given.services, _of_service), _by_address(given.slices, _of_slice))

    def changed(self, given: Kubernetes, changes: ClusterChanges) -> _Addressed:
        """After changes of what `given` tells."""
        return _Addressed(
            _exchanged(self.services, given.services, changes.services, _of_service),
            _exchanged(self.slices, given.slices, changes.slices, _of_slice),
        )


def _by_address(given: Mapping[str, T], of: Callable[[T], Iterable[str]]) -> _Keys:
    found: dict[str, list[str]] = {}
    for key, told in held(given):
        for address in _ADDRESS.findall(told) if isinstance(told, str) else of(told):
            if ":" in address:
                address = _canonical_or_not(address)
            found.setdefault(address, []).append(key)
    return {
        address: (keys[0],) if len(keys) == 1 else tuple(sorted(set(keys))) for address, keys in found.items()
    }


def _exchanged(
    known: _Keys, before: Mapping[str, T], changes: KeyedChanges[T], of: Callable[[T], Iterable[str]]
) -> _Keys:
    if not changes:
        return known
    found = dict(known)
    for key, value in changes.items():
        old = before.get(key)
        for address in () if old is None else map(canonical, of(old)):
            _keep(found, address, tuple(one for one in found.get(address, ()) if one != key))
        for address in () if value is None else map(canonical, of(value)):
            found[address] = tuple(sorted((*found.get(address, ()), key)))
    return found


def _of_service(service: ServiceNames) -> Iterable[str]:
    return service.addresses


def _of_slice(told: SliceNames) -> Iterable[str]:
    return dict.fromkeys(endpoint.address for endpoint in told.endpoints)


def canonical(address: str) -> str:
    """The one way to write an address of which IPv6 has many."""
    return str(ip_address(address)) if ":" in address else address


def _canonical_or_not(text: str) -> str:
    """An address, or the text that is none."""
    try:
        return canonical(text)
    except ValueError:
        return text


def host(endpoint: NamedEndpoint) -> str:
    """An endpoint's first label (`endpointHostname` of CoreDNS)."""
    if endpoint.hostname:
        return endpoint.hostname
    dashed = endpoint.address.replace(".", "-").replace(":", "-")
    return f"{dashed}0" if dashed.endswith("-") else dashed
