"""Talks to a lab's supervisor over its control socket. Blocking; light to import."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emulab.errors import EmulabError, KernelError, ManifestError, UserError
from emulab.lab import rundir


class LabClient:
    """One connection to one lab; one request at a time."""

    def __init__(self, path: Path) -> None:
        """Connects to the lab whose folder is `path`. Raises UserError when it isn't up."""
        self._path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with rundir.socket_path(path) as address:
                self._sock.connect(address)
        except OSError:
            self._sock.close()
            raise UserError(f"lab {path.name!r} is not up; start it with: emulab -l {path.name} up") from None

    def request(self, op: str, on_progress: Callable[[str], None] | None = None, **arguments: Any) -> Any:
        """Sends a request and returns its result. Raises what the supervisor raised."""
        self._send({"op": op, **arguments})
        buffer = b""
        while True:
            line, newline, rest = buffer.partition(b"\n")
            if not newline:
                buffer += self._receive()
                continue
            buffer = rest
            message = json.loads(line)
            if "progress" in message:
                if on_progress is not None:
                    on_progress(message["progress"])
            elif "error" in message:
                raise _error(message)
            else:
                return message["result"]

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._sock.sendall(json.dumps(message).encode() + b"\n")
        except ConnectionError:
            raise self._ended() from None

    def _receive(self) -> bytes:
        try:
            chunk = self._sock.recv(1 << 20)
        except ConnectionError:
            chunk = b""
        if not chunk:
            raise self._ended()
        return chunk

    def _ended(self) -> EmulabError:
        return EmulabError(f"the lab's supervisor has ended{_last_words(self._path)}")

    def request_socket(self, **arguments: Any) -> socket.socket:
        """Asks for a socket in a target's namespace (op `socket`). Raises UserError."""
        self._send({"op": "socket", **arguments})
        data, fds, _, _ = socket.recv_fds(self._sock, 1 << 16, 1)
        message = json.loads(data or b'{"error": "the lab has ended"}')
        if "error" in message:
            raise _error(message)
        return socket.socket(fileno=fds[0])

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> LabClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _error(message: dict[str, Any]) -> EmulabError:
    if message.get("problems"):
        return ManifestError(message["problems"])
    kinds: dict[str, Callable[[str], EmulabError]] = {"user": UserError, "kernel": KernelError}
    return kinds.get(message.get("kind", ""), EmulabError)(message["error"])


def _last_words(path: Path) -> str:
    """The last line of a dead supervisor's log, if it left one."""
    try:
        lines = (path / "supervisor.log").read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f"; its last words: {lines[-1]}" if lines else ""


def connect(name: str) -> LabClient:
    """A connection to the lab of this name. Raises UserError when it isn't up."""
    return LabClient(rundir.folder(name))
