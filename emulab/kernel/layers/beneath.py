"""Opening what lies below a folder, and nothing else: openat2(2) with RESOLVE_BENEATH.

A link inside is followed as long as it stays below; an absolute one, and one that climbs out, is refused by the kernel
itself (EXDEV), at whatever moment somebody exchanges a part of the path.
"""

from __future__ import annotations

import ctypes
import errno
import os

_OPENAT2 = 437  # on all architectures
_RESOLVE_NO_XDEV, _RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x01, 0x02, 0x08
_RESOLVE = _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_BENEATH
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_AGAIN = 100

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(folder: int, path: str, flags: int = _FOLDER) -> int:
    """A descriptor of what is at `path` below a folder. Raises OSError; EXDEV where the path leads out of it."""
    how = _How(flags | os.O_CLOEXEC, 0, _RESOLVE)
    name = os.fsencode(path) or b"."
    for _ in range(_AGAIN):  # EAGAIN: something was moved meanwhile
        fd: int = _libc.syscall(
            *(ctypes.c_long(_OPENAT2), ctypes.c_long(folder), name),
            *(ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))),
        )
        if fd >= 0:
            return fd
        if ctypes.get_errno() != errno.EAGAIN:
            break
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), path)
