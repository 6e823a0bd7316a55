"""A small process that forks servers and containers into namespaces when the supervisor asks.

Forking is safe and cheap from a process that has no threads and no event loop, which the supervisor can't
be. It is forked first thing and loads the servers' libraries while the supervisor loads its own; a
server is then a fork that shares those pages.

Protocol: one JSON datagram a message on a SOCK_SEQPACKET pair, descriptors beside it.

    → {"id", "program": {...} | "serve": kind, "name", "join": [kinds], "fresh_pid": bool}   fds: stdin, stdout,
      stderr, [control], then one for each kind of "join"
    ← {"id", "pid": in the lab's PID namespace, "host_pid": as the host sees it} | {"id", "error": text, ["pid"]}
    ← {"exited": pid, "status": exit status, or 128 + signal}
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from emulab.errors import KernelError
from emulab.kernel import enter, libc
from emulab.kernel.enter import Program

Serve = Callable[[str, socket.socket], None]
_MESSAGE = 1 << 18


def start(serve: Serve, preload: Callable[[], None]) -> socket.socket:
    """Forks the spawner and returns the supervisor's end of its socket.

    `serve(name, control)` runs a server until it ends; `preload` imports what servers need.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    if os.fork() == 0:
        ours.close()
        libc.die_with_parent(signal.SIGKILL)
        Path("/proc/self/comm").write_text("spawner")
        try:
            _Spawner(theirs, serve, preload).run()
        finally:
            os._exit(1)
    theirs.close()
    return ours


class _Spawner:
    def __init__(self, control: socket.socket, serve: Serve, preload: Callable[[], None]) -> None:
        self._control = control
        self._serve = serve
        self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        # A child's end interrupts the wait for messages by way of this pipe (signal.set_wakeup_fd).
        self._wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._wake_write = wake_write
        preload()

    def run(self) -> None:
        import select

        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._wake_read:
                    os.read(self._wake_read, 4096)
                    self._reap()
                else:
                    data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE, 16)
                    if not data:
                        return
                    self._handle(json.loads(data), fds)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            self._send({"exited": pid, "status": code if code >= 0 else 128 - code})

    def _send(self, message: dict[str, Any]) -> None:
        self._control.send(json.dumps(message).encode())

    def _handle(self, message: dict[str, Any], fds: list[int]) -> None:
        try:
            self._send({"id": message["id"], **self._spawn(message, fds)})
        except (OSError, KernelError) as error:
            self._send({"id": message["id"], "error": str(error)})
        finally:
            for fd in fds:
                os.close(fd)

    def _spawn(self, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        report_read, report_write = os.pipe2(os.O_CLOEXEC)
        fresh_pid = bool(message.get("fresh_pid"))
        if fresh_pid:  # concerns children only, and is taken back right after the fork
            libc.unshare(libc.CLONE_NEWPID)
        try:
            pid = os.fork()
        finally:
            if fresh_pid and os.getpid() != 1:
                libc.setns(self._own_pid_namespace, libc.CLONE_NEWPID)
        if pid == 0:
            os.close(report_read)
            self._child(message, fds, report_write)
        os.close(report_write)
        report = b""
        while chunk := os.read(report_read, 4096):
            report += chunk
        os.close(report_read)
        host_pid, _, failure = report.decode().partition("\n")
        if failure:
            return {"error": failure, "pid": pid}
        return {"pid": pid, "host_pid": int(host_pid)}

    def _child(self, message: dict[str, Any], fds: list[int], report: int) -> NoReturn:
        code = 1
        try:
            os.write(report, f"{int(os.readlink('/proc/self'))}\n".encode())
            self._become(message, fds, report)
            code = 0
        except KernelError as error:
            os.write(report, str(error).encode())
        except FileNotFoundError as error:
            code = 127
            os.write(report, f"{error.filename}: no such program or folder".encode())
        except OSError as error:
            code = 126
            os.write(report, f"{error.filename or 'start'}: {error.strerror}".encode())
        except BaseException:
            import traceback

            traceback.print_exc()  # into the server's log
        finally:
            os._exit(code)

    def _become(self, message: dict[str, Any], fds: list[int], report: int) -> None:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number, fd in enumerate(fds[:3]):
            os.dup2(fd, number)
        rest = fds[3:]
        control = rest.pop(0) if "serve" in message else -1
        joined = dict(zip(message["join"], rest, strict=True))
        program = Program(**message.get("program", {"argv": (), "environment": {}}), join=joined)
        if program.cgroup:
            with open(f"{program.cgroup}/cgroup.procs", "w") as procs:
                procs.write("0")
        enter.join(program)
        if "serve" in message:
            for fd in (report, *rest, self._control.fileno(), self._wake_read, self._wake_write):
                os.close(fd)
            Path("/proc/self/comm").write_text(message["name"])  # so that `ps` tells one server from another
            self._serve(message["serve"], socket.socket(fileno=control))
            return
        enter.furnish(program)
        enter.execute(program)


def request(sock: socket.socket, message: dict[str, Any], fds: list[int]) -> None:
    """Sends a request to the spawner (supervisor's side). The descriptors may be closed afterwards."""
    sock.sendmsg(
        [json.dumps(message).encode()],
        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))],
    )
