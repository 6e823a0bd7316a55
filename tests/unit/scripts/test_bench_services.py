"""The parts of `scripts/bench services` that only compute."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulab.lab.offline import offline_world
from emulab.model.sources import Source
from emulab.plan.state import Ruleset

SCRIPTS = str(Path(__file__).resolve().parents[3] / "scripts")


@pytest.fixture(autouse=True)
def scripts_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(SCRIPTS)
    yield
    for name in [n for n in sys.modules if n.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


def test_many_services_are_planned_as_asked() -> None:
    from benchmarks.many import cluster_text, many, text

    services = many(5, 2)
    manifests = cluster_text(1, "nftables") + "---\n" + text(services)
    _, world = offline_world([Source("services.yaml", manifests)])
    table = world.network.rulesets["node1", "ip kube-proxy"]
    assert isinstance(table, Ruleset)
    elements = table.collections["endpoints-tcp-2"].elements
    assert len({a for s in services for a in s.endpoints}) == 10
    for service in services:
        assert {elements[f"{service.address} . 80 . {i}"] for i in range(2)} == {
            f"{address} . 8080" for address in service.endpoints
        }


def test_given_pods_take_turns() -> None:
    from benchmarks.many import many

    assert [s.endpoints for s in many(3, 2, ["a", "b", "c"])] == [("a", "b"), ("b", "c"), ("c", "a")]


def test_kube_proxys_form_has_a_chain_a_service_and_an_endpoint() -> None:
    from benchmarks.chains import script
    from benchmarks.many import Many

    lines = script([Many("svc1", "10.96.0.41", ("10.180.0.1", "10.180.0.2"))]).splitlines()
    own = [line for line in lines if "svc1" in line or "10.96.0.41" in line]
    service = next(line.split()[-1] for line in own if line.startswith("add chain ip kube-proxy service-"))
    first, second = (line.split()[-1] for line in own if line.startswith("add chain ip kube-proxy endpoint-"))
    assert own[3:] == [
        "add element ip kube-proxy cluster-ips { 10.96.0.41 }",
        f"add element ip kube-proxy service-ips {{ 10.96.0.41 . tcp . 80 : goto {service} }}",
        f"add rule ip kube-proxy {service} ip daddr 10.96.0.41 ip saddr != 10.244.0.0/16 jump mark-for-masquerade",
        f"add rule ip kube-proxy {service} numgen random mod 2 vmap {{ 0 : goto {first} , 1 : goto {second} }}",
        f"add rule ip kube-proxy {first} ip saddr 10.180.0.1 jump mark-for-masquerade",
        f"add rule ip kube-proxy {first} meta l4proto tcp dnat to 10.180.0.1:8080",
        f"add rule ip kube-proxy {second} ip saddr 10.180.0.2 jump mark-for-masquerade",
        f"add rule ip kube-proxy {second} meta l4proto tcp dnat to 10.180.0.2:8080",
    ]


def test_latency_is_flat_when_the_largest_median_is_near_the_smallest() -> None:
    from benchmarks.latency import WAYS, Measured, rows, table

    def measured(factor: float) -> list[Measured]:
        """nftables takes 10 µs, and `factor` of it at 1,000 Services; all else takes 10 µs."""
        slow = {1_000: factor}
        return [
            Measured(way, n, tuple([10.0 * (slow.get(n, 1) if way.title == "nftables" else 1)] * 200))
            for n in (1, 1_000)
            for way in WAYS
        ]

    verdicts = [next(r for r in rows(measured(f)) if r.goal).verdict for f in (1.1, 1.3)]
    assert verdicts == ["ok", "MISSED"]
    lines = table(measured(1.3))
    assert len(lines) == 1 + 2 * len(WAYS)
    assert lines[6].split() == ["1,000", "nftables", "13.0", "13.0", "13.0"]


def test_without_matplotlib_there_is_a_hint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from benchmarks.plot import draw

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "scripts/setup bench" in draw([], tmp_path / "none.png")
    assert not list(tmp_path.iterdir())
