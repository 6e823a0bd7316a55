"""`emulab traceroute`: the way to a target, with what each hop is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emulab.cli.usage import UsageError, add_namespace, add_output, duration, natural
from emulab.observe.telling.escapes import as_json

if TYPE_CHECKING:
    from emulab.lab.client.client import LabClient
    from emulab.lab.client.naming import ObjectNames
    from emulab.python import Lab
    from emulab.toolbox.traceroute.way import RouteHop, TranslatedFlow

_MARKS = {
    "!H": "that the host can't be reached",
    "!N": "that the network can't be reached",
    "!P": "that the protocol isn't spoken",
    "!F": "that the packet is too large",
    "!X": "that it is forbidden",
    "!R": "that there is no such port",
}
_MOST_PORT, _MOST_HOPS, _MOST_QUERIES = 65535, 255, 10


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab traceroute [-l LAB] [--from TARGET] [-n NS] [--udp | --tcp | --icmp] [-p PORT] [-m HOPS] [-q NUMBER]"
        " [--wait TIME] [-o json] HOST"
    )
    add = parser.add_argument
    add("host", metavar="HOST", help="a name or an address, or a place, pod/NAME or svc/NAME")
    add(
        *("--from",),
        dest="source",
        metavar="TARGET",
        default="client",
        help="where packets are sent from: a place, pod/NAME, deploy/NAME or svc/NAME (default: client)",
    )
    add_namespace(parser)
    how = parser.add_mutually_exclusive_group()
    for protocol, what in (
        ("udp", "datagrams, as is the default"),
        ("tcp", "SYNs"),
        ("icmp", "echo requests"),
    ):
        how.add_argument(
            f"--{protocol}",
            dest="protocol",
            action="store_const",
            const=protocol,
            default="udp",
            help=f"send {what}",
        )
    add(
        "-p",
        "--port",
        type=natural,
        metavar="PORT",
        help="(default: 80 with --tcp; datagrams begin with 33434)",
    )
    add("-m", "--max-hops", type=natural, default=30, metavar="HOPS", help="go no further (default: 30)")
    add(
        "-q", "--queries", type=natural, default=3, metavar="NUMBER", help="packets for each hop (default: 3)"
    )
    add(
        "--wait",
        type=duration,
        default=1.0,
        metavar="TIME",
        help="how long to wait for answers (default: 1s)",
    )
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    _check(options)
    import asyncio

    from emulab.lab.client.client import connect
    from emulab.lab.client.naming import ObjectNames
    from emulab.python import Lab
    from emulab.toolbox.traceroute.way import PORTS, RouteSearch

    lab = Lab([], name=options.lab)
    protocol = options.protocol
    with connect(options.lab) as client:
        address = asyncio.run(_address(lab, client, options))
        names = ObjectNames(client)
        route = RouteSearch(client, options.source, options.namespace, address, protocol, options.port)
        port = PORTS[protocol] if options.port is None else options.port
        found = []
        if options.output != "json":
            names.learn([(protocol, address, port)])
            _begin(options, address, port, names)
        for hop in route.hops(options.max_hops, options.queries, options.wait):
            found.append(hop)
            names.learn((protocol, answer.address, port) for answer in hop.answers if answer.address)
            if options.output != "json":
                print(_line(hop, names, protocol, port))
                sys.stdout.flush()
        places = [p["name"] for p in client.request("topology")["places"] if p["kind"] != "pod"]
        translations = route.translations(places)
        names.learn(peer for t in translations for peer in _peers(t))
        names.learn(("", a.address, 0) for hop in found for a in hop.answers if a.address)
    if options.output == "json":
        print(as_json(_json(options, address, port, found, translations, names, route.reached)))
    else:
        _end(found, translations, names, route.reached)
    return 0 if route.reached else 1


async def _address(lab: Lab, client: LabClient, options: argparse.Namespace) -> str:
    """The address that is meant: of a name as the sender resolves it, or else of a place, pod or Service.

    Raises UserError.
    """
    from emulab.errors import UserError

    host = options.host.removeprefix("[").removesuffix("]")
    told = ""
    if "/" not in host:
        try:
            return await lab.resolve(host, options.source, options.namespace)
        except UserError as error:
            told = str(error)
    try:
        [[first, *_]] = client.request("addresses", targets=[host], namespace=options.namespace)
    except (UserError, ValueError):
        raise UserError(told or f"{host}: no such object with an address") from None
    return str(first)


def _check(options: argparse.Namespace) -> None:
    """Raises UsageError."""
    if options.port is not None and options.protocol == "icmp":
        raise UsageError("echo requests have no port: -p goes with --udp and --tcp")
    for name, value, most in (
        ("-p", options.port, _MOST_PORT),
        ("-m", options.max_hops, _MOST_HOPS),
        ("-q", options.queries, _MOST_QUERIES),
    ):
        if value is not None and not 1 <= value <= most:
            raise UsageError(f"{name} is a number from 1 to {most}")


def _begin(options: argparse.Namespace, address: str, port: int, names: ObjectNames) -> None:
    protocol = options.protocol
    name = names.name(protocol, address, port)
    what = f" ({name})" if name and name != options.host else ""
    where = (
        ""
        if protocol == "icmp"
        else f", port {port}" + ("+" if options.port is None and protocol == "udp" else "")
    )
    called = options.host if options.host == address else f"{options.host} {address}"
    print(
        f"from {options.source} to {called}{what} by {protocol.upper()}{where}, at most {options.max_hops} hops"
    )


def _line(hop: RouteHop, names: ObjectNames, protocol: str, port: int) -> str:
    """As traceroute(8): who answered, and after how long; another one's address where it was another one."""
    parts: list[str] = []
    before = ""
    for answer in hop.answers:
        if not answer.address:
            parts.append("*")
            continue
        if answer.address != before:
            name = names.name(protocol, answer.address, port)
            parts.append(f"{name} ({answer.address})" if name else answer.address)
            before = answer.address
        parts.append(f"{answer.seconds * 1000:.2f} ms{f' {answer.mark}' if answer.mark else ''}")
    return f"{hop.number:2}  {'  '.join(parts)}"


def _peers(t: TranslatedFlow) -> list[tuple[str, str, int]]:
    return [
        (flow.protocol, *end)
        for flow in (t.before, t.after)
        for end in ((flow.source, flow.source_port), (flow.destination, flow.destination_port))
    ]


def _end(
    found: Sequence[RouteHop], translations: Sequence[TranslatedFlow], names: ObjectNames, reached: bool
) -> None:
    told = dict.fromkeys(f"translated at {t.place}: {_translated(t, names)}" for t in translations)
    print("".join(f"\n{line}" for line in told), end="\n" if told else "")
    if reached:
        return
    marked = [
        (a.mark, names.name("", a.address) or a.address) for hop in found for a in hop.answers if a.mark
    ]
    last = next((hop.number for hop in reversed(found) if any(a.address for a in hop.answers)), 0)
    if marked:
        mark, who = marked[0]
        print(f"not reached: {who} says {_MARKS.get(mark, 'that it goes no further')} ({mark})")
    else:
        print(f"not reached: {f'nobody answers beyond hop {last}' if last else 'nobody answers'}")


def _translated(t: TranslatedFlow, names: ObjectNames) -> str:
    """What became of a packet's ends. The port of a sender is another one each time, and isn't said."""
    told = []
    if t.before[3:] != t.after[3:]:
        told.append(
            f"{_shown(*t.before[3:], t.before.protocol, names)} → {_shown(*t.after[3:], t.after.protocol, names)}"
        )
    if t.before.source != t.after.source:
        told.append(
            f"from {_shown(t.before.source, 0, '', names)} → from {_shown(t.after.source, 0, '', names)}"
        )
    return ", ".join(told) or "another port of the sender"


def _shown(address: str, port: int, protocol: str, names: ObjectNames) -> str:
    from emulab.observe.join.dissect import end_name

    name = names.name(protocol, address, port)
    return f"{name} ({end_name(address, port)})" if name else end_name(address, port)


def _json(
    options: argparse.Namespace,
    address: str,
    port: int,
    found: Sequence[RouteHop],
    translations: Sequence[TranslatedFlow],
    names: ObjectNames,
    reached: bool,
) -> dict[str, Any]:
    protocol = options.protocol

    def end(flow: Sequence[Any], at: int) -> dict[str, Any]:
        return {
            "address": flow[at],
            "port": flow[at + 1],
            "name": names.name(flow[0], flow[at], flow[at + 1]),
        }

    return {
        "from": options.source,
        "host": options.host,
        "address": address,
        "protocol": protocol,
        "reached": reached,
        "hops": [
            {
                "hop": hop.number,
                "answers": [
                    {
                        "address": a.address,
                        "name": names.name(protocol, a.address, port) if a.address else "",
                        "microseconds": round(a.seconds * 1e6) if a.address else None,
                        "mark": a.mark,
                    }
                    for a in hop.answers
                ],
            }
            for hop in found
        ],
        "translations": [
            {
                "place": t.place,
                "before": {"from": end(t.before, 1), "to": end(t.before, 3)},
                "after": {"from": end(t.after, 1), "to": end(t.after, 3)},
            }
            for t in translations
        ],
    }
