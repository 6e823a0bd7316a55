"""Suites that are tried in each family of addresses: their worlds, and where everybody is in them.

A suite is written with the addresses of IPv4, as `At` has them; in a world whose primary family is IPv6 each has its
counterpart there. By hand every suite runs in every world. Where the day is given, as in CI, one of them does in one
other world than that of IPv4, and tomorrow another one.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from typing import TypeVar

import pytest
import yaml
from _pytest.mark import ParameterSet

from emulab import Lab
from emulab.model.families import IPV4, IPV6, Families, Family

SUITES = (
    *("services", "dns", "trace", "ingress", "proxies"),
    *("policies", "balancers", "balancers by nat", "balancers of two nodes", "compared modes"),
)
C = TypeVar("C")
OTHERS: tuple[Families, ...] = ((IPV6,), (IPV6, IPV4))
_LITERAL = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d{1,3}){3})(/\d+)?(?![\d.])")
_LENGTHS = {"/32": "/128", "/24": "/64", "/16": "/48", "/12": "/112"}
_RECORD = re.compile(r"type: A, value: ((?:\d{1,3}\.){3}\d{1,3})")
_NETWORKS = {
    "198.51.100.0/24": "2001:db8:1::",
    "203.0.113.0/24": "2001:db8:2::",
    "192.0.2.0/24": "2001:db8:3::",
    "10.0.0.0/24": "fd00:10::",
    "10.96.0.0/16": "fd00:96::",
}
_PARTS = ((200, 0xC800), (150, 0x9600), (0, 0))
"""Where clients of the vpc begin, and balancers, by the number in IPv4: at as many 256ths of the network in IPv6."""


def worlds_of(suite: str) -> list[ParameterSet]:
    """The parameters of a suite: families of its labs."""
    day = os.environ.get("EMULAB_TEST_DAY", "")
    found: list[Families] = [(IPV4,)]
    if not day.isdecimal():
        found += OTHERS
    elif SUITES[int(day) % len(SUITES)] == suite:
        found.append(OTHERS[int(day) // len(SUITES) % len(OTHERS)])
    return [pytest.param(one, id=_name(one)) for one in found]


def modes_in_worlds(suite: str, modes: Sequence[str | ParameterSet]) -> list[ParameterSet]:
    """The parameters of a suite that has modes, too, each a pair: of the day it is one mode in the other world."""
    known = [one if isinstance(one, ParameterSet) else pytest.param(one) for one in modes]
    four, *others = worlds_of(suite)
    found = [
        pytest.param((*one.values, *four.values), marks=one.marks, id=str(one.values[0])) for one in known
    ]
    for number, other in enumerate(others):
        for one in of_the_day(known, len(SUITES) * (number + 1)):
            name = f"{one.values[0]}-{other.id}"
            found.append(pytest.param((*one.values, *other.values), marks=one.marks, id=name))
    return found


def of_the_day(choices: Sequence[C], days: int = 1) -> Sequence[C]:
    """All of them by hand; one where the day is given, each for so many days."""
    day = os.environ.get("EMULAB_TEST_DAY", "")
    return [choices[int(day) // days % len(choices)]] if day.isdecimal() else choices


def worlds_of_the_day() -> list[ParameterSet]:
    """Families of labs that know of none: one a day, all by hand."""
    day = os.environ.get("EMULAB_TEST_DAY", "")
    every: tuple[Families, ...] = ((IPV6,), (IPV4, IPV6), (IPV6, IPV4))
    chosen = [every[int(day) % len(every)]] if day.isdecimal() else every
    return [pytest.param(one, id=_name(one)) for one in chosen]


def _name(families: Families) -> str:
    return "-".join(f.name for f in families)


class At:
    """Where things are in a world, by the addresses that they have in IPv4's."""

    def __init__(self, families: Families) -> None:
        self.families = families
        self.family: Family = families[0]
        self.client, self.node1, self.node2 = self("198.51.100.2"), self("10.0.0.11"), self("10.0.0.12")
        self.public_lb, self.nat, self.vip = self("10.0.0.10"), self("203.0.113.1"), self("203.0.113.10")
        self.dns = self("198.51.100.54")

    def __call__(self, literal: str) -> str:
        """The counterpart of an address."""
        return counterpart(literal) if self.family is IPV6 else literal

    @property
    def pod(self) -> str:
        """A regular expression of pods' addresses."""
        return r"fd00:244:0:\d::[0-9a-f]+" if self.family is IPV6 else r"10\.244\.\d\.\d+"

    @property
    def own(self) -> str:
        """A regular expression of addresses in the vpc."""
        return r"fd00:10::[0-9a-f]+" if self.family is IPV6 else r"10\.0\.0\.\d+"

    @property
    def icmp(self) -> str:
        """What tcpdump calls its control messages, in an expression and in what it prints."""
        return "icmp6" if self.family is IPV6 else "icmp"

    @property
    def ip(self) -> str:
        """What tcpdump and nftables call the family."""
        return "IP6" if self.family is IPV6 else "IP"

    @property
    def masqueraded(self) -> str:
        """What node1 masquerades with towards a pod of its own: in IPv4 its first address, in IPv6 the one that is
        most like the pod's (RFC 6724, rule 8)."""
        return self("10.244.1.0") if self.family is IPV6 else self.node1

    def range(self, literal: str) -> str:
        """A node's range of pods."""
        return f"{self(literal)}/{64 if self.family is IPV6 else 24}"

    @property
    def vxlan(self) -> str:
        """The device of the overlay."""
        return "flannel-v6.1" if self.family is IPV6 else "flannel.1"

    @property
    def tracked(self) -> tuple[str, ...]:
        """What tells conntrack(8) that connections of the family are meant."""
        return ("-f", self.family.name.lower())

    @property
    def flags(self) -> str:
        """TCP's flags in an expression of tcpdump's, which looks into TCP of IPv4 alone (pcap-filter(7))."""
        return "ip6[53]" if self.family is IPV6 else "tcp[tcpflags]"

    @property
    def inet(self) -> str:
        """What ip(8) calls an address of the family."""
        return "inet6" if self.family is IPV6 else "inet"

    @property
    def vrrp(self) -> str:
        """Packets of VRRP, as tcpdump has them."""
        return "ip6 proto 112" if self.family is IPV6 else "proto 112"

    def alone(self, literal: str) -> str:
        """The counterpart with the length of a host's prefix."""
        return f"{self(literal)}/{self.family.bits}"

    def host(self, address: str) -> str:
        """An address as URLs have it."""
        return f"[{address}]" if ":" in address else address

    def pattern(self, literal: str) -> str:
        """The counterpart, as part of a regular expression."""
        return re.escape(self(literal))


def counterpart(literal: str) -> str:
    """The address of IPv6 that stands where this one of IPv4 does."""
    address = ip_address(literal)
    if literal.startswith("10.244."):
        _, _, node, number = literal.split(".")
        return str(ip_address(f"fd00:244:0:{int(node):x}::{int(number):x}"))
    for network, prefix in _NETWORKS.items():
        if address in ip_network(network):
            number = int(address) - int(ip_network(network).network_address)
            if prefix == "fd00:10::":
                begin, there = next(p for p in _PARTS if number >= p[0])
                number = there + number - begin
            return str(ip_address(int(ip_address(prefix)) + number))
    raise AssertionError(f"{literal} has no counterpart")


def translated(manifest: str, at: At) -> str:
    """A manifest with the counterparts of its addresses."""
    if at.family is IPV4:
        return manifest
    records = _RECORD.sub(lambda m: f"type: AAAA, value: '{m[1]}'", manifest)
    return _LITERAL.sub(lambda m: counterpart(m[1]) + _LENGTHS.get(m[2] or "", m[2] or ""), records).replace(
        "addressType: IPv4", "addressType: IPv6"
    )


def with_families(manifest: str, families: Families) -> str:
    """A manifest whose Cluster, if need be a new one, has these families."""
    if families == (IPV4,):
        return manifest
    objects = [o for o in yaml.safe_load_all(manifest) if o]
    cluster = next((o for o in objects if o["kind"] == "Cluster"), None)
    if cluster is None:
        cluster = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "families"}}
        objects.insert(0, cluster)
    network = cluster.setdefault("spec", {}).setdefault("network", {})
    network["families"] = [family.name for family in families]
    return yaml.safe_dump_all(objects, sort_keys=False)


_known: dict[str, At] = {}


@asynccontextmanager
async def lab_in(families: Families, *manifests: str) -> AsyncIterator[Lab]:
    """A lab of these families, with the counterparts of the manifests' addresses."""
    at = At(families)
    first, *rest = (translated(manifest, at) for manifest in manifests)
    async with Lab.from_text(with_families(first, families), *rest) as made:
        _known[made.name] = at
        yield made


def at_of(lab: Lab) -> At:
    """Where things are in a lab of `lab_in`."""
    return _known[lab.name]
