"""`emulab bench path`: a ledger of what each layer of the way adds, by subtraction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.bench import ledger, worlds
from emulab.bench.ledger import WHOLE, PathLayer
from emulab.bench.measures import ALL, SINGLE, Target
from emulab.bench.outcome import REFERENCE, BenchOutcome, machine
from emulab.bench.processors import ProcessorShares
from emulab.bench.rounds import MeasuredWay, TellProgress, TurnSchedule, WaySamples, by_turns
from emulab.bench.stage import CLIENT, PUBLIC_LB, Stage, stages
from emulab.kernel.processes.installed import installed
from emulab.kinds.images import ENGINES, OWN_ENGINE

PATH = "path"
MAIN, ROUTED = "vxlan", "routed"
VARIED = (("network", "plugin"), ("network", "mode"), ("network", "cni"), ("ingress", "engine"))
"""Fields of a Cluster that there are layers for each value of."""
Find = Callable[[Stage], Awaitable[Target]]


class _Measured(NamedTuple):
    """A layer, and how it is asked: in which lab, from where, and what."""

    layer: PathLayer
    lab: str
    place: str
    target: Find
    kinds: Sequence[str] = ALL


def _pod(name: str) -> Find:
    async def find(stage: Stage) -> Target:
        return Target(stage.address("Pod", name), worlds.PORT)

    return find


def _service(name: str) -> Find:
    async def find(stage: Stage) -> Target:
        return Target(stage.address("Service", name), 80)

    return find


def _balancer(name: str) -> Find:
    async def find(stage: Stage) -> Target:
        return Target(stage.address("LoadBalancer", name), 80)

    return find


async def _loopback(stage: Stage) -> Target:
    six = ":" in stage.address("Pod", worlds.NEAR)
    return Target("::1" if six else "127.0.0.1", worlds.PORT)


def _node_port(node: str) -> Find:
    async def find(stage: Stage) -> Target:
        return Target(stage.address("Node", node), worlds.NODE_PORT)

    return find


def _ingress(tls: bool = False, named: bool = False) -> Find:
    async def find(stage: Stage) -> Target:
        address = stage.address("LoadBalancer", PUBLIC_LB)
        names = (await stage.resolver(), worlds.HOST) if named else ()
        return Target(address, 443 if tls else 80, worlds.HOST, tls, names)

    return find


def _layers(node: str, engines: Sequence[str]) -> list[_Measured]:
    """The table: a line a layer, in the order of the ledger."""
    return [*_inside(node), *_from_outside(node), *map(_by_ingress, engines), *_by_name()]


def _inside(node: str) -> list[_Measured]:
    """Layers of a request from inside of the cluster."""
    near, asking = f"pod/{worlds.NEAR}", f"pod/{worlds.FROM}"
    return [
        _Measured(PathLayer(REFERENCE, "", "inside a pod, to its loopback address"), MAIN, near, _loopback),
        _Measured(
            PathLayer("veth", REFERENCE, "from a node to its own pod: one veth pair"),
            *(MAIN, node, _pod(worlds.NEAR)),
        ),
        _Measured(
            PathLayer("node forwarding", "veth", "from pod to pod of one node, which forwards"),
            *(MAIN, asking, _pod(worlds.NEAR)),
        ),
        _Measured(
            PathLayer("DNAT", "node forwarding", "to a Service whose endpoint is on that node"),
            *(MAIN, asking, _service(worlds.NEAR)),
        ),
        _Measured(
            PathLayer("second node", "DNAT", "the endpoint is on another node, by a route"),
            *(ROUTED, asking, _service(worlds.FAR)),
        ),
        _Measured(
            PathLayer("VXLAN", "second node", "the nodes reach each other by VXLAN"),
            *(MAIN, asking, _service(worlds.FAR)),
        ),
    ]


def _from_outside(node: str) -> list[_Measured]:
    """Layers of a request of a client on the internet, as far as to a node."""
    return [
        _Measured(
            PathLayer("router, node port", "VXLAN", "from a client on the internet, to a node port"),
            *(MAIN, CLIENT, _node_port(node)),
        ),
        _Measured(
            PathLayer("balancer, nat", "router, node port", "by a balancer that forwards", trunk=False),
            *(MAIN, CLIENT, _balancer(worlds.NAT_LB)),
        ),
        _Measured(
            PathLayer("balancer, proxy", "router, node port", "by a balancer that is a proxy"),
            *(MAIN, CLIENT, _balancer(worlds.PROXY_LB)),
        ),
    ]


def _ingress_layer(engine: str) -> str:
    return f"ingress, {engine}"


def _by_ingress(engine: str) -> _Measured:
    own = engine == OWN_ENGINE
    layer = PathLayer(_ingress_layer(engine), "balancer, proxy", f"by an ingress, {engine}", trunk=own)
    return _Measured(layer, MAIN if own else engine, CLIENT, _ingress())


def _by_name() -> list[_Measured]:
    """Layers of a request by https and by name, and all of it once more."""
    return [
        _Measured(
            PathLayer("TLS", _ingress_layer(OWN_ENGINE), f"by https, to the ingress, {OWN_ENGINE}"),
            *(MAIN, CLIENT, _ingress(tls=True)),
        ),
        _Measured(
            PathLayer("DNS", "TLS", "the name is asked for before each request"),
            *(MAIN, CLIENT, _ingress(tls=True, named=True), (SINGLE,)),
        ),
        _Measured(
            PathLayer(WHOLE, "", "all of it, measured a second time in each round", trunk=False),
            *(MAIN, CLIENT, _ingress(tls=True, named=True), (SINGLE,)),
        ),
    ]


def engines() -> tuple[list[str], list[str]]:
    """The ingress' engines that are installed here, and those that aren't."""
    here = [name for name in ENGINES if name == OWN_ENGINE or installed(name)]
    return here, [name for name in ENGINES if name not in here]


class PathPlan(NamedTuple):
    """What `bench path` was asked for. `slow`: µs that the answerer on the second node takes longer."""

    given: Sequence[Mapping[str, Any]]
    schedule: TurnSchedule
    shares: ProcessorShares
    seed: int
    timeout: float
    tell: TellProgress
    kinds: Sequence[str] = ALL
    slow: int = 0


async def run(plan: PathPlan) -> BenchOutcome:
    """Builds the labs, measures, and takes the labs down. Raises EmulabError."""
    here, missing = engines()
    node = worlds.nodes(_nodes(plan.given))[0]["name"]
    table = _layers(node, here)
    settings: dict[str, dict[str, dict[str, str]]] = {
        MAIN: {"network": {"mode": MAIN}},
        ROUTED: {"network": {"mode": ROUTED}},
        **{name: {"ingress": {"engine": name}} for name in here if name != OWN_ENGINE},
    }
    texts = {
        name: worlds.world(plan.given, wanted, one_way=True, slow=plan.slow)
        for name, wanted in settings.items()
    }
    layers = [one.layer for one in table]
    async with stages(texts, plan.shares, plan.timeout, plan.tell) as (labs, _):
        ways = [await _way(one, labs[one.lab], plan.kinds) for one in table]
        measured = await by_turns(ways, plan.schedule, lambda s: _widths(layers, s), plan.tell, plan.seed)
    notes = [f"{name} isn't installed here, so there is no ingress by it" for name in missing]
    if not plan.shares.apart:
        notes.append("there is one CPU: who asks takes it from whom it asks")
    if plan.slow:
        notes.append(f"the answerer on the second node takes {plan.slow} µs longer")
    return BenchOutcome(
        benchmark=PATH,
        subjects=(PATH,),
        samples=measured.samples,
        rounds=measured.rounds,
        seconds=measured.seconds,
        verdict=measured.verdict,
        seed=plan.seed,
        machine=await asyncio.to_thread(machine, *plan.shares),
        layers=[one for one in layers if one.name != WHOLE],
        ways={one.name: one.what for one in layers},
        notes=[*notes, *measured.notes],
    )


async def _way(one: _Measured, stage: Stage, kinds: Sequence[str]) -> MeasuredWay:
    wanted = [kind for kind in one.kinds if kind in kinds]
    return await stage.way(one.layer.name, one.place, await one.target(stage), wanted, PATH)


def _widths(layers: Sequence[PathLayer], samples: WaySamples) -> tuple[list[tuple[str, float]], float]:
    return ledger.widths(layers, samples.get(PATH, {}))


def _nodes(given: Sequence[Mapping[str, Any]]) -> Any:
    for one in given:
        if (one.get("apiVersion"), one.get("kind")) == worlds.CLUSTER:
            return (one.get("spec") or {}).get("nodes", 2)
    return 2
