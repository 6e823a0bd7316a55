"""What HAProxy is asked and told while it runs, over its sockets (management.txt, 9.3 and 9.4)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

_PATIENCE = 2.0
_SESSION = re.compile(r"^(0x[0-9a-f]+): .*? be=(\S+) srv=(\S+) ", re.M)
_KEPT = re.compile(r"^0x[0-9a-f]+: key=(\S+) .*server_id=(\d+)\b", re.M)
_BATCH = 50  # of commands at a time
_LOOKS = (0.02, 0.05, 0.1, 0.2, 0.0)
"""Seconds between two looks at who is kept where."""
_WORKER = re.compile(r"^(\d+)\s+worker\b", re.M)


async def ask(path: str, command: str) -> str:
    """What it says to a command; "" where nobody listens."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(f"{command}\n".encode())
                writer.write_eof()
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return ""
    return answer.decode("utf-8", "replace")


async def kept_clients(path: str, proxy: str) -> dict[str, int]:
    """The clients that are to stay with a server, each with its number: where it stands among the servers."""
    found = _KEPT.findall(await ask(path, f"show table {proxy}"))
    return {client: int(number) for client, number in found}


async def keep_clients(path: str, proxy: str, kept: Mapping[str, int]) -> None:
    """Has clients stay with servers, by their numbers, which begin with 1.

    One that has come meanwhile is forgotten first: the name of a server, which can't be set, would count for more. What
    it has under way is noted with the first answer, so that it is looked again.
    """
    for pause in _LOOKS if kept else ():
        known = await kept_clients(path, proxy)
        wrong = {client: number for client, number in kept.items() if known.get(client) != number}
        commands = [
            f"clear table {proxy} key {client}; set table {proxy} key {client} data.server_id {number}"
            for client, number in wrong.items()
        ]
        for start in range(0, len(commands), _BATCH):
            await ask(path, "; ".join(commands[start : start + _BATCH]))
        if not wrong and pause != _LOOKS[0]:
            return
        await asyncio.sleep(pause)


async def end_sessions(master: str, proxy: str, server: str) -> None:
    """Ends the connections to a server in all workers of a master, those that only finish their work included.

    One by one: such a worker says of a server that its proxy is disabled.
    """
    for worker in _WORKER.findall(await ask(master, "show proc")):
        for number, *ends in _SESSION.findall(await ask(master, f"@!{worker} show sess")):
            if ends == [proxy, server]:
                await ask(master, f"@!{worker} shutdown session {number}")
