"""DNS messages that are changed until they reach code that none has reached: by atheris, where that is installed.

    PYTHONPATH=FOLDER-OF-ATHERIS .venv/bin/python tests/fuzz/guided_dns.py [-max_total_time=60] [CORPUS]

An authoritative server, a resolver and a cluster's are asked without sockets, each message over both transports, and
what an upstream server might say is read. Whatever bytes there are, an answer fits, or there is none.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_HOST = ("192.0.2.1", 5353)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["emulab.servers.dns", "dnslib"]):
        from emulab.servers.dns.responder import Responder
    atheris.Setup([sys.argv[0], *_seeds(), *sys.argv[1:]], _target(Responder))
    atheris.Fuzz()


def _seeds() -> list[str]:
    """Nothing but bounds: messages are found by themselves."""
    return ["-max_len=700", "-timeout=5"]


def _target(responder: type[Any]) -> Any:
    from fuzz_roles import roles  # beside this file

    servers = roles(responder)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def one(data: bytes) -> None:
        loop.run_until_complete(_all(servers, data))

    return one


async def _all(servers: list[Any], data: bytes) -> None:
    from emulab.errors import PeerError
    from emulab.servers.dns import wire

    for server in servers:
        for stream in (False, True):
            reply = server.answer(data, _HOST, stream, lambda late: None)
            if reply:
                assert reply[:2] == data[:2] and reply[2] & 0x80
                assert len(reply) <= (0xFFFF if stream else wire.UDP_LIMIT)
                wire.parse_response(reply)
                again = server.answer(data, _HOST, stream, lambda late: None)
                assert again is None or again[:2] == data[:2]
    try:
        wire.parse_response(data)
    except PeerError:
        return


if __name__ == "__main__":
    main()
