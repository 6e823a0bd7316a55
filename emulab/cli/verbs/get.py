"""`emulab get`: objects with their status, in kubectl's columns, JSON or YAML."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from emulab.cli.kinds import Reference, not_found, references
from emulab.cli.output.columns import rows
from emulab.cli.output.escapes import as_json, visible
from emulab.cli.output.table import table
from emulab.cli.usage import UsageError, add_namespace, add_output
from emulab.kinds.cells import Raw
from emulab.kinds.kind import Kind
from emulab.lab.client.client import LabClient, connect


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab get [-l LAB] [-n NS | -A] [-o FORMAT] KIND[,KIND…] [NAME…] | KIND/NAME…"
    parser.add_argument("what", nargs="+", metavar="KIND [NAME]", help="pods, svc, deploy/web, all, …")
    add_namespace(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="objects of all namespaces")
    parser.add_argument("--no-headers", action="store_true", help="print rows only")
    add_output(parser, "wide", "json", "yaml", "name")


def run(options: argparse.Namespace) -> int:
    wanted = references(options.what, lab=options.lab)
    if options.all_namespaces and any(r.name for r in wanted):
        raise UsageError("an object is in one namespace: a name can't go with --all-namespaces")
    found: dict[Kind, list[Raw]] = {}
    missing: list[Reference] = []
    with connect(options.lab) as client:
        for reference in wanted:
            objects = fetch(client, reference, "" if options.all_namespaces else options.namespace)
            found.setdefault(reference.kind, []).extend(objects)
            if reference.name and not objects:
                missing.append(reference)
    named = len(wanted) == 1 and bool(wanted[0].name)
    if not (named and missing):
        _print(found, options, named, [r.kind for r in wanted])
    for reference in missing:
        print(not_found(reference), file=sys.stderr)
    return 1 if missing else 0


def fetch(client: LabClient, reference: Reference, namespace: str) -> list[Raw]:
    """The objects of a kind and namespace ("" for all), sorted as kubectl's server does."""
    namespace = namespace if reference.kind.namespaced else ""
    group, kind = reference.kind
    objects: list[Raw] = client.request(
        "get", group=group, kind=kind, namespace=namespace, name=reference.name
    )
    return sorted(objects, key=lambda o: (o["metadata"].get("namespace") or "", o["metadata"]["name"]))


def _print(found: dict[Kind, list[Raw]], options: argparse.Namespace, named: bool, asked: list[Kind]) -> None:
    everything = [o for objects in found.values() for o in objects]
    if options.output in ("json", "yaml"):
        print(document(everything[0] if named else as_list(everything), options.output))
    elif not everything:
        everywhere = options.all_namespaces or not any(kind.namespaced for kind in asked)
        place = "" if everywhere else f" in {options.namespace} namespace"
        print(f"No resources found{place}{'' if everywhere else '.'}", file=sys.stderr)
    elif options.output == "name":
        for kind, objects in found.items():
            for o in objects:
                print(f"{kind.resource}/{o['metadata']['name']}")
    else:
        prefixed = len(set(asked)) > 1
        tables = [_table(kind, objects, options, prefixed) for kind, objects in found.items() if objects]
        print("\n\n".join(tables))


def _table(kind: Kind, objects: Sequence[Raw], options: argparse.Namespace, prefixed: bool) -> str:
    header, lines = rows(kind, objects, time.time(), options.output == "wide")
    for line, o in zip(lines, objects, strict=True):
        if prefixed:  # several kinds: a name says which
            line[0] = f"{kind.resource}/{line[0]}"
        if options.all_namespaces and kind.namespaced:
            line.insert(0, o["metadata"]["namespace"])
    if options.all_namespaces and kind.namespaced:
        header.insert(0, "NAMESPACE")
    text = table(header, lines)
    return text.partition("\n")[2] if options.no_headers else text


def as_list(objects: Sequence[Raw]) -> dict[str, Any]:
    return {"apiVersion": "v1", "items": list(objects), "kind": "List", "metadata": {"resourceVersion": ""}}


def document(value: Any, form: str) -> str:
    """A value as one JSON or YAML document."""
    if form == "json":
        return as_json(value, indent=4)
    import yaml

    text = str(yaml.safe_dump(value, default_flow_style=False, allow_unicode=True)).rstrip()
    if text != visible(text):  # some are escaped only where all that isn't ASCII is
        text = str(yaml.safe_dump(value, default_flow_style=False, allow_unicode=False)).rstrip()
    return text
