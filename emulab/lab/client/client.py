"""Talks to a lab's supervisor over its control socket. Blocking, but not for ever (`hung`); light to import."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from emulab.errors import EmulabError, KernelError, ManifestError, NotReady, NotUp, UserError
from emulab.lab.client import commandline, hung
from emulab.lab.folders import lastlog, rundir

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any

_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid: struct ucred of unix(7)

ERRORS: dict[str, type[EmulabError]] = {"user": UserError, "kernel": KernelError, "not ready": NotReady}
"""What a message says of an error that is one of these."""

MAX_FDS = 200
"""Descriptors of one message; the kernel's limit is 253 (SCM_MAX_FD)."""


class LabClient:
    """One connection to one lab; one request at a time."""

    def __init__(self, path: Path) -> None:
        """Connects to the lab whose folder is `path`. Raises UserError when it isn't up."""
        self.path = path
        self._silence = hung.LabSilence(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with rundir.socket_path(path) as address:
                hung.connect(self.socket, address, path)
            self._refuse_stranger()
        except OSError:
            self.socket.close()
            raise _not_up(path) from None
        except BaseException:
            self.socket.close()
            raise

    def _refuse_stranger(self) -> None:
        """Raises UserError when it isn't a supervisor of ours that listens. Nothing has been said to it by then."""
        uid = peer_uid(self.socket)
        if uid != os.geteuid():
            raise UserError(
                f"{self.path}/control.sock is another user's (uid {uid}): nothing was asked of it"
            )

    def request(self, op: str, on_progress: Callable[[str], None] | None = None, **arguments: Any) -> Any:
        """Sends a request and returns its result. Raises what the supervisor raised."""
        return self.request_descriptors(op, on_progress, **arguments)[0]

    def request_descriptors(
        self, op: str, on_progress: Callable[[str], None] | None = None, **arguments: Any
    ) -> tuple[Any, list[int]]:
        """Sends a request and returns its result and the descriptors that came with it, which are the caller's."""
        self.send({"op": op, **arguments})
        return self.answer(on_progress)

    def answer(self, on_progress: Callable[[str], None] | None = None) -> tuple[Any, list[int]]:
        """Waits for the result of what was sent, and the descriptors with it. Raises what the supervisor raised."""
        buffer = b""
        descriptors: list[int] = []
        try:
            while True:
                line, newline, rest = buffer.partition(b"\n")
                if not newline:
                    buffer += self._receive(descriptors)
                    continue
                buffer = rest
                message = json.loads(line)
                if "progress" in message:
                    if on_progress is not None:
                        on_progress(message["progress"])
                elif not message.keys().isdisjoint(("error", "result")):
                    return result(message), descriptors
        except BaseException:
            for fd in descriptors:
                os.close(fd)
            raise

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Sends a message, descriptors with its first byte."""
        data = json.dumps(message).encode() + b"\n"
        with suppress(ConnectionError):  # it may have said why before it closed the connection
            if fds:
                data = data[socket.send_fds(self.socket, [data[:1]], list(fds)) :]
            hung.send(self.socket, data, self._silence)

    def _receive(self, descriptors: list[int]) -> bytes:
        try:
            hung.await_ready(self.socket, select.POLLIN, self._silence)
            chunk, fds, _, _ = socket.recv_fds(self.socket, 1 << 20, MAX_FDS)
        except ConnectionError:
            chunk, fds = b"", []
        descriptors += fds
        if not chunk:
            raise self._ended()
        return chunk

    def _ended(self) -> EmulabError:
        with suppress(EmulabError):
            if rundir.is_alive(self.path):
                return EmulabError(f"lab {self.path.name!r} has closed the connection; try again")
        last = lastlog.last_line(self.path)
        return EmulabError(f"the lab's supervisor has ended{f'; its last words: {last}' if last else ''}")

    def request_socket(self, **arguments: Any) -> socket.socket:
        """Asks for a socket in a target's namespace (op `socket`). Raises UserError."""
        (sock,) = self.request_sockets(1, **arguments)
        return sock

    def request_sockets(self, count: int, **arguments: Any) -> list[socket.socket]:
        """So many of them, at most MAX_FDS."""
        several: dict[str, Any] = {"count": count} if count > 1 else {}
        _, fds = self.request_descriptors("socket", None, **arguments, **several)
        return [socket.socket(fileno=fd) for fd in fds]

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> LabClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def result(answer: dict[str, Any]) -> Any:
    """The result in an answer. Raises what the supervisor raised."""
    if "error" in answer:
        raise _error(answer)
    return answer["result"]


def _error(message: dict[str, Any]) -> EmulabError:
    if message.get("problems"):
        return ManifestError(message["problems"])
    return ERRORS.get(message.get("kind", ""), EmulabError)(message["error"])


def peer_uid(sock: socket.socket) -> int:
    """Whose the process at the other end of a Unix socket was when it connected or listened (SO_PEERCRED)."""
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(found)[1]
    return uid


def _not_up(path: Path) -> NotUp:
    with suppress(EmulabError, OSError):  # its last words are kept then
        rundir.sweep(path)
    ended = lastlog.how_it_ended(path)
    why = f"; {ended}" if ended else ""
    return NotUp(
        f"lab {path.name!r} is not up{why}; start it with: {commandline.begun(path.name)} up", bool(ended)
    )


def connect(name: str) -> LabClient:
    """A connection to the lab of this name. Raises UserError when it isn't up."""
    return LabClient(rundir.folder(name))
