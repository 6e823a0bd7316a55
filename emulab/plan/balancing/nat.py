"""nftables of a balancer's own place: all that a balancer of mode nat does, and silence for who may not come in. Pure.

A packet's way (the names of the hooks are the kernel's), for frontends by protocol, address and port:

    prerouting, before DNAT    who isn't in the source ranges, and what is more than the limits, is refused; so is
                               everything where no target is healthy: with a reset, at once
    prerouting (dstnat)        a client that comes again goes to its target (a set for each one, whose elements time
                               out); others by turns, or by a hash of their address
    postrouting (srcnat)       where backends aren't to see clients, the balancer's own address is put in their place

Only the first packet of a connection is decided on. A connection goes on when its target goes from the rules, and a
hash chooses from a table of slots, of which those of other targets stay as they are (`rendezvous.slots`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from ipaddress import collapse_addresses, ip_network
from math import gcd
from typing import NamedTuple

from emulab.model.addresses import IPAddress, parse_address, socket_name
from emulab.model.families import Family, families_of, family_of
from emulab.plan.rules.meaning import DNAT, DROP, REJECT, SNAT, Meaning, meant
from emulab.plan.state import Collection, Ruleset, UdpBackends
from emulab.rendezvous import slots
from emulab.servers.l4.config import FrontendConfig, TargetConfig

TABLE = "balancer"
_SLOTS = 256
_SEED = "0x656d756c"  # the hash's own would be another one in each table
_MOST_TURNS = 1024

_Chains = dict[str, tuple[str, ...]]


class BalancerRules(NamedTuple):
    """What decides about the packets of one balancer."""

    owner: str  # the object, in words
    frontends: Mapping[str, FrontendConfig]  # with usable targets alone
    deny: str  # reject | drop
    own: Mapping[Family, IPAddress]  # its own addresses
    hides_clients: bool = False


class _Words(NamedTuple):
    """How the frontend of a socket's key is said in rules."""

    family: Family
    protocol: str
    address: str
    port: int
    title: str

    @staticmethod
    def of(key: str) -> _Words:
        protocol, address, port = key.split("/")
        return _Words(family_of(parse_address(address)), protocol, address, int(port), f"{protocol}-{port}")

    @property
    def match(self) -> str:
        return f"{self.family.nft} daddr {self.address} {self.protocol} dport {self.port}"

    @property
    def refusal(self) -> str:
        return "reject with tcp reset" if self.protocol == "tcp" else "reject"


def forwarding_rules(balancer: BalancerRules) -> list[Ruleset]:
    """The tables of a balancer of mode nat, one for each family that it has frontends of."""
    return _tables(balancer, forwards=True)


def guarding_rules(balancer: BalancerRules) -> list[Ruleset]:
    """The tables of a balancer that is a proxy, of what its kernel shall be silent to; none where that is nothing."""
    guarded = {key: one for key, one in balancer.frontends.items() if one.source_ranges}
    if balancer.deny != "drop" or not guarded:
        return []
    return _tables(balancer._replace(frontends=guarded), forwards=False)


def udp_targets(frontends: Mapping[str, FrontendConfig]) -> UdpBackends | None:
    """Who serves UDP, so that flows to others are forgotten; None where nothing is UDP."""
    found = {}
    for key, frontend in frontends.items():
        protocol, address, port = key.split("/")
        if protocol == "udp":
            targets = frozenset(socket_name(parse_address(t.address), t.port) for t in frontend.targets)
            found[address, int(port)] = targets
    return UdpBackends(found) if found else None


def _tables(balancer: BalancerRules, forwards: bool) -> list[Ruleset]:
    keys = {key: _Words.of(key) for key in sorted(balancer.frontends)}
    made = []
    for family in families_of(parse_address(words.address) for words in keys.values()):
        own = [(w, balancer.frontends[key]) for key, w in keys.items() if w.family is family]
        made.append(_Table(balancer, family).ruleset(own, forwards))
    return made


class _Table:
    """The table of one family, under construction."""

    def __init__(self, balancer: BalancerRules, family: Family) -> None:
        self._balancer = balancer
        self._family = family
        self._collections: dict[str, Collection] = {}
        self._targets: _Chains = {}

    def ruleset(self, frontends: Sequence[tuple[_Words, FrontendConfig]], forwards: bool) -> Ruleset:
        early = "{ type filter hook prerouting priority -110 ; policy accept ; }"
        checks = [rule for words, one in frontends for rule in self._checks(words, one, forwards)]
        chains: _Chains = {"checks": (early, *checks)}
        if forwards:
            choices = [rule for words, one in frontends for rule in self._choices(words, one)]
            chains |= self._targets
            chains["choices"] = ("{ type nat hook prerouting priority -100 ; policy accept ; }", *choices)
            if self._balancer.hides_clients:
                late = "{ type nat hook postrouting priority 100 ; policy accept ; }"
                chains["clients"] = (late, *(self._hides(words) for words, _ in frontends))
        return Ruleset(self._family.nft, TABLE, chains, self._collections)

    def _meaning(self, does: str, field: str = "", remedy: str = "") -> Meaning:
        return Meaning("load balancer", does, field, self._balancer.owner, remedy)

    def _checks(self, words: _Words, frontend: FrontendConfig, forwards: bool) -> Iterable[str]:
        first = f"{words.match} ct state new"
        drops = self._balancer.deny == "drop"
        verdict, does = ("drop", DROP) if drops else (words.refusal, REJECT)
        if frontend.source_ranges:
            outside = _outside(self._family, frontend.source_ranges)
            yield meant(f"{first} {outside}{verdict}", self._meaning(does, "spec.sourceRanges"))
        if not forwards:
            return
        if not any(target.weight for target in frontend.targets):
            yield meant(f"{first} {words.refusal}", self._meaning(REJECT, remedy="no target is healthy"))
        limits = frontend.limits
        meaning = self._meaning(REJECT, "spec.limits")
        if limits.connections:
            yield meant(f"{first} ct count over {limits.connections} {words.refusal}", meaning)
        if limits.rate:
            rate = f"limit rate over {limits.rate}/second burst {limits.rate} packets"
            yield meant(f"{first} {rate} {words.refusal}", meaning)

    def _choices(self, words: _Words, frontend: FrontendConfig) -> Iterable[str]:
        usable = [target for target in frontend.targets if target.weight]
        if not usable:
            return
        names = [f"{words.title}/{_plain(target.name)}" for target in usable]
        source = f"{self._family.nft} saddr"
        for name, target in zip(names, usable, strict=True):
            self._targets[f"target/{name}"] = (
                "",
                *self._renewal(name, source, frontend),
                self._goes(words, target),
            )
        if frontend.affinity:
            for name in names:
                yield f"{words.match} {source} @clients/{name} goto target/{name}"
        yield f"{words.match} {_choice(frontend.balance, source, names, usable)}"

    def _renewal(self, name: str, source: str, frontend: FrontendConfig) -> Iterable[str]:
        if frontend.affinity:
            kind = f"type {self._family.nft_address} ; flags dynamic,timeout ; timeout {int(frontend.affinity)}s ;"
            self._collections[f"clients/{name}"] = Collection("set", kind, {})
            yield f"update @clients/{name} {{ {source} }}"

    def _goes(self, words: _Words, target: TargetConfig) -> str:
        aim = socket_name(parse_address(target.address), target.port)
        rule = f"meta l4proto {words.protocol} dnat {self._family.nft} to {aim}"
        return meant(rule, self._meaning(DNAT))

    def _hides(self, words: _Words) -> str:
        came = f"ct original {self._family.nft} daddr {words.address} meta l4proto {words.protocol}"
        rule = f"{came} ct original proto-dst {words.port} snat to {self._balancer.own[self._family]}"
        return meant(rule, self._meaning(SNAT, "spec.preserveClientIP"))


def _choice(algorithm: str, source: str, names: Sequence[str], targets: Sequence[TargetConfig]) -> str:
    """The end of the rule that goes to one of the targets' chains."""
    if len(names) == 1:
        return f"goto target/{names[0]}"
    if algorithm == "source":
        taken = slots(_SLOTS, [(target.name, target.weight) for target in targets])
        key = f"jhash {source} mod {_SLOTS} seed {_SEED}"
    else:
        taken = _turns([target.weight for target in targets])
        key = f"numgen inc mod {len(taken)}"
    return f"{key} vmap {{ {', '.join(f'{n} : goto target/{names[t]}' for n, t in enumerate(taken))} }}"


def _turns(weights: Sequence[int]) -> list[int]:
    """Whose turn it is, until it begins anew: each as often as its weight says, spread among the others."""
    common = reduce(gcd, weights)
    shares = [weight // common for weight in weights]
    while sum(shares) > _MOST_TURNS:
        shares = [max(1, share // 2) for share in shares]
    credit, taken = [0] * len(shares), []
    for _ in range(sum(shares)):
        credit = [c + share for c, share in zip(credit, shares, strict=True)]
        best = credit.index(max(credit))
        credit[best] -= sum(shares)
        taken.append(best)
    return taken


def _outside(family: Family, ranges: Iterable[str]) -> str:
    """What matches sources outside of the ranges; where none is of the family, all are."""
    own = [net for net in map(ip_network, ranges) if net.version == family.version]
    if not own:
        return ""
    merged = ", ".join(map(str, collapse_addresses(own)))  # type: ignore[type-var]
    return f"{family.nft} saddr != {{ {merged} }} "


def _plain(name: str) -> str:
    """A target's name as chains may have it."""
    return re.sub(r"[^a-zA-Z0-9.-]", "_", name)
