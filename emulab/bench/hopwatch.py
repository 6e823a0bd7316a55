"""What the hops of a path tell of themselves while they are loaded, second by second.

How busy a server of a place is, the kernel says of its process; of a container, the kubelet's metering; what was turned
away, the server's own counters. The metrics that a hop has for Prometheus are read every few seconds.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from emulab.bench.givingway import HopSecond
from emulab.bench.processors import LabProcessors
from emulab.bench.stage import asked, supervisor
from emulab.dataclass import dataclass, field
from emulab.errors import EmulabError
from emulab.model.quantity import parse_quantity
from emulab.python import Lab

_COMM = 15  # letters of a process' name that the kernel keeps
_STAND_INS = "stand-ins"  # the one process that answers for all of them
_EVERY = 5  # seconds from one look at the metrics to the next
_PATIENCE = 2.0  # seconds that one look may take
PORTS = {8404: "balancer", 10254: "ingress", 9153: "cluster DNS", 10249: "kube-proxy"}
"""Where metrics are, and whose."""
TURNED_AWAY = frozenset(
    {"denied", "dropped", "errors", "failed", "failures", "refused", "rejected", "timeouts", "SERVFAIL"}
)
"""Counters that are of what wasn't served."""
_NOT_OF_REQUESTS = frozenset({"check"})  # a balancer's own questions
_SERIES = re.compile(r"^([a-zA-Z_:][\w:]*(?:\{.*\})?) (\S+)(?: \d+)?$")


@dataclass(slots=True)
class HopRecord:
    """All that a hop told."""

    seconds: list[HopSecond] = field(default_factory=list)
    metrics: dict[str, list[float | None]] = field(default_factory=dict)  # by series, a value each look


class HopWatch:
    """Watches hops, for as long as `run`."""

    def __init__(self, lab: Lab, hops: Sequence[str]) -> None:
        self._lab = lab
        self._processors = LabProcessors(supervisor(lab.name))
        self.records = {hop: HopRecord() for hop in hops}
        self._wanted: dict[str, dict[int, int]] = {}
        self._counters: dict[str, dict[str, int]] = {}
        self._servers: dict[str, str] = {}
        self._metrics: dict[str, tuple[str, int]] = {}
        self._looks = 0
        self._looked = 0.0

    async def begin(self) -> None:
        """Finds out who tells what, and what it tells before the load."""
        summary = await asked(self._lab, "summary")
        containers = {
            f"{p['metadata'].get('namespace', 'default')}.{p['metadata']['name']}": p["spec"]["containers"][
                0
            ]["name"]
            for p in await self._lab.get("pods")
        }
        for hop in self.records:
            self._servers[hop] = f"{hop}/{containers[hop]}" if hop in containers else hop
            addresses = summary["places"].get(hop) or ()
            if addresses and (found := await self._metrics_of(hop, addresses)) is not None:
                self._metrics[hop] = found
        self._wanted = await asyncio.to_thread(self._processors.wanted_by_name)
        self._looked = time.monotonic()
        for hop in self.records:
            self._counters[hop] = await self._turned_away(hop)
        await self._read_metrics()

    async def look(self, second: int) -> None:
        """One second more. What doesn't answer in time tells nothing of it."""
        usage = asyncio.ensure_future(self._usage())
        wanted = await asyncio.to_thread(self._processors.wanted_by_name)
        now = time.monotonic()
        taken, self._looked = max(0.001, now - self._looked), now
        pods = await usage
        for hop, record in self.records.items():
            name = self._named(hop, wanted)
            own, before = wanted.get(name, {}), self._wanted.get(name, {})
            shares = [(value - before[pid]) / 1e9 / taken for pid, value in own.items() if pid in before]
            counters = await self._turned_away(hop)
            grown = {n: v - self._counters[hop].get(n, 0) for n, v in counters.items()}
            self._counters[hop] = counters or self._counters[hop]
            busy = max([*shares, pods.get(hop, 0.0)])
            record.seconds.append(HopSecond(round(busy, 3), {n: v for n, v in grown.items() if v > 0}))
        self._wanted = wanted
        if second % _EVERY == _EVERY - 1:
            await self._read_metrics()

    async def end(self) -> None:
        """The last look at the metrics; of those that never changed nothing is kept."""
        await self._read_metrics()
        for record in self.records.values():
            record.metrics = {name: v for name, v in record.metrics.items() if len(set(v) - {None}) > 1}

    def _named(self, hop: str, processes: Mapping[str, Any]) -> str:
        """What the process is called that serves for a hop: a pod by its name, as far as the kernel keeps it."""
        _, dot, pod = hop.partition(".")
        name = (pod if dot else hop)[:_COMM]
        return _STAND_INS if dot and name not in processes else name

    async def _turned_away(self, hop: str) -> dict[str, int]:
        with suppress(EmulabError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                return counted(await self._lab.server_status(self._servers.get(hop, hop)))
        return {}

    async def _usage(self) -> dict[str, float]:
        """Processors that pods use, by place."""
        with suppress(EmulabError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                told = await asked(self._lab, "usage")
                return {
                    f"{p['metadata']['namespace']}.{p['metadata']['name']}": sum(
                        float(parse_quantity(c["usage"]["cpu"]).value) for c in p["containers"]
                    )
                    for p in told["pods"]
                }
        return {}

    async def _metrics_of(self, hop: str, addresses: Sequence[str]) -> tuple[str, int] | None:
        """Where a hop has metrics, if it has."""
        for address in reversed(addresses):
            for port in PORTS:
                if await self._text(hop, address, port):
                    return address, port
        return None

    async def _text(self, hop: str, address: str, port: int) -> str:
        host = f"[{address}]" if ":" in address else address
        where, namespace = (
            (f"pod/{hop.partition('.')[2]}", hop.partition(".")[0]) if "." in hop else (hop, "default")
        )
        with suppress(EmulabError, OSError, TimeoutError):
            answer = await self._lab.request(
                f"http://{host}:{port}/metrics", where, namespace=namespace, timeout=_PATIENCE
            )
            return answer.text() if answer.status == 200 else ""
        return ""

    async def _read_metrics(self) -> None:
        for hop, (address, port) in self._metrics.items():
            series = self.records[hop].metrics
            for name, value in parsed(await self._text(hop, address, port)).items():
                known = series.setdefault(name, [])
                known += [None] * (self._looks - len(known))
                known.append(value)
        self._looks += 1


def counted(status: Mapping[str, Any], path: str = "") -> dict[str, int]:
    """The counters of a server's status that are of what it turned away, by their path."""
    found: dict[str, int] = {}
    for name, value in status.items():
        if isinstance(value, Mapping):
            if name not in _NOT_OF_REQUESTS:
                found.update(counted(value, f"{path}{name} "))
        elif name in TURNED_AWAY and isinstance(value, int):
            found[f"{path}{name}"] = value
    return found


def parsed(text: str) -> dict[str, float]:
    """The series of a page in Prometheus' text format, but for buckets."""
    found = {}
    for line in text.splitlines():
        if (match := _SERIES.match(line)) and "_bucket{" not in line:
            with suppress(ValueError):
                found[match[1]] = float(match[2])
    return found
