"""`emulab top`: what pods and nodes use of processors and memory, in kubectl's tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from emulab.cli.kinds import Reference, not_found
from emulab.cli.output.table import table
from emulab.cli.selection import EVERY_NAMESPACE, Selection, fetch
from emulab.cli.usage import UsageError, add_namespace, add_output, add_selector
from emulab.kinds.cells import Raw
from emulab.kinds.kind import Kind
from emulab.kinds.registry import NODE, POD
from emulab.lab.client.client import LabClient, connect
from emulab.model.quantity import parse_quantity
from emulab.observe.telling.escapes import as_json

_KINDS = {word: kind for kind in (POD, NODE) for word in (kind.singular, kind.plural, *kind.short)}
_CPU, _MEMORY = "CPU(cores)", "MEMORY(bytes)"

Used = tuple[float, float]
"""Thousandths of processors, and octets."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab top [-l LAB] [-n NS | -A] [--containers] [--selector LABELS] pods|nodes [NAME]"
    add = parser.add_argument
    add("what", nargs="+", metavar="pods|nodes [NAME]", help="what is measured: all of them, or one alone")
    add_namespace(parser)
    add("-A", "--all-namespaces", action="store_true", help="pods of all namespaces")
    add_selector(parser)
    add("--containers", action="store_true", help="a row for each container of a pod")
    add("--sort-by", choices=("cpu", "memory"), help="in the order of what is used most")
    add("--sum", action="store_true", help="a last row with the sum of all pods")
    add("--no-headers", action="store_true", help="print rows only")
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    word, *names = options.what
    kind = _KINDS.get(word.lower())
    if kind is None:
        raise UsageError(f"top measures pods and nodes, not {word}")
    if len(names) > 1:
        raise UsageError(f"top takes one name, not {' '.join(names)}")
    name = names[0] if names else ""
    reference = Reference(kind, name)
    selection = Selection.of(options, [reference])
    everywhere = options.all_namespaces or kind == NODE
    namespace = EVERY_NAMESPACE if everywhere else options.namespace
    with connect(options.lab) as client:
        admits = selection.filter(kind).admits
        objects = [o for o in fetch(client, reference, namespace) if admits(o)]
        if name and not objects:
            print(not_found(reference), file=sys.stderr)
            return 1
        metrics = _metrics(client, kind, objects)
    if name and not metrics:
        print(f"error: Metrics not available for pod {options.namespace}/{name}", file=sys.stderr)
        return 1
    if options.output == "json":
        head = {"kind": f"{kind.kind}MetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}}
        print(as_json({**head, "items": metrics}))
    elif not metrics:
        where = "" if everywhere else f" in {options.namespace} namespace."
        print(f"No resources found{where}", file=sys.stderr)
    elif kind == NODE:
        _print(_of_nodes(metrics, objects, options), options)
    else:
        _print(_of_pods(metrics, options), options)
    return 0


def _metrics(client: LabClient, kind: Kind, objects: Sequence[Raw]) -> list[dict[str, Any]]:
    """What is used by those of the objects that run, in their order."""
    told = client.request("usage")["nodes" if kind == NODE else "pods"]
    found = {_key(m): m for m in told}
    return [found[_key(o)] for o in objects if _key(o) in found]


def _key(o: Raw) -> tuple[str, str]:
    return o["metadata"].get("namespace") or "", o["metadata"]["name"]


def _used(usage: Mapping[str, str]) -> Used:
    cpu, memory = (float(parse_quantity(usage[name]).value) for name in ("cpu", "memory"))
    return cpu * 1000, memory


def _cells(used: Used) -> list[str]:
    """Thousandths are rounded up, and mebibytes down, as kubectl does."""
    return [f"{-int(-used[0] // 1)}m", f"{int(used[1]) >> 20}Mi"]


def _ordered(rows: list[tuple[list[str], Used]], options: argparse.Namespace) -> list[tuple[list[str], Used]]:
    if options.sort_by:
        rows.sort(key=lambda row: -row[1][options.sort_by == "memory"])
    return rows


def _of_pods(metrics: Sequence[Raw], options: argparse.Namespace) -> list[list[str]]:
    rows: list[tuple[list[str], Used]] = []
    for m in metrics:
        namespace, name = _key(m)
        first = [*([namespace] if options.all_namespaces else []), name]
        each = [(c["name"], _used(c["usage"])) for c in m["containers"]]
        if options.containers:
            rows += [([*first, container], used) for container, used in each]
        else:
            rows.append((first, _sum([used for _, used in each])))
    rows = _ordered(rows, options)
    titles = ["POD", "NAME"] if options.containers else ["NAME"]
    titles = [*(["NAMESPACE"] if options.all_namespaces else []), *titles, _CPU, _MEMORY]
    if options.sum:
        rule = [*[""] * (len(titles) - 3), "", "________", "________"]
        last = [*[""] * (len(titles) - 3), "", *_cells(_sum([used for _, used in rows]))]
        return [titles, *([*words, *_cells(used)] for words, used in rows), rule, last]
    return [titles, *([*words, *_cells(used)] for words, used in rows)]


def _sum(used: Sequence[Used]) -> Used:
    return sum(cpu for cpu, _ in used), sum(memory for _, memory in used)


def _of_nodes(metrics: Sequence[Raw], nodes: Sequence[Raw], options: argparse.Namespace) -> list[list[str]]:
    allocatable = {o["metadata"]["name"]: (o.get("status") or {}).get("allocatable") or {} for o in nodes}
    rows = _ordered([([m["metadata"]["name"]], _used(m["usage"])) for m in metrics], options)
    found = []
    for (name,), used in rows:
        have = _used({"cpu": "0", "memory": "0", **allocatable[name]})
        shares = [f"{int(u / h * 100) if h else 0}%" for u, h in zip(used, have, strict=True)]
        cpu, memory = _cells(used)
        found.append([name, cpu, shares[0], memory, shares[1]])
    return [["NAME", _CPU, "CPU(%)", _MEMORY, "MEMORY(%)"], *found]


def _print(rows: list[list[str]], options: argparse.Namespace) -> None:
    titles, *rest = rows
    text = table(titles, rest)
    print(text.partition("\n")[2] if options.no_headers else text)
