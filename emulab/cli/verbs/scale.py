"""`emulab scale`: changes a workload's number of replicas."""

from __future__ import annotations

import argparse

from emulab.cli.kinds import references
from emulab.cli.output.progress import progress
from emulab.cli.usage import add_namespace, natural
from emulab.lab.client.client import connect


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab scale [-l LAB] [-n NS] --replicas N KIND/NAME… | KIND NAME…"
    parser.add_argument("what", nargs="+", metavar="KIND/NAME", help="deployment/web, …")
    parser.add_argument(
        "--replicas", type=natural, required=True, metavar="N", help="how many there shall be"
    )
    add_namespace(parser)


def run(options: argparse.Namespace) -> int:
    asked = references(options.what, name_required=True)
    with connect(options.lab) as client, progress(f"lab {options.lab}") as tell:
        for reference in asked:
            group, kind = reference.kind
            target = {"group": group, "kind": kind, "namespace": options.namespace, "name": reference.name}
            name = client.request("scale", tell, **target, replicas=options.replicas)
            print(f"{name} scaled")
    return 0
