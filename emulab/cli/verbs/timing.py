"""`emulab timing`: how long each part of a request takes."""

from __future__ import annotations

import argparse

from emulab.cli.output.table import table
from emulab.cli.usage import UsageError, add_namespace, add_output, duration, natural
from emulab.errors import UserError
from emulab.observe.telling.escapes import as_json

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from emulab.observe.path import Path
    from emulab.toolbox.timing import Timed

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
    try:
        found, seen = _measured(options)
    except TimeoutError:
        raise UserError(
            f"{options.url}: no answer within {options.timeout:g} s; see why: emulab trace {options.url}"
        ) from None
    except OSError as error:
        raise UserError(f"{options.url}: {error}; see why: emulab trace {options.url}") from None
    if options.output == "json":
        print(as_json(_as_data(options.url, found, seen)))
    else:
        _tell(options, found, seen)
    return 0


def _measured(options: argparse.Namespace) -> tuple[list[Timed], Path]:
    """Requests by the clock, and one of them traced. Raises TimeoutError and OSError."""
    import asyncio

    from emulab.python import Lab
    from emulab.toolbox.timing import timed

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

    return asyncio.run(both())


def _columns(found: Sequence[Timed]) -> dict[str, list[float]]:
    """The seconds of each part that all requests have."""
    from emulab.toolbox.timing import PARTS

    return {
        part: [one.parts[part] for one in found] for part in PARTS if all(part in one.parts for one in found)
    }


def _statuses(found: Sequence[Timed]) -> list[int]:
    return sorted({one.status for one in found})


def _as_data(url: str, found: Sequence[Timed], seen: Path) -> dict[str, Any]:
    from emulab.twins.spread import quantile

    spans = {
        part: {name.lower(): round(quantile(values, share) * 1e6) for name, share in _SHARES.items()}
        for part, values in _columns(found).items()
    }
    return {
        "url": url,
        "number": len(found),
        "statuses": _statuses(found),
        "microseconds": spans,
        "traced": dict(seen.totals),
    }


def _tell(options: argparse.Namespace, found: Sequence[Timed], seen: Path) -> None:
    from emulab.observe.telling.timespans import totals_line
    from emulab.twins.spread import quantile

    number = f"{len(found)} requests, one after the other" if len(found) > 1 else "1 request"
    print(f"{options.url} from {options.source}: {', '.join(map(str, _statuses(found)))}, {number}\n")
    rows = [
        [part, *(f"{quantile(values, share) * 1000:.2f} ms" for share in _SHARES.values())]
        for part, values in _columns(found).items()
    ]
    print(table(("PART", *_SHARES), rows))
    if seen.failure is None:
        print(f"\ntraced once: {' '.join(totals_line(seen).split())}")
