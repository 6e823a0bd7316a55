"""Files in memory, by which one process hands another what is too long for a message (memfd_create(2))."""

from __future__ import annotations

import os
from io import BufferedRandom


def memory_file(content: bytes = b"") -> BufferedRandom:
    """A file of no name with this content, which ends with its last descriptor."""
    file = os.fdopen(os.memfd_create("emulab"), "w+b")
    file.write(content)
    file.flush()
    return file


def read_all(fd: int) -> bytes:
    """The whole content of a file, wherever its position is."""
    size = os.fstat(fd).st_size
    parts: list[bytes] = []
    offset = 0
    while offset < size and (part := os.pread(fd, size - offset, offset)):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
