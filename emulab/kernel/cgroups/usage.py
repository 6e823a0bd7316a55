"""What a container's processes have used, and whether the kernel had to kill some for want of memory. Blocks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Usage(NamedTuple):
    cpu: int  # nanoseconds of processor time, since the cgroup was made
    memory: int  # octets: the working set, which is all but what could be dropped at once


def usage(folders: Sequence[str]) -> Usage | None:
    """What was used in a cgroup, which has one folder in each hierarchy; None where nothing tells."""
    cpu = memory = None
    for folder in folders:
        if cpu is None:
            cpu = _cpu(folder)
        if memory is None:
            memory = _memory(folder)
    return None if cpu is None and memory is None else Usage(cpu or 0, memory or 0)


def _cpu(folder: str) -> int | None:
    if (nanoseconds := _number(f"{folder}/cpuacct.usage")) is not None:
        return nanoseconds
    microseconds = _table(f"{folder}/cpu.stat").get("usage_usec")
    return None if microseconds is None else microseconds * 1000


def _memory(folder: str) -> int | None:
    """cAdvisor's working set: what is charged, without what is cached of files and wasn't used lately."""
    for file, inactive in (
        ("memory.current", "inactive_file"),
        ("memory.usage_in_bytes", "total_inactive_file"),
    ):
        if (charged := _number(f"{folder}/{file}")) is not None:
            return max(0, charged - _table(f"{folder}/memory.stat").get(inactive, 0))
    return None


def oom_kills(folders: Sequence[str]) -> int:
    """How many processes of a cgroup the kernel has killed for want of memory, its own or that of one above it."""
    for folder in folders:
        for file in ("memory.events", "memory.oom_control"):
            kills = _table(f"{folder}/{file}").get("oom_kill")
            if kills is not None:
                return kills
    return 0


def _number(path: str) -> int | None:
    with suppress(OSError, ValueError):
        return int(Path(path).read_text())
    return None


def _table(path: str) -> dict[str, int]:
    """The numbers of a file with a name and a number in each line."""
    found: dict[str, int] = {}
    with suppress(OSError):
        for line in Path(path).read_text().splitlines():
            name, _, number = line.partition(" ")
            with suppress(ValueError):
                found[name] = int(number)
    return found
