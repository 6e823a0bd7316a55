"""The process that reads what containers and servers print, one chunk of each in turn.

It is driven like other servers (`servers.host`), but has no event loop: it may wait for a disk, and whoever prints
faster than it writes waits for it then, as with containerd. Its commands:

    → {"id", "op": "folder"}                      one descriptor: the folder of the logs; comes first
    → {"id", "op": "add", "number", "name"}       one descriptor: a pipe that doesn't block, for the log of that name
                                                  and `begins`, where somebody begins a life with it
    → {"id", "op": "add", "number", "name": ""}   the same, for lines that each tell the log they are for (`parted`)
    → {"id", "op": "write", "name", "text"}
    → {"id", "op": "begin", "name"}               another life begins of who writes lines into that log;
                                                  lines that are in pipes by now are those of the life before
    → {"id", "op": "remove", "name"}              the log and its older files; what comes for it still is thrown away
    → {"id", "op": "ping"}
    ← {"id", "result": null}
    ← {"record": {"event": "end", "number"}}      nobody has that pipe open for writing, and all of it is written

Who adds a pipe keeps it open as well. So nobody who prints meets a closed pipe when this process ends, and the next one
finds in the pipe what this one hadn't moved.
"""

from __future__ import annotations

import json
import os
import select
import socket
from contextlib import suppress
from typing import Any

from emulab.servers import journal
from emulab.servers.logs.files import CHUNK, LogFile
from emulab.servers.logs.marks import MarkFile

_BEGIN, _PART = journal.BEGIN.encode(), journal.PART.encode()

_MESSAGE, _MAX_FDS = 1 << 16, 8
_PIPE = 1 << 16  # octets that a pipe holds
_READ = select.POLLIN | select.POLLHUP


def serve(control: socket.socket) -> None:
    """Keeps logs until the control socket closes. Blocks."""
    control.setblocking(True)
    with suppress(ConnectionError):  # the supervisor has ended: nobody is left to be told
        _Keeper(control).run()


def parted(data: bytes) -> dict[str, bytes]:
    """Whole lines by the log that each is for; those are dropped of which the beginning was lost."""
    found: dict[str, bytes] = {}
    for line in data.split(b"\n"):
        name, part, text = line.partition(_PART)
        if part and name.startswith(_BEGIN):
            key = name[1:].decode(errors="replace")
            found[key] = found.get(key, b"") + text + b"\n"
    return found


class _Keeper:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._folder = -1
        self._poll = select.poll()
        self._poll.register(control, _READ)
        self._pipes: dict[int, tuple[int, str]] = {}  # by descriptor: number and name
        self._shared: dict[int, bytes] = {}  # pipes of many logs, with the line that hasn't come whole
        self._files: dict[str, LogFile] = {}

    def run(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._control.fileno():
                    if fd in self._pipes:  # unless a command of this very round was to forget it
                        self._take(fd)
                elif not self._command():
                    return

    def _command(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE, _MAX_FDS)
        if not data:
            return False
        command: dict[str, Any] = json.loads(data)
        match command["op"]:
            case "folder":
                self._folder = fds[0]
            case "add":
                os.set_blocking(fds[0], False)
                self._pipes[fds[0]] = command["number"], command["name"]
                if not command["name"]:
                    self._shared[fds[0]] = b""
                elif command.get("begins"):
                    self._file(command["name"]).begin()
                self._poll.register(fds[0], _READ)
            case "write":
                self._file(command["name"]).write(command["text"].encode())
                self._release(command["name"])
            case "begin":
                self._catch_up()
                self._file(command["name"]).begin_again()
                self._release(command["name"])
            case "remove":
                for fd in [fd for fd, (_, name) in self._pipes.items() if name == command["name"]]:
                    self._pipes[fd] = self._pipes[fd][0], ""
                self._file(command["name"]).remove()
                self._files.pop(command["name"])
        self._send({"id": command["id"], "result": None})
        return True

    def _take(self, fd: int) -> None:
        number, name = self._pipes[fd]
        try:
            if fd in self._shared:
                if self._part(fd):
                    return
            elif self._file(name).take(fd) if name else os.read(fd, CHUNK):
                return
        except BlockingIOError:
            return
        self._poll.unregister(fd)
        os.close(fd)
        del self._pipes[fd]
        self._shared.pop(fd, None)
        self._release(name)
        self._send({"record": {"event": "end", "number": number}})

    def _part(self, fd: int) -> bool:
        """Writes what came of many logs' lines, each into its own; False at the end. Raises BlockingIOError."""
        data = os.read(fd, CHUNK)
        whole, end, rest = (self._shared[fd] + data).rpartition(b"\n")
        self._shared[fd] = rest
        for name, text in parted(whole + end).items():
            self._file(name).write(text)
            self._release(name)
        return bool(data)

    def _catch_up(self) -> None:
        """Writes the lines that were there before a command, of writers who may go on meanwhile."""
        for fd in self._shared:
            with suppress(BlockingIOError):
                for _ in range(_PIPE // CHUNK + 1):
                    if not self._part(fd):
                        break  # its end is told in its turn

    def _file(self, name: str) -> LogFile:
        """The log of a name; one, however many pipes lead to it."""
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = LogFile(self._folder, name, marks=MarkFile(self._folder, name))
        return file

    def _release(self, name: str) -> None:
        """Closes a log to which nothing leads any more."""
        if name in self._files and all(name != of for _, of in self._pipes.values()):
            self._files.pop(name).close()

    def _send(self, message: dict[str, Any]) -> None:
        self._control.send(json.dumps(message).encode())
