"""One endpoint of many Services changed: how long until every node's kernel has it. And whether it all still answers.

The lab says itself how long it took from the change of its objects to the kernel's word. Beside that, from outside,
sockets in the nodes hear what their kernels announce of their rules: that gives the time of the whole request, and is
the proof that the change arrived. Which rules announce it depends on the mode; here it is nftables.
"""

from __future__ import annotations

import json
import random
import re
import select
import socket
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from benchmarks.labs import Labs
from benchmarks.many import PORT, Many, cluster_text, deployment_text, many, pod_text, slice_text, text
from emulab.bench.figures import FigureRow

NODES = ("node1", "node2")
LAB = "many"
PATIENCE = 60.0  # seconds that one change may take, and about as long as all of one size
DEPLOYMENT, REPLICAS = "moving", 3
REST = 2.0  # seconds for what follows from pods that came and went
REQUESTS = 20  # for each Service asked
NETLINK_NETFILTER, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES = 12, 270, 1, 7
_READY = ("Ready", "True")
_NEW_ENDPOINT = IPv4Address("10.180.0.1")


def growing(
    labs: Labs, sizes: Sequence[int], size: int, count: int, samples: defaultdict[str, list[float]]
) -> None:
    """`count` changes at each of these numbers of Services, in one lab that grows."""
    with lab(labs):
        there = 0
        for number in sizes:
            services = many(number, size)
            apply(labs, services[there:], f"{number:,} × {size}", samples)
            there = number
            change(labs, services, f"{number:,} × {size}", count, samples)
            delete(labs, f"{number:,} × {size}", count, samples)


def large(labs: Labs, number: int, size: int, count: int, samples: defaultdict[str, list[float]]) -> None:
    """The same in a lab of its own, in which the first, middle and last Service are real, and asked."""
    with lab(labs):
        pods = [p["status"]["podIP"] for p in _ask(labs, "get", group="", kind="Pod", namespace="default")]
        services = many(number, size)
        asked = (0, number // 2, number - 1)
        for turn, at in enumerate(asked):
            own = tuple(pods[(turn + i) % len(pods)] for i in range(size))
            services[at] = services[at]._replace(endpoints=own)
        title = f"{number:,} × {size}"
        apply(labs, services, title, samples)
        samples["memory at most"].append(_status(labs, "VmHWM"))
        for at in asked:
            samples["wrong answers"].append(_wrong(labs, services[at]))
        others = [s for at, s in enumerate(services) if at not in asked]
        change(labs, others, title, count, samples)


@contextmanager
def lab(labs: Labs) -> Iterator[None]:
    """A lab of two nodes with a few pods."""
    pods = [pod_text(f"web{n}", NODES[n % 2]) for n in range(4)]
    texts = [cluster_text(len(NODES), "nftables"), *pods, deployment_text(DEPLOYMENT, REPLICAS)]
    labs.command("-l", LAB, "up", labs.write("lab.yaml", "---\n".join(texts)))
    yield
    labs.command("-l", LAB, "down")


def apply(labs: Labs, services: Sequence[Many], title: str, samples: defaultdict[str, list[float]]) -> None:
    """Applies them in one go, and says to the one who waits how long which part took."""
    before = labs.summary(LAB)["spent"]
    seconds, _ = labs.command("-l", LAB, "apply", "-f", labs.write("services.yaml", text(services)))
    after = labs.summary(LAB)["spent"]
    samples[f"apply {title}"].append(seconds)
    parts = ", ".join(f"{part} {after[part] - before[part]:.2f}" for part in after)
    print(f"{title}: {len(services):,} Services applied in {seconds:.1f} s ({parts})", file=sys.stderr)


def change(
    labs: Labs, services: Sequence[Many], title: str, count: int, samples: defaultdict[str, list[float]]
) -> None:
    """Gives `count` random Services another endpoint, and then one fewer; not so many when that takes long."""
    until = time.monotonic() + PATIENCE
    for number in range(count):
        new = str(_NEW_ENDPOINT + number)
        service = random.choice(services)
        changed = service._replace(endpoints=(new, *service.endpoints[1:]))
        heard, answered = _watched(labs, changed, new)
        samples[f"heard {title}"].append(heard)
        samples[f"answered {title}"].append(answered)
        samples[f"told {title}"].append(labs.summary(LAB)["programmed"] * 1e3)
        _put(labs, service)
        if len(service.endpoints) > 1:  # another number of endpoints: the Service goes to another chain
            _put(labs, service._replace(endpoints=service.endpoints[1:]))
            samples[f"fewer {title}"].append(labs.summary(LAB)["programmed"] * 1e3)
            _put(labs, service)
        if time.monotonic() > until:
            break


def delete(labs: Labs, title: str, count: int, samples: defaultdict[str, list[float]]) -> None:
    """Deletes `count` pods of a Deployment, each of which is replaced; not so many when that takes long."""
    until = time.monotonic() + PATIENCE
    for _ in range(count):
        pod = random.choice(_serving(labs))
        time.sleep(REST)
        with _ears(labs) as ears, ThreadPoolExecutor(1) as other:
            begun = time.perf_counter()
            key = ["", "Pod", "default", pod["metadata"]["name"]]
            deleting = other.submit(_ask, labs, "delete", keys=[key])
            heard = _heard(ears, socket.inet_aton(pod["status"]["podIP"]))
            deleting.result()
        samples[f"deleted {title}"].append((heard - begun) * 1e3)
        if time.monotonic() > until:
            break


def _serving(labs: Labs) -> list[Any]:
    """The Deployment's pods, once all are ready."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = _ask(labs, "get", group="", kind="Pod", namespace="default")
        pods = [p for p in found if p["metadata"]["name"].startswith(f"{DEPLOYMENT}-")]
        ready = [c for p in pods for c in p["status"]["conditions"] if (c["type"], c["status"]) == _READY]
        if len(pods) == len(ready) == REPLICAS:
            return pods
        time.sleep(0.1)
    sys.exit("bench: the Deployment's pods did not get ready")


def _watched(labs: Labs, changed: Many, new: str) -> tuple[float, float]:
    """Puts a changed slice: milliseconds until all nodes' kernels announce the new endpoint, and until the answer."""
    with _ears(labs) as ears, ThreadPoolExecutor(1) as other:
        begun = time.perf_counter()
        putting = other.submit(_put, labs, changed)
        heard = _heard(ears, socket.inet_aton(new))
        return (heard - begun) * 1e3, (putting.result() - begun) * 1e3


def _put(labs: Labs, service: Many) -> float:
    """Puts its slice; when that was answered."""
    _ask(labs, "apply", sources=[["slice.yaml", slice_text(service)]])
    return time.perf_counter()


def memory(labs: Labs, number: int, size: int, samples: defaultdict[str, list[float]]) -> None:
    """The supervisor's memory before and after so many Services are applied, in MB of 1,000,000 bytes."""
    with lab(labs):
        samples["memory before"].append(_status(labs, "VmRSS"))
        apply(labs, many(number, size), f"{number:,} × {size}", samples)
        samples["memory after"].append(_status(labs, "VmRSS"))
        samples["memory at most"].append(_status(labs, "VmHWM"))
        samples["memory of all"].append(labs.proportional_memory(LAB) * 1024 / 1e6)


def _status(labs: Labs, field: str) -> float:
    status = Path(f"/proc/{labs.supervisor(LAB)}/status").read_text()
    return int(re.findall(rf"{field}:\s+(\d+) kB", status)[0]) * 1024 / 1e6


def rows(titles: Sequence[str], samples: dict[str, list[float]]) -> list[FigureRow]:
    """Of the changes at these sizes."""
    found = []
    for title in titles:
        found += [
            FigureRow(f"one endpoint changed, {title}", tuple(samples[f"told {title}"]), "ms", 3),
            FigureRow("  one endpoint fewer", tuple(samples[f"fewer {title}"]), "ms", 3),
            FigureRow("  the whole request, until heard of", tuple(samples[f"heard {title}"]), "ms"),
            FigureRow("  the whole request, until answered", tuple(samples[f"answered {title}"]), "ms"),
        ]
        if deleted := samples.get(f"deleted {title}"):
            found.append(FigureRow("  a pod deleted, until heard of", tuple(deleted), "ms"))
    return found


NOTE = "changes: heard of: until the kernels of both nodes announced the endpoint; answered: what lab.apply takes"


def _ask(labs: Labs, op: str, **arguments: Any) -> Any:
    from emulab.lab.client.client import LabClient

    with LabClient(labs.folder / LAB) as client:
        return client.request(op, **arguments)


def _socket(labs: Labs, target: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    from emulab.lab.client.client import LabClient

    where = {"target": target, "namespace": "default"}
    with LabClient(labs.folder / LAB) as client:
        return client.request_socket(**where, family=family, type=kind, protocol=protocol)


@contextmanager
def _ears(labs: Labs) -> Iterator[dict[str, socket.socket]]:
    """By node, a socket that hears what changes in its rules."""
    with ExitStack() as stack:
        ears = {}
        for node in NODES:
            ear = _socket(labs, node, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
            ears[node] = stack.enter_context(ear)
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            ear.bind((0, 0))
            ear.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        yield ears


def _heard(ears: Mapping[str, socket.socket], what: bytes) -> float:
    """When the last of the nodes has announced an element with these bytes."""
    waiting = {ear: node for node, ear in ears.items()}
    until = time.monotonic() + PATIENCE
    while waiting:
        ready, _, _ = select.select(list(waiting), [], [], max(0.0, until - time.monotonic()))
        if not ready:
            sys.exit(f"bench: the change has not arrived in {', '.join(waiting.values())}")
        for ear in ready:
            if what in ear.recv(1 << 20):
                del waiting[ear]
    return time.perf_counter()


def _wrong(labs: Labs, service: Many) -> int:
    """How many of some requests to a Service, sent by a pod, were not answered by an endpoint of it; all must occur."""
    answered = Counter(_answer(labs, service.address) for _ in range(REQUESTS))
    missed = set(service.endpoints) - answered.keys()
    return sum(n for who, n in answered.items() if who not in service.endpoints) + len(missed)


def _answer(labs: Labs, address: str) -> str:
    """The address of the pod that answers a request to a Service; "" when nobody does."""
    with _socket(labs, "pod/web0", socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        try:
            sock.connect((address, PORT))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: many\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        except OSError:
            return ""
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["podIP"])
