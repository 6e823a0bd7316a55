"""`emulab port-forward`: from a port of this machine into a Pod, and nothing of it in the host's network."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import urllib.request
from contextlib import suppress

import pytest

from emulab import Lab

pytestmark = [pytest.mark.asyncio, pytest.mark.privilege]

WORLD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
"""


async def test_a_service_is_reached_from_this_machine() -> None:
    async with Lab.from_text(WORLD) as lab:
        argv = (sys.executable, "-m", "emulab", "-l", lab.name, "port-forward", "svc/web", ":80")
        forwarding = await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ
        )
        assert forwarding.stdout is not None and forwarding.stderr is not None
        try:
            line = (await asyncio.wait_for(forwarding.stdout.readline(), 60)).decode()
            port = re.fullmatch(r"Forwarding from 127\.0\.0\.1:(\d+) -> 8080\n", line)
            assert port is not None, line

            def ask() -> dict[str, str]:
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(f"http://127.0.0.1:{port[1]}/x", timeout=10) as answer:
                    found: dict[str, str] = json.loads(answer.read())
                return found

            answer = await asyncio.to_thread(ask)
            assert (answer["pod"], answer["path"]) == ("web", "/x")
            assert answer["client"].startswith("127.0.0.1:")
            await lab.delete("pod", "web")
            # A connection may be cut before that of which it is seen that the Pod has gone.
            async with asyncio.timeout(60):
                while forwarding.returncode is None:
                    with suppress(OSError):
                        await asyncio.to_thread(ask)
                    await asyncio.sleep(0.01)
            assert await asyncio.wait_for(forwarding.wait(), 60) == 1
            assert (await forwarding.stderr.read()).decode().endswith("emulab: lost connection to pod\n")
        finally:
            if forwarding.returncode is None:
                forwarding.kill()
                await forwarding.wait()
