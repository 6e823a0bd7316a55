"""`emulab dns`: what resolvers and the cluster's DNS keep of others' answers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

from emulab.cli.output.table import table
from emulab.cli.usage import UsageError, add_output
from emulab.errors import UserError
from emulab.lab.client.client import LabClient, connect
from emulab.model.addresses import is_address
from emulab.model.checks import fits_dns
from emulab.observe.telling.escapes import as_json, printable

Results = Mapping[str, Mapping[str, Any]]
"""By server, what came of an order."""


def configure(parser: argparse.ArgumentParser) -> None:
    actions = "flush [NAME] | dump [NAME] | poison NAME ADDRESS"
    parser.usage = f"emulab dns [-l LAB] {actions} [--at PLACE] [-n NS] [--ttl SECONDS]"
    add = parser.add_argument
    add("action", choices=_ACTIONS, metavar="|".join(_ACTIONS), help="empty a cache, show it, or spoil it")
    add("names", nargs="*", metavar="NAME", help="the name that it is about; of poison: the address, too")
    add(
        "--at",
        metavar="PLACE",
        default="",
        help="a resolver's place, pod/NAME, coredns for all pods of the cluster's DNS, or node-local-dns for all "
        "caches of nodes (default: all that have a cache)",
    )
    add(
        *("-n", "--namespace"),
        metavar="NS",
        default="kube-system",
        help="of a pod that --at names (default: kube-system)",
    )
    add("--ttl", metavar="SECONDS", type=int, help="of poison: how long it shall be kept (default: 3600)")
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    return _ACTIONS[options.action](options)


def _ask(options: argparse.Namespace, **order: Any) -> Results:
    name = order.get("name")
    if name is not None and not fits_dns(name):
        raise UserError(f"{name!r} is no DNS name: labels have 63 octets at most, names 253")
    with connect(options.lab) as client:
        return _asked(client, options, order)


def _asked(client: LabClient, options: argparse.Namespace, order: Mapping[str, Any]) -> Results:
    found: Results = client.request(
        "dns-cache", do=options.action, at=options.at, namespace=options.namespace, **order
    )
    return found


def _only(options: argparse.Namespace, most: int, least: int = 0) -> list[str]:
    words: list[str] = options.names
    if not least <= len(words) <= most:
        takes = "NAME ADDRESS" if least else "one NAME at most"
        raise UsageError(f"dns {options.action} takes {takes}")
    if options.ttl is not None and options.action != "poison":
        raise UsageError("--ttl is of dns poison alone")
    return words


def _flush(options: argparse.Namespace) -> int:
    words = _only(options, 1)
    done = _ask(options, **({"name": words[0]} if words else {}))
    flushed = {place: result["flushed"] for place, result in done.items() if "flushed" in result}
    if options.output == "json":
        print(as_json(flushed))
    else:
        for place, number in flushed.items():
            told = "all" if number is None else number
            print(f"{place}: {told} answer{'' if number == 1 else 's'} flushed")
    return _refused(done)


def _refused(done: Results) -> int:
    """Says which of several servers can't do it; the status."""
    refused = [result["refused"] for result in done.values() if "refused" in result]
    for why in refused:
        print(f"emulab: {why}", file=sys.stderr)
    return 1 if refused else 0


def _dump(options: argparse.Namespace) -> int:
    words = _only(options, 1)
    done = _ask(options, **({"name": words[0]} if words else {}))
    entries = [(place, one) for place, result in done.items() for one in result.get("entries", ())]
    if options.output == "json":
        print(as_json([{"place": place, **one} for place, one in entries]))
        return _refused(done)
    if not entries:
        print(f"Nothing is kept of {words[0]}" if words else "Nothing is kept")
        return _refused(done)
    rows = [
        [place, printable(one["name"]), one["type"], _left(one), printable(_said(one))]
        for place, one in entries
    ]
    # What is kept both for who asks for signatures and who doesn't is told once.
    told = [*dict.fromkeys(map(tuple, rows))]
    print(table(("PLACE", "NAME", "TYPE", "TTL", "ANSWER"), [*map(list, told)]))
    return _refused(done)


def _left(one: Mapping[str, Any]) -> str:
    return f"{one['ttl']}s" if one["ttl"] else "stale"


def _said(one: Mapping[str, Any]) -> str:
    said = ", ".join(one["answers"]) or (one["rcode"] if one["rcode"] != "NOERROR" else "NODATA")
    kind = "poisoned" if one["poisoned"] else "delegation" if one["delegation"] else ""
    return f"{said} ({kind})" if kind else said


def _poison(options: argparse.Namespace) -> int:
    name, address = _only(options, 2, 2)
    if not options.at:
        raise UsageError("dns poison needs --at PLACE: whose cache shall be spoilt")
    if not is_address(address):
        raise UsageError(f"{address!r} is no IP address")
    if options.ttl is not None and not 1 <= options.ttl < 1 << 31:
        raise UsageError("--ttl is a number of seconds, 1 at least")
    ttl = {} if options.ttl is None else {"ttl": options.ttl}
    done = _ask(options, name=name, address=address, **ttl)
    if options.output == "json":
        print(as_json({place: result["ttl"] for place, result in done.items()}))
    else:
        for place, result in done.items():
            print(f"{place}: {name} is {address} for {result['ttl']} s")
    return 0


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "flush": _flush,
    "dump": _dump,
    "poison": _poison,
}
