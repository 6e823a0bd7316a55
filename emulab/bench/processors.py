"""Which processors who asks and all else keep to, and how much of them a lab has used. Reads /proc; blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class ProcessorShares(NamedTuple):
    """Numbers of processors."""

    labs: tuple[int, ...]
    asking: tuple[int, ...]

    @property
    def apart(self) -> bool:
        return not set(self.labs) & set(self.asking)


def shares(available: Sequence[int]) -> ProcessorShares:
    """The last one for who asks, the others for the labs; a single one for both."""
    ordered = sorted(available)
    return ProcessorShares(tuple(ordered[:-1] or ordered), (ordered[-1],))


@contextmanager
def pinned(processors: Sequence[int]) -> Iterator[None]:
    """This thread, and what it starts meanwhile, keeps to these processors: a lab inherits it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def descendants(pid: int, proc: Path = PROC) -> list[int]:
    """A process and all that it has started, and these in turn: those of a lab are its supervisor's."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(proc):
        if entry.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                fields = (proc / entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, left = [], [pid]
    while left:
        found.append(one := left.pop())
        left += children.get(one, ())
    return found


def used(pid: int, proc: Path = PROC) -> int:
    """Nanoseconds that a process has run, all its threads, with what the kernel did in their name."""
    total = 0
    with suppress(OSError, ValueError, IndexError):
        for task in (proc / str(pid) / "task").iterdir():
            with suppress(OSError, ValueError, IndexError):
                total += int((task / "schedstat").read_text().split()[0])
    return total


def wanted(pid: int, proc: Path = PROC) -> int:
    """Nanoseconds that a process' busiest thread has run, or waited for a processor to run."""
    most = 0
    with suppress(OSError, ValueError, IndexError):
        for task in (proc / str(pid) / "task").iterdir():
            with suppress(OSError, ValueError, IndexError):
                most = max(most, sum(map(int, (task / "schedstat").read_text().split()[:2])))
    return most


def name(pid: int, proc: Path = PROC) -> str:
    """What `ps` calls it: of a server of a lab the first fifteen letters of its place; "" when it has ended."""
    with suppress(OSError):
        return (proc / str(pid) / "comm").read_text(errors="replace").strip()
    return ""


class LabProcessors:
    """What the processes of a lab have used."""

    def __init__(self, supervisor: int) -> None:
        self._supervisor = supervisor
        self._pids = descendants(supervisor)

    def look_again(self) -> None:
        """Finds the processes anew."""
        self._pids = descendants(self._supervisor)

    def total(self) -> int:
        """Nanoseconds of all."""
        return sum(map(used, self._pids))

    def wanted_by_name(self) -> dict[str, dict[int, int]]:
        """By what `ps` calls the processes, and by pid, the nanoseconds that each wanted."""
        found: dict[str, dict[int, int]] = {}
        for pid in self._pids:
            found.setdefault(name(pid), {})[pid] = wanted(pid)
        return found
