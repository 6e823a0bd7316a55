"""A program in a container, whose input and output pass through this process.

Nothing of the asker's own is given to a container: by an open file a program there could write to it though it was
given for reading, and by a terminal read what is typed long after it has ended. So a program there has pipes, or a
terminal of its container's own, and what comes and goes is copied.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import signal
import socket
import stat
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from emulab.kernel.processes.terminal import resize
from emulab.lab.client.client import LabClient
from emulab.lab.client.programs import START, complaint, passed_signals, request

_CHUNK = 1 << 16


def run(client: LabClient, target: str, namespace: str, container: str, argv: Sequence[str]) -> int:
    """Runs a program with this process's stdin, stdout and stderr, and returns its exit status. Blocks.

    It has a terminal where this process has one. Raises EmulabError.
    """
    with passed_signals(client) as pass_on:
        client.send(request(target, namespace, container, argv))
        client.answer()
        outcome = (_talk if os.isatty(0) and os.isatty(1) else _pipe)(client, pass_on)
    if why := outcome.get("failure"):
        os.write(2, complaint(why))
    status: int = outcome["status"]
    return status


class _Outcome:
    """The lab's answer, for which a thread waits."""

    def __init__(self, client: LabClient) -> None:
        self.told, self._tell = os.pipe2(os.O_CLOEXEC)
        self._found: dict[str, Any] = {}
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._wait, args=(client,), daemon=True)
        self._thread.start()

    def _wait(self, client: LabClient) -> None:
        try:
            self._found = client.answer()[0]
        except BaseException as error:
            self._failure = error
        os.close(self._tell)

    def get(self) -> dict[str, Any]:
        """Blocks until it is there. Raises what `LabClient.answer` raises."""
        self._thread.join()
        os.close(self.told)
        if self._failure is not None:
            raise self._failure
        return self._found


class _Copy:
    """What is read from one descriptor and not written to the other one yet."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.pending = b""
        self.over = False

    def read(self) -> None:
        try:
            self.pending = os.read(self.source, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the other side of a terminal any more
            self.pending = b""
        self.over = not self.pending

    def write(self) -> None:
        """Writes what fits. A target that nobody reads any more takes nothing."""
        try:
            self.pending = self.pending[os.write(self.target, self.pending) :]
        except BlockingIOError:
            return
        except OSError:
            self.pending, self.over = b"", True


def _pipe(client: LabClient, pass_on: Callable[[], None]) -> dict[str, Any]:
    """By pipes. What of a file the program hasn't read is still to be read afterwards."""
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = (
        os.pipe2(os.O_CLOEXEC) for _ in range(3)
    )
    client.send(START, (in_read, out_write, err_write))
    for fd in (out_write, err_write):
        os.close(fd)
    pass_on()
    typed, printed, told = _Copy(0, in_write), _Copy(out_read, 1), _Copy(err_read, 2)
    outcome = _Outcome(client)
    _copy(typed, [printed, told], outcome.told)
    with suppress(OSError):
        if stat.S_ISREG(os.fstat(0).st_mode):
            size = array.array("i", [0])
            fcntl.ioctl(in_read, termios.FIONREAD, size)
            os.lseek(0, -(size[0] + len(typed.pending)), os.SEEK_CUR)
    for fd in (typed.target, in_read, out_read, err_read):
        if fd >= 0:
            os.close(fd)
    return outcome.get()


def _talk(client: LabClient, pass_on: Callable[[], None]) -> dict[str, Any]:
    """By a terminal of the container's, to which this one passes every key."""
    ours, theirs = socket.socketpair()
    with ours:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        client.send({**START, "terminal": _size()}, (theirs.fileno(), null, null))
        theirs.close()
        os.close(null)
        pass_on()
        outcome = _Outcome(client)
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    if not fds:  # it wasn't started
        return outcome.get()
    [terminal] = fds
    os.set_blocking(terminal, False)
    with _raw(), _following(terminal):
        _copy(_Copy(0, terminal), [_Copy(terminal, 1)], outcome.told)
    os.close(terminal)
    return outcome.get()


def _copy(typed: _Copy, printed: Sequence[_Copy], ended: int) -> None:
    """Copies both ways until the program has ended, and then what it has printed until then."""
    if not os.isatty(typed.target):
        os.set_blocking(typed.target, False)
    for copy in printed:
        os.set_blocking(copy.source, False)
    running = True
    while running:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        for copy in printed:
            if not copy.over:
                poll.register(copy.source, select.POLLIN)
        if typed.pending:
            poll.register(typed.target, select.POLLOUT)
        elif not typed.over:
            poll.register(typed.source, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        if typed.pending:
            typed.write()
        elif typed.source in ready:
            typed.read()
            typed.write()
        if typed.over and not typed.pending and not os.isatty(typed.target):
            with suppress(OSError):
                os.close(typed.target)
            typed.target = -1
        running = ended not in ready
        for copy in printed:
            _pass(copy, not running)


def _pass(copy: _Copy, whole: bool) -> None:
    """Passes on what has been printed: a piece of it, or all that there is."""
    while not copy.over:
        copy.pending = b""
        copy.read()
        if not copy.pending:
            return
        while copy.pending:
            copy.write()
        if not whole:
            return


def _size() -> list[int]:
    columns, rows = os.get_terminal_size(0)
    return [rows, columns]


@contextmanager
def _raw() -> Iterator[None]:
    """The terminal passes every key, and shows nothing by itself."""
    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)  # what has been typed already is for the program
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def _following(terminal: int) -> Iterator[None]:
    """The container's terminal is as large as this one."""

    def follow(*_: object) -> None:
        with suppress(OSError):
            resize(terminal, _size())

    before = signal.signal(signal.SIGWINCH, follow)
    try:
        follow()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
