"""A small process that forks servers and containers into namespaces when the supervisor asks.

Forking is safe and cheap from a process that has no threads and no event loop, which the supervisor can't
be. It is forked first thing and loads the servers' libraries while the supervisor loads its own; a
server is then a fork that shares those pages.

Protocol: one JSON datagram a message on a SOCK_SEQPACKET pair, descriptors beside it.

    → {"id", "program": {...}, ["pause": true] | "serve": kind, "name", "join": [kinds]}   fds: stdin, stdout, stderr,
      [control], then one for each kind of "join"
    → {"in": "file"}, what the message is, where it is longer than a datagram should be: the last fd is a file with it
    ← {"id", "pid": in the lab's PID namespace, "host_pid": as the host sees it}
      | {"id", "error": text, "status": what a shell would make of it, ["pid"]}
    ← {"exited": pid, "status": exit status, or 128 + signal}

Whatever a message asks for, it fails alone: the spawner outlives every error in it.
"""

from __future__ import annotations

import array
import errno
import gc
import json
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.machine import no_more_processes
from emulab.kernel.processes import enter, pause, terminal
from emulab.kernel.processes.enter import Program
from emulab.memoryfile import memory_file, read_all

Serve = Callable[[str, socket.socket], None]
FileLimits = tuple[int, int]
_MESSAGE = 1 << 15  # bytes of a datagram; one of 200 kB may find no room in the socket, however empty it is
_DESCRIPTORS = 16
_PATIENCE = 20.0  # seconds that a child may take to become a program
_REASON = 4000  # characters of an error


def start_spawner(serve: Serve, preload: Callable[[], None], files: FileLimits) -> socket.socket:
    """Forks the spawner and returns the supervisor's end of its socket.

    `serve(name, control)` runs a server until it ends; `preload` imports what servers need. `files` is how many files
    a program may have open (RLIMIT_NOFILE): the supervisor and its servers have more than others should.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    if os.fork() == 0:
        libc.die_with_parent(signal.SIGKILL)
        try:
            Path("/proc/self/comm").write_text("spawner")
            enter.hide_from_others()  # and its children, for as long as they are no programs
            gc.freeze()  # nothing inherited is collected: it would close descriptors that have other owners by then
            _close_all_but(theirs.fileno())
            with suppress(ConnectionError):  # the supervisor has ended: nobody is left to be told
                _Spawner(theirs, serve, preload, files).run()
        finally:
            os._exit(1)
    theirs.close()
    return ours


def _close_all_but(*kept: int) -> None:
    """Closes every descriptor but stdin, stdout, stderr and these."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd not in kept:
            with suppress(OSError):  # the one that the list was read from is closed by now
                os.close(fd)


class _Beginning:
    """A child that isn't what was asked for yet."""

    def __init__(self, number: int, pid: int) -> None:
        self.number = number
        self.pid = pid
        self.report = b""
        self.deadline = time.monotonic() + _PATIENCE
        self.hung = False

    def answer(self) -> dict[str, Any]:
        """What became of it."""
        host_pid, _, failure = self.report.decode(errors="replace").partition("\n")
        if self.hung:
            return {"error": f"didn't begin within {_PATIENCE:g} s", "status": 1, "pid": self.pid}
        if failure:
            status, _, why = failure.partition(" ")
            return {"error": why, "status": int(status), "pid": self.pid}
        if not host_pid:  # it was killed before its first word
            return {"error": "ended before it became a program", "status": 1, "pid": self.pid}
        return {"pid": self.pid, "host_pid": int(host_pid)}


class _Spawner:
    def __init__(
        self, control: socket.socket, serve: Serve, preload: Callable[[], None], files: FileLimits
    ) -> None:
        self._control = control
        self._serve = serve
        self._files = files
        self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        # A child's end interrupts the wait for messages by way of this pipe (signal.set_wakeup_fd).
        self._wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._wake_write = wake_write
        self._poll = select.poll()
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        self._beginning: dict[int, _Beginning] = {}  # by the descriptor on which they tell how it goes
        preload()

    def run(self) -> None:
        while True:
            for fd, _ in self._poll.poll(1000 if self._beginning else None):
                if fd == self._wake_read:
                    os.read(self._wake_read, 4096)
                    self._reap()
                elif fd in self._beginning:
                    with suppress(BlockingIOError):  # it is another's by now, who has nothing to say yet
                        self._hear(fd)
                elif fd == self._control.fileno():
                    data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE, _DESCRIPTORS)
                    if not data:
                        return
                    self._handle(data, fds)
            self._end_hung()

    def _hear(self, fd: int) -> None:
        """A child tells how its begin goes. At the end of that it is a program, or has said why it isn't."""
        child = self._beginning[fd]
        if chunk := os.read(fd, 4096):
            child.report += chunk
            return
        self._poll.unregister(fd)
        os.close(fd)
        del self._beginning[fd]
        self._send({"id": child.number, **child.answer()})

    def _end_hung(self) -> None:
        """Ends children that don't become a program: who is in a container may be stopped by others in it."""
        for child in self._beginning.values():
            if time.monotonic() > child.deadline and not child.hung:
                child.hung = True
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for fd in [fd for fd, child in self._beginning.items() if child.pid == pid]:
                with suppress(BlockingIOError):  # a child of its own has its words
                    while fd in self._beginning:  # what it has said comes before its end
                        self._hear(fd)
            code = os.waitstatus_to_exitcode(status)
            self._send({"exited": pid, "status": code if code >= 0 else 128 - code})

    def _send(self, message: dict[str, Any]) -> None:
        self._control.send(json.dumps(message).encode())

    def _handle(self, data: bytes, fds: list[int]) -> None:
        message = json.loads(data)
        number = message["id"]
        try:
            if message.get("in") == "file":
                file = fds.pop()
                try:
                    message = json.loads(read_all(file))
                finally:
                    os.close(file)
            self._spawn(number, message, fds)
        except Exception as error:  # of this message, which concerns no other
            self._send({"id": number, "error": str(error)[:_REASON] or repr(error), "status": 1})
        finally:
            for fd in fds:
                os.close(fd)

    def _spawn(self, number: int, message: dict[str, Any], fds: list[int]) -> None:
        """Forks a child. What becomes of it is told once it has become it, as others may have to wait for nobody."""
        rest = fds[4 if "serve" in message else 3 :]
        joined = dict(zip(message["join"], rest, strict=True))
        program = Program.of(message.get("program", {"argv": (), "environment": {}}), joined)
        enter.prepare(program)
        report_read, report_write = os.pipe2(os.O_CLOEXEC)
        try:
            pid = self._fork(program)
        except BaseException:
            os.close(report_read)
            os.close(report_write)
            raise
        if pid == 0:
            os.close(report_read)
            self._child(message, program, fds, report_write)
        os.close(report_write)
        os.set_blocking(report_read, False)
        self._beginning[report_read] = _Beginning(number, pid)
        self._poll.register(report_read, select.POLLIN)

    def _fork(self, program: Program) -> int:
        """Forks into the PID namespace that the child is to be in. That is said before, and taken back after it."""
        elsewhere = "pid" in program.fresh or "pid" in program.join
        if "pid" in program.fresh:
            libc.unshare(libc.CLONE_NEWPID)
        elif elsewhere:
            libc.setns(program.join["pid"], libc.CLONE_NEWPID)
        pid = -1
        try:
            pid = os.fork()
        except BlockingIOError:
            raise no_more_processes("start a process") from None
        except OSError as error:
            if (
                error.errno == errno.ENOMEM and "pid" in program.join
            ):  # so the kernel says (pid_namespaces(7))
                raise KernelError("start a program in a container that has ended") from None
            raise
        finally:
            if pid != 0 and elsewhere:
                libc.setns(self._own_pid_namespace, libc.CLONE_NEWPID)
        return pid

    def _child(self, message: dict[str, Any], program: Program, fds: list[int], report: int) -> NoReturn:
        """Becomes what is asked for. Until that is a program or a server, what goes wrong is told on `report`."""
        code = 1
        try:
            os.write(report, f"{int(os.readlink('/proc/self'))}\n".encode())
            self._become(message, program, fds, report)
            code = 0
        except BaseException as error:
            if "serve" in message:
                import traceback

                os.write(2, traceback.format_exc().encode(errors="replace"))  # the server's log
            code, why = enter.start_failure(error, *_subject(message))
            os.write(report, f"{code} {why[:_REASON]}".encode(errors="replace"))
        finally:
            os._exit(code)

    def _become(self, message: dict[str, Any], program: Program, fds: list[int], report: int) -> None:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number, fd in enumerate(fds[:3]):
            os.dup2(fd, number)
        enter.join_cgroup(program)
        kinds = [kind for kind in enter.KINDS if kind != "pid"]  # it is in that one since its fork
        enter.join_namespaces(program, kinds)
        if "serve" in message:
            control = fds[3]
            _close_all_but(control)  # `report` among them: it has become what it should
            libc.prctl(libc.PR_SET_DUMPABLE, 1)
            Path("/proc/self/comm").write_text(message["name"])  # so that `ps` tells one server from another
            self._serve(message["serve"], socket.socket(fileno=control))
            return
        resource.setrlimit(resource.RLIMIT_NOFILE, self._files)
        if "pause" in message:
            pause.show()
        enter.furnish(program)
        if program.terminal:
            terminal.take(0, program.terminal)
        if "pause" in message:
            pause.pause(program, report)
        enter.execute(program)


def _subject(message: dict[str, Any]) -> tuple[str, str]:
    """The name and the working directory of what a message asks for, as far as there are any."""
    match message:
        case {"program": {"argv": [name, *_], **more}}:
            return str(name), str(more.get("working_directory", ""))
    return str(message.get("name", "program")), ""


def request(sock: socket.socket, message: dict[str, Any], fds: list[int]) -> None:
    """Sends a request to the spawner (supervisor's side). The descriptors may be closed afterwards.

    Raises BlockingIOError when the spawner has yet to read what it was sent before.
    """
    data = json.dumps(message).encode()
    if len(data) <= _MESSAGE:
        _send_with(sock, data, fds)
        return
    with memory_file(data) as file:
        _send_with(sock, json.dumps({"id": message["id"], "in": "file"}).encode(), [*fds, file.fileno()])


def _send_with(sock: socket.socket, data: bytes, fds: list[int]) -> None:
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
