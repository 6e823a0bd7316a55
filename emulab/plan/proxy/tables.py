"""An nftables table as the sum of what each Service port needs, so that one can be exchanged among thousands. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from copy import copy
from dataclasses import replace
from typing import NamedTuple

from emulab.plan.persistent import Persistent
from emulab.plan.proxy.filters import ChainTexts, Elements
from emulab.plan.state import Collection, Ruleset

Use = tuple[str, str]
"""What several parts may need: ("chain", name), ("collection", name), (name of a counted set, element), or
(name of an entrance, rule)."""


class Part(NamedTuple):
    """What one Service port needs."""

    chains: ChainTexts
    elements: Mapping[str, Elements]  # by the name of their collection
    declared: Mapping[str, Collection]  # what isn't there for all, without elements
    entries: Mapping[str, Set[str]]  # rules by the entrance that has them


class Table:
    """The table as a sum of parts. Elements of the sets named `counted` may be needed by several parts.

    `entrances`: chains that have rules of the parts, and behind how many others; in what order means nothing.
    """

    def __init__(
        self,
        family: str,
        name: str,
        chains: Mapping[str, tuple[str, ...]],
        collections: Mapping[str, Collection],
        counted: frozenset[str],
        entrances: Mapping[str, int],
    ) -> None:
        self._name = (family, name)
        self._counted = counted
        self._entrances = {name: (chains[name], at) for name, at in entrances.items()}
        self._chains = dict(chains)
        self._declared = dict(collections)
        self._elements: dict[str, Elements] = {name: {} for name in collections}
        self._uses: defaultdict[str, Counter[str]] = defaultdict(Counter)
        # What two Service ports want otherwise: the last one gets it.
        self._contested: set[tuple[str, str]] = set()
        self._made: Ruleset | None = None

    def copy(self) -> Table:
        """A table that is equal now, and changes apart."""
        other = copy(self)
        other._uses = defaultdict(Counter, {kind: needs.copy() for kind, needs in self._uses.items()})
        other._contested = set(self._contested)
        other._chains, other._declared = dict(self._chains), dict(self._declared)
        other._elements = {name: dict(elements) for name, elements in self._elements.items()}
        return other

    def _add(self, part: Part) -> None:
        """Adds a part, as long as nobody has asked for the ruleset."""
        self._chains |= part.chains
        for name, collection in part.declared.items():
            if name not in self._declared:
                self._declared[name] = collection
                self._elements[name] = {}
        for name, elements in part.elements.items():
            there = self._elements[name]
            if name not in self._counted and not there.keys().isdisjoint(elements):
                self._contested |= {(name, key) for key in elements if key in there}
            there.update(elements)
        for kind, need in self._needs(part):
            self._uses[kind][need] += 1

    def ruleset(self) -> Ruleset:
        """The table as it is now."""
        if self._made is None:
            collections = {}
            for name, elements in self._elements.items():
                collections[name] = replace(self._declared[name], elements=Persistent(elements))
            chains = self._chains | {name: self._entrance(name) for name in self._entrances}
            self._made = Ruleset(*self._name, chains, collections)
            # From now on those of the ruleset count.
            self._chains, self._declared, self._elements = {}, {}, {}
        return self._made

    def exchange(self, old: Sequence[Part], new: Sequence[Part]) -> bool:
        """Puts new parts in the place of old ones. False, and nothing is changed, where that needs a new sum: where
        parts want the same element.
        """
        if self._made is None and not old:
            for part in new:
                self._add(part)
            return True
        made = self.ruleset()
        gone, come = _Total(), _Total(self._counted)
        for part in old:
            gone.add(part, self._needs(part))
        for part in new:
            come.add(part, self._needs(part))
        if come.contested or not self._apart(made, gone, come):
            return False
        fresh, unused = self._count(gone.needs, come.needs)
        chains = _chains(made.chains, [name for kind, name in unused if kind == "chain"], come.chains)
        if moved := {kind for kind, _ in (*fresh, *unused)} & self._entrances.keys():
            chains = {**chains, **{name: self._entrance(name) for name in moved}}
        collections = self._collections(made.collections, gone, come, unused)
        if chains is not made.chains or collections is not made.collections:
            self._made = replace(made, chains=chains, collections=collections)
        return True

    def _count(self, gone: Counter[Use], come: Counter[Use]) -> tuple[list[Use], list[Use]]:
        """Notes what parts need from now on: what nobody has needed, and what nobody needs any more."""
        fresh = [(kind, name) for kind, name in come if not self._uses[kind][name]]
        for (kind, name), count in come.items():
            self._uses[kind][name] += count
        for (kind, name), count in gone.items():
            self._uses[kind][name] -= count
        unused = [(kind, name) for kind, name in gone if not self._uses[kind][name]]
        for kind, name in unused:
            del self._uses[kind][name]
        return fresh, unused

    def _needs(self, part: Part) -> list[Use]:
        found = [("chain", name) for name in part.chains]
        found += [("collection", name) for name in part.declared]
        for name in self._counted:
            found += [(name, key) for key in part.elements.get(name, ())]
        found += [(name, rule) for name, rules in part.entries.items() for rule in rules]
        return found

    def _entrance(self, name: str) -> tuple[str, ...]:
        """An entrance with the rules of the parts, those for few endpoints first: most Services have few."""
        base, at = self._entrances[name]
        rules = sorted(self._uses[name], key=lambda r: (len(r), r))
        return (*base[: at + 1], *rules, *base[at + 1 :])

    def _apart(self, made: Ruleset, gone: _Total, come: _Total) -> bool:
        """Whether no other part has to do with what changes."""
        for name in {*gone.elements, *come.elements} - self._counted:
            was, will = gone.elements.get(name, {}), come.elements.get(name, {})
            if was == will:
                continue
            there = made.collections.get(name)
            if any((name, key) in self._contested for key in (*was, *will)):
                return False
            if there is not None and any(key in there.elements and key not in was for key in will):
                return False
        return True

    def _collections(
        self, made: Mapping[str, Collection], gone: _Total, come: _Total, unused: Iterable[Use]
    ) -> Mapping[str, Collection]:
        found = {**come.declared, **made}
        same = len(found) == len(made)
        for name in gone.elements.keys() | come.elements.keys():
            was, will = gone.elements.get(name, {}), come.elements.get(name, {})
            if name in self._counted:
                removed = [key for kind, key in unused if kind == name]
                added = {k: v for k, v in will.items() if k not in found[name].elements}
            else:
                removed = [k for k, v in was.items() if will.get(k) != v]
                added = {k: v for k, v in will.items() if was.get(k) != v}
            if removed or added:
                there = found[name].elements
                known = there if isinstance(there, Persistent) else Persistent(dict(there))
                found[name] = replace(found[name], elements=known.changed(removed, added))
                same = False
        for kind, name in unused:
            if kind == "collection":
                del found[name]
                same = False
        return made if same else found


class _Total:
    """The chains, elements and needs of several parts together."""

    def __init__(self, counted: frozenset[str] | None = None) -> None:
        """`counted`: where it matters that parts want the same element, the sets in which they may."""
        self._counted = counted
        self.contested = False
        self.chains: ChainTexts = {}
        self.elements: dict[str, Elements] = {}
        self.declared: dict[str, Collection] = {}
        self.needs = Counter[Use]()

    def add(self, part: Part, needs: Iterable[Use]) -> None:
        self.chains |= part.chains
        self.declared |= part.declared
        self.needs.update(needs)
        for name, elements in part.elements.items():
            there = self.elements.setdefault(name, {})
            if there and self._counted is not None and name not in self._counted:
                self.contested = self.contested or not there.keys().isdisjoint(elements)
            there.update(elements)


def _chains(
    made: Mapping[str, tuple[str, ...]], unused: Iterable[str], come: ChainTexts
) -> Mapping[str, tuple[str, ...]]:
    """The chains without those unused and with those that came, the very same where that changes nothing."""
    dead = set(unused)
    fresh = {name: lines for name, lines in come.items() if made.get(name) != lines}
    if not dead and not fresh:
        return made
    return {name: lines for name, lines in made.items() if name not in dead} | fresh
