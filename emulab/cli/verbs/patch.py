"""`emulab patch`: sets conditions of an object, as a controller of the user's own would: a readiness gate's, say."""

from __future__ import annotations

import argparse

from emulab.cli.kinds import references
from emulab.cli.output.progress import progress
from emulab.cli.usage import add_namespace
from emulab.kinds.registry import KINDS
from emulab.lab.client.client import connect


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab patch [-l LAB] [-n NS] --subresource=status -p JSON KIND/NAME… | KIND NAME…"
    parser.add_argument("what", nargs="+", metavar="KIND/NAME", help="pod/web, …")
    parser.add_argument(
        *("-p", "--patch"),
        required=True,
        metavar="JSON",
        help="""such as '{"status": {"conditions": [{"type": "a.b/gate", "status": "True"}]}}'""",
    )
    parser.add_argument(
        "--subresource", choices=("status",), required=True, help="what is patched; all else is applied"
    )
    add_namespace(parser)


def run(options: argparse.Namespace) -> int:
    asked = references(options.what, name_required=True)
    with connect(options.lab) as client, progress(f"lab {options.lab}") as tell:
        for reference in asked:
            group, kind = reference.kind
            namespace = options.namespace if KINDS[reference.kind].namespaced else ""
            target = {"group": group, "kind": kind, "namespace": namespace, "name": reference.name}
            name, changed = client.request("patch-status", tell, **target, patch=options.patch)
            print(f"{name} patched" + ("" if changed else " (no change)"))
    return 0
