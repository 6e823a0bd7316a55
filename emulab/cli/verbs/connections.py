"""`emulab connections`: sockets and tracked connections, by place and by object."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from emulab.cli.output.table import table
from emulab.cli.usage import add_namespace, add_output, duration
from emulab.observe.telling.escapes import as_json

if TYPE_CHECKING:
    from emulab.lab.client.client import LabClient
    from emulab.lab.client.naming import ObjectNames
    from emulab.toolbox.connections import PlaceConnections

_PAUSE = 1.0  # seconds between two looks
_ORDER = (
    *("ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSING", "CLOSE-WAIT", "LAST-ACK"),
    *("TIME-WAIT", "LISTEN", "UNCONN", "UDP"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab connections [-l LAB] [-n NS] [--watch] [--for TIME] [-o wide|json] [PLACE…]"
    add = parser.add_argument
    add(
        "targets",
        nargs="*",
        metavar="PLACE",
        help="list those of a place, pod/NAME, deploy/NAME or svc/NAME (default: count those of all)",
    )
    add_namespace(parser)
    add("-w", "--watch", action="store_true", help="print them again whenever they change, until Ctrl-C")
    add("--for", dest="seconds", type=duration, metavar="TIME", help="with --watch: end after so long")
    add_output(parser, "wide", "json")


def run(options: argparse.Namespace) -> int:
    from emulab.cli.untilended import UntilEnded
    from emulab.lab.client.client import connect
    from emulab.lab.client.naming import ObjectNames

    with connect(options.lab) as client:
        names = ObjectNames(client)
        if not options.watch:
            print(_text(client, names, options))
            return 0
        with UntilEnded(options.seconds) as ending:
            before = ""
            while not ending.ended:
                text = _text(client, names, options)
                if text != before:
                    head = "" if options.output == "json" else f"--- {time.strftime('%H:%M:%S')}\n"
                    sys.stdout.write(f"{head}{text}\n")
                    sys.stdout.flush()
                before = text
                ending.wait(_PAUSE)
    return 0


def _text(client: LabClient, names: ObjectNames, options: argparse.Namespace) -> str:
    from emulab.toolbox.connections import connections, peers_of

    found = connections(client, options.targets, options.namespace)
    names.learn(peers_of(found))
    if options.output == "json":
        return as_json(_json(found, names, bool(options.targets)))
    if options.targets:
        return _list(found, names, options.output == "wide")
    return _counts(found, names)


def _counts(found: Sequence[PlaceConnections], names: ObjectNames) -> str:
    from emulab.toolbox.connections import by_object

    objects = by_object(found, names)
    states = [s for s in _ORDER if any(one.states[s] for one in found)]
    places = [[one.place, *_numbers(one.states, states), str(len(one.tracked))] for one in found]
    seen = [s for s in _ORDER if any(one.states[s] for one in objects.values())]
    rows = [[name, *_numbers(one.states, seen), str(one.tracked)] for name, one in objects.items()]
    text = table(("PLACE", *states, "TRACKED"), places)
    return f"{text}\n\n{table(('LEADING TO', *seen, 'TRACKED'), rows)}" if rows else text


def _numbers(states: Counter[str], columns: Iterable[str]) -> list[str]:
    return [str(states[s] or "") for s in columns]


def _list(found: Sequence[PlaceConnections], names: ObjectNames, wide: bool) -> str:
    from emulab.toolbox.connections import ends, shown

    sockets = [
        [
            *(one.place, s.protocol, s.state, str(s.waiting), str(s.unsent)),
            *(shown((s.protocol, s.address, s.port), names), shown((s.protocol, s.peer, s.peer_port), names)),
            *((_pair(s.address, s.port, s.peer, s.peer_port),) if wide else ()),
        ]
        for one in found
        for s in sorted(one.sockets)
    ]
    tracked = [
        [
            *(one.place, flow.first.protocol, flow.state or "-"),
            *(shown(end, names) for end in (*ends(flow.first), ends(flow.second)[0])),
            f"{flow.timeout}s",
            *((f"{_pair(*flow.first[1:])}, answered {_pair(*flow.second[1:])}",) if wide else ()),
        ]
        for one in found
        for flow in sorted(one.tracked)
    ]
    addresses = ("ADDRESSES",) if wide else ()
    head = ("SOCKETS OF", "PROTO", "STATE", "RECV-Q", "SEND-Q", "LOCAL", "PEER", *addresses)
    text = table(head, sockets) if sockets else "no sockets"
    head = ("TRACKED BY", "PROTO", "STATE", "FROM", "TO", "ANSWERED BY", "FORGOTTEN IN", *addresses)
    return f"{text}\n\n{table(head, tracked) if tracked else 'no tracked connections'}"


def _pair(source: str, source_port: int, destination: str, destination_port: int) -> str:
    from emulab.model.addresses import socket_name

    return f"{socket_name(source, source_port)} → {socket_name(destination, destination_port)}"


def _json(found: Sequence[PlaceConnections], names: ObjectNames, listed: bool) -> dict[str, Any]:
    from emulab.toolbox.connections import by_object, ends

    def end(protocol: str, address: str, port: int) -> dict[str, Any]:
        return {"address": address, "port": port, "name": names.name(protocol, address, port)}

    places = []
    for one in found:
        told: dict[str, Any] = {"name": one.place, "sockets": one.states, "tracked": len(one.tracked)}
        if listed:
            told["list"] = [
                {
                    "protocol": s.protocol,
                    "state": s.state,
                    "local": end(s.protocol, s.address, s.port),
                    "peer": end(s.protocol, s.peer, s.peer_port),
                    "receiveQueue": s.waiting,
                    "sendQueue": s.unsent,
                }
                for s in one.sockets
            ]
            told["connections"] = [
                {
                    "protocol": flow.first.protocol,
                    "state": flow.state,
                    "assured": flow.assured,
                    "timeout": flow.timeout,
                    "from": end(*ends(flow.first)[0]),
                    "to": end(*ends(flow.first)[1]),
                    "answeredBy": end(*ends(flow.second)[0]),
                    "answeredTo": end(*ends(flow.second)[1]),
                }
                for flow in one.tracked
            ]
        places.append(told)
    objects = [
        {"name": name, "sockets": one.states, "tracked": one.tracked}
        for name, one in by_object(found, names).items()
    ]
    return {"places": places, "objects": objects}
