"""Scripts that turn chains of iptables into others, against a small model of iptables."""

from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st

from emulab.plan.rules.iptables_script import BUILT_IN, BULK, Chains, script_stages, table_script


class Kernel:
    """As much of iptables as `iptables-restore --noflush` needs, of one table, with rules of others in it."""

    def __init__(self) -> None:
        self.chains: dict[str, list[str]] = {hook: [f"-s 192.0.2.{n}"] for n, hook in enumerate(BUILT_IN)}

    def restore(self, script: str) -> None:
        head, *lines, last = script.splitlines()
        assert (head, last) == ("*nat", "COMMIT")
        for line in lines:
            self._perform(line)

    def _perform(self, line: str) -> None:
        command, _, rest = line.partition(" ")
        name, _, rule = rest.partition(" ")
        if command.startswith(":"):
            assert command[1:] not in BUILT_IN and rest == "- [0:0]"
            self.chains[command[1:]] = []
        elif command == "-A":
            self.chains[name].append(self._known(rule))
        elif command == "-I":
            place, _, rule = rule.partition(" ")
            self.chains[name].insert(int(place) - 1, self._known(rule))
        elif command == "-D" and rule.isdigit():
            del self.chains[name][int(rule) - 1]
        elif command == "-D":
            self.chains[name].remove(rule)
        elif command == "-X":
            assert not self.chains[name], f"{name} isn't empty"
            assert not any(f"-j {name}" in rule for rules in self.chains.values() for rule in rules)
            del self.chains[name]
        else:
            assert line == "-Z"

    def _known(self, rule: str) -> str:
        target = shlex.split(rule)[-1]
        assert target in ("ACCEPT", "DROP") or target in self.chains, f"no chain {target}"
        return rule


NAMES = [f"KUBE-{letter}" for letter in "ABCD"]


@st.composite
def tables(draw: st.DrawFn, longest: int = 3) -> Chains:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    hooks = draw(st.lists(st.sampled_from(BUILT_IN[:3]), unique=True))
    targets = st.sampled_from(["ACCEPT", "DROP", *names])
    rule = st.builds(lambda source, target: f"-s 10.0.0.{source} -j {target}", st.integers(1, 2), targets)
    return {name: tuple(draw(st.lists(rule, max_size=longest))) for name in [*hooks, *names]}


def with_others(chains: Chains) -> dict[str, list[str]]:
    """What shall be in the kernel: ours, and in built-in chains what was there behind it."""
    found = {name: list(rules) for name, rules in chains.items()}
    return found | {hook: [*chains.get(hook, ()), *lines] for hook, lines in Kernel().chains.items()}


@given(st.lists(tables(), max_size=5), st.sampled_from([0, BULK]))
def test_any_changes_end_in_the_wanted_state(states: list[Chains], bulk: int) -> None:
    kernel, before = Kernel(), {}
    for after in [*states, {}]:
        script = table_script("nat", before, after, bulk)
        assert bool(script) == (after != before) or _empty_hooks(before, after)
        if script:
            kernel.restore(script)
        assert kernel.chains == with_others(after)
        before = after


@given(st.lists(tables(8), max_size=4), st.integers(2, 12))
def test_any_changes_go_by_small_stages_too(states: list[Chains], limit: int) -> None:
    kernel, before = Kernel(), {}
    for after in [*states, {}]:
        there = before
        for script, there in script_stages("nat", before, after, limit):
            commands = [line for line in script.splitlines()[1:-1] if line.split()[1] not in BUILT_IN]
            assert len(commands) <= limit
            kernel.restore(script)
            assert kernel.chains == with_others(there)
        assert with_others(there) == with_others(after)
        before = after


def test_stages_replace_a_long_chain_bit_by_bit() -> None:
    before = {"KUBE-A": tuple(f"-s 10.0.0.{n} -j DROP" for n in range(8))}
    after = {"KUBE-A": (*before["KUBE-A"][:3], "-s 10.0.1.1 -j DROP", *before["KUBE-A"][5:])}
    ((script, there),) = script_stages("nat", before, after, 100)
    assert script.splitlines()[1:-1] == [
        "-D KUBE-A 4",
        "-D KUBE-A 4",
        "-I KUBE-A 4 -s 10.0.1.1 -j DROP",
    ]
    assert there == after


def _empty_hooks(before: Chains, after: Chains) -> bool:
    """Whether they differ in nothing but built-in chains without rules, which exist anyway."""
    return all(before.get(name, ()) == after.get(name, ()) for name in before.keys() | after.keys())


def test_jumps_are_put_in_front_and_taken_away_again() -> None:
    chains = {"OUTPUT": ("-j KUBE-A", "-j KUBE-B"), "KUBE-A": (), "KUBE-B": ()}
    assert table_script("nat", {}, chains).splitlines() == [
        "*nat",
        ":KUBE-A - [0:0]",
        ":KUBE-B - [0:0]",
        "-I OUTPUT 1 -j KUBE-A",
        "-I OUTPUT 2 -j KUBE-B",
        "COMMIT",
    ]
    assert table_script("nat", chains, {}).splitlines()[3:] == [
        "-D OUTPUT -j KUBE-A",
        "-D OUTPUT -j KUBE-B",
        "-X KUBE-A",
        "-X KUBE-B",
        "COMMIT",
    ]


def test_many_chains_are_read_at_once() -> None:
    many = {f"KUBE-{n}": () for n in range(BULK + 1)}
    assert table_script("nat", {}, many).splitlines()[1] == "-Z"
    assert "-Z" not in table_script("nat", {}, dict(list(many.items())[1:]))
