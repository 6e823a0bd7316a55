"""Which hop is named when a path can't carry its load."""

from __future__ import annotations

from emulab.bench.givingway import HopSecond, Second, first, trouble
from emulab.bench.hopwatch import counted, parsed

CALM, SLOW = Second(3_000, 0, 0), Second(900_000, 0, 40)
IDLE, BUSY = HopSecond(0.2), HopSecond(0.99)


def test_nobody_gives_way_to_a_load_that_is_carried() -> None:
    assert first([CALM] * 5, {"public-lb": [IDLE] * 5}).text == "no hop gave way"
    busy_but_well = {"public-lb": [BUSY] * 5}
    assert first([CALM] * 5, busy_but_well).hop == ""
    assert first([], {}).hop == ""


def test_the_one_that_was_busy_first_is_named() -> None:
    hops = {
        "public-lb": [IDLE, IDLE, IDLE, BUSY, BUSY],
        "ingress": [IDLE, HopSecond(0.7), BUSY, BUSY, BUSY],
        "web": [HopSecond(0.5)] * 5,
    }
    found = first([CALM, CALM, CALM, SLOW, SLOW], hops)
    assert (found.hop, found.second) == ("ingress", 2)
    assert found.text == "ingress gave way first, in second 3: busy 99% of the time"


def test_who_turned_away_is_named_before_who_was_busy() -> None:
    away = HopSecond(0.4, {"tcp/10.0.0.1/80 dropped": 12})
    found = first([CALM, Second(3_000, 12, 0)], {"lb": [IDLE, away], "ingress": [IDLE, BUSY]})
    assert found.hop == "lb" and "turned away: tcp/10.0.0.1/80 dropped 12" in found.text


def test_what_was_busy_long_before_is_not_blamed() -> None:
    hops = {"dns": [BUSY, *[IDLE] * 9], "ingress": [*[IDLE] * 8, BUSY, BUSY]}
    assert first([*[CALM] * 8, SLOW, SLOW], hops).hop == "ingress"


def test_trouble_without_a_mark_says_what_it_may_be() -> None:
    late = Second(900_000, 0, 3, lag=80_000)
    assert "who asks was late itself" in first([CALM, CALM, late], {"lb": [IDLE] * 3}).text
    assert "none shows why" in first([CALM, CALM, SLOW], {"lb": [IDLE] * 3}).text


def test_trouble_is_failures_waiting_or_many_times_the_latency() -> None:
    assert trouble([CALM, CALM, Second(3_000, 1, 0)]) == 2
    assert trouble([CALM, Second(3_000, 0, 7)]) == 1
    assert trouble([CALM, CALM, CALM, CALM, Second(26_000, 0, 0)]) == 4
    assert (
        trouble([Second(100, 0, 0), Second(9_000, 0, 0)]) is None
    )  # that much is none, however little there was


def test_counters_of_what_was_turned_away() -> None:
    status = {
        "connections": 4,
        "frontends": {
            "tcp/80": {"dropped": 2, "open": 1, "targets": {"node1": {"errors": 3, "check": {"failures": 9}}}}
        },
        "rcodes": {"NOERROR": 5, "SERVFAIL": 1},
    }
    assert counted(status) == {
        "frontends tcp/80 dropped": 2,
        "frontends tcp/80 targets node1 errors": 3,
        "rcodes SERVFAIL": 1,
    }


def test_metrics_of_a_page() -> None:
    page = '# TYPE a counter\na_total{x="1 }",y="z"} 3\nb 2.5e3 1700000000\nc_bucket{le="1"} 4\nodd line here\nd NaN'
    found = parsed(page)
    assert found.pop("d") != 0
    assert found == {'a_total{x="1 }",y="z"}': 3.0, "b": 2500.0}
