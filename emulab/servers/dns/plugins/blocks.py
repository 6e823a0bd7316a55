"""Server blocks of a Corefile: which one a name belongs to, and what it makes of it before zones are asked. Pure.

As CoreDNS has it (plugin/rewrite, plugin/template, plugin/hosts): a block is chosen by the name as it was asked for,
and the first plug-in that has an answer gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from dnslib import RD

from emulab.servers.dns import names, rdata
from emulab.servers.dns.config import Asking, BlockConfig, ForwardConfig
from emulab.servers.dns.names import Name, lower, suffixes
from emulab.servers.dns.plugins.access import Access
from emulab.servers.dns.plugins.files import ZoneFiles
from emulab.servers.dns.plugins.hosts import Hosts
from emulab.servers.dns.plugins.localnames import LocalNames
from emulab.servers.dns.plugins.logs import QueryLog
from emulab.servers.dns.plugins.made import Below, Made
from emulab.servers.dns.plugins.rewriting import Rewriting, compiled, rewritten
from emulab.servers.dns.plugins.searching import Autopath
from emulab.servers.dns.plugins.templates import AnswerTemplate
from emulab.servers.dns.upstreams import Upstreams, upstreams
from emulab.servers.dns.wire import SERVFAIL, ResourceRecord

_OBSOLETE = b"\x0dANY obsoleted\x0cSee RFC 8482"
"""CPU and OS of a HINFO record, in the words of CoreDNS."""

Layer = Callable[[Name, int], Made | None]
"""What a plug-in answers; None to ask the next one."""


class ForwardWay(NamedTuple):
    """Where a name is asked for: the servers for names below `origin`, but for those below `apart`."""

    origin: Name
    apart: frozenset[Name]
    upstream: Upstreams

    def leads(self, name: Name) -> bool:
        above = set(suffixes(name))
        return self.origin in above and not above & self.apart


class Block:
    """One server block."""

    def __init__(self, config: BlockConfig, asking: Asking) -> None:
        """Raises ValueError for a name, a regular expression or a record that is none."""
        self.cluster, self._caches, self.limits = config.cluster, config.caches, config.limits
        self._cached, self.size = Below(config.cached or (".",)), config.size
        self.logs, self.errors = [QueryLog(rule) for rule in config.logs], config.errors
        self.autopath = Autopath(config.autopath) if config.autopath else None
        self._rewrites = [compiled(rule) for rule in config.rewrites]
        self.access, self.minimal = Access(config.access), config.minimal
        self._first: list[Layer] = [LocalNames(config.localhost_prefix)] if config.local else []
        if config.any:
            self._first.append(_no_any)
        self._layers: list[Layer] = []
        if config.templates:
            self._layers.append(_first([AnswerTemplate(one) for one in config.templates]))
        if config.hosts:
            self._layers.append(Hosts(config.hosts))
        self.files = ZoneFiles(config.files, config.files_through)
        self._ways = [_way(one, asking) for one in config.forward]

    def caches(self, name: Name) -> bool:
        """Whether what others say of a name is kept."""
        return self._caches and name in self._cached

    def rewritten(self, name: Name, rtype: int) -> Rewriting | None:
        """What is looked up in the place of a question; None where that is the question itself. Raises ValueError."""
        if not self._rewrites:
            return None
        return rewritten(self._rewrites, names.to_text(name).lower(), rtype)

    def at_once(self, name: Name, rtype: int) -> Made | None:
        """What is answered before anything else is done with a question."""
        return next((made for layer in self._first if (made := layer(name, rtype)) is not None), None)

    def answer(self, name: Name, rtype: int) -> Made | None:
        """What templates and hosts have for a name."""
        return next((made for layer in self._layers if (made := layer(name, rtype)) is not None), None)

    def upstream(self, name: Name) -> Upstreams | None:
        """Who is asked for a name that is nowhere here."""
        return next((way.upstream for way in self._ways if way.leads(name)), None)


class Blocks:
    """All server blocks."""

    def __init__(self, configs: Sequence[BlockConfig] = (), asking: Asking | None = None) -> None:
        """Raises ValueError."""
        self._by_zone: dict[Name, Block] = {}
        self._sized = any(config.size for config in configs)
        for config in configs:
            block = Block(config, asking or Asking())
            for zone in config.zones:
                self._by_zone.setdefault(lower(names.from_text(zone)), block)

    def __bool__(self) -> bool:
        return bool(self._by_zone)

    def zone(self, name: Name) -> str:
        """The zone by which a name's block was found; "dropped" where there is none."""
        found = next((suffix for suffix in suffixes(name) if suffix in self._by_zone), None)
        return "dropped" if found is None else names.to_text(found)

    def limit(self, name: Name, size: int) -> int:
        """How much of an answer a client is sent by UDP that takes `size` octets (plugin/bufsize)."""
        block = self.find(name) if self._sized else None
        return min(size, block.size) if block is not None and block.size else size

    def find(self, name: Name) -> Block | None:
        """The block with the longest zone at or above a lower-case name."""
        return next((self._by_zone[suffix] for suffix in suffixes(name) if suffix in self._by_zone), None)


def _way(config: ForwardConfig, asking: Asking) -> ForwardWay:
    origin, apart = _name(config.origin), frozenset(map(_name, config.apart))
    made = upstreams(config.servers, asking)
    return ForwardWay(origin, apart, replace(made, shuffled=config.shuffled, stream=config.stream))


def _name(text: str) -> Name:
    return lower(names.from_text(text))


def _no_any(name: Name, rtype: int) -> Made | None:
    """One record for all (RFC 8482 section 4.2, plugin/any)."""
    if rtype != rdata.ANY:
        return None
    return Made(answer=(ResourceRecord(name, rdata.HINFO, 8482, RD(_OBSOLETE)),))


def _first(templates: Sequence[AnswerTemplate]) -> Layer:
    """The first template that fits; one that doesn't, and lets nobody else answer, is SERVFAIL."""

    def answer(name: Name, rtype: int) -> Made | None:
        for template in templates:
            if not template.concerns(name, rtype):
                continue
            made = template.make(name, rtype)
            if made is not None:
                return made
            if not template.lets_through(name):
                return Made(SERVFAIL)
        return None

    return answer


def renamed(records: Iterable[ResourceRecord], back: Rewriting) -> tuple[ResourceRecord, ...]:
    """Records in the words in which was asked. Names that are none stay as they are."""
    return tuple(_renamed(record, back) for record in records)


def _renamed(record: ResourceRecord, back: Rewriting) -> ResourceRecord:
    owner, data = names.to_text(record.owner).lower(), record.data
    try:
        new = names.from_text(back.owner(owner)) if back.owner(owner) != owner else record.owner
        if record.rtype in _LEADING and back.values:
            words = rdata.to_text(data).split(" ")
            at = 0 if record.rtype == rdata.SOA else -1
            if (target := back.value(words[at])) != words[at]:
                words[at] = target
                data = rdata.from_text(record.rtype, " ".join(words))
    except ValueError:
        return record._replace(ttl=back.ttl(record.ttl))
    return record._replace(owner=new, data=data, ttl=back.ttl(record.ttl))


_LEADING = frozenset({rdata.CNAME, rdata.PTR, rdata.NS, rdata.MX, rdata.SRV, rdata.SOA})
"""Types whose data ends with a name, or begins with that of the zone's server."""
