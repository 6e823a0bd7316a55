"""Requests that fail as `emulab trace` tells of them, what makes them fail, and what mends them."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from emulab import Lab
from emulab.observe.capture.drops import open_drops
from emulab.observe.path import EVENTS, REASONS

from .tools import emulab, output


def _kernel_tells() -> bool:
    """Whether this process may watch what the kernel drops, which a lab of its own may then, too."""
    opened, _ = open_drops()
    for fd in opened:
        os.close(fd)
    return bool(opened)


KERNEL_TELLS = _kernel_tells()


class Failed(NamedTuple):
    """A trace that failed, as its JSON tells of it."""

    place: str
    reason: str
    text: str
    remedy: str
    object: str
    kernel_reason: str | None
    status: int | None
    hops: list[dict[str, Any]]

    def drops(self) -> list[str]:
        """The places with a `drop` hop."""
        return [hop["place"] for hop in self.hops if hop["event"] == "drop"]

    def kernel(self, reason: str) -> None:
        """The kernel's own reason, where it tells one, is this one, and the drop is a hop."""
        assert self.kernel_reason == (reason if KERNEL_TELLS else None), self
        if KERNEL_TELLS:
            assert self.place in self.drops(), self


async def fails(
    lab: Lab,
    url: str,
    *,
    source: str = "client",
    timeout: float = 10.0,
    headers: dict[str, str] | None = None,
) -> Failed:
    """Traces what must fail, for what `-o json` tells of it.

    That the command line prints it, and the failure and its remedy in one line, is proven of one request.
    """
    path = await lab.trace(url, source=source, timeout=timeout, headers=headers)
    found = json.loads(json.dumps(path.to_json()))
    request = found["request"]
    failure = request["failure"]
    assert failure is not None, path
    assert failure["reason"] in REASONS and failure["place"] and failure["remedy"], failure
    assert "\n" not in failure["text"] + failure["remedy"] and "None" not in failure["text"], failure
    hops = found["hops"]
    assert {hop["event"] for hop in hops} <= set(EVENTS)
    return Failed(*(failure[f] for f in Failed._fields[:6]), status=request["status"], hops=hops)


async def stops(
    lab: Lab, url: str, *, source: str = "client", timeout: float = 0.5, headers: dict[str, str] | None = None
) -> Failed:
    """As `fails`, for what the kernels alone stop without a word: they need no time for what they do."""
    return await fails(lab, url, source=source, timeout=timeout, headers=headers)


async def works(lab: Lab, url: str, source: str = "client", **options: Any) -> None:
    """The same request as before doesn't fail any more."""
    path = await lab.trace(url, source=source, timeout=20, **options)
    assert path.failure is None, path.failure


async def mend(lab: Lab, remedy: str) -> None:
    """Runs the command that a remedy ends with."""
    arguments = shlex.split(remedy[remedy.rindex("emulab exec") :])
    done = await emulab("-l", lab.name, *arguments[1:])
    assert done.status == 0, f"{remedy}: {done.stderr.decode()}"


@asynccontextmanager
async def rule(lab: Lab, place: str, hook: str, text: str) -> AsyncIterator[None]:
    """A rule of a user's own in a place, taken away again whole."""
    place = network_of(place)
    table = f"table ip fence {{ chain c {{ type filter hook {hook} priority 0; {text}; }}; }}"
    done = await lab.exec(place, "nft", "-f", "-", stdin=f"{table}\n".encode())
    assert done.status == 0, done.stderr
    try:
        yield
    finally:
        await output(lab, place, "nft", "delete", "table", "ip", "fence")


@asynccontextmanager
async def kept(lab: Lab, place: str) -> AsyncIterator[None]:
    """Whatever becomes of a place's link and routes meanwhile, they are as they were afterwards."""
    link = "vpc" if place == "router" else "eth0"
    [before] = json.loads(await ip(lab, place, "-j", "link", "show", "dev", link))
    routes = (await ip(lab, place, "route", "show")).splitlines()
    neighbours = (await ip(lab, place, "neigh", "show", "nud", "permanent")).splitlines()
    try:
        yield
    finally:
        await ip(lab, place, "link", "set", link, "up", "mtu", str(before["mtu"]))
        for line in neighbours:
            await ip(lab, place, "neigh", "replace", *line.replace(" PERMANENT", " nud permanent").split())
        now = (await ip(lab, place, "route", "show")).splitlines()
        for line in now:
            if line not in routes:
                await ip(lab, place, "route", "del", *line.split())
        for line in sorted(routes, key=lambda line: " via " in line):
            if line not in now:
                await ip(lab, place, "route", "replace", *line.split())
        await ip(lab, place, "route", "flush", "cache")


@asynccontextmanager
async def knows(lab: Lab, place: str, address: str) -> AsyncIterator[None]:
    """A place keeps the MAC address that it has of a neighbour, however long that one hasn't answered."""
    [entry] = json.loads(await ip(lab, place, "-j", "neigh", "show", address))
    lasting = (address, "dev", entry["dev"])
    await ip(lab, place, "neigh", "replace", *lasting, "lladdr", entry["lladdr"], "nud", "permanent")
    try:
        yield
    finally:
        await ip(lab, place, "neigh", "del", *lasting)


async def ip(lab: Lab, place: str, *arguments: str) -> str:
    return await output(lab, network_of(place), "ip", *arguments)


def network_of(place: str) -> str:
    """The place that is a pod's network alone: its containers may not change that."""
    return place.replace("pod/", "default.")


# --- manifests ----------------------------------------------------------------------------------------------


def pod(
    called: str, app: str, more: str = "", node: str = "node1", ports: str = "containerPort: 8080"
) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {called}, labels: {{app: {app}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers: [{{name: {app}, ports: [{{{ports}}}]{more}}}]
---
"""


def service(called: str, app: str, ports: str, more: str = "") -> str:
    selector = f"selector: {{app: {app}}}, " if app else ""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {called}}}
spec: {{{selector}{more}ports: [{ports}]}}
---
"""


def balancer(called: str, address: str, ranges: str) -> str:
    network = "vpc" if address.startswith("10.") else "internet"
    target = (
        "{ingress: true}"
        if called == "private-lb"
        else "{service: {namespace: default, name: nobody, port: 80}}"
    )
    return f"""
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: {called}}}
spec: {{network: {network}, address: {address}, ports: [80], target: {target}, sourceRanges: [{ranges}]}}
---
"""


def ingress(
    called: str, host: str, backends: dict[str, tuple[str, int]], more: str = "", notes: str = ""
) -> str:
    paths = [
        {
            "path": path,
            "pathType": "Prefix",
            "backend": {"service": {"name": backend, "port": {"number": port}}},
        }
        for path, (backend, port) in backends.items()
    ]
    return f"""
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {called}{notes}}}
spec: {{{more}rules: [{{host: {host}, http: {{paths: {json.dumps(paths)}}}}}]}}
---
"""
