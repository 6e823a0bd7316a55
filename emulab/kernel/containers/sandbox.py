"""The namespaces that all containers of a Pod share beside its network: its host's name, and its IPC."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from emulab.dataclass import dataclass
from emulab.kernel import libc
from emulab.kernel.netns import in_thread


@dataclass(slots=True)
class Sandbox:
    """Descriptors of the namespaces."""

    uts: int
    ipc: int

    def close(self) -> None:
        """The namespaces end with the last process in them."""
        os.close(self.uts)
        os.close(self.ipc)


def make(hostname: str) -> Sandbox:
    """Makes the namespaces, as the children of a process have them who join. Blocks. Raises KernelError."""

    def work() -> Sandbox:
        libc.unshare(libc.CLONE_NEWUTS | libc.CLONE_NEWIPC)
        with suppress(OSError):  # a name that the kernel won't take isn't worth a pod that doesn't start
            socket.sethostname(hostname)
        flags = os.O_RDONLY | os.O_CLOEXEC
        uts, ipc = (os.open(f"/proc/thread-self/ns/{kind}", flags) for kind in ("uts", "ipc"))
        return Sandbox(uts, ipc)

    return in_thread(work)
