"""How many seconds a Pod takes to be Ready in a lab that is there: `onepod.py ROUNDS CONTAINER…`.

It prints one for each round and container, which are given as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from emulab import Lab


async def _one_by_one(rounds: int, containers: list[str]) -> None:
    async with Lab.from_text("{apiVersion: v1, kind: Namespace, metadata: {name: one}}") as lab:
        for number in range(-1, rounds):  # the first of each kind pays for what is there afterwards
            for kind, given in enumerate(containers):
                name = f"one-{kind}-{number + 1}"
                container = {"name": "c", **json.loads(given)}
                spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
                begun = time.perf_counter()
                await lab.apply(json.dumps(pod), ready=False)
                while not _is_ready(await lab.get("Pod", name)):
                    await asyncio.sleep(0.001)
                if number >= 0:
                    print(time.perf_counter() - begun)
                await lab.delete("Pod", name)


def _is_ready(found: list[dict[str, object]]) -> bool:
    return any('"type": "Ready", "status": "True"' in json.dumps(pod) for pod in found)


if __name__ == "__main__":
    asyncio.run(_one_by_one(int(sys.argv[1]), sys.argv[2:]))
