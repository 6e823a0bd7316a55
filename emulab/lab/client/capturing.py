"""A capture file that is written while somebody does something else: `Lab.capture`."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from emulab.kernel import expressions
from emulab.lab.client.client import LabClient
from emulab.lab.client.tapping import LabTaps
from emulab.observe.events import Frame
from emulab.observe.pcapng import SNAPLEN, CaptureStream


class FileCapture:
    """`packets` and `lost`, by place, are known once it has ended. Beginning and ending block."""

    def __init__(
        self, folder: Path, file: Path, targets: Sequence[str], namespace: str, expression: str
    ) -> None:
        """Begins. Raises UserError for a target or a filter that can't be, OSError for the file."""
        self.packets = 0
        self.lost: Mapping[str, int] = {}
        self._failure: Exception | None = None
        program = expressions.compiled(expression, SNAPLEN) if expression else expressions.everything(SNAPLEN)
        with ExitStack() as opened:
            client = opened.enter_context(LabClient(folder))
            self._taps = opened.enter_context(LabTaps(client, targets, namespace, program=program))
            self._stream = CaptureStream(opened.enter_context(file.open("wb")))
            self._opened = opened.pop_all()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._write, name="capture", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        try:
            with self._opened:
                while not self._ending.is_set():
                    self._keep(self._taps.look())
                for frames in self._taps.rest():
                    self._keep(frames)
                self.lost = self._taps.lost()
                self._stream.end(time.time_ns(), self.lost)
        except Exception as error:
            self._failure = error  # told by `end`

    def _keep(self, frames: Sequence[Frame]) -> None:
        self.packets += len(frames)
        self._stream.write(frames)

    def end(self) -> None:
        """Ends it once all that has come is written. Raises what went wrong meanwhile."""
        self._ending.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
