"""A lab that is measured: who asks at its places, and the addresses that they ask."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from emulab.bench.agents import Agent, agent
from emulab.bench.measures import ALL, Target, WayFigures, measure
from emulab.bench.processors import LabProcessors, ProcessorShares
from emulab.bench.rounds import MeasuredWay
from emulab.errors import EmulabError, UserError
from emulab.lab.client.client import LabClient
from emulab.lab.folders import rundir
from emulab.python import Lab
from emulab.servers.stub import ResolverConfig

CLIENT, PUBLIC_LB = "client", "public-lb"
"""Places that every lab has: a client on the internet, and the balancer before the ingress."""
LABS_AT_ONCE = 2


class Stage:
    """One lab. Who asks from a place is started when it is first needed, and ends with the lab."""

    def __init__(self, lab: Lab, subject: str, shares: ProcessorShares, ending: AsyncExitStack) -> None:
        self.lab = lab
        self.subject = subject
        self._shares = shares
        self._ending = ending
        self._agents: dict[str, Agent] = {}
        self._addresses: dict[tuple[str, str], str] = {}
        self.processors = LabProcessors(supervisor(lab.name))

    async def look(self) -> None:
        """Finds the addresses of what there is."""
        for kind, path in _ADDRESSES.items():
            for one in await self.lab.get(kind):
                self._addresses[kind, one["metadata"]["name"]] = path(one)

    def address(self, kind: str, name: str) -> str:
        """Of a pod, Service, Node or LoadBalancer. Raises UserError when there is none."""
        found = self._addresses.get((kind, name))
        if not found:
            raise UserError(
                f"lab {self.lab.name}: {kind} {name} has no address, so nothing can be measured there"
            )
        return found

    async def resolver(self, place: str = CLIENT) -> str:
        """Whom a place asks for names."""
        files = await asked(self.lab, "resolver-files", target=place, namespace="default")
        return str(ResolverConfig.parse(*files).servers[0])

    async def agent(self, place: str) -> Agent:
        """Who asks from there."""
        if place not in self._agents:
            made = agent(self.lab.name, place, self._shares.asking)
            self._agents[place] = await self._ending.enter_async_context(made)
            await asyncio.to_thread(self.processors.look_again)
        return self._agents[place]

    async def way(
        self, name: str, place: str, target: Target, kinds: Sequence[str] = ALL, subject: str = ""
    ) -> MeasuredWay:
        """What is measured from a place to a target."""
        asking = await self.agent(place)

        async def ask(kind: str, seconds: float) -> WayFigures:
            return await measure(kind, asking, target, seconds, self.processors)

        return MeasuredWay(subject or self.subject, name, ask, tuple(kinds))


def _vip(one: dict[str, Any]) -> str:
    return str((one.get("status") or {}).get("vip") or (one.get("spec") or {}).get("address") or "")


def _node(one: dict[str, Any]) -> str:
    found = (one.get("status") or {}).get("addresses") or ()
    return next((str(a["address"]) for a in found if a["type"] == "InternalIP"), "")


_ADDRESSES: dict[str, Callable[[dict[str, Any]], str]] = {
    "Pod": lambda one: str((one.get("status") or {}).get("podIP") or ""),
    "Service": lambda one: str((one.get("spec") or {}).get("clusterIP") or ""),
    "Node": _node,
    "LoadBalancer": _vip,
}


async def asked(lab: Lab, op: str, **arguments: Any) -> Any:
    """What the lab's supervisor answers."""

    def ask() -> Any:
        with LabClient(rundir.folder(lab.name)) as client:
            return client.request(op, **arguments)

    return await asyncio.to_thread(ask)


def supervisor(lab: str) -> int:
    """The pid of a lab's supervisor."""
    return int(json.loads((rundir.folder(lab) / "lab.json").read_text())["pid"])


@asynccontextmanager
async def stages(
    manifests: Mapping[str, str],
    shares: ProcessorShares,
    timeout: float,
    tell: Callable[[str, float], None],
    optional: Collection[str] = (),
) -> AsyncIterator[tuple[dict[str, Stage], dict[str, str]]]:
    """A lab of each manifest, by subject, and why those that are optional couldn't be built.

    The labs end with the block, whatever happens. Raises EmulabError when one of the others can't be built.
    """
    problems: dict[str, str] = {}
    found: dict[str, Stage] = {}
    async with AsyncExitStack() as ending:
        gate = asyncio.Semaphore(LABS_AT_ONCE)

        async def build(number: int, subject: str, text: str) -> None:
            async with gate:
                tell(f"building {len(manifests)} labs", 0.0)
                lab = Lab.from_text(text, name=f"bench-{os.getpid()}-{number}", timeout=timeout)
                try:
                    await ending.enter_async_context(lab)
                except EmulabError as error:
                    if subject not in optional:
                        raise type(error)(f"{subject}: {error}") from None
                    problems[subject] = str(error)
                    return
                stage = Stage(lab, subject, shares, ending)
                await stage.look()
                found[subject] = stage

        try:
            async with asyncio.TaskGroup() as group:
                for number, (subject, text) in enumerate(manifests.items()):
                    group.create_task(build(number, subject, text))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        yield {subject: found[subject] for subject in manifests if subject in found}, problems
