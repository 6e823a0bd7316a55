"""`scripts/bench policy`: what a first packet costs by the number of NetworkPolicies, and a label that changes.

A lab for each number lives beside the others, and in each round they take turns, a block of connections each. A client
and a server there are isolated by a policy each, whatever number of others there is; another server, the crowded one,
is isolated by all of them, of which the last one lets the client in: the most that a packet can meet.

A label changes in a world of 200 policies and 200 pods, planned alone, and in a lab until the command is answered.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.labs import Labs
from benchmarks.latency import PROGRAM
from benchmarks.many import TARGET, cluster_text
from benchmarks.printed import show
from emulab.bench.figures import FigureRow, ratio
from emulab.bench.turns import order
from emulab.cluster.store import Store
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.plan.kept import PlanSource
from emulab.plan.policies.tables import PoliciesPlan

SIZES = (0, 1, 100, 1_000)
FLAT = 1.2  # of the latency: the goal
CHANGE = 5.0  # milliseconds: the goal
BLOCK = 100  # connections in a row
OWN, CROWDED = "server", "crowded"
LARGE = "change"
NOTES = (
    "latency: connect() from a pod to a pod of the same node, a fresh connection each; a value is a block's median",
    "crowded: the server that all policies isolate, each with a rule of its own that its chain has",
    "planned: what the policies' part of the plan takes, from a pod's new label to the nodes' new tables",
)
Policy = Mapping[str, Any]


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench policy", description=(__doc__ or "").partition("\n")[0])
    default = ",".join(map(str, SIZES))
    parser.add_argument(
        "--sizes", type=_sizes, default=default, help="numbers of policies (default: %(default)s)"
    )
    parser.add_argument(
        "--world", type=int, default=200, metavar="N", help="pods and policies (default: 200)"
    )
    parser.add_argument("--rounds", type=int, default=60, metavar="N", help="(default: 60)")
    parser.add_argument(
        "--quick", action="store_true", help="ten rounds, 20 pods and policies, 100 policies at most"
    )
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    sizes: list[int] = options.sizes
    if options.quick:
        sizes, options.rounds, options.world = [0, 1, 100], 10, 20
    with Labs() as labs:
        rows = _latencies(labs, sizes, options.rounds)
        rows += [
            *_planned(options.world, options.rounds),
            *_answered(labs, options.world, min(options.rounds, 20)),
        ]
    show(rows, NOTES, options.output == "json")
    return 0


def _sizes(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.isdigit() for word in words) or not any(map(int, words)):
        raise argparse.ArgumentTypeError(f"{text!r} isn't numbers as {','.join(map(str, SIZES))}")
    return sorted({int(word) for word in words})


# --- the first packet ---------------------------------------------------------------------------------------------


def _latencies(labs: Labs, sizes: Sequence[int], rounds: int) -> list[FigureRow]:
    samples: defaultdict[tuple[int, str], list[float]] = defaultdict(list)
    with ExitStack() as stack:
        askers = {size: stack.enter_context(_lab(labs, size)) for size in sizes}
        ways = [(size, server) for size in sizes for server in (OWN, CROWDED)]
        for number in range(rounds):
            for size, server in order(ways, number):
                samples[size, server].append(median(askers[size](server)))
    for size in sizes:
        labs.command("-l", f"policies{size}", "down")
    rows = [FigureRow(f"first packet, {size:,} policies", tuple(samples[size, OWN]), "µs") for size in sizes]
    least = min(size for size in sizes if size)
    for size in sizes:
        if size != least:
            goal = FLAT if size > least else None
            rows.append(ratio(f"  {size:,} / {least:,}", samples[size, OWN], samples[least, OWN], goal))
    most = max(sizes)
    return [*rows, ratio(f"  {most:,}, crowded / own", samples[most, CROWDED], samples[most, OWN])]


@contextmanager
def _lab(labs: Labs, size: int) -> Iterator[Any]:
    """A lab with so many policies; yields what connects to one of its servers: microseconds of a block."""
    name = f"policies{size}"
    command = [sys.executable, PROGRAM, "serve", str(TARGET)]
    pods = [
        _pod("client-0", {"app": "client"}, node="node1"),
        _pod("client-1", {"app": "client"}, node="node1"),
        _pod(OWN, {"app": "server"}, node="node1", command=command),
        _pod(CROWDED, {"app": "crowd"}, node="node1", command=command),
    ]
    labs.command("-l", name, "up", labs.write(f"{name}.yaml", cluster_text(1, "nftables") + _text(pods)))
    if policies := list(_policies(size)):
        taken, _ = labs.command(
            "-l", name, "apply", "-f", labs.write(f"{name}-policies.yaml", _text(policies))
        )
        print(f"{size} policies in {taken:.1f} s", file=sys.stderr)
    found = json.loads(labs.command("-l", name, "get", "pods", "-o", "json")[1])["items"]
    addresses = {p["metadata"]["name"]: p["status"]["podIP"] for p in found}
    with ExitStack() as stack:
        programs = {}
        for number, server in enumerate((OWN, CROWDED)):
            ask = labs.arguments(
                "-l", name, "exec", f"pod/client-{number}", "--", sys.executable, PROGRAM, "ask"
            )
            programs[server] = program = stack.enter_context(labs.talk(ask))
            _say(program, f"targets {addresses[server]}:{TARGET}")
        yield lambda server: [int(w) / 1e3 for w in _say(programs[server], f"connect {BLOCK}").split()]


def _say(program: Any, words: str) -> str:
    program.stdin.write(f"{words}\n")
    program.stdin.flush()
    answer: str = program.stdout.readline()
    return answer or sys.exit("bench: the connecting program has ended")


def _policies(size: int) -> Iterator[Policy]:
    """One isolates the server, another one the client, the others pods that there aren't; all but these the crowded."""
    for number in range(max(0, size - 2)):
        about = {"key": "app", "operator": "In", "values": [f"other{number}", "crowd"]}
        peer = {"podSelector": {"matchLabels": {"app": f"client{number}"}}}
        yield _policy(
            f"other{number}", {"podSelector": {"matchExpressions": [about]}, "ingress": [{"from": [peer]}]}
        )
    if size:
        client = {"podSelector": {"matchLabels": {"app": "client"}}}
        about = {"key": "app", "operator": "In", "values": ["server", "crowd"]}
        yield _policy(
            "server", {"podSelector": {"matchExpressions": [about]}, "ingress": [{"from": [client]}]}
        )
    if size > 1:
        yield _policy(
            "client",
            {"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"], "egress": [{}]},
        )


# --- a label ------------------------------------------------------------------------------------------------------


def _world(size: int) -> tuple[list[Policy], list[Policy]]:
    """Pods and policies, one of each for an application, which lets that of the next one in."""
    pods = [_pod(f"pod{n}", {"app": f"app{n}"}) for n in range(size)]
    policies = [
        _policy(
            f"policy{n}",
            {
                "podSelector": {"matchLabels": {"app": f"app{n}"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": f"app{(n + 1) % size}"}}}]}],
            },
        )
        for n in range(size)
    ]
    return pods, policies


def _planned(size: int, rounds: int) -> list[FigureRow]:
    pods, policies = _world(size)
    placed = [Object(_placed(pod, number)) for number, pod in enumerate(pods)]
    store, plan, changed, afresh = Store(), PoliciesPlan(Cluster()), list[float](), list[float]()
    for o in [*placed, *(Object(dict(one)) for one in policies)]:
        store.put(o)
    for o in placed:
        store.put_status(o.key, o.status)
    plan.now(PlanSource.of(store.objects()))
    for number in range(rounds):
        moved = store.get(placed[number * 7 % size].key)
        assert moved is not None
        labels = {"app": f"app{(number * 8 + 3) % size}"}
        store.put(moved.replace(metadata={**moved.metadata, "labels": labels}))
        source = PlanSource.of(store.objects())
        changed.append(_milliseconds(plan, source))
        if not number % 6:
            afresh.append(_milliseconds(PoliciesPlan(Cluster()), PlanSource.of(Objects(store.objects()))))
    title = f"{size} policies × {size} pods"
    return [
        FigureRow(f"a label, {title}: planned", tuple(changed), "ms", CHANGE),
        FigureRow("  all of it planned afresh", tuple(afresh), "ms"),
    ]


def _milliseconds(plan: PoliciesPlan, source: PlanSource) -> float:
    begun = perf_counter()
    plan.now(source)
    return (perf_counter() - begun) * 1e3


def _answered(labs: Labs, size: int, rounds: int) -> list[FigureRow]:
    from emulab.lab.client.client import LabClient

    pods, policies = _world(size)
    labs.command("-l", LARGE, "up", labs.write("pods.yaml", cluster_text(2, "nftables") + _text(pods)))

    def apply(*documents: Policy) -> float:
        with LabClient(labs.folder / LARGE) as client:
            begun = perf_counter()
            client.request("apply", sources=[["change.yaml", _text(documents)]])
            return (perf_counter() - begun) * 1e3

    def changes() -> list[float]:
        found = []
        for number in range(rounds):
            which, other = (number * 7) % size, f"app{(number * 7 + 3 + number) % size}"
            found.append(apply(_pod(f"pod{which}", {"app": other})))
        return found

    without = changes()
    apply(*policies)
    there = changes()
    labs.command("-l", LARGE, "down")
    title = f"{size} policies × {size} pods"
    return [
        FigureRow(f"a label, {title}: answered", tuple(there), "ms"),
        FigureRow("  without policies", tuple(without), "ms"),
        FigureRow("  difference of the medians", (median(there) - median(without),), "ms", CHANGE),
    ]


def _pod(name: str, labels: Mapping[str, str], node: str = "", command: Sequence[str] = ()) -> Policy:
    container: dict[str, Any] = {"name": "c", "image": "bench/web:1", "ports": [{"containerPort": TARGET}]}
    spec = {"containers": [container | ({"command": list(command)} if command else {})]}
    metadata = {"name": name, "labels": dict(labels)}
    own = {"nodeName": node} if node else {}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**own, **spec}}


def _placed(pod: Policy, number: int) -> dict[str, Any]:
    """A Pod as a lab has it."""
    address = f"10.244.{number % 2 + 1}.{number // 2 + 2}"
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    spec = {**pod["spec"], "nodeName": f"node{number % 2 + 1}"}
    return {**pod, "metadata": {**pod["metadata"], "namespace": "default"}, "spec": spec, "status": status}


def _policy(name: str, spec: Policy) -> Policy:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _text(documents: Iterable[Policy]) -> str:
    return "".join(f"---\n{json.dumps(one)}\n" for one in documents)
