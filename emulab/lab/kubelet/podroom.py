"""Where the files of one pod are that its containers see: a file system of its own, which no other pod can fill."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from emulab.errors import KernelError
from emulab.lab.folders import rooms


class PodRoom:
    """Blocks; threads may share it. It is made when it is first needed: a pod of stand-ins has none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._made = self._gone = False

    def make(self) -> Path:
        """Raises KernelError and OSError."""
        with self._lock:
            if self._gone:
                raise KernelError("make files of a pod: the pod has been stopped")
            if not self._made:
                rooms.make(self.path, 0o755)
                self._made = True
            return self.path

    def remove(self) -> None:
        with self._lock:
            if self._made and not self._gone:
                rooms.remove(self.path)
            self._gone = True
