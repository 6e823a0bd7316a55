"""The line that a balancer's log has of a connection, in HAProxy's `option tcplog` (configuration.txt, 8.2.2)."""

from __future__ import annotations

import time

from emulab.dataclass import dataclass
from emulab.servers.l4.balance import BalancedTarget
from emulab.servers.l4.frontend import Frontend


@dataclass(frozen=True, slots=True)
class EndedConnection:
    """A client's connection that has ended."""

    client: str
    frontend: Frontend
    target: BalancedTarget | None
    connecting: float  # seconds; less than 0: no target was reached
    seconds: float
    size: int  # octets that were sent to the client
    how: str  # HAProxy's termination state: -- in order, SC no target, PR refused, cD idle, …
    failures: int  # targets that were tried before


def ended_line(ended: EndedConnection) -> str:
    """client [accept date] frontend backend/server Tw/Tc/Tt bytes state active/front/back/server/retries queues"""
    frontend, target = ended.frontend, ended.target
    name = target.name if target else "<NOSRV>"
    connect = -1 if ended.connecting < 0 else round(ended.connecting * 1000)
    waits = -1 if ended.connecting < 0 else 0
    counts = (frontend.gate.open, frontend.gate.open, frontend.gate.open, target.open if target else 0)
    return (
        f"{ended.client} [{_when(time.time() - ended.seconds)}] {frontend.key} {frontend.key}/{name}"
        f" {waits}/{connect}/{round(ended.seconds * 1000)} {ended.size} {ended.how}"
        f" {'/'.join(map(str, counts))}/{ended.failures} 0/0"
    )


def _when(moment: float) -> str:
    text = time.strftime("%d/%b/%Y:%H:%M:%S", time.gmtime(moment))
    return f"{text}.{int(moment * 1000) % 1000:03d}"
