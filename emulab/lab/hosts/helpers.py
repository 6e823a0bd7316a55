"""Helpers: processes that do something once for the supervisor, of the kinds in `servers.kinds.HELPERS`."""

from __future__ import annotations

import os
import socket

from emulab.lab.hosts.processes import Processes
from emulab.memoryfile import memory_file


async def begin(processes: Processes, kind: str, told: bytes) -> socket.socket:
    """Starts a process that is told this in a memory file. The socket by which it answers, which doesn't block; it
    closes when the process ends. Raises KernelError, or OSError where it ended at once."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        ours.setblocking(False)
        await processes.serve(kind, kind, (null, 1, 2), theirs, {})
        theirs.close()
        with memory_file(told) as file:
            socket.send_fds(ours, [b" "], [file.fileno()])
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(null)
    return ours
