"""The ingress beside Debian's nginx: the same bytes, and every difference has a reason or is a fault."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from fuzz import corpus
from fuzz.corpus import Script

from emulab import Lab
from emulab.kernel.processes.programs import run_program

from .nginx_differences import ANSWERS, REQUESTS, Difference
from .peers import NGINX, Outcome, Side, answer_all, ask_all, listening
from .tools import CLIENT, VIP, connect, eventually, name, pods

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = 9
WORLD = """
apiVersion: v1
kind: Pod
metadata: {name: hostile, labels: {app: hostile}}
spec: {containers: [{name: hostile, command: [sleep, infinity], ports: [{containerPort: 9001}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: hostile}
spec: {selector: {app: hostile}, ports: [{port: 80, targetPort: 9001}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: hostile}
spec:
  rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: hostile, port: {number: 80}}}}]}}]
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder for nginx, and its configuration."""
    folder = tmp_path_factory.mktemp("nginx")
    file = Path(folder, "nginx.conf")
    file.write_text(NGINX.format(folder=folder, backend=f"{CLIENT}:9002", address=f"{CLIENT}:8081"))
    return folder, file


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(settings: tuple[Path, Path]) -> AsyncIterator[tuple[Lab, Side, Side]]:
    """A lab with both proxies and a hostile backend behind each."""
    folder, file = settings
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    async with Lab.from_text(WORLD) as lab:
        [pod] = await pods(lab, app="hostile")
        ingress, nginx = Side("ingress", (VIP, 80)), Side("nginx", (CLIENT, 8081))
        servers = [await listening(lab, f"pod/{name(pod)}", 9001, ingress)]
        servers.append(await listening(lab, "client", 9002, nginx))
        running = asyncio.ensure_future(lab.exec("client", program, "-p", str(folder), "-c", str(file)))

        async def there() -> bool:
            assert not running.done(), running.result()
            try:
                _, writer = await connect(lab, "client", *nginx.address)
            except ConnectionRefusedError:
                return False
            writer.close()
            return True

        await eventually(there)
        yield lab, ingress, nginx
        running.cancel()
        for server in servers:
            server.close()


async def version() -> tuple[int, ...]:
    done = await run_program([shutil.which("nginx") or "/usr/sbin/nginx", "-v"], b"")
    found = re.search(rb"nginx/(\d+)\.(\d+)", done.stderr)
    assert found is not None, done
    return int(found[1]), int(found[2])


def compare(
    data: Sequence[bytes],
    outcomes: tuple[list[Outcome], list[Outcome]],
    told: tuple[str, ...],
    table: list[Difference],
    version: tuple[int, ...],
) -> None:
    """Fails for a difference without a reason, and for a reason without a difference."""
    used: set[int] = set()
    faults = []
    for sent, ingress, nginx in zip(data, *outcomes, strict=True):
        for what in told:
            ours, theirs = summary(ingress, what), summary(nginx, what)
            if ours == theirs:
                continue
            rows = [
                n
                for n, row in enumerate(table)
                if version < row.until and row.explains(what, sent, ingress, nginx)
            ]
            used.update(rows)
            if not rows:
                faults.append(f"{sent!r}\n  {what}: ingress {ours}, nginx {theirs}")
    assert not faults, f"{len(faults)} differences from nginx {version} without a reason:\n" + "\n".join(
        faults
    )
    idle = [row.reason for n, row in enumerate(table) if version < row.until and n not in used]
    assert not idle, f"reasons for differences that there aren't: {idle}"


def summary(one: Outcome, what: str) -> object:
    match what:
        case "answers":
            return [
                (got.status, b"<page>" if b"<hr><center>nginx" in got.body else got.body, got.whole)
                for got in one.answers
            ]
        case "trash":
            return one.trash.partition(b"\r\n")[0]  # behind it is the date
        case "requests":
            return [(seen.method, seen.target, seen.body) for seen in one.requests]
        case "hosts":
            return [seen.host for seen in one.requests]
        case "framings":
            return [seen.framing for seen in one.requests]
    return getattr(one, what)


async def test_the_same_requests(world: tuple[Lab, Side, Side]) -> None:
    """Status or closure, what the backend saw, and whether the connection was good for another request."""
    lab, ingress, nginx = world
    sequences = corpus.requests(SEED, 1000)
    both = await asyncio.gather(ask_all(lab, ingress, sequences), ask_all(lab, nginx, sequences))
    assert not ingress.malformed, "the ingress passed on what no strict reader takes"
    compare(
        sequences,
        both,
        ("statuses", "requests", "hosts", "framings", "kept", "ended"),
        REQUESTS,
        await version(),
    )


async def test_the_same_answers(world: tuple[Lab, Side, Side]) -> None:
    """What a client gets of a hostile backend's answer, and what becomes of the connection to it."""
    lab, ingress, nginx = world
    scripts: list[Script] = corpus.answers(SEED, 500)
    both = await asyncio.gather(answer_all(lab, ingress, scripts), answer_all(lab, nginx, scripts))
    assert not ingress.reused, "a connection that had sent too much was used again"
    data = [f"{one.method.decode()} close={one.close} ".encode() + one.data for one in scripts]
    compare(data, both, ("answers", "trash", "kept", "ended", "dropped"), ANSWERS, await version())
