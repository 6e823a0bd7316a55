"""The way out: whatever a command prints passes here on its way to the terminal, or wherever its output goes.

* A terminal obeys what it reads (CWE-150), and manifests, packets, servers and names of files may hold anything. So
  control characters are written out, whoever prints them and wherever to, as kubectl does since CVE-2021-25743:
  ESC is `^[`. Only the colours of a report are let through, by `styled`. What a container wrote is its user's own, and
  passes as it is, by `buffer`: `kubectl logs` changes nothing of it either.
* What can't be written is an error with a line and a status, and isn't tried again when the interpreter ends. That
  goes for standard output. Where standard error is gone there is nobody to tell.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from emulab.errors import EmulabError
from emulab.observe.telling.escapes import visible

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_STYLE = r"(\x1b\[[0-9;]*m)"  # of ECMA-48's SGR: changes how text looks, and nothing else


class OutputError(EmulabError):
    """Standard output can't be written."""


class Outlet:
    """A text stream over another, or over none: over a descriptor that is closed."""

    def __init__(self, stream: Any, needed: bool) -> None:
        self._stream = stream
        self._needed = needed
        if getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # of what its encoding hasn't

    def write(self, text: str) -> int:
        self.put(visible(text))
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with self._guarded():
                self._stream.flush()

    @property
    def buffer(self) -> _Raw:
        """The stream for bytes, which are written as they are."""
        return _Raw(self)

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and bool(self._stream.isatty())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def put(self, text: str) -> None:
        """Writes a text as it is."""
        with self._guarded():
            self._open_stream().write(text)

    def _open_stream(self) -> Any:
        if self._stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._stream

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.silence()
            if not self._needed:
                return
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputError(f"standard output can't be written: {error.strerror or error}") from None

    def silence(self) -> None:
        """Nothing more goes out: what waits in the stream mustn't be complained about when the interpreter ends."""
        with suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(null, self._stream.fileno())
            os.close(null)


class _Raw:
    """The bytes below an Outlet, with its errors."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def write(self, data: bytes) -> int:
        with self._outlet._guarded():
            buffer: BinaryIO = self._outlet._open_stream().buffer
            return buffer.write(data)
        return len(data)

    def flush(self) -> None:
        with self._outlet._guarded():
            self._outlet._open_stream().buffer.flush()


def styled(text: str) -> None:
    """Prints a text of ours with colours in it; what else a terminal would obey is escaped."""
    parts = (part if re.fullmatch(_STYLE, part) else visible(part) for part in re.split(_STYLE, text))
    if isinstance(sys.stdout, Outlet):
        sys.stdout.put("".join(parts))
    else:
        sys.stdout.write("".join(parts))


def beneath(stream: Any) -> Any:
    """The stream itself, for whoever draws on a terminal and escapes what it draws."""
    return stream._stream if isinstance(stream, Outlet) else stream


@contextmanager
def outlets() -> Iterator[Outlet]:
    """Puts both streams behind outlets for as long as the block; gives that of standard output."""
    _occupy()
    before = sys.stdout, sys.stderr
    out = Outlet(sys.stdout, needed=True)
    sys.stdout, sys.stderr = out, Outlet(sys.stderr, needed=False)
    try:
        yield out
    finally:
        with suppress(OutputError, BrokenPipeError):  # told already, or told by what ended the block
            out.flush()
        sys.stdout, sys.stderr = before


def _occupy() -> None:
    """Lets no file that is opened from now on become a standard stream that is closed.

    A socket would get the number, and whatever prints there would speak to the supervisor. What stands in its place
    refuses what the closed one refused, with the same error.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest number that is free: this one.
            os.open(os.devnull, os.O_RDONLY if fd else os.O_WRONLY)
