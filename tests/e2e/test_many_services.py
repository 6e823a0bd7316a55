"""A lab of so many Services that rules don't wait until all is planned: what pods do is followed all the same."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from emulab import Lab

from .proxyworld import service
from .tools import INTERPRETER, begun, cluster_ip, eventually, is_ready, mounted, name, output, pods, sharing

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHERS = 250
REPLICAS = 3
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: c
          ports: [{name: http, containerPort: 8080}]
          readinessProbe:
            exec: {command: [sh, -c, 'test ! -e FOLDER/$(hostname)']}
            periodSeconds: 1
            failureThreshold: 1
            timeoutSeconds: 30
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec: {containers: [{name: c}]}
---
"""
COME_ANEW = """\
import collections, json, os, sys, time, urllib.request
url, begun, over = sys.argv[1:]
answered = collections.Counter()
while not os.path.exists(over):
    with urllib.request.urlopen(url, timeout=20) as answer:
        answered[json.load(answer)["pod"]] += 1
    open(begun, "w").close()
    time.sleep(0.01)  # others need the processor, too
print(json.dumps(answered))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pods look for files of their names."""
    folder = tmp_path_factory.mktemp("unready")
    for path in (folder, *folder.parents[:2]):
        os.chmod(path, 0o755)
    return folder


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab(folder: Path) -> AsyncIterator[Lab]:
    web = "{selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}"
    others = (service(f"other{n}", "{selector: {app: none}, ports: [{port: 80}]}") for n in range(OTHERS))
    deployment = DEPLOYMENT.replace("REPLICAS", str(REPLICAS)).replace("FOLDER", str(folder))
    texts = sharing(folder), mounted(deployment, folder), service("web", web) + "".join(others)
    async with Lab.from_text(*texts) as made:
        yield made


class Clients:
    """In a node and in a pod, each opens one connection after the other, of which none may fail."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab, self._folder = lab, folder
        self._work: list[asyncio.Future[str]] = []

    async def start(self) -> None:
        """Returns once all have had an answer."""
        url = f"http://{await cluster_ip(self._lab, 'web')}/"
        files = [self._folder / f"begun-{place}" for place in ("node1", "asker")]
        for place, file in zip(("node1", "pod/asker"), files, strict=True):
            command = INTERPRETER, "-c", COME_ANEW, url, str(file), str(self._folder / "over")
            self._work.append(asyncio.ensure_future(output(self._lab, place, *command)))
        for work, file in zip(self._work, files, strict=True):
            await begun(work, file)

    async def end(self) -> list[Counter[str]]:
        """Who answered each of them how often."""
        (self._folder / "over").touch()
        return [Counter(json.loads(text)) for text in await asyncio.gather(*self._work)]


@pytest_asyncio.fixture(loop_scope="module")
async def clients(lab: Lab, folder: Path) -> AsyncIterator[Clients]:
    clients = Clients(lab, Path(tempfile.mkdtemp(dir=folder)))
    try:
        await clients.start()
        yield clients
    finally:
        await clients.end()


async def ready(lab: Lab) -> list[str]:
    return [name(p) for p in await pods(lab, app="web") if is_ready(p)]


async def who(lab: Lab) -> set[str]:
    """Who answers 30 connections from a node."""
    url = f"http://{await cluster_ip(lab, 'web')}/"
    answers = await output(lab, "node2", "curl", "-s", "-H", "Connection: close", "-w", "\n", *[url] * 30)
    return {json.loads(line)["pod"] for line in answers.splitlines() if line}


@pytest.mark.privilege
async def test_who_gets_unready_is_left_out_and_taken_back(lab: Lab, folder: Path, clients: Clients) -> None:
    everybody = set(await ready(lab))
    assert len(everybody) == REPLICAS

    async def others() -> bool:
        return await who(lab) == everybody - {sick}

    async def all_of_them() -> bool:
        return await who(lab) == everybody

    for sick in sorted(everybody)[:2]:
        (folder / sick).touch()
        await eventually(others)
        assert sick not in await ready(lab)
        (folder / sick).unlink()
        await eventually(all_of_them)
    for answered in await clients.end():
        assert answered.keys() == everybody


async def test_pods_are_replaced_and_no_connection_fails(lab: Lab, clients: Clients) -> None:
    old = set(await ready(lab))
    assert len(old) == REPLICAS

    async def replaced() -> bool:
        everybody = [name(p) for p in await pods(lab, app="web")]
        return len(await ready(lab)) == len(everybody) == REPLICAS and gone not in everybody

    for gone in sorted(old):
        await lab.delete("Pod", gone)
        await eventually(replaced)
    new = set(await ready(lab))
    assert old.isdisjoint(new), "no name comes back"

    async def settled() -> bool:
        return await who(lab) == new

    await eventually(settled)
    for answered in await clients.end():
        assert old & answered.keys() and new & answered.keys()
