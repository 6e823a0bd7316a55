"""A cluster's names, as CoreDNS' kubernetes plugin answers for them with `pods insecure`. Pure.

They follow the Kubernetes DNS specification 1.1.0, and where that leaves it open CoreDNS (plugin/kubernetes,
plugin/backend_lookup.go). Nothing is kept but Services and endpoints: which records a name has is said when it is asked
for, so that a change costs little, however many names it concerns.

* `SERVICE.NAMESPACE.svc`: the cluster IPs, or the endpoints of a headless Service; without any, there is no such name.
* `HOST.SERVICE.NAMESPACE.svc`: the endpoints of that hostname, of whatever Service; one without a hostname has its
  address with dashes.
* `_PORT._PROTOCOL.SERVICE.NAMESPACE.svc`: what of these has the port. Each of these names has SRV records of all the
  ports that it leads to, and addresses.
* `A-B-C-D.NAMESPACE.pod`: that address, whether a Pod has it or not.
* A PTR leads from a cluster IP to its Service, or from an endpoint to its name under each Service that has it. Other
  reverse names are looked for elsewhere, as `fallthrough` has it in the stock configuration, and by that of a user
  names of the domain may be, too.

A namespace that isn't there has no names; one that is exists as a name without records.

Of types CoreDNS has its own mind (plugin/kubernetes/handler.go). ANY and what it doesn't know is no data. So is a SOA
below the zone's own name, whether there is such a name or not. A TXT record is asked for of a name that isn't there
where that has no addresses. An alias answers for addresses alone: with what it leads to, but within the cluster not
where that is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import NamedTuple

from emulab.servers.dns import names, rdata
from emulab.servers.dns.config import NamedPort, ServiceNames, Soa
from emulab.servers.dns.directory import NO_PORTS, Directory, canonical, host
from emulab.servers.dns.names import Name, lower
from emulab.servers.dns.wire import ResourceRecord
from emulab.servers.dns.zone import (
    Authority,
    ClientNetwork,
    Found,
    LookupKind,
    Rotor,
    negative,
    start_of_authority,
)

VERSION = "1.1.0"
_VERSION_TTL = 28800
_OWN_SERVICE = ("kube-system", "kube-dns")
"""The Service behind which the cluster's DNS is: its name is the zone's name server, whatever `namespaces` have names
(plugin/kubernetes/ns.go)."""
_OWN_LABEL = _OWN_SERVICE[1].encode()
_SERVICES, _PODS = "svc", "pod"
_RECORDS = {4: rdata.A, 6: rdata.AAAA}
_LONGEST = 300
_MOST_ALIASES = 11
"""The eleventh has ten before it (`maxCnameChainLength` of plugin/backend_lookup.go)."""


def cluster_zones(directory: Directory, soa: Soa) -> tuple[Authority, ...]:
    """The zone of the cluster's domain and those of its reverse names."""
    reverse = (ReverseNames(directory, origin, soa) for origin in directory.given.reverse)
    return ClusterNames(directory, soa), *reverse


def _with_ttl(soa: Soa, ttl: int) -> Soa:
    """The SOA of names that are kept for so long (`SOA` of plugin/backend_lookup.go)."""
    return replace(soa, minimum=ttl, ttl=min(ttl, _LONGEST))


class _Led(NamedTuple):
    """Where a name leads: an address, and a port of it by the name that SRV records have for it."""

    address: str
    port: int
    target: str


class ClusterNames:
    """The cluster's domain."""

    networks: tuple[ClientNetwork, ...] | None = None
    draws = False

    def __init__(self, directory: Directory, soa: Soa) -> None:
        self.directory = self._directory = directory
        self._apex = start_of_authority(directory.domain, _with_ttl(soa, directory.ttl))
        self.origin, self.soa = self._apex.owner, negative(self._apex)
        self._answers: dict[tuple[Name, int], Found] = {}  # their records take turns

    def lookup(self, name: Name, rtype: int) -> Found:
        """Looks up a lower-case name at or below the origin."""
        known = self._answers.get((name, rtype))
        if known is not None:
            return known
        labels = [label.decode(errors="replace") for label in name[: len(name) - len(self.origin)]]
        found = self._apex_has(labels, rtype) or self._found(name, labels, rtype)
        if found.kind in (LookupKind.ANSWER, LookupKind.ALIAS) and labels[-1:] != [
            _PODS
        ]:  # of which there are without end
            self._answers[name, rtype] = found
        return found

    def addresses(self, name: Name) -> Iterator[ResourceRecord]:
        """The A and AAAA records of exactly this lower-case name, for the additional section."""
        if own := self._own(name):
            for rtype in _RECORDS.values():
                yield from self._records(name, rtype, [_Led(address, 0, "") for address in own])
            return
        for rtype in _RECORDS.values():
            found = self.lookup(name, rtype)
            if found.kind is LookupKind.ANSWER:
                yield from found.rrset.records

    def _own(self, name: Name) -> Sequence[str]:
        """The addresses of the Service of the cluster's DNS, where this is its name."""
        if name[:1] != (_OWN_LABEL,):  # of nearly all names that an answer leads to
            return ()
        own = self._directory.any_service(*_OWN_SERVICE)
        if own is None or name != lower(names.from_text(self._directory.whole_name(own))):
            return ()
        return own.addresses

    def _apex_has(self, labels: list[str], rtype: int) -> Found | None:
        """What the zone has of its own: its SOA, its name server, and the version of the specification."""
        if rtype == rdata.SOA:
            return Found(LookupKind.NODATA) if labels else Found(LookupKind.ANSWER, Rotor((self._apex,)))
        own = self._directory.any_service(*_OWN_SERVICE)
        if not labels and rtype == rdata.NS and own is not None and own.addresses:
            record = self._record(self.origin, rdata.NS, self._directory.whole_name(own))
            return Found(LookupKind.ANSWER, Rotor((record,)))
        if labels == ["ns", "dns"] and own is not None and rtype != rdata.TXT:
            name = (b"ns", b"dns", *self.origin)
            records = self._records(name, rtype, [_Led(address, 0, "") for address in own.addresses])
            return Found(LookupKind.ANSWER, Rotor(records)) if records else Found(LookupKind.NODATA)
        if labels != ["dns-version"] or rtype != rdata.TXT:
            return None
        owner = names.from_text(f"dns-version.{self._directory.domain}")
        data = rdata.from_text(rdata.TXT, VERSION)
        return Found(LookupKind.ANSWER, Rotor((ResourceRecord(lower(owner), rdata.TXT, _VERSION_TTL, data),)))

    def _found(self, name: Name, labels: list[str], rtype: int) -> Found:
        led = self._led(labels)
        if led is None or (rtype == rdata.TXT and not led):
            return self._directory.nothing(name)
        if isinstance(led, str):
            record = self._record(name, rdata.CNAME, led)
            if rtype == rdata.CNAME:
                return Found(LookupKind.ANSWER, Rotor((record,)))
            if rtype not in _RECORDS.values() or self._leads_nowhere(name, rdata.target(record.data), rtype):
                return Found(LookupKind.NODATA)
            return Found(LookupKind.ALIAS, Rotor((record,)), alone=True)
        records = self._records(name, rtype, led)
        return Found(LookupKind.ANSWER, Rotor(records)) if records else Found(LookupKind.NODATA)

    def _leads_nowhere(self, name: Name, target: Name, rtype: int) -> bool:
        """Whether an alias comes to an end within the zone where there are no such addresses, or to no end."""
        seen = {name}
        while target[-len(self.origin) :] == self.origin:
            if target in seen or len(seen) > _MOST_ALIASES or target[-len(name) :] == name:
                return True
            seen.add(target)
            labels = [label.decode(errors="replace") for label in target[: len(target) - len(self.origin)]]
            if (own := self._apex_has(labels, rtype)) is not None:
                return own.kind is not LookupKind.ANSWER
            led = self._led(labels)
            if not isinstance(led, str):
                return not self._records(target, rtype, led or ())
            target = rdata.target(rdata.from_text(rdata.CNAME, led))
        return False

    def _record(self, owner: Name, rtype: int, text: str) -> ResourceRecord:
        return ResourceRecord(owner, rtype, self._directory.ttl, rdata.from_text(rtype, text))

    def _records(self, name: Name, rtype: int, led: Sequence[_Led]) -> list[ResourceRecord]:
        if rtype in _RECORDS.values():
            texts = (one.address for one in led if (":" in one.address) == (rtype == rdata.AAAA))
        elif rtype == rdata.SRV:
            # 100 is divided among all that the name leads to (backend_lookup.go).
            weight = max(100 // len(led), 1) if led else 0
            texts = (f"0 {weight} {one.port} {one.target}" for one in led if one.port)
        else:
            return []
        records = []
        for text in dict.fromkeys(texts):
            with suppress(
                ValueError
            ):  # a target that no DNS name can be: a hostname or port name may be longer
                records.append(self._record(name, rtype, text))
        return records

    def _led(self, labels: list[str]) -> str | list[_Led] | None:
        """Where a name leads; another name for an alias, None where there is no such name."""
        if not labels or labels in ([_SERVICES], [_PODS]):
            return []
        kind, namespace = labels[-1], labels[-2] if len(labels) > 1 else ""
        if kind not in (_SERVICES, _PODS) or namespace not in self._directory.namespaces or len(labels) > 5:
            return None
        if len(labels) == 2:
            return []
        if kind == _PODS:
            return self._pod(labels[-3], namespace)
        service = self._directory.service(namespace, labels[-3])
        return self._service(service, labels[:-3]) if service else None

    def _pod(self, label: str, namespace: str) -> list[_Led] | None:
        """Where the name of an address leads: there, unless there are no such names, or no such Pod."""
        given, led = self._directory.given, _pod(label)
        if not given.pods or led is None:
            return None
        if given.verified is not None and self._directory.namespace_of(led[0].address) != namespace:
            return None
        return led

    def _service(self, service: ServiceNames, before: list[str]) -> str | list[_Led] | None:
        """Where a Service's name leads with these labels before it."""
        if service.alias:
            return service.alias if not before and not _is_address(service.alias) else None
        port, protocol = (label.removeprefix("_") for label in before) if len(before) == 2 else ("", "")
        own = self._directory.whole_name(service)
        found = []
        if service.headless or len(before) == 1:
            for endpoint, ports in self._directory.endpoints(service):
                label = host(endpoint)
                if len(before) != 1 or label.lower() == before[0]:
                    numbers = [p.number for p in ports if _fits(p, port, protocol)]
                    found += [_Led(endpoint.address, number, f"{label}.{own}") for number in numbers]
        elif not (self._directory.given.ignore_empty and not any(self._directory.endpoints(service))):
            numbers = [p.number for p in service.ports or NO_PORTS if _fits(p, port, protocol)]
            found = [_Led(address, number, own) for number in numbers for address in service.addresses]
        return found or None


def _fits(port: NamedPort, name: str, protocol: str) -> bool:
    return name in ("", port.name.lower()) and protocol in ("", port.protocol.lower())


def _pod(label: str) -> list[_Led] | None:
    ipv4 = label.count("-") == 3 and "--" not in label
    address = label.replace("-", "." if ipv4 else ":")
    return [_Led(address, 0, "")] if _is_address(address) else None


def _is_address(text: str) -> bool:
    try:
        ip_address(text.rstrip("."))
    except ValueError:
        return False
    return True


class ReverseNames:
    """Names of addresses, as far as they are the cluster's."""

    networks: tuple[ClientNetwork, ...] | None = None
    draws = False

    def __init__(self, directory: Directory, origin: str, soa: Soa) -> None:
        self._directory = directory
        self._apex = start_of_authority(origin, _with_ttl(soa, directory.ttl))
        self.origin, self.soa = self._apex.owner, negative(self._apex)

    def lookup(self, name: Name, rtype: int) -> Found:
        """Looks up a lower-case name at or below the origin."""
        if rtype == rdata.SOA:
            return (
                Found(LookupKind.ANSWER, Rotor((self._apex,)))
                if name == self.origin
                else Found(LookupKind.NODATA)
            )
        if name == self.origin:
            return self._directory.nothing(name) if rtype == rdata.TXT else Found(LookupKind.NODATA)
        records = []
        if rtype == rdata.PTR:
            for pointer in self._directory.pointers(_address(name)):
                with suppress(ValueError):  # a hostname that is longer than a label may be
                    data = rdata.from_text(rdata.PTR, pointer)
                    records.append(ResourceRecord(name, rdata.PTR, self._directory.ttl, data))
        return Found(LookupKind.ANSWER, Rotor(records)) if records else self._directory.nothing(name)

    def addresses(self, _name: Name) -> Iterator[ResourceRecord]:
        """None: no name here has any."""
        return iter(())


def _address(name: Name) -> str:
    """The address that a reverse name is of (RFC 1035 section 3.5, RFC 3596 section 2.5); "" for other names."""
    labels = [label.decode(errors="replace") for label in reversed(name[:-2])]
    if name[-2] == b"in-addr":
        return ".".join(labels) if len(labels) == 4 else ""
    text = "".join(labels)
    groups = ":".join(text[at : at + 4] for at in range(0, 32, 4))
    return canonical(groups) if len(labels) == len(text) == 32 and _is_address(groups) else ""
