"""File systems in memory for what programs of containers may fill: when one is full, the others aren't.

They are mounted in the supervisor's own mount namespace, so they are gone when it is, however that ends.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

from emulab.errors import KernelError
from emulab.kernel import libc

SIZE = "25%"
"""How much of the machine's memory one may take at the most, as tmpfs has it."""


_MAKING = Lock()


def make(at: Path, mode: int, size: str = "") -> None:
    """Mounts one at a folder, which is made, unless that has been done. Blocks.

    Raises KernelError and OSError; nothing is left then.
    """
    options = f"size={size or SIZE},mode={mode:o}"
    with _MAKING:
        if os.path.ismount(at):
            return
        at.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            libc.mount("room", str(at), "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, options)
        except KernelError:
            os.rmdir(at)
            raise


def remove(at: Path) -> None:
    """Takes it away with all that is in it, and mounted in it, whoever writes there yet. Blocks."""
    with suppress(KernelError):
        libc.unmount(str(at), libc.MNT_DETACH)
    with suppress(OSError):
        os.rmdir(at)
