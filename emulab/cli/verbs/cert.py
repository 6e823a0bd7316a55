"""`emulab cert`: what a server shows as its certificate."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from emulab.cli.usage import add_namespace, add_output, duration
from emulab.errors import UserError
from emulab.observe.telling.escapes import as_json, printable


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab cert [-l LAB] [--from TARGET] [-n NS] [--servername NAME] [--timeout TIME]"
        " [-o json] HOST[:PORT]"
    )
    add = parser.add_argument
    add("target", metavar="HOST[:PORT]", help="a name or an address; the port is 443 where none is given")
    add(
        *("--from",),
        dest="source",
        metavar="TARGET",
        default="client",
        help="who looks: a place, pod/NAME, deploy/NAME or svc/NAME (default: client)",
    )
    add_namespace(parser)
    add("--servername", metavar="NAME", default="", help="the name that is asked for, SNI (default: HOST)")
    add("--timeout", type=duration, default=5.0, metavar="TIME", help="how long to wait (default: 5s)")
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    import asyncio

    from emulab.model.addresses import socket_name
    from emulab.python import Lab
    from emulab.toolbox.certs import shown_certificate, split_target

    host, port = split_target(options.target)
    name = options.servername or host
    lab = Lab([], name=options.lab)
    try:
        found = asyncio.run(
            shown_certificate(lab, host, port, options.source, options.namespace, name, options.timeout)
        )
    except TimeoutError:
        raise UserError(f"{options.target}: no answer within {options.timeout:g} s") from None
    except OSError as error:
        raise UserError(f"{options.target}: {error}") from None
    if options.output == "json":
        print(as_json(found._asdict()))
        return 1 if found.problem else 0
    print(
        f"{socket_name(host, port)} ({found.address}) from {options.source}, {found.protocol}, for {name}\n"
    )
    for number, one in enumerate(found.chain):
        _print(number, one)
    print(f"\nSecret:   {found.secret or 'none of the lab'}")
    print(f"Verdict:  {found.problem or f'fits {name}, and its time has come and is not over'}")
    return 1 if found.problem else 0


def _print(number: int, one: Mapping[str, Any]) -> None:
    print(f"{number}  Subject:  {printable(one['subject'])}")
    print(f"   Issuer:   {printable(one['issuer'])}")
    print(f"   Names:    {printable(', '.join(one['names']) or 'none')}")
    print(f"   Valid:    {_date(one['not_before'])} to {_date(one['not_after'])}")


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
