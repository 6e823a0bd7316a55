"""When does a lab that keeps silent answer no more? What its supervisor does says it.

A supervisor that lives says so every second (`control`). Silence is counted in looks, a second apart, so that a machine
that stood still counts as one of them. What then is no answer depends on the process (proc(5), /proc/PID/stat):
* stopped (SIGSTOP, a debugger): soon, as it won't speak before somebody lets it go on;
* neither stopped nor using the processor: it waits for something that doesn't come;
* using the processor: it may be planning something large, for which its loop takes as long as it takes.
"""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path

from emulab.errors import EmulabError
from emulab.lab.client import commandline
from emulab.lab.folders import rundir

LOOK = 1.0  # seconds between two looks
STOPPED, IDLE, BUSY = 5, 10, 60  # looks until a supervisor is given up that is so
STARTING = 300  # and one that starts, which takes minutes on an emulated processor that has no time
_STOPPED = ("T", "t")  # by a signal, by a tracer
PAUSE = 0.05  # seconds until a full queue of connections is tried again


class NoAnswer(EmulabError):
    """The lab doesn't answer any more."""


class LabSilence:
    """How long a lab has said nothing, and what its supervisor did meanwhile."""

    def __init__(self, path: Path, starting: bool = False) -> None:
        """`starting`: its supervisor has yet to say that it is ready, and at first which process it is."""
        self._path = path
        self._starting = starting
        self._looks = self._idle = 0
        self._spent = -1

    def broken(self) -> None:
        """Notes that the lab has said something."""
        self._looks = self._idle = 0
        self._spent = -1

    def look(self) -> None:
        """Looks at the supervisor after another while without a word from it.

        Raises EmulabError when it isn't worth waiting any longer.
        """
        pid = _pid(self._path)
        state, spent = _process(pid)
        self._looks += 1
        unknown = self._starting and not pid
        self._idle = self._idle + 1 if spent == self._spent and not unknown else 0
        self._spent = spent
        if reason := verdict(state, self._looks, self._idle, STARTING if self._starting else BUSY):
            raise no_answer(self._path, reason)


def verdict(state: str, looks: int, idle: int, busy: int = BUSY) -> str:
    """What is wrong with a supervisor in this state after so many looks, of which the last `idle` saw it do nothing.

    Empty as long as it may still answer: at most for `busy` looks.
    """
    if state in _STOPPED and looks >= STOPPED:
        return "is stopped"
    if idle >= IDLE:
        return "hangs"
    return f"has been busy for {looks * LOOK:.0f} s" if looks >= busy else ""


def no_answer(path: Path, reason: str) -> NoAnswer:
    """The error that says what a silent lab's supervisor does, and what can be done."""
    pid = _pid(path)
    who = f"its supervisor (pid {pid})" if pid else "its supervisor"
    go_on = f"let it go on with: kill -CONT {pid}, or " if _process(pid)[0] in _STOPPED else ""
    end = f"end the lab with: {commandline.begun(path.name)} down"
    return NoAnswer(f"lab {path.name!r} does not answer: {who} {reason}; {go_on}{end}")


def _pid(path: Path) -> int:
    info = rundir.read_info(path)
    return info.pid if info is not None else 0


def _process(pid: int) -> tuple[str, int]:
    """A process's state, and how many ticks of the processor it has had; ("", 0) when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return fields[0], int(fields[11]) + int(fields[12])  # utime and stime, the 14th and 15th of all


def connect(sock: socket.socket, address: str, path: Path) -> None:
    """Connects to a lab. Its queue may be full of others who wait: the kernel would let us wait for ever."""
    if sock.gettimeout() is not None:
        sock.connect(address)
        return None
    sock.setblocking(False)
    silence, due = LabSilence(path), time.monotonic() + LOOK
    try:
        while True:
            try:
                return sock.connect(address)
            except BlockingIOError:
                time.sleep(PAUSE)
            if time.monotonic() >= due:
                silence.look()
                due = time.monotonic() + LOOK
    finally:
        sock.setblocking(True)


def send(sock: socket.socket, data: bytes, silence: LabSilence) -> None:
    """Sends all of it, as fast as the lab takes it. Raises EmulabError when it takes none any more."""
    if sock.gettimeout() is not None:
        sock.sendall(data)
        return
    rest = memoryview(data)
    while rest:
        await_ready(sock, select.POLLOUT, silence)
        try:
            rest = rest[sock.send(rest, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            continue


def await_ready(sock: socket.socket, event: int, silence: LabSilence) -> None:
    """Returns when the socket is ready. Raises EmulabError when the lab doesn't answer any more.

    A socket with a timeout of its own is left to that.
    """
    if sock.gettimeout() is not None:
        return
    poll = select.poll()
    poll.register(sock, event)
    while not poll.poll(LOOK * 1000):
        silence.look()
    silence.broken()
