"""A TCP server that sends back what it receives, as it comes, and ends when its peer has: `mirror.py PORT`.

A connection whose first four bytes are `SUM ` gets the SHA-256 of the rest in hex instead, at its end.
"""

import asyncio
import hashlib
import sys


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readexactly(4)
    summing = head == b"SUM "
    digest = hashlib.sha256()
    if not summing:
        writer.write(head)
    while chunk := await reader.read(1 << 16):
        digest.update(chunk)
        if not summing:
            writer.write(chunk)
            await writer.drain()
    if summing:
        writer.write(digest.hexdigest().encode())
    await writer.drain()
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, None, int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
