"""Commands that go on until they are told to end: Ctrl-C, `kill` and a time that is over are the same to them, and they
put in order what they have before they end."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

_LOOK = 0.1  # seconds


class UntilEnded:
    """Whether it is time to end. A second Ctrl-C doesn't wait for that."""

    def __init__(self, seconds: float | None = None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds
        self._told = False
        self._before: dict[int, Any] = {}

    @property
    def ended(self) -> bool:
        return self._told or (self._until is not None and time.monotonic() >= self._until)

    def wait(self, seconds: float) -> None:
        """Sleeps, but not beyond the end."""
        left = seconds if self._until is None else min(seconds, self._until - time.monotonic())
        end = time.monotonic() + left
        while not self._told and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK))  # which goes on after a signal (PEP 475)

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self._told:
            raise KeyboardInterrupt
        self._told = True

    def __enter__(self) -> UntilEnded:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
