"""gRPC of a stand-in: whoever asks after its health hears that it serves, and nothing else is implemented. Sans-I/O.

A client that knows that a server speaks HTTP/2 begins with its preface (RFC 9113, section 3.4), which no request of
HTTP/1.1 can. What isn't gRPC at all is answered 505.
"""

from __future__ import annotations

from typing import Any

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SERVICE = "/grpc.health.v1.Health/"
_SERVING = b"\x00\x00\x00\x00\x02\x08\x01"
"""A message's frame, not compressed and of two octets, and in it field 1 with the status SERVING."""
_UNIMPLEMENTED = "12"


class GRPCHealth:
    """Feeds on a client's bytes and answers with what is to be sent back."""

    __slots__ = ("_connection", "closed", "paths")

    def __init__(self) -> None:
        # Imported here: it takes a while, and few clients speak HTTP/2.
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self.closed = False
        # What was asked for since somebody looked, and the answers' statuses.
        self.paths: list[tuple[str, int]] = []
        self._connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._connection.initiate_connection()

    def feed(self, data: bytes) -> bytes:
        """The frames that answer the next bytes."""
        from h2.events import ConnectionTerminated, DataReceived, RequestReceived
        from h2.exceptions import ProtocolError

        try:
            for event in self._connection.receive_data(data):
                match event:
                    case RequestReceived():
                        self._answer(event.stream_id, event.headers)
                    case DataReceived():
                        self._connection.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                    case ConnectionTerminated():
                        self.closed = True
        except ProtocolError:
            self.closed = True
        return self._connection.data_to_send()

    def goodbye(self) -> bytes:
        """What tells the client that the server ends (RFC 9113, section 6.8)."""
        self._connection.close_connection()
        return self._connection.data_to_send()

    def _answer(self, stream: int, headers: Any) -> None:
        asked = {str(name): str(value) for name, value in headers}
        path, connection = asked.get(":path", ""), self._connection
        if not asked.get("content-type", "").startswith("application/grpc"):
            self.paths.append((path, 505))
            connection.send_headers(stream, [(":status", "505")], end_stream=True)
            return
        self.paths.append((path, 200))
        head = [(":status", "200"), ("content-type", "application/grpc")]
        if path == f"{_SERVICE}Check":
            connection.send_headers(stream, head)
            connection.send_data(stream, _SERVING)
            connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)
            return
        why = "a stand-in implements grpc.health.v1.Health/Check alone"
        trailers = [("grpc-status", _UNIMPLEMENTED), ("grpc-message", why)]
        connection.send_headers(stream, [*head, *trailers], end_stream=True)
