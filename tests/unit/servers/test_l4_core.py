"""The L4 balancer's pure parts: ranges, strategies, health by a clock of the test's own."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.servers.configuration import from_json
from emulab.servers.health.config import HealthPolicy
from emulab.servers.health.state import Health
from emulab.servers.l4.acl import Acl
from emulab.servers.l4.algorithms import STRATEGIES
from emulab.servers.l4.balance import Affinity, BalancedTarget
from emulab.servers.l4.config import FrontendConfig
from emulab.servers.l4.frontend import Frontend
from emulab.servers.l4.spec import Spec, checked_spec


@pytest.mark.parametrize(
    ("ranges", "address", "allowed"),
    [
        ([], "192.0.2.1", True),
        (["10.0.0.0/24"], "10.0.0.255", True),
        (["10.0.0.0/24"], "10.0.1.0", False),
        (["10.0.0.7/24"], "10.0.0.1", True),
        (["10.0.0.0/24", "192.0.2.1/32"], "192.0.2.1", True),
        (["0.0.0.0/0"], "192.0.2.1", True),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["10.0.0.0/24"], "::ffff:10.0.0.1", True),
        (["fe80::/10"], "fe80::1%eth0", True),
    ],
)
def test_source_ranges(ranges: list[str], address: str, allowed: bool) -> None:
    assert Acl(ranges).allows(address) is allowed


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_ranges_agree_with_ipaddress(
    base: ipaddress.IPv4Address, bits: int, client: ipaddress.IPv4Address
) -> None:
    text = f"{base}/{bits}"
    assert Acl([text]).allows(str(client)) is (client in ipaddress.ip_network(text, strict=False))


def test_a_wrong_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/33"):
        Acl(["10.0.0.0/33"])


def targets(*healthy: bool) -> list[BalancedTarget]:
    made = []
    for number, well in enumerate(healthy):
        target = BalancedTarget(f"node{number}", f"10.0.0.{number}", 80)
        target.health.healthy = well
        made.append(target)
    return made


def names(order: list[BalancedTarget]) -> str:
    return "".join(target.name[-1] for target in order)


def test_round_robin_takes_turns() -> None:
    strategy, three = STRATEGIES["roundrobin"](), targets(True, True, True)
    assert [names(strategy.order(three, "c")) for _ in range(4)] == ["012", "120", "201", "012"]


def test_round_robin_skips_the_sick_and_stays_fair() -> None:
    strategy, three = STRATEGIES["roundrobin"](), targets(True, False, True)
    assert [names(strategy.order(three, "c")) for _ in range(4)] == ["02", "20", "02", "20"]
    assert strategy.order(targets(False, False), "c") == []
    assert strategy.order([], "c") == []


def test_round_robin_survives_fewer_targets() -> None:
    strategy = STRATEGIES["roundrobin"]()
    five = targets(*[True] * 5)
    for _ in range(5):
        strategy.order(five, "c")
    assert sorted(names(strategy.order(five[:2], "c"))) == ["0", "1"]


def test_least_connections() -> None:
    strategy, three = STRATEGIES["leastconn"](), targets(True, True, True)
    three[0].open, three[1].open = 2, 1
    assert names(strategy.order(three, "c")) == "210"
    three[2].health.healthy = False
    assert names(strategy.order(three, "c")) == "10"


def test_source_keeps_a_client_at_its_target() -> None:
    strategy, three = STRATEGIES["source"](), targets(True, True, True)
    firsts = {client: names(strategy.order(three, client)) for client in (f"10.1.0.{n}" for n in range(50))}
    assert {names(strategy.order(three, client)) == order for client, order in firsts.items()} == {True}
    assert {order[0] for order in firsts.values()} == {"0", "1", "2"}
    assert strategy.order(targets(False), "c") == []


def test_affinity_keeps_a_client_while_it_comes_and_its_target_is_there() -> None:
    affinity, (a, b, c) = Affinity(10.0), targets(True, True, True)
    assert affinity.order([a, b, c], "x", 0.0) == [a, b, c]
    affinity.chosen(b, "x", 0.0)
    assert affinity.order([a, b, c], "x", 9.9) == [b, a, c]
    assert affinity.order([a, b, c], "y", 9.9) == [a, b, c]
    affinity.chosen(b, "x", 9.0)  # every connection begins its time anew
    assert affinity.order([a, b, c], "x", 18.5) == [b, a, c]
    assert affinity.order([a, b, c], "x", 19.0) == [a, b, c]
    affinity.chosen(b, "x", 20.0)
    assert affinity.order([a, c], "x", 21.0) == [a, c]
    affinity.chosen(c, "x", 21.0)
    assert affinity.order([a, b, c], "x", 22.0) == [c, a, b]
    assert affinity.order([], "x", 22.0) == []


def test_affinity_forgets_who_stays_away() -> None:
    affinity, (a,) = Affinity(10.0), targets(True)
    for second in range(1000):
        affinity.chosen(a, f"client{second}", float(second))
    assert len(affinity._kept) == 10


def test_affinity_of_a_frontend() -> None:
    frontend = Frontend(spec({**SPEC, "affinity": 60}))

    def take(client: str, now: float) -> str:
        target = frontend.order(client, now)[0]
        frontend.chosen(target, client, now)
        return target.name

    assert [take("x", t) for t in (0.0, 59.0, 118.0)] == ["node1"] * 3
    assert "client affinity" in frontend.explain(2)
    assert {take(f"y{n}", 118.0) for n in range(4)} == {"node1", "node2"}
    first = take("x", 118.0)
    frontend.update(
        spec({**SPEC, "affinity": 60, "targets": [t for t in SPEC["targets"] if t["name"] != first]})
    )
    assert take("x", 119.0) != first
    frontend.update(spec(SPEC))
    assert len({take("x", 119.0) for _ in range(2)}) == 2


def test_the_first_check_of_a_target_decides() -> None:
    policy = HealthPolicy(30.0, 1.0, rise=3, fall=3)
    never, once = Health(unproven=True), Health(unproven=True)
    assert never.record(policy, passed=False) and not never.healthy
    assert not any(once.record(policy, passed) for passed in (True, False, False)) and once.healthy
    assert once.record(policy, passed=False) and not once.healthy


def test_health_flips_by_rise_and_fall() -> None:
    policy, health = HealthPolicy(1.0, 1.0, rise=2, fall=3), Health()
    seen = [
        (health.record(policy, passed), health.healthy)
        for passed in (False, False, True, False, False, False)
    ]
    assert seen == [(False, True)] * 5 + [(True, False)]
    seen = [(health.record(policy, passed), health.healthy) for passed in (True, False, True, True, True)]
    assert seen == [(False, False)] * 3 + [(True, True), (False, True)]


def test_the_next_check_is_due_from_the_beginning_of_the_last() -> None:
    policy, health = HealthPolicy(interval=2.0, timeout=1.0, rise=1, fall=2), Health(now=100.0)
    assert health.due == 100.0
    health.begin(policy, 100.5)
    assert health.due == 102.5


def test_who_is_down_is_asked_less_often_the_longer_it_is() -> None:
    policy, health = HealthPolicy(interval=1.0, timeout=1.0, rise=1, fall=1, down_interval=0.1), Health()
    due: list[float] = []
    for now, passed in ((5.0, False), (5.1, False), (5.5, False), (9.0, False), (65.0, False), (66.0, True)):
        health.begin(policy, now)
        health.record(policy, passed)
        due.append(round(health.due - now, 3))
    assert due == [0.1, 0.1, 0.1, 0.4, 1.0, 1.0]
    health.begin(policy, 67.0)
    assert health.due == 68.0
    health.record(policy, False)
    assert health.due == 67.1, "counted anew"
    health.begin(policy, 67.1)
    assert health.due == pytest.approx(67.2)


SPEC = {
    "source_ranges": ["10.0.0.0/24"],
    "balance": "roundrobin",
    "targets": [
        {"name": "node1", "address": "10.0.0.11", "port": 30080},
        {"name": "node2", "address": "10.0.0.12", "port": 30080},
    ],
    "health": {"interval": 1.0, "timeout": 1.0, "rise": 1, "fall": 2, "port": None},
}


def spec(config: dict[str, Any], key: str = "tcp/203.0.113.10/80") -> Spec:
    return checked_spec(key, from_json(FrontendConfig, config))


def test_an_update_keeps_what_stays() -> None:
    frontend = Frontend(spec(SPEC))
    first, second = frontend.targets
    first.health.healthy, second.total = False, 7
    changed = {
        **SPEC,
        "targets": [*SPEC["targets"][1:], {"name": "node3", "address": "10.0.0.13", "port": 1}],
    }  # type: ignore[index]
    frontend.update(spec(changed))
    assert frontend.targets[0] is second
    assert [target.name for target in frontend.targets] == ["node2", "node3"]
    frontend.update(spec(SPEC))
    assert frontend.targets[0] is not first
    assert frontend.targets[0].health.healthy


def test_a_target_without_checks_is_healthy_again() -> None:
    frontend = Frontend(spec(SPEC))
    frontend.targets[0].health.healthy = False
    assert names(frontend.order("c", 0.0)) == "2"
    frontend.update(spec({**SPEC, "health": None}))
    assert sorted(names(frontend.order("c", 0.0))) == ["1", "2"]


def test_the_strategy_changes_by_name() -> None:
    frontend = Frontend(spec(SPEC))
    assert [names(frontend.order("c", 0.0))[0] for _ in range(2)] == ["1", "2"]
    frontend.update(spec(SPEC))
    assert names(frontend.order("c", 0.0))[0] == "1"  # the turn goes on after an update
    frontend.update(spec({**SPEC, "balance": "source"}))
    assert len({names(frontend.order("c", 0.0)) for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"balance": "magic"}, "magic.*leastconn, roundrobin, source"),
        ({"targets": [SPEC["targets"][0]] * 2}, "two targets"),  # type: ignore[index]
        ({"source_ranges": ["nonsense"]}, "nonsense"),
    ],
)
def test_a_wrong_frontend_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec({**SPEC, **change})


def test_udp_is_not_checked_by_tcp_unless_a_port_is_named() -> None:
    key = "udp/203.0.113.10/53"
    assert spec(SPEC, key).policy is None
    policy = spec({**SPEC, "health": {**SPEC["health"], "port": 80}}, key).policy
    assert policy is not None
    assert policy.port == 80
