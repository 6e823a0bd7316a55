"""`emulab describe`: everything worth knowing of an object, for reading."""

from __future__ import annotations

import argparse
import sys
import time

from emulab.cli.kinds import Reference, not_found, references
from emulab.cli.output.description import describe
from emulab.cli.selection import EVERY_NAMESPACE, fetch
from emulab.cli.usage import add_namespace
from emulab.kinds.cells import Raw
from emulab.kinds.registry import ENDPOINT_SLICE, EVENT, NODE, POD
from emulab.lab.client.client import LabClient, connect


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab describe [-l LAB] [-n NS] KIND [NAME…] | KIND NAME-PREFIX | KIND/NAME…"
    parser.add_argument("what", nargs="+", metavar="KIND NAME", help="pod web, svc/web, …")
    add_namespace(parser)


def run(options: argparse.Namespace) -> int:
    wanted = references(options.what, lab=options.lab)
    may_begin_so = len(options.what) == 2 and "/" not in options.what[0]
    texts: list[str] = []
    missing: list[Reference] = []
    with connect(options.lab) as client:
        slices = fetch(client, Reference(ENDPOINT_SLICE, ""), options.namespace)
        # Of what is in no Namespace, Events are in the default one.
        everywhere = not all(reference.kind.namespaced for reference in wanted)
        events = fetch(client, Reference(EVENT, ""), EVERY_NAMESPACE if everywhere else options.namespace)
        for reference in wanted:
            objects = fetch(client, reference, options.namespace)
            if not objects and may_begin_so:
                objects = _beginning(client, reference, options.namespace)
            beside = fetch(client, Reference(POD, ""), EVERY_NAMESPACE) if reference.kind == NODE else slices
            texts += [describe(reference.kind, o, beside, events, time.time()) for o in objects]
            if reference.name and not objects:
                missing.append(reference)
    if texts:
        print("\n\n\n".join(texts))
    elif not missing:
        print(f"No resources found in {options.namespace} namespace.", file=sys.stderr)
    for reference in missing:
        print(not_found(reference), file=sys.stderr)
    return 1 if missing else 0


def _beginning(client: LabClient, reference: Reference, namespace: str) -> list[Raw]:
    """Whose names begin like that: `describe KIND NAME` takes the beginning of names, too, as kubectl's does."""
    there = fetch(client, Reference(reference.kind, ""), namespace)
    return [o for o in there if o["metadata"]["name"].startswith(reference.name)]
