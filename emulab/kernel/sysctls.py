"""Writes sysctls of network namespaces, each in the same time however many namespaces there are.

What `ipv4` is below /proc/sys/net depends on the namespace of who looks, so the kernel remembers one entry of that name
for each namespace, all in one chain of its table of entries, and who looks there again walks it (`proc_sys_compare` in
fs/proc/proc_sysctl.c). Of 3,000 namespaces the chain took 12 of 14 seconds. A procfs of its own, mounted nowhere, has
chains of its own: so every few namespaces get one, which goes with all its entries.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType
from typing import Self

from emulab.errors import KernelError
from emulab.kernel import libc

_LOT = 64  # namespaces that have a procfs together: making one takes as long as a few looks


class SysctlWriter:
    """Writes settings, for threads that are in one namespace after the other: one at a time, in a `with`."""

    def __init__(self) -> None:
        self._folder: int | None = None
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def enter(self) -> None:
        """The thread has entered a namespace more."""
        if self._seen % _LOT == 0 and not _is_read_only():
            self.__exit__(None, None, None)
            try:
                self._folder = libc.new_filesystem("proc")
            except KernelError:
                self._folder = None  # an old kernel, or a container that mustn't: /proc does it as well
        self._seen += 1

    def write(self, namespace: str, key: str, value: str) -> bool:
        """Writes a setting of the calling thread's namespace, as `write_sysctl`. Raises KernelError."""
        return write_sysctl(namespace, key, value, self._folder)


def _is_read_only() -> bool:
    """Whether somebody has had a reason to show /proc/sys read-only here: then nothing is written past that."""
    try:
        return bool(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY)
    except OSError:
        return True


def write_sysctl(namespace: str, key: str, value: str, folder: int | None = None) -> bool:
    """Writes a sysctl of the calling thread's namespace, below /proc or another procfs. False where it is read-only.

    Raises KernelError.
    """
    path = f"/proc/sys/{key}" if folder is None else f"sys/{key}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return True  # the kernel lacks the feature that this setting tames (IPv6, say)
    except OSError as error:
        if error.errno == errno.EROFS:
            return False
        raise KernelError(f"open sysctl {key}", namespace, error.errno or 0) from None
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise KernelError(f"write {value} to sysctl {key}", namespace, error.errno or 0) from None
    finally:
        os.close(fd)
    return True
