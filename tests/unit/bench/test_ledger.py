"""The ledger: sums are the whole, what is put in at one layer is found there and nowhere else, noise isn't told."""

from __future__ import annotations

from random import Random

import pytest

from emulab.bench import ledger
from emulab.bench.estimates import difference
from emulab.bench.ledger import WHOLE, PathLayer, steps, total, widths

COSTS = {"loopback": 60.0, "veth": 4.0, "forwarding": 9.0, "VXLAN": 30.0, "balancer": 70.0, "ingress": 190.0}
LAYERS = [PathLayer(name, base, name) for name, base in zip(COSTS, ["", *COSTS], strict=False)]
LAYERS += [PathLayer("nat", "VXLAN", "another balancer", trunk=False)]
NAT = 6.0


def drawn(
    seed: int, rounds: int = 25, slow: dict[str, float] | None = None, noise: float = 2.0, wave: float = 40.0
) -> dict[str, dict[str, list[float]]]:
    """Samples of all layers. Each round has a wave of its own, and one in eight values is disturbed."""
    draw = Random(seed)
    costs = {name: cost + (slow or {}).get(name, 0.0) for name, cost in COSTS.items()}
    samples: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        sea = draw.expovariate(1 / wave)
        height = 0.0
        values = {}
        for name, cost in costs.items():
            height += cost
            values[name] = height
        values["nat"] = values["VXLAN"] + NAT
        values[WHOLE] = height
        for name, value in values.items():
            disturbed = draw.expovariate(1 / 150) if draw.random() < 1 / 8 else 0.0
            measured = value + sea + draw.gauss(0, noise) + disturbed
            samples.setdefault(name, {}).setdefault("p50", []).append(measured)
    return samples


@pytest.mark.parametrize("seed", range(12))
def test_the_sum_of_the_layers_is_the_whole(seed: int) -> None:
    found = total(LAYERS, drawn(seed))
    assert found is not None and found.agrees and not found.gap.apart_from(0.0)
    assert abs(found.steps - found.whole.value) < found.gap.half + 1


def test_a_whole_that_has_something_else_in_it_is_told() -> None:
    samples = drawn(1)
    samples[WHOLE]["p50"] = [value + 100 for value in samples[WHOLE]["p50"]]
    found = total(LAYERS, samples)
    assert found is not None and not found.agrees and abs(found.gap.value - 100) < 10


@pytest.mark.parametrize("seed", range(8))
def test_each_layer_adds_what_it_costs(seed: int) -> None:
    for one in steps(LAYERS, drawn(seed)):
        if one.layer.base:
            cost = COSTS.get(one.layer.name, NAT)
            assert abs(one.added["p50"].value - cost) < one.added["p50"].half + 1


@pytest.mark.parametrize("where", ["veth", "VXLAN", "balancer", "ingress"])
def test_a_slow_hop_is_found_there_and_nowhere_else(where: str) -> None:
    """Two runs, the second with 200 µs at one hop: what differs in the ledgers is that hop alone."""
    before = {one.layer.name: one for one in steps(LAYERS, drawn(3))}
    after = {one.layer.name: one for one in steps(LAYERS, drawn(4, slow={where: 200.0}))}
    for name in COSTS:
        if not (base := before[name].layer.base):
            continue
        old, new = before[name].added["p50"], after[name].added["p50"]
        apart = not old.overlaps(new)
        assert apart == (name == where), (name, base, old, new)
    moved = after[where].added["p50"].value - before[where].added["p50"].value
    assert abs(moved - 200) < 10


def test_three_runs_agree_within_their_intervals() -> None:
    runs = [
        {one.layer.name: one.added.get("p50") for one in steps(LAYERS, drawn(seed))} for seed in (21, 22, 23)
    ]
    for name in COSTS:
        values = [run[name] for run in runs]
        for one in values:
            for other in values:
                assert one is None or other is None or one.overlaps(other)


def test_what_noise_hides_has_no_value() -> None:
    """A layer of 4 µs among noise of 300 µs."""
    samples = drawn(5, rounds=8, noise=300.0)
    [veth] = [one for one in steps(LAYERS, samples) if one.layer.name == "veth"]
    assert not veth.added["p50"].told
    document = ledger.to_json([veth], None)["layers"][0]["added"]["p50"]
    assert document["value"] is None and not document["told"] and document["low"] < 0 < document["high"]


def test_layers_that_were_not_measured_are_left_out() -> None:
    samples = drawn(1)
    del samples["nat"], samples[WHOLE]
    assert "nat" not in {one.layer.name for one in steps(LAYERS, samples)}
    assert total(LAYERS, samples) is None
    halves, whole = widths(LAYERS, samples)
    assert [name for name, _ in halves] == list(COSTS)[1:] and abs(whole - sum(COSTS.values())) < 80
    assert all(
        half == difference(samples[n]["p50"], samples[b.base]["p50"]).half
        for (n, half), b in zip(halves, LAYERS[1:], strict=False)
    )
