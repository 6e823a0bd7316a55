"""Which node of a balancer is active, when nodes change places faster than they tell what they think of backends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from emulab.cluster.events import Recorder
from emulab.cluster.store import Store
from emulab.kinds.registry import EVENT, LOAD_BALANCER
from emulab.lab.supervisor.balancernews import BalancerNews
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.objects import Object

KEY = LOAD_BALANCER.key("", "alb")


class Slow:
    """Balancers that tell what they think when they may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()

    async def status(self, place: str) -> dict[str, Any]:
        await self.may.wait()
        return {"frontends": {}}


def word(state: str) -> dict[str, str]:
    return {"event": "vrrp", "state": state, "why": "as it says"}


async def states_after(*words: tuple[str, str]) -> tuple[dict[str, str], list[str]]:
    """The nodes' states, and the Events' reasons, after nodes said these before any could tell of its backends."""
    store, servers = Store(), Slow()
    around = SimpleNamespace(store=store, servers=servers, events=Recorder(store), world=None)
    store.put(
        Object(
            {"apiVersion": "emulab.dev/v1", "kind": "LoadBalancer", "metadata": {"name": "alb"}, "spec": {}}
        )
    )
    nodes = [{"name": name, "addresses": ["10.0.0.9"]} for name in ("alb", "alb-2")]
    store.put_status(KEY, {"replicas": nodes})
    news = BalancerNews(cast(Surroundings, around), lambda: None)
    for place, state in words:
        news.heard(f"{place}/vrrp", word(state))
        await asyncio.sleep(0)
    servers.may.set()
    for _ in range(10):
        await asyncio.sleep(0)
    o = store.get(KEY)
    assert o is not None
    told = [str(event.raw["reason"]) for event in store.objects().kind(EVENT)]
    return {one["name"]: one.get("state", "") for one in o.status["replicas"]}, sorted(told)


async def test_who_was_active_for_a_moment_is_not_any_more() -> None:
    states, told = await states_after(("alb-2", "active"), ("alb-2", "standby"), ("alb", "active"))
    assert states == {"alb": "active", "alb-2": "standby"}
    assert told == ["NodeActive", "NodeActive", "NodeStandby"]


async def test_who_is_active_again_is() -> None:
    states, _ = await states_after(
        ("alb", "active"), ("alb", "fault"), ("alb", "active"), ("alb-2", "standby")
    )
    assert states == {"alb": "active", "alb-2": "standby"}
