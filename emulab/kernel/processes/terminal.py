"""A terminal of a container's own, for a program that somebody talks to from another one.

The user's terminal itself is nothing to give to a container: whoever has it open reads what is typed, in this program
and in those after it, and sets how it behaves. So the child opens a terminal of the container's devpts, keeps the end
for the program, and gives the other end to who asked.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import stat
import struct
import termios
from collections.abc import Sequence

from emulab.errors import KernelError

_MULTIPLEXER = "/dev/pts/ptmx"
_DEVICE = os.makedev(5, 2)
_UNLOCK, _PEER = 0x40045431, 0x5441  # TIOCSPTLCK, TIOCGPTPEER (ioctl_tty(2))


def take(asker: int, size: Sequence[int]) -> None:
    """Makes a new terminal the calling process's, a session's first, and its stdin, stdout and stderr.

    `asker` is a socket to which the other end is sent; `size` are rows and columns. Raises KernelError and OSError.
    """
    control = os.open(_MULTIPLEXER, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(control)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != _DEVICE:
        raise KernelError(f"{_MULTIPLEXER} of the container is no terminal multiplexer")
    fcntl.ioctl(control, _UNLOCK, struct.pack("i", 0))
    own = fcntl.ioctl(control, _PEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    resize(control, size)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [control]))]
    with socket.socket(fileno=os.dup(asker)) as answer:
        answer.sendmsg([b"t"], rights)
    fcntl.ioctl(own, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(own, fd)
    os.close(own)
    os.close(control)


def resize(terminal: int, size: Sequence[int]) -> None:
    """Tells a terminal, and who runs in it, how large it is. Raises OSError."""
    rows, columns = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
