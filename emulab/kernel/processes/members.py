"""The processes that see a container's files or have a pod's name, wherever they come from, and their end.

Where a container isn't alone in its PID namespace, the end of its first process is nobody else's: what it has left
behind is found by its mount namespace, which no other container has and no process of it leaves. Runtimes find it by
its cgroup, which not every lab has. Who is in a pod without being any container of it is in the pod's UTS namespace.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

_PAUSE = 0.002


def end_members(
    namespace: int, kind: str = "mnt", seconds: float = 2.0, *, spared: Collection[int] = ()
) -> bool:
    """Kills all that are in the namespace of this number; whether nobody is. Blocks.

    Who asks has it open, as numbers are given to others again. Who forks meanwhile is looked for again. `spared`: the
    mount namespaces of those that are let live.
    """
    end = time.monotonic() + seconds
    while found := [*_members(namespace, kind, spared)]:
        if time.monotonic() > end:
            return False
        for number in found:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(_PAUSE)
    return True


def _members(namespace: int, kind: str, spared: Collection[int]) -> Iterator[int]:
    """Their numbers in the caller's PID namespace, which may be another than that of its /proc."""
    level = len(_numbers("self")) - 1
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):
                if os.stat(f"/proc/{name}/ns/{kind}").st_ino != namespace:
                    continue
                if spared and os.stat(f"/proc/{name}/ns/mnt").st_ino in spared:
                    continue
                numbers = _numbers(name)
                if len(numbers) > level >= 0:
                    yield numbers[level]


def end_with_children(number: int, shown: int) -> None:
    """Kills a process, which is stopped first, and its children. `shown`: its number where /proc is. Blocks."""
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGSTOP)
    level = len(_numbers("self")) - 1
    for child in _children(shown):
        with suppress(OSError):  # it has gone, which its siblings haven't
            numbers = _numbers(child)
            if len(numbers) > level >= 0:
                os.kill(numbers[level], signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def _children(process: int) -> Iterator[str]:
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            yield from children.read_text().split()


def _numbers(process: str) -> list[int]:
    """The numbers of a process, the outermost namespace's first; none of one that has ended."""
    for line in Path(f"/proc/{process}/status").read_text(errors="replace").splitlines():
        if line.startswith("State:\tZ"):  # it waits for its parent alone
            return []
        if line.startswith("NSpid:"):
            return [int(number) for number in line.split()[1:]]
    return []
