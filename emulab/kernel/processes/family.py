"""What processes and their descendants use, where no cgroup counts it. Blocks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from emulab.kernel.cgroups.usage import Usage

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # nanoseconds
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Running(NamedTuple):
    parent: int
    cpu: int  # nanoseconds, with those of children that have been waited for
    resident: int  # octets


def families(pids: Iterable[int], proc: Path = Path("/proc")) -> dict[int, Usage]:
    """By the pid of the first one, what it and its descendants have used. Memory that some share counts for each."""
    running = {pid: one for entry in _numbers(proc) for pid, one in _read(proc, entry)}
    children: dict[int, list[int]] = {}
    for pid, one in running.items():
        children.setdefault(one.parent, []).append(pid)
    return {pid: _sum(pid, running, children) for pid in pids if pid in running}


def _sum(first: int, running: dict[int, _Running], children: dict[int, list[int]]) -> Usage:
    cpu = memory = 0
    left = [first]
    while left:
        pid = left.pop()
        cpu += running[pid].cpu
        memory += running[pid].resident
        left += children.get(pid, ())
    return Usage(cpu, memory)


def _numbers(proc: Path) -> list[str]:
    return [name for name in os.listdir(proc) if name.isdecimal()]


def _read(proc: Path, name: str) -> Iterator[tuple[int, _Running]]:
    """A process as proc(5) tells of it; its name, in parentheses, may hold anything."""
    with suppress(OSError, ValueError, IndexError):
        fields = (proc / name / "stat").read_text(errors="replace").rpartition(")")[2].split()
        ticks = sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
        yield int(name), _Running(int(fields[1]), ticks * _TICK, int(fields[21]) * _PAGE)
