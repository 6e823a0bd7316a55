"""How long a Pod may be active: from its start on, whenever that was said, and as it says by now."""

from __future__ import annotations

import asyncio
import time

from lab_objects import pod

from emulab.cluster.controllers.world import rfc3339
from emulab.lab.kubelet.deadline import Deadline
from emulab.model.objects import Object


def limited(seconds: float | None, begun: float | None = None) -> Object:
    spec = {} if seconds is None else {"activeDeadlineSeconds": seconds}
    return pod(spec=spec, status={} if begun is None else {"startTime": rfc3339(begun)})


class Ended:
    def __init__(self) -> None:
        self.times = 0
        self.deadline = Deadline(asyncio.ensure_future, self._end)

    async def _end(self) -> None:
        self.times += 1


async def test_it_ends_once() -> None:
    ended = Ended()
    for _ in range(2):
        ended.deadline.follow(limited(0.05))
    assert ended.times == 0
    await asyncio.sleep(0.2)
    ended.deadline.follow(limited(0.01))
    await asyncio.sleep(0.1)
    assert ended.times == 1


async def test_it_counts_from_the_start_whenever_it_is_said() -> None:
    ended, begun = Ended(), time.time() - 100
    ended.deadline.follow(limited(None, begun))
    ended.deadline.follow(limited(1000, begun))
    await asyncio.sleep(0.05)
    assert ended.times == 0
    ended.deadline.follow(limited(50, begun))
    await asyncio.sleep(0.05)
    assert ended.times == 1


async def test_of_a_pod_that_goes_nothing_ends_any_more() -> None:
    ended = Ended()
    ended.deadline.follow(limited(0.05))
    ended.deadline.cancel()
    await asyncio.sleep(0.2)
    assert ended.times == 0
