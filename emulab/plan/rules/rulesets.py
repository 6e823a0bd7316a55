"""From one nftables table to another: nft's commands, and the steps in which much is done. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace

from emulab.plan.persistent import change_between
from emulab.plan.state import Collection, Ruleset

MOST = 300  # declarations and rules a transaction: an ordinary user's socket takes some 400 KB at once


def ruleset_stages(before: Ruleset | None, after: Ruleset, most: int = MOST) -> list[Ruleset]:
    """The tables that are there in turn on the way to `after`, which is the last one.

    Packets meet the old table or the new one, nothing between: what is new is first put where nothing leads to it
    yet, rules that look into new collections included, as those are empty; then all elements change at once, and those
    of collections that are to go are gone; then base chains and changed ones get their rules, and what nothing leads
    to any more goes. From a table to the next either elements alone change, which `emulab.kernel` sends without
    libnftables, or little enough for one transaction of an ordinary user (net.core.wmem_max limits what a socket
    sends at once). Small tables change in one transaction.
    """
    if (_size(before) if before else 0) + _size(after) <= most:
        return [after]
    if before is not None and (_declared_otherwise(before, after) or _intervals_differ(before, after)):
        return [after]
    found = list(_grown(before, after, most))
    last = found[-1] if found else before
    assert last is not None  # a table that isn't there grows
    emptied = {
        n: replace(c, elements={})
        for n, c in last.collections.items()
        if n not in after.collections and c.elements and _plain(c)
    }
    filled = {**last.collections, **emptied, **after.collections}
    if any(c is not last.collections.get(n) for n, c in filled.items()):
        last = replace(last, collections=filled)
        found.append(last)
    found += _finished(last, after, most)
    return [*found[:-1], after]  # the last one has all of it


def _size(table: Ruleset) -> int:
    """How much there is: collections, their elements, chains and rules."""
    elements = sum(len(c.elements) for c in table.collections.values())
    return len(table.collections) + elements + sum(map(len, table.chains.values()))


def _grown(before: Ruleset | None, after: Ruleset, most: int) -> Iterator[Ruleset]:
    """The table with the new collections, still empty, and the new chains, but for those that packets come by."""
    chains = dict(before.chains) if before else {}
    collections = dict(before.collections) if before else {}
    many = _Counter(most)
    for name, c in after.collections.items():
        if name not in collections:
            collections[name] = replace(c, elements={}) if _plain(c) else c
            if many.reached(1):
                yield replace(after, chains=dict(chains), collections=dict(collections))
    new = [n for n, chain in after.chains.items() if n not in chains and not chain[0]]
    for name in new:  # rules name chains that come later
        chains[name] = ("",)
        if many.reached(1):
            yield replace(after, chains=dict(chains), collections=dict(collections))
    for name in new:
        chains[name] = after.chains[name]
        if many.reached(len(chains[name])):
            yield replace(after, chains=dict(chains), collections=dict(collections))
    for name, chain in _widened(before, after) if before else ():
        chains[name] = chain
        if many.reached(len(chain)):
            yield replace(after, chains=dict(chains), collections=dict(collections))
    if many.some or before is None:
        yield replace(after, chains=chains, collections=collections)


def _widened(before: Ruleset, after: Ruleset) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Chains that differ only in rules which look into collections that come or go, with all of these rules."""
    come = after.collections.keys() - before.collections.keys()
    go = before.collections.keys() - after.collections.keys()
    for name, new in after.chains.items():
        old = before.chains.get(name, new)
        if old is new or old == new:
            continue
        going = tuple(rule for rule in old if _looks_into(rule, go))
        staying = tuple(rule for rule in old if not _looks_into(rule, go))
        if staying == tuple(rule for rule in new if not _looks_into(rule, come)):
            yield name, (*new, *going)


def _looks_into(rule: str, collections: Set[str]) -> bool:
    return any(word.startswith("@") and word[1:] in collections for word in rule.split())


def _finished(before: Ruleset, after: Ruleset, most: int) -> Iterator[Ruleset]:
    """`after` from a table that has all of it but for rules of base chains and of changed ones."""
    chains, collections = dict(before.chains), dict(before.collections)
    many = _Counter(most)
    for name, chain in after.chains.items():
        if chains.get(name) != chain:
            chains[name] = chain
            if many.reached(len(chain)):
                yield replace(after, chains=dict(chains), collections=dict(collections))
    # Chains are emptied before any of them goes: one may name another.
    for name in [n for n, chain in chains.items() if n not in after.chains and len(chain) > 1]:
        chains[name] = chains[name][:1]
        if many.reached(1):
            yield replace(after, chains=dict(chains), collections=dict(collections))
    for kept, wanted in ((collections, after.collections), (chains, after.chains)):
        for name in [n for n in kept if n not in wanted]:
            del kept[name]
            if many.reached(1):
                yield replace(after, chains=dict(chains), collections=dict(collections))
    if many.some:
        yield after


class _Counter:
    """Counts what is put into one transaction."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.some = 0

    def reached(self, count: int) -> bool:
        self.some += count
        if self.some < self._most:
            return False
        self.some = 0
        return True


def _plain(collection: Collection) -> bool:
    """Whether elements are keys with values and nothing else: no intervals, no timeouts."""
    return "flags" not in collection.declaration


def _intervals_differ(before: Ruleset, after: Ruleset) -> bool:
    """Whether ranges change, which only one transaction can do: a new one may overlap an old one."""
    return any(
        not _plain(c) and n in before.collections and before.collections[n].elements != c.elements
        for n, c in after.collections.items()
    )


def ruleset_script(before: Ruleset | None, after: Ruleset) -> str:
    """The nft commands, one transaction, that turn `before` (None: nothing there) into `after`."""
    table = f"{after.family} {after.table}"
    if before is not None and _declared_otherwise(before, after):
        return f"delete table {table}\n" + ruleset_script(None, after)
    if before is None:
        lines = [f"add table {table}"]
        lines += [
            f"add {c.kind} {table} {name} {{ {c.declaration} }}" for name, c in after.collections.items()
        ]
        lines += _chains(table, {}, after.chains)
        lines += [
            line for name, c in after.collections.items() for line in _elements(table, name, {}, c.elements)
        ]
        return "\n".join(lines) + "\n"
    lines = []
    for name, c in after.collections.items():
        if name not in before.collections:
            lines.append(f"add {c.kind} {table} {name} {{ {c.declaration} }}")
    lines += _chains(table, before.chains, after.chains)
    for name, c in after.collections.items():
        old = before.collections.get(name)
        lines += _elements(table, name, old.elements if old else {}, c.elements)
    lines += [f"flush chain {table} {name}" for name in before.chains if name not in after.chains]
    # Chains last: the elements of a verdict map that goes still name them.
    for name, c in before.collections.items():
        if name not in after.collections:
            lines.append(f"delete {c.kind} {table} {name}")
    lines += [f"delete chain {table} {name}" for name in before.chains if name not in after.chains]
    return "\n".join(lines) + "\n"


def _declared_otherwise(before: Ruleset, after: Ruleset) -> bool:
    """Whether a chain or collection of both has another declaration, which nothing but a new one can have."""
    return any(before.chains[n][0] != c[0] for n, c in after.chains.items() if n in before.chains) or any(
        (before.collections[n].kind, before.collections[n].declaration) != (c.kind, c.declaration)
        for n, c in after.collections.items()
        if n in before.collections
    )


def _chains(
    table: str, before: Mapping[str, tuple[str, ...]], after: Mapping[str, tuple[str, ...]]
) -> list[str]:
    lines = []
    for name, (declaration, *_) in after.items():
        if name not in before:
            lines.append(f"add chain {table} {name} {declaration}".rstrip())
    for name, (_, *rules) in after.items():
        old = before.get(name)
        if old is not None and old[1:] == tuple(rules):
            continue
        if old is not None:
            lines.append(f"flush chain {table} {name}")
        lines += [f"add rule {table} {name} {rule}" for rule in rules]
    return lines


def _elements(table: str, name: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    change = change_between(before, after)
    gone, new = change.removed, list(change.added.items())
    lines = []
    # Many elements a command: one command an element costs libnftables a look-up of the set each.
    for start in range(0, len(gone), 1000):
        lines.append(f"delete element {table} {name} {{ {', '.join(gone[start : start + 1000])} }}")
    for start in range(0, len(new), 1000):
        part = ", ".join(f"{k} : {v}" if v else k for k, v in new[start : start + 1000])
        lines.append(f"add element {table} {name} {{ {part} }}")
    return lines
