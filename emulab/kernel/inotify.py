"""Being told that a file was removed or moved (inotify(7)), which Python doesn't offer."""

from __future__ import annotations

import os

from emulab.kernel import libc

MOVED_FROM, MOVED_TO, DELETE = 0x40, 0x80, 0x200  # something in a watched folder
DELETE_SELF, MOVE_SELF = 0x400, 0x800  # the watched folder itself


class Inotify:
    """A descriptor that is readable once something has happened to a watched folder."""

    def __init__(self) -> None:
        """Raises KernelError when this user has as many as the kernel allows."""
        self._fd = libc.inotify_init(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def watch(self, path: str, mask: int) -> None:
        """Raises KernelError."""
        libc.inotify_add_watch(self._fd, path, mask)

    def drain(self) -> None:
        """Forgets what has happened so far."""
        try:
            while os.read(self._fd, 1 << 16):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        os.close(self._fd)
