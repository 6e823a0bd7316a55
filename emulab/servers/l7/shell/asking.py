"""Answers the questions of gates: whether a password is right, what another service says.

Passwords are looked at in a thread, as bcrypt is meant to take long. A service gets a connection of its own, which ends
with its answer, as nginx does it for `auth_request`; whose certificate it has nobody asks there.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import suppress
from functools import lru_cache
from typing import Any

from emulab.errors import EmulabError, PeerError
from emulab.kernel.passwords import crypt
from emulab.servers.l7.engine.questions import PasswordQuestion, RequestQuestion, ServiceAnswer
from emulab.servers.l7.shell.opening import open_socket
from emulab.servers.passwords import matches
from emulab.servers.stub import ResolverConfig, resolve
from emulab.servers.wire.http1.client import ResponseReader

_CHUNK = 1 << 16


async def answer(question: Any, resolver: ResolverConfig) -> Any:
    """The answer to a question of `engine.questions`."""
    match question:
        case PasswordQuestion(password, known):
            return await asyncio.to_thread(matches, password, known, crypt)
        case RequestQuestion():
            return await _ask(question, resolver)
    raise TypeError(f"{question!r} is no question")


async def _ask(question: RequestQuestion, resolver: ResolverConfig) -> ServiceAnswer:
    host, port = question.host, question.port
    try:
        async with asyncio.timeout(question.connect_timeout):
            # nginx looks names up by itself, and no search list completes them.
            address = await resolve(_whole(host), resolver, open_socket)
            secure = _anybody() if question.server_name else None
            reader, writer = await asyncio.open_connection(
                address, port, ssl=secure, server_hostname=question.server_name or None
            )
    except TimeoutError:
        return ServiceAnswer(0, why=f"{host}: no connection within {question.connect_timeout:g} s")
    except ConnectionRefusedError:
        return ServiceAnswer(0, why=f"{host} refused the connection at port {port}")
    except ssl.SSLError as error:
        return ServiceAnswer(0, why=f"{host}: TLS failed: {error.reason or error}")
    except EmulabError as error:
        return ServiceAnswer(0, why=f"{error}; nginx completes no name by a search list")
    except OSError as error:
        return ServiceAnswer(0, why=f"{host}: {os.strerror(error.errno) if error.errno else error}")
    try:
        return await _head(reader, writer, question)
    finally:
        writer.transport.abort()


async def _head(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: RequestQuestion
) -> ServiceAnswer:
    response = ResponseReader()
    try:
        writer.write(question.request)
        while not response.status:
            async with asyncio.timeout(question.read_timeout):
                response.feed(await reader.read(_CHUNK))
    except TimeoutError:
        return ServiceAnswer(0, why=f"{question.host}: no answer within {question.read_timeout:g} s")
    except (OSError, PeerError) as error:
        return ServiceAnswer(0, why=f"{question.host}: {error}")
    with suppress(OSError, PeerError, TimeoutError):  # what it still says, so that it isn't cut off
        async with asyncio.timeout(1.0):
            while not response.complete and (data := await reader.read(_CHUNK)):
                response.feed(data)
    return ServiceAnswer(response.status, tuple(response.fields))


def _whole(host: str) -> str:
    return host if ":" in host or host.replace(".", "").isdigit() or host.endswith(".") else f"{host}."


@lru_cache(maxsize=1)
def _anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
