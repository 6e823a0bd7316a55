"""`emulab api-resources`: the kinds that a lab knows, with all their names. It needs no lab."""

from __future__ import annotations

import argparse

from emulab.cli.output.table import GrowingTable
from emulab.cli.usage import add_output
from emulab.kinds.kind import Kind
from emulab.kinds.registry import KINDS


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--api-group", metavar="GROUP", help='kinds of this group alone, "" being the core one')
    add(
        "--namespaced",
        "--namespaced=true",
        action="store_true",
        default=None,
        help="kinds in Namespaces alone",
    )
    add("--namespaced=false", dest="namespaced", action="store_false", help="kinds in no Namespace alone")
    add("--no-headers", action="store_true", help="print rows only")
    add("--sort-by", choices=("name", "kind"), help="in the order of name or kind (default: of groups)")
    add_output(parser, "wide", "name")


def run(options: argparse.Namespace) -> int:
    kinds = [
        kind
        for kind in KINDS
        if options.api_group in (None, kind.group) and options.namespaced in (None, kind.namespaced)
    ]
    orders = {"name": lambda k: (k.plural, k.group), "kind": lambda k: (k.kind, k.group)}
    kinds.sort(key=orders.get(options.sort_by, lambda k: (k.group, k.plural)))
    if options.output == "name":
        print("".join(f"{kind.resources}\n" for kind in kinds), end="")
        return 0
    wide = options.output == "wide"
    header = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND", *(["CATEGORIES"] if wide else [])]
    rows = [_row(kind, wide) for kind in kinds]
    print(GrowingTable().lines(rows if options.no_headers else [header, *rows]), end="")
    return 0


def _row(kind: Kind, wide: bool) -> list[str]:
    namespaced = "true" if kind.namespaced else "false"
    names = [kind.plural, ",".join(kind.short), kind.api_version, namespaced, kind.kind]
    return [*names, *(["all" if "all" in kind.categories else ""] if wide else [])]
