"""Whether packets pass between pods: many connections at once, begun by the sockets of the pods themselves.

A pod's connections share one thread, which waits for whichever is answered; several pods take turns. They begin each
with another destination, so that none has to answer all others at the same moment.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import select
import socket
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from emulab.lab.client.client import MAX_FDS, LabClient
from emulab.lab.folders import rundir
from emulab.model.families import IPV4, Family, of_family
from emulab.plan.policies.facts import PolicyPod
from emulab.python import Lab

PATIENCE = 1.0
"""Seconds without a word after which a packet has been dropped."""
_PODS_AT_ONCE = 24
_SPARE_FILES = 64  # of which others have use


_MUCH_PATIENCE = 5.0
"""Seconds where an answer is expected: a machine may be busy, and what was lost is sent again after one."""


class ProbedFlow(NamedTuple):
    """A connection that one pod might begin to a port of another."""

    source: PolicyPod
    destination: PolicyPod
    port: int
    family: Family = IPV4


class _Target(NamedTuple):
    """Where a flow leads, with its place among those that are asked about."""

    place: int
    address: str
    port: int


class _Batch(NamedTuple):
    """What one pod tries at once."""

    source: PolicyPod
    family: int
    targets: Sequence[_Target]


async def probe(lab: Lab, flows: Sequence[ProbedFlow], patience: float = PATIENCE) -> list[bool]:
    """Whether a packet passes, for each of these: there is an answer, be it that nobody listens. Raises UserError for a
    pod that doesn't run."""
    found = [False] * len(flows)
    batches = list(_batches(flows))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES
    workers = max(1, min(_PODS_AT_ONCE, files // max((len(one.targets) for one in batches), default=1)))
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(workers) as pool:

        def work(batch: _Batch) -> list[int]:
            return _answered(_sockets(lab, batch), batch.targets, patience)

        tasks = [loop.run_in_executor(pool, work, batch) for batch in batches]
        try:
            for answered in await asyncio.gather(*tasks):
                for index in answered:
                    found[index] = True
        finally:
            for task in tasks:
                task.cancel()
    return found


async def probe_again(
    lab: Lab, flows: Sequence[ProbedFlow], expected: Sequence[bool], found: Sequence[bool]
) -> list[bool]:
    """What was found, with those that should have been answered and weren't asked once more, patiently."""
    missed = [index for index, passed in enumerate(found) if expected[index] and not passed]
    answers = await probe(lab, [flows[index] for index in missed], _MUCH_PATIENCE)
    return [*{**dict(enumerate(found)), **dict(zip(missed, answers, strict=True))}.values()]


def _batches(flows: Sequence[ProbedFlow]) -> Iterable[_Batch]:
    """The flows of each pod and family; those without addresses in common are left out, and never pass."""
    known: dict[tuple[str, str, int], tuple[PolicyPod, list[_Target]]] = {}
    for index, flow in enumerate(flows):
        addresses = of_family(flow.destination.addresses, flow.family)
        if addresses and of_family(flow.source.addresses, flow.family):
            key = flow.source.namespace, flow.source.name, flow.family.number
            target = _Target(index, str(addresses[0]), flow.port)
            known.setdefault(key, (flow.source, []))[1].append(target)
    for turn, ((_, _, family), (source, targets)) in enumerate(known.items()):
        first = turn % len(targets)
        rotated = [*targets[first:], *targets[:first]]
        for start in range(0, len(rotated), MAX_FDS):
            yield _Batch(source, family, rotated[start : start + MAX_FDS])


def _sockets(lab: Lab, batch: _Batch) -> list[socket.socket]:
    """Those of the pod, for each target one. Raises UserError."""
    where = {"target": f"pod/{batch.source.name}", "namespace": batch.source.namespace}
    kind = {"family": batch.family, "type": int(socket.SOCK_STREAM)}
    with LabClient(rundir.folder(lab.name)) as client:
        return client.request_sockets(len(batch.targets), **where, **kind)


def _answered(sockets: Sequence[socket.socket], targets: Sequence[_Target], patience: float) -> list[int]:
    """The targets that answer in time, a refusal included."""
    found, waiting, poll = list[int](), dict[int, tuple[int, socket.socket]](), select.poll()
    try:
        for sock, target in zip(sockets, targets, strict=True):
            error = sock.connect_ex((target.address, target.port))
            if error == errno.EINPROGRESS:
                waiting[sock.fileno()] = target.place, sock
                poll.register(sock, select.POLLOUT)
            elif _is_answer(error):
                found.append(target.place)
        until = time.monotonic() + patience
        while waiting:
            left = until - time.monotonic()
            ready = poll.poll(max(0, left * 1000))  # once more when time is up: a busy machine wakes late
            for fd, _ in ready:
                index, sock = waiting.pop(fd)
                poll.unregister(fd)
                if _is_answer(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                    found.append(index)
            if left <= 0 and not ready:
                break
    finally:
        for sock in sockets:
            sock.close()
    return found


def _is_answer(error: int) -> bool:
    return error in (0, errno.ECONNREFUSED)
