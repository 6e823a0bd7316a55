"""Elements sent as netlink, against libnftables: both ways end in the same tables."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from namespaces import isolated
from test_rulesets import NODE, Listing, listing, service, slice_of

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.rules import elements
from emulab.kernel.rules.tables import ElementSocket, ElementStep
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.collection import Objects
from emulab.model.families import IPV4
from emulab.model.objects import Object
from emulab.plan.proxy.intents import intents
from emulab.plan.proxy.modes import nftables
from emulab.plan.proxy.ports import candidates
from emulab.plan.rules.rulesets import ruleset_script
from emulab.plan.state import Collection, Namespace, Ruleset


def table(*endpoints: int, shift: int = 0) -> Ruleset:
    """kube-proxy's table for Services with so many endpoints, whose addresses are shifted."""
    objects: list[Object] = []
    for i, count in enumerate(endpoints):
        protocol = "UDP" if i % 3 == 1 else "TCP"
        made = slice_of(f"s{i}", count, protocol)
        raw: dict[str, Any] = dict(made.raw)
        raw["endpoints"] = [
            {**e, "addresses": [f"10.244.{1 + i % 200}.{n + 2 + shift}"]}
            for n, e in enumerate(raw["endpoints"])
        ]
        address = f"10.96.{1 + i // 250}.{1 + i % 250}"
        objects += [service(f"s{i}", address, 30000 + i % 2000, "", protocol), Object(raw)]
    wanted = intents(candidates(Objects(objects), [IPV4]), [NODE])
    return nftables.rules(wanted["node1"], Cluster(), IPV4)


def namespaces() -> tuple[Listing, Listing, int]:
    one, two = netns.create([Namespace("changed"), Namespace("fresh")])
    return Listing("changed", one.fd), Listing("fresh", two.fd), one.fd


@isolated
def test_elements_end_where_a_fresh_load_does() -> None:
    changed, fresh, fd = namespaces()
    steps = [
        table(3, 3, 2, 1, 0, 3),
        table(3, 3, 2, 1, 0, 3, shift=7),  # every endpoint is another
        table(3, 3, 1, 2, 3, 0),  # the same sizes, other Services: chains stay, verdicts change
        table(3, 3, 2, 1, 0, 3),
    ]
    changed.run(ruleset_script(None, steps[0]))
    for before, after in itertools.pairwise(steps):
        found = elements.element_changes(before, after)
        assert found is not None
        ElementSocket("changed", fd).write(ElementStep(after, found))
        fresh.run("flush ruleset")
        fresh.run(ruleset_script(None, after))
        assert listing(changed) == listing(fresh)


def test_what_is_more_than_elements_is_left_to_nft() -> None:
    assert (
        elements.element_changes(table(3, 3, 2), table(3, 3, 4)) is None
    )  # another size needs another chain
    one, two = (
        Ruleset("ip", "t", {}, {"s": Collection("set", "type ipv4_addr ; flags interval ;", {key: ""})})
        for key in ("10.0.0.0/8", "10.0.0.0/9")
    )
    assert elements.element_changes(one, two) is None
    assert elements.element_changes(one, one) == []


@isolated
def test_a_refused_element_changes_nothing() -> None:
    changed, _, fd = namespaces()
    before, after = table(3, 3, 2, 1), table(3, 3, 2, 1, shift=3)
    changed.run(ruleset_script(None, before))
    found = elements.element_changes(before, after)
    assert found
    was = listing(changed)
    name, collection, removed, added = found[-1]
    broken = elements.ElementChange(name, collection, [*removed, *list(added)[:1] * 2], added)
    with pytest.raises(KernelError, match="changed"):
        ElementSocket("changed", fd).write(ElementStep(after, [*found[:-1], broken]))
    assert listing(changed) == was


@pytest.mark.privilege
@isolated
def test_thousands_of_elements_go_in_one_transaction() -> None:
    changed, fresh, fd = namespaces()
    before, after = table(*[3] * 400), table(*[3] * 400, shift=5)
    changed.run(ruleset_script(None, before))
    found = elements.element_changes(before, after)
    assert found and sum(len(change.added) for change in found) >= 2400
    ElementSocket("changed", fd).write(ElementStep(after, found))
    fresh.run(ruleset_script(None, after))
    assert listing(changed) == listing(fresh)


@pytest.mark.privilege
@isolated
def test_many_elements_with_long_verdicts_are_sent() -> None:
    """Chains of Services with affinity have as long names as their Services, namespaces and ports together."""
    changed, fresh, fd = namespaces()
    chain = f"cluster/tcp-{'n' * 63}/{'s' * 63}/{'p' * 15}"
    keys = {f"10.96.{i // 250}.{i % 250}": f"goto {chain}" for i in range(1000)}
    steps = [
        Ruleset("ip", "t", {chain: ("",)}, {"m": Collection("map", "typeof ip daddr : verdict ;", elements_)})
        for elements_ in ({}, keys)
    ]
    changed.run(ruleset_script(None, steps[0]))
    found = elements.element_changes(*steps)
    assert found
    ElementSocket("changed", fd).write(ElementStep(steps[1], found))
    fresh.run(ruleset_script(None, steps[1]))
    assert listing(changed) == listing(fresh)


@pytest.mark.privilege
@pytest.mark.parametrize("most", [1, 400])
@isolated
def test_refusals_of_many_messages_are_told_as_what_they_are(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """More than the socket holds. Not as ENOBUFS, upon which a change would be made in parts."""
    monkeypatch.setattr(elements, "_MOST", most)
    changed, _, fd = namespaces()
    before, after = (
        Ruleset("ip", "t", {}, {"s": Collection("set", "typeof ip daddr ;", members)})
        for members in ({f"10.{i >> 8}.{i & 255}.1": "" for i in range(20_000)}, {"10.0.0.2": ""})
    )
    changed.run(ruleset_script(None, after))
    changed.run("flush set ip t s")
    found = elements.element_changes(before, after)
    assert found
    with pytest.raises(KernelError, match="ENOENT"):
        ElementSocket("changed", fd).write(ElementStep(after, found))
    assert "10.0.0.2" not in changed.run("list ruleset")


@pytest.mark.privilege
@isolated
def test_a_change_of_very_many_messages_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "_MOST", 1)
    changed, fresh, fd = namespaces()
    before, after = table(3, 3), table(*[3] * 400)
    changed.run(ruleset_script(None, before))
    found = elements.element_changes(before, after)
    assert found is not None and len(elements.encode(after, found)) > 1000
    ElementSocket("changed", fd).write(ElementStep(after, found))
    fresh.run(ruleset_script(None, after))
    assert listing(changed) == listing(fresh)
