"""`emulab timing`: how long each part of a request takes."""

from __future__ import annotations

import argparse

from emulab.cli.output.table import table
from emulab.cli.usage import UsageError, add_namespace, add_output, duration, natural
from emulab.errors import UserError
from emulab.observe.telling.escapes import as_json

_SHARES = {"P50": 0.5, "P90": 0.9, "P99": 0.99, "MAX": 1.0}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab timing [-l LAB] [--from TARGET] [-n NS] [--number N] [-k] [--timeout TIME] [-o json] URL"
    )
    add = parser.add_argument
    add("url", metavar="URL", help="what to ask for, of http or https")
    add(
        *("--from",),
        dest="source",
        metavar="TARGET",
        default="client",
        help="where requests come from: a place, pod/NAME, deploy/NAME or svc/NAME (default: client)",
    )
    add_namespace(parser)
    add("--number", type=natural, default=10, metavar="N", help="requests, one after the other (default: 10)")
    add("-k", "--insecure", action="store_true", help="accept any certificate")
    add("--timeout", type=duration, default=5.0, metavar="TIME", help="how long each may take (default: 5s)")
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    if not options.number:
        raise UsageError("--number is 1 at least")
    import asyncio

    from emulab.observe.path import Path
    from emulab.observe.telling.timespans import totals_line
    from emulab.python import Lab
    from emulab.toolbox.timing import PARTS, Timed, timed
    from emulab.twins.spread import quantile

    lab = Lab([], name=options.lab)

    async def both() -> tuple[list[Timed], Path]:
        where = options.source, options.namespace
        found = await timed(lab, options.url, *where, options.number, options.timeout, not options.insecure)
        seen = await lab.trace(
            options.url,
            options.source,
            namespace=options.namespace,
            timeout=options.timeout,
            verify=not options.insecure,
        )
        return found, seen

    try:
        found, seen = asyncio.run(both())
    except TimeoutError:
        raise UserError(
            f"{options.url}: no answer within {options.timeout:g} s; see why: emulab trace {options.url}"
        ) from None
    except OSError as error:
        raise UserError(f"{options.url}: {error}; see why: emulab trace {options.url}") from None
    columns = {
        part: [one.parts[part] for one in found] for part in PARTS if all(part in one.parts for one in found)
    }
    statuses = sorted({one.status for one in found})
    if options.output == "json":
        spans = {
            part: {name.lower(): round(quantile(values, share) * 1e6) for name, share in _SHARES.items()}
            for part, values in columns.items()
        }
        print(
            as_json(
                {
                    "url": options.url,
                    "number": len(found),
                    "statuses": statuses,
                    "microseconds": spans,
                    "traced": dict(seen.totals),
                }
            )
        )
        return 0
    number = f"{len(found)} requests, one after the other" if len(found) > 1 else "1 request"
    print(f"{options.url} from {options.source}: {', '.join(map(str, statuses))}, {number}\n")
    rows = [
        [part, *(f"{quantile(values, share) * 1000:.2f} ms" for share in _SHARES.values())]
        for part, values in columns.items()
    ]
    print(table(("PART", *_SHARES), rows))
    if seen.failure is None:
        print(f"\ntraced once: {' '.join(totals_line(seen).split())}")
    return 0
