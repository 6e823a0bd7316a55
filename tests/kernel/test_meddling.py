"""Tables that somebody else has changed: the next change of the same ones ends where a fresh load does all the same."""

from __future__ import annotations

import pytest
from namespaces import isolated
from serviceworld import intent
from test_elements import table
from test_iptables import listing as iptables_listing
from test_iptables import of
from test_rulesets import Listing, listing

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.network import KernelNetwork
from emulab.kernel.rules import iptables
from emulab.kernel.rules.nft import Nft
from emulab.plan.rules.rulesets import MOST, ruleset_script
from emulab.plan.state import Iptables, Namespace, Network, Ruleset

KEY = ("node", "ip kube-proxy")


def network(table: Ruleset | None) -> Network:
    return Network({"node": Namespace("node")}, frozenset(), {KEY: table} if table else {})


def fresh(table: Ruleset) -> list[object]:
    (handle,) = netns.create([Namespace("fresh")])
    nft = Listing("fresh", handle.fd)
    nft.run(ruleset_script(None, table))
    return listing(nft)


@pytest.mark.parametrize(
    "by_hand",
    [
        "delete element ip kube-proxy endpoints-tcp-2 { 10.96.1.1 . 80 . 0 }",
        "flush map ip kube-proxy endpoints-tcp-2",
        "flush chain ip kube-proxy services",
        "flush chain ip kube-proxy services; flush chain ip kube-proxy cluster-tcp-2; "
        "delete chain ip kube-proxy cluster-tcp-2",
        "add map ip kube-proxy endpoints-tcp-5 { type ipv4_addr : verdict ; }",
        "delete table ip kube-proxy",
        "flush ruleset",
    ],
)
@pytest.mark.parametrize("others", [0, MOST])
@isolated
def test_a_change_of_what_somebody_has_changed(by_hand: str, others: int) -> None:
    before = table(2, 0, 2, *[1] * others)
    for after in (table(2, 0, 2, *[1] * others, shift=5), table(5, 0, 5, *[1] * others)):
        world = KernelNetwork()
        world.apply(network(before))
        world.nft("node").run(by_hand)
        world.apply(network(after))
        again = table(1, 0, 5, *[1] * others)
        world.apply(network(again))
        there = listing(Listing("node", world.handles["node"].fd))
        assert there == fresh(again)
        assert world.applied == network(again)
        world.close()


@isolated
def test_a_table_that_somebody_has_removed_can_go() -> None:
    world = KernelNetwork()
    world.apply(network(table(2, 1)))
    world.nft("node").run("flush ruleset")
    world.apply(network(None))
    assert world.applied == network(None)


@pytest.mark.parametrize(
    "by_hand",
    [
        "flush ruleset",
        "delete table ip nat",
        "flush table ip nat",
        "flush chain ip nat PREROUTING; flush chain ip filter FORWARD",
        "flush chain ip nat KUBE-MARK-MASQ",
    ],
)
@isolated
def test_a_change_of_chains_that_somebody_has_changed(by_hand: str) -> None:
    one, two = netns.create([Namespace("changed"), Namespace("fresh")])
    before, after = of(intent("pod1", "pod2")), of(intent("pod3"), intent(name="none"))
    iptables.write("changed", one.fd, None, before)
    Nft("changed", one.fd).run(by_hand)
    iptables.write("changed", one.fd, before, None)
    iptables.write("changed", one.fd, None, before)
    Nft("changed", one.fd).run(by_hand)
    iptables.write("changed", one.fd, before, after)
    Nft("changed", one.fd).run("flush ruleset")
    iptables.write("changed", one.fd, after, before)
    iptables.write("fresh", two.fd, None, before)
    assert iptables_listing(one.fd) == iptables_listing(two.fd)


@isolated
def test_what_is_wrong_by_itself_is_refused_all_the_same_and_told_as_that() -> None:
    (handle,) = netns.create([Namespace("node")])
    before = of(intent("pod1"))
    iptables.write("node", handle.fd, None, before)
    there = iptables_listing(handle.fd)
    nat = {**before.tables["nat"], "KUBE-MARK-MASQ": ("-j NOWHERE",)}
    with pytest.raises(KernelError, match="NOWHERE"):
        iptables.write("node", handle.fd, before, Iptables({**before.tables, "nat": nat}))
    assert iptables_listing(handle.fd) == there
