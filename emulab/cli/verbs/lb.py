"""`emulab lb`: what nodes' BPF programs know of Services, read from their maps, as `cilium bpf lb list` has it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from emulab.cli.output.table import table
from emulab.cli.usage import add_output
from emulab.lab.client.client import connect
from emulab.model.addresses import parse_address, socket_name
from emulab.observe.telling.escapes import as_json

_HEAD = ("FRONTEND", "FOR", "ID", "SERVICE", "BACKENDS", "FLAGS")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab lb [-l LAB] [-o json] [NODE]"
    parser.add_argument("node", nargs="?", metavar="NODE", help="one node's alone (default: those of all)")
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    with connect(options.lab) as client:
        found = client.request("translations", node=options.node)
    if options.output == "json":
        print(as_json(found))
        return 0
    tables = {node: table(_HEAD, _rows(services)) for node, services in found.items()}
    parts = tables.values() if options.node else (f"{node}\n{text}" for node, text in tables.items())
    print("\n\n".join(parts))
    return 0


def _rows(services: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = []
    for one in services:
        backends = [f"{e['number']} {_end(e['address'], e['port'])}" for e in one["endpoints"]] or ["-"]
        flags = [f"affinity {one['affinity']}s"] if one["affinity"] else []
        flags += ["masquerade"] if one["masquerade"] else []
        flags += ["source ranges"] if one["sourceRanges"] else []
        frontend = f"{_end(one['address'], one['port'])}/{one['protocol'].upper()}"
        first, *others = backends
        rows.append([frontend, one["scope"], str(one["service"]), one["name"], first, ", ".join(flags)])
        rows += [["", "", "", "", other, ""] for other in others]
    return rows


def _end(address: str, port: int) -> str:
    return socket_name(parse_address(address), port)
