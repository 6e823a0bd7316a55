"""Sends N requests over C keep-alive connections: `load.py URL N C [BEGUN OVER]`; prints what came of them as JSON.

The file BEGUN is made once there was an answer, and more requests than N are sent until there is the file OVER: so
what is to be met under load is, however fast or slow either is.

Every request counts once: an answer by its status, anything else by the name of its error. A request that
finds its idle connection closed by the peer is sent again on a fresh one, as every HTTP client does
(RFC 9110, section 9.2.2); these are counted too.
"""

import asyncio
import collections
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

URL = urlsplit(sys.argv[1])
REQUESTS, CONNECTIONS = int(sys.argv[2]), int(sys.argv[3])
BEGUN, OVER = (Path(name) for name in sys.argv[4:6]) if len(sys.argv) > 4 else (None, None)
LIMIT = 100  # seconds
HEAD = f"GET {URL.path} HTTP/1.1\r\nHost: {URL.hostname}\r\n\r\n".encode()

outcome: collections.Counter[str] = collections.Counter()
pods: collections.Counter[str] = collections.Counter()
sent = 0
end = 0.0


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def tell_begun() -> None:
    if BEGUN:
        BEGUN.touch()


def enough() -> bool:
    return sent >= REQUESTS and (OVER is None or OVER.exists())


async def answer(reader: asyncio.StreamReader) -> tuple[str, bytes, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length:")[2].split("\r\n")[0])
    body = await reader.readexactly(length)
    return head.split(" ", 2)[1], body, "connection: close" in head


async def connection() -> None:
    global sent
    streams = None
    while not enough() and loop_time() < end:
        sent += 1
        fresh = streams is None
        try:
            async with asyncio.timeout(20):
                while True:
                    if streams is None:
                        streams = await asyncio.open_connection(URL.hostname, URL.port or 80)
                        fresh = True
                    reader, writer = streams
                    try:
                        writer.write(HEAD)
                        status, body, last = await answer(reader)
                        break
                    except (ConnectionError, asyncio.IncompleteReadError) as error:
                        writer.close()
                        streams = None
                        begun = isinstance(error, asyncio.IncompleteReadError) and error.partial
                        if fresh or begun:
                            raise
                        outcome["sent again"] += 1
            if not outcome:
                tell_begun()
            outcome[status] += 1
            if status == "200":
                pods[json.loads(body)["pod"]] += 1
            if last:
                writer.close()
                streams = None
        except Exception as error:
            outcome[f"{type(error).__name__}: {error}"] += 1
            streams = None
    if streams is not None:
        streams[1].close()


async def main() -> None:
    global end
    end = loop_time() + LIMIT  # what isn't sent by then is missing from the count
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    print(json.dumps({"requests": sent, "outcome": outcome, "pods": pods}))


asyncio.run(main())
