"""The iptables-restore input that turns chains into others. Pure.

`iptables-restore --noflush` does a table in one transaction. Declaring a chain makes it, or empties it if it
is there. So what changed is declared and written anew, what is to go is declared and then deleted, and
the rest isn't mentioned. Built-in chains may have rules of others, so ours are deleted and put
in front one by one, as kube-proxy does it.

A transaction has to fit into the socket's buffer, which only the host's root can enlarge. `script_stages` is the way
for everybody else: many small transactions, new chains first and old ones last, so that each state between serves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile

from emulab.plan.persistent import change_between

BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
BULK = 400
"""Chains of a change above which all are read at once.

iptables-nft sorts the names of a script's chains into a list, one after the other, to read no more than those
(nft-cache.c of 1.8.9): 0.6 s for 4,000 chains, 25 s for 20,000. A command about all chains ends that.
"""

ChainRules = tuple[str, ...]
Chains = Mapping[str, ChainRules]


def table_script(table: str, before: Chains, after: Chains, bulk: int = BULK) -> str:
    """The input for one table; empty when nothing changes."""
    change = change_between(before, after)
    gone = [name for name in change.removed if name not in after and name not in BUILT_IN]
    changed = [name for name in change.added if name not in BUILT_IN]
    # Zeroing the counters is the least that a command about all chains can do.
    lines = ["-Z"] if len(gone) + len(changed) > bulk else []
    lines += [f":{name} - [0:0]" for name in (*changed, *gone)]
    lines += _hooks(before, after)
    lines += [f"-A {name} {rule}" for name in changed for rule in after[name]]
    # Whatever led to these has changed too, and is written by now.
    lines += [f"-X {name}" for name in gone]
    return _script(table, lines)


def script_stages(
    table: str, before: Chains, after: Chains, limit: int
) -> Iterator[tuple[str, dict[str, ChainRules]]]:
    """Inputs of at most some `limit` commands, each with the chains that are there after it."""
    state = dict(before)
    lines: list[str] = []
    for part, name, rules in _small_changes(before, after, limit):
        if lines and len(lines) + len(part) > limit:
            yield _script(table, lines), dict(state)
            lines = []
        lines += part
        if rules is None:
            state.pop(name, None)
        else:
            state[name] = rules
    if lines:
        yield _script(table, lines), state


def _small_changes(
    before: Chains, after: Chains, limit: int
) -> Iterator[tuple[list[str], str, ChainRules | None]]:
    """Commands, the chain that they are about, and its rules then; None when it is gone."""
    own = {name: rules for name, rules in after.items() if name not in BUILT_IN}
    new = [name for name in own if name not in before]
    gone = [name for name in before if name not in after and name not in BUILT_IN]
    for name in new:
        yield [f":{name} - [0:0]"], name, ()
    for name in (*new, *(name for name in own if name in before)):
        for lines, rules in _patches(name, before.get(name, ()), own[name], limit):
            yield lines, name, rules
    for hook in BUILT_IN:
        if lines := _hooks({hook: before.get(hook, ())}, {hook: after.get(hook, ())}):
            yield lines, hook, after.get(hook)
    for name in gone:
        yield [f":{name} - [0:0]"], name, ()
    for name in gone:
        yield [f"-X {name}"], name, None


def _patches(
    name: str, old: ChainRules, new: ChainRules, limit: int
) -> Iterator[tuple[list[str], ChainRules]]:
    """Turns a chain's rules into others bit by bit, from where they begin to differ to where they cease to."""
    start = _common(old, new)
    same = _common(old[start:][::-1], new[start:][::-1])
    there, wanted = old[start : len(old) - same], new[start : len(new) - same]
    head, tail = new[:start], new[len(new) - same :]
    step = max(1, limit // 2)
    for at in range(0, max(len(there), len(wanted)), step):
        removed, added = there[at : at + step], wanted[at : at + step]
        place = start + min(at, len(wanted)) + 1
        lines = [f"-D {name} {place}" for _ in removed]
        rest = (*there[at + step :], *tail)
        command = "-I {} {}" if rest else "-A {}"
        lines += [f"{command.format(name, place + index)} {rule}" for index, rule in enumerate(added)]
        yield lines, (*head, *wanted[: at + step], *rest)


def _common(one: ChainRules, other: ChainRules) -> int:
    """How many rules are the same at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _hooks(before: Chains, after: Chains) -> list[str]:
    lines: list[str] = []
    for hook in BUILT_IN:
        old, new = before.get(hook, ()), after.get(hook, ())
        if old != new:
            lines += [f"-D {hook} {rule}" for rule in old]
            lines += [f"-I {hook} {place} {rule}" for place, rule in enumerate(new, start=1)]
    return lines


def _script(table: str, lines: list[str]) -> str:
    return "\n".join([f"*{table}", *lines, "COMMIT", ""]) if lines else ""
