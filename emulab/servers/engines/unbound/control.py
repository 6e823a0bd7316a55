"""What an operator asks of unbound's cache, by unbound's own remote control (unbound-control(8)).

A command is a line over TCP to the place's loopback address; the answer is text up to the end of the connection.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from emulab.errors import UserError
from emulab.servers.dns import wire
from emulab.servers.engines.unbound.conf import CONTROL_PORT

_PATIENCE = 10.0  # seconds
_MOST = 10_000  # entries that are shown
_REMOVED = re.compile(r"ok removed (\d+) rrsets?, (\d+) messages?")
_RECORD = re.compile(r"(\S+)\s+(\d+)\s+IN\s+(\S+)\s+(.*)")
_RCODE = 0xF


async def carry_out(order: Mapping[str, Any], _: Callable[[int], None]) -> dict[str, Any]:
    """Does what is asked, as `servers.dns.orders` has it. Raises UserError."""
    name = str(order.get("name") or "")
    match order["do"]:
        case "dump":
            found = sorted(
                entries(await _told("dump_cache"), name), key=lambda one: (one["name"], one["type"])
            )
            return {"entries": found[:_MOST]}
        case "flush":
            said = await _told(f"flush_zone {name or '.'}")
            removed = _REMOVED.match(said)
            if removed is None:
                raise UserError(f"unbound does not flush {name or 'its cache'}: {said.strip()}")
            return {"flushed": int(removed[2])}
    raise UserError(
        "its cache is unbound's, and nobody else writes to it; what it answers of its own accord is set by"
        " emulab exec PLACE -- unbound-control local_data NAME TTL IN A ADDRESS"
    )


async def _told(command: str) -> str:
    """The answer to a command. Raises UserError."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", CONTROL_PORT)
            try:
                writer.write(f"UBCT1 {command}\n".encode())
                return (await reader.read()).decode(errors="replace")
            finally:
                writer.close()
    except OSError as error:  # TimeoutError is one
        raise UserError(f"unbound does not answer at its control port: {error}") from None


def entries(dump: str, name: str = "") -> Iterator[dict[str, Any]]:
    """The answers in a dump of the cache, of a name and those below it, or of all. Pure.

    A message tells of its records by the names and types of their sets, which are listed before.
    """
    records: dict[tuple[str, str], list[str]] = {}
    lines = iter(dump.splitlines())
    for line in lines:
        if line.startswith("START_MSG_CACHE"):
            break
        if match := _RECORD.fullmatch(line):
            records.setdefault((match[1].lower(), match[3]), []).append(f"{match[3]} {match[4]}")
    wanted = f"{name.rstrip('.').lower()}." if name else ""
    for line in lines:
        words = line.split()
        if not line.startswith("msg ") or len(words) < 11:
            continue
        question, kind, flags, ttl, number = words[1], words[3], int(words[4]), int(words[6]), int(words[8])
        sets = [next(lines, "").split() for _ in range(number)]
        answers = [a for one in sets if len(one) >= 3 for a in records.get((one[0].lower(), one[2]), ())]
        if not wanted or question.lower() == wanted or question.lower().endswith(f".{wanted}"):
            yield {
                "name": question,
                "type": kind,
                "rcode": wire.rcode_name(flags & _RCODE),
                "ttl": max(0, ttl),
                "answers": answers,
                "signed": False,
                "poisoned": False,
                "delegation": False,
            }
