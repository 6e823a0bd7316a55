"""One question after gRPC's health (grpc.health.v1), as pkg/probe/grpc asks it: in clear, over HTTP/2.

Two messages of protobuf are all that is spoken, each of one field: the name of a service in the question, and a number
in the answer (github.com/grpc/grpc, doc/health-checking.md). So they are written and read here by hand.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import NamedTuple

CHECK = "/grpc.health.v1.Health/Check"
_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_DEADLINE_EXCEEDED, _UNIMPLEMENTED = 4, 12
_CODES = {
    1: "Canceled",
    2: "Unknown",
    3: "InvalidArgument",
    4: "DeadlineExceeded",
    5: "NotFound",
    6: "AlreadyExists",
    7: "PermissionDenied",
    8: "ResourceExhausted",
    9: "FailedPrecondition",
    10: "Aborted",
    11: "OutOfRange",
    12: "Unimplemented",
    13: "Internal",
    14: "Unavailable",
    15: "DataLoss",
    16: "Unauthenticated",
}
"""gRPC's codes as Go names them (google.golang.org/grpc/codes)."""


class ServiceHealth(NamedTuple):
    """Whether the service is healthy, and what is said of it."""

    well: bool
    said: str


def message(service: str) -> bytes:
    """The question, in the frame of a message: not compressed, its length, and itself."""
    name = service.encode()
    body = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\x00" + len(body).to_bytes(4, "big") + body


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def judged(fields: Mapping[str, str], body: bytes, timeout: str) -> ServiceHealth:
    """What an answer says: the fields of its head and trailers, and its body."""
    code = fields.get("grpc-status", "")
    if not code.isdigit():
        status = fields.get(":status", "")
        text = (
            f"unexpected HTTP status code received from server: {status}"
            if status != "200"
            else "no grpc-status"
        )
        return ServiceHealth(
            False, f"error: health rpc probe failed: rpc error: code = Unknown desc = {text}"
        )
    number, said = int(code), fields.get("grpc-message", "")
    if number == _UNIMPLEMENTED:
        what = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
        return ServiceHealth(False, f"{what}: {said}")
    if number == _DEADLINE_EXCEEDED:
        return late(timeout)
    if number:
        name = _CODES.get(number, f"Code({number})")
        return ServiceHealth(False, f"error: health rpc probe failed: rpc error: code = {name} desc = {said}")
    # field 1, a varint, behind the frame of five octets; an enum of 0 isn't written
    status_number = body[6] if len(body) > 6 and body[5] == 0x08 else 0
    if status_number == 1:
        return ServiceHealth(True, "service healthy")
    word = _STATUSES[status_number] if status_number < len(_STATUSES) else str(status_number)
    return ServiceHealth(False, f'service unhealthy (responded with "{word}")')


def late(timeout: str) -> ServiceHealth:
    return ServiceHealth(False, f"timeout: health rpc did not complete within {timeout}")


async def check(sock: socket.socket, authority: str, service: str, agent: str, timeout: str) -> ServiceHealth:
    """Asks over a connection, which is closed. Raises OSError where it fails; whoever waits says for how long."""
    # Imported here: few labs have such probes.
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import (
        ConnectionTerminated,
        DataReceived,
        ResponseReceived,
        StreamEnded,
        StreamReset,
        TrailersReceived,
    )
    from h2.exceptions import ProtocolError

    loop = asyncio.get_running_loop()
    connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    head = {":method": "POST", ":scheme": "http", ":path": CHECK, ":authority": authority}
    more = {"content-type": "application/grpc", "user-agent": agent, "te": "trailers"}
    connection.send_headers(1, [*head.items(), *more.items()])
    connection.send_data(1, message(service), end_stream=True)
    fields: dict[str, str] = {}
    body = b""
    with sock:
        while True:
            await loop.sock_sendall(sock, connection.data_to_send())
            data = await loop.sock_recv(sock, 1 << 16)
            try:
                events = connection.receive_data(data) if data else []
            except ProtocolError as error:
                return ServiceHealth(False, f"error: health rpc probe failed: {error}")
            for event in events:
                match event:
                    case ResponseReceived() | TrailersReceived():
                        fields |= {str(name): str(value) for name, value in event.headers or ()}
                    case DataReceived():
                        body += event.data or b""
                    case StreamEnded():
                        return judged(fields, body, timeout)
                    case StreamReset() | ConnectionTerminated():
                        return ServiceHealth(False, f"error: health rpc probe failed: {event}")
            if not data:
                raise ConnectionAbortedError("EOF")
