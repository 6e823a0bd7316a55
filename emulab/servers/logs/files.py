"""A log of bounded size: what comes out of a pipe goes into a file, and from there into older files.

Rules, with the kubelet's numbers (containerLogMaxSize, containerLogMaxFiles):

* The file itself is always there and always the newest; `.1` to `.4` are what it was before, `.1` last.
* A file never grows beyond its limit, however fast somebody writes. Files begin with a whole line as far as lines are
  shorter than a read.
* The kernel moves octets from the pipe to the file (splice(2)), so that a process killed in between loses none.
* What there is no room for is dropped and counted, in lines, and the count stands in the file once there is room:
  whoever writes neither waits for the disk to be emptied nor ends.
"""

from __future__ import annotations

import errno
import os
import select
from contextlib import suppress

from emulab.servers.logs.marks import MarkFile

LIMIT, FILES = 10 << 20, 5
CHUNK = 1 << 16  # octets moved in one go; then others have their turn

_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class LogFile:
    """A log by its name in `folder`, a descriptor."""

    def __init__(
        self,
        folder: int,
        name: str,
        limit: int = LIMIT,
        files: int = FILES,
        marks: MarkFile | None = None,
    ) -> None:
        self._folder = folder
        self._name = name
        self._limit = limit
        self._files = files
        self._marks = marks
        self._fd = -1
        self._size = 0
        self._splices = True  # unless the file system can't
        self._dropped = 0
        self._reason = ""

    def take(self, pipe: int) -> int:
        """Moves what is in a pipe that doesn't block, or a part of it; 0 at its end. Raises BlockingIOError."""
        if self._size >= self._limit and _is_at_end(pipe):
            return 0
        try:
            self._make_room()
        except OSError as error:
            return self._drop(pipe, error)
        room = min(CHUNK, self._limit - self._size)
        before = self._size
        try:
            moved = os.splice(pipe, self._fd, room, offset_dst=self._size) if self._splices else 0
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno != errno.EINVAL:
                return self._drop(pipe, error)
            self._splices = False
        if not self._splices:
            return self._copy(pipe, room)
        if moved:
            self._mark(before)
        self._size += moved
        return moved

    def begin(self) -> None:
        """Who prints begins another life."""
        if self._marks is None:
            return
        with suppress(OSError):
            self._make_room()
            self._marks.begin(self._size)

    def begin_again(self) -> None:
        """Another life begins of somebody whose first one began with the log, which nobody has said."""
        if self._marks is not None and not self._marks.begun:
            self._marks.begin(0)
        self.begin()

    def write(self, data: bytes) -> None:
        """Writes what there is room for."""
        try:
            self._make_room()
            self._mark(self._size)
            self._size += os.pwrite(self._fd, data[: self._limit - self._size], self._size)
        except OSError as error:
            self._note(data, error)

    def close(self) -> None:
        """Closes the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._marks is not None:
            self._marks.close()

    def remove(self) -> None:
        """Removes the log with its older files."""
        self.close()
        for name in (self._name, f"{self._name}.new", *map(self._older, range(1, self._files))):
            with suppress(OSError):
                os.unlink(name, dir_fd=self._folder)
        if self._marks is not None:
            self._marks.remove(self._files)

    def _mark(self, offset: int) -> None:
        if self._marks is not None:
            self._marks.note(offset)

    def _older(self, number: int) -> str:
        return f"{self._name}.{number}"

    def _copy(self, pipe: int, room: int) -> int:
        data = os.read(pipe, room)
        self._mark(self._size)
        try:
            written = os.pwrite(self._fd, data, self._size)
            self._size += written
            if written < len(data):
                self._note(data[written:], OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        except OSError as error:
            self._note(data, error)
        return len(data)

    def _drop(self, pipe: int, error: OSError) -> int:
        data = os.read(pipe, CHUNK)
        self._note(data, error)
        return len(data)

    def _note(self, data: bytes, error: OSError) -> None:
        self._dropped += data.count(b"\n")
        self._reason = error.strerror or str(error)

    def _make_room(self) -> None:
        """Has the file open and smaller than its limit, with a note in it about what was dropped."""
        if self._fd < 0:
            self._fd = os.open(self._name, _OPEN, 0o600, dir_fd=self._folder)
            self._size = os.fstat(self._fd).st_size
        if self._size >= self._limit:
            self._rotate()
        if self._reason:
            note = f"emulab: {self._dropped} lines were dropped: {self._reason}\n".encode()
            self._size += os.pwrite(self._fd, note[: self._limit - self._size], self._size)
            self._dropped, self._reason = 0, ""
            if self._size >= self._limit:
                self._rotate()

    def _rotate(self) -> None:
        """Begins a new file with the line that the old one ends in. At no moment there is no file of the name."""
        tail = os.pread(self._fd, CHUNK, max(0, self._size - CHUNK))
        rest = tail[tail.rfind(b"\n") + 1 :] if b"\n" in tail else b""
        folder = self._folder
        fresh = os.open(f"{self._name}.new", _OPEN | os.O_TRUNC, 0o600, dir_fd=folder)
        try:
            if os.write(fresh, rest) < len(rest):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with suppress(FileNotFoundError):
                os.unlink(self._older(self._files - 1), dir_fd=folder)
            for number in reversed(range(1, self._files - 1)):
                with suppress(FileNotFoundError):
                    os.rename(
                        self._older(number), self._older(number + 1), src_dir_fd=folder, dst_dir_fd=folder
                    )
            with suppress(FileNotFoundError):  # somebody has removed it
                os.link(self._name, self._older(1), src_dir_fd=folder, dst_dir_fd=folder)
            os.rename(f"{self._name}.new", self._name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.close(fresh)
            raise
        if self._marks is not None:
            self._marks.renew(self._size - len(rest), self._files)
        os.ftruncate(self._fd, self._size - len(rest))
        os.close(self._fd)
        self._fd, self._size = fresh, len(rest)


def _is_at_end(pipe: int) -> bool:
    """Whether nothing will come any more: then the newest file is that with the last words. Raises BlockingIOError."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    events = dict(poll.poll(0)).get(pipe, 0)
    if not events:
        raise BlockingIOError
    return not events & select.POLLIN
