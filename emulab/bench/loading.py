"""`emulab bench load`: requests that come when they are due, all along a path, and what its hops tell meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import SplitResult

from emulab.bench.agents import Agent, agent, goal
from emulab.bench.givingway import GaveWay, Second, first
from emulab.bench.histogram import HdrHistogram
from emulab.bench.hopwatch import HopRecord, HopWatch
from emulab.bench.processors import ProcessorShares
from emulab.dataclass import dataclass, field
from emulab.errors import EmulabError, UserError
from emulab.lab.client.requesting import read_url
from emulab.python import Lab
from emulab.servers.wire.http1.client import as_target

LOAD = "load"
SHARES = (50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 100.0)


class LoadPlan(NamedTuple):
    """What `bench load` was asked for."""

    lab: str
    url: str
    rate: float  # requests a second
    seconds: float
    source: str
    namespace: str
    connections: int  # at the most
    arrivals: str
    seed: int
    fresh: bool  # a connection for each request
    wait: float  # seconds that answers have after the last request was due
    shares: ProcessorShares
    tell: Callable[[str, float], None]


@dataclass(slots=True)
class LoadOutcome:
    """What came of it. `seconds`: what the load saw of each, with its histograms in `due`."""

    requests: int = 0
    took: float = 0.0
    octets: int = 0
    due: HdrHistogram = field(default_factory=HdrHistogram)
    sent: HdrHistogram = field(default_factory=HdrHistogram)
    lag: HdrHistogram = field(default_factory=HdrHistogram)
    failures: dict[str, int] = field(default_factory=dict)
    seconds: list[Second] = field(default_factory=list)
    percentiles: list[Mapping[str, int]] = field(default_factory=list)  # of each second
    answered: list[int] = field(default_factory=list)  # in each second
    hops: Mapping[str, HopRecord] = field(default_factory=dict)
    gave_way: GaveWay = GaveWay("", -1, "")

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def add(self, piece: Mapping[str, Any]) -> None:
        """Takes what who asks tells of a second."""
        due, sent, lag = (HdrHistogram.of_json(piece[name]) for name in ("due", "sent", "lag"))
        for whole, part in ((self.due, due), (self.sent, sent), (self.lag, lag)):
            whole.add(part)
        for why, number in piece["failures"].items():
            self.failures[why] = self.failures.get(why, 0) + number
        self.octets += piece["octets"]
        failed = sum(piece["failures"].values())
        self.answered.append(len(due))
        self.percentiles.append({f"p{share:g}": due.percentile(share) for share in SHARES[:5]})
        self.seconds.append(Second(due.percentile(99), failed, piece["waiting"], lag.percentile(99)))


async def run(plan: LoadPlan) -> LoadOutcome:
    """Loads a lab that is up. Raises EmulabError."""
    parts, port = _read(plan.url)
    host = parts.hostname or ""
    lab = Lab([], name=plan.lab)
    plan.tell("following one request", 0.0)
    hops = await _hops(lab, plan)
    address = await lab.resolve(host, plan.source, plan.namespace)
    watch = HopWatch(lab, hops)
    await watch.begin()
    path = as_target((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    asked = goal(address, port, host, path, tls=parts.scheme == "https", closing=plan.fresh)
    loaded = LoadOutcome()
    async with agent(plan.lab, plan.source, plan.shares.asking, plan.namespace) as asking:
        watching = asyncio.ensure_future(_watch(watch))
        try:
            await _load(asking, asked, plan, loaded)
        except TimeoutError:
            raise EmulabError("whoever asks hasn't told in time what came of it") from None
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            if not watching.cancelled() and (error := watching.exception()) is not None:
                raise error
    await watch.end()
    loaded.hops = watch.records
    loaded.gave_way = first(loaded.seconds, {name: one.seconds for name, one in watch.records.items()})
    return loaded


def _read(url: str) -> tuple[SplitResult, int]:
    """A URL and its port. Raises UserError."""
    parts, port = read_url(url)
    if parts.username is not None:
        raise UserError(f"{url}: a user name can't be in it")
    return parts, port


async def _hops(lab: Lab, plan: LoadPlan) -> list[str]:
    """The places that a request comes through, in order, without the one that it comes from."""
    seen = await lab.trace(plan.url, plan.source, namespace=plan.namespace, verify=False)
    if seen.failure is not None:
        raise UserError(
            f"{plan.url}: a request fails, so there is nothing to load; see why: emulab trace {plan.url}"
        )
    places = dict.fromkeys(hop.place for hop in seen.hops if hop.direction == "request")
    return list(places)[1:]


async def _watch(watch: HopWatch) -> None:
    loop = asyncio.get_running_loop()
    begun, second = loop.time(), 0
    while True:
        await asyncio.sleep(max(0.0, begun + second + 1 - loop.time()))
        await watch.look(second)
        second += 1


async def _load(asking: Agent, asked: Mapping[str, Any], plan: LoadPlan, loaded: LoadOutcome) -> None:
    def tell(piece: Mapping[str, Any]) -> None:
        loaded.add(piece)
        last = loaded.seconds[-1]
        said = f"p99 {last.p99 / 1000:.2f} ms, {loaded.failed} failed"
        plan.tell(said, min(1.0, len(loaded.seconds) / max(1.0, plan.seconds)))

    done = await asking.ask(
        tell,
        do="opened",
        goal=asked,
        rate=plan.rate,
        seconds=plan.seconds,
        connections=plan.connections,
        wait=plan.wait,
        fresh=plan.fresh,
        arrivals=plan.arrivals,
        seed=plan.seed,
    )
    loaded.requests, loaded.took = done["requests"], done["seconds"]


def percentiles(of: HdrHistogram, shares: Sequence[float] = SHARES) -> dict[str, int]:
    """Microseconds by percentage."""
    return {f"p{share:g}" if share < 100 else "max": of.percentile(share) for share in shares}
