"""What each answer, and each request to an upstream, has anew: the date, and an id."""

from __future__ import annotations

import os
from collections.abc import Callable
from email.utils import formatdate

DRAWN = 256
"""Request ids that are drawn at once, which is much quicker."""


class DateLine:
    """The Date field, made anew at most once a second."""

    __slots__ = ("_clock", "_line", "_second")

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since the epoch."""
        self._clock = clock
        self._second = -1
        self._line = b""

    def now(self) -> bytes:
        """The line."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._line = f"Date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._line


class RequestIds:
    """32 random hexadecimal digits each, as nginx's `$request_id`."""

    __slots__ = ("_drawn",)

    def __init__(self) -> None:
        self._drawn: list[bytes] = []

    def draw(self) -> bytes:
        """One that nobody has."""
        if not self._drawn:
            digits = os.urandom(16 * DRAWN).hex().encode()
            self._drawn = [digits[start : start + 32] for start in range(0, len(digits), 32)]
        return self._drawn.pop()
