"""What a cgroup bounds, and the files that say it to the kernel: Documentation/admin-guide/cgroup-v{1,2}."""

from __future__ import annotations

import math
from collections.abc import Mapping

from emulab.dataclass import dataclass

PERIOD = 100_000
"""Microseconds for which a quota of processor time is given: the kubelet's `cpuCFSQuotaPeriod`."""
LEAST_QUOTA = 1_000
LEAST_SHARES, MOST_SHARES = 2, 262_144

OPTIONAL = frozenset(("memory.memsw.limit_in_bytes", "memory.swap.max", "memory.oom.group"))
"""Files that kernels may be without: where no swap is accounted for, and before 4.19."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None is as the kernel has it. `dies_whole`: who has no memory left ends with all its processes."""

    memory: int | None = None  # octets, of which none are swapped
    quota: int | None = None  # microseconds of processor time in each `PERIOD`
    shares: int | None = None  # of processor time, beside others; one processor is 1024
    pids: int | None = None
    dies_whole: bool = False

    def files(self, unified: bool) -> dict[str, Mapping[str, str]]:
        """By controller, what is to be written into which file, in this order."""
        found = self._version_2() if unified else self._version_1()
        return {name: files for name, files in found.items() if files}

    def _version_2(self) -> dict[str, Mapping[str, str]]:
        cpu: dict[str, str] = {}
        memory: dict[str, str] = {}
        if self.shares is not None:
            cpu["cpu.weight"] = str(weight_of(self.shares))
        if self.quota is not None:
            cpu["cpu.max"] = f"{self.quota} {PERIOD}"
        if self.memory is not None:
            memory |= {"memory.max": str(self.memory), "memory.swap.max": "0"}
        if self.dies_whole:
            memory["memory.oom.group"] = "1"
        return {"cpu": cpu, "memory": memory, "pids": self._pids()}

    def _version_1(self) -> dict[str, Mapping[str, str]]:
        cpu: dict[str, str] = {}
        memory: dict[str, str] = {}
        if self.shares is not None:
            cpu["cpu.shares"] = str(self.shares)
        if self.quota is not None:
            cpu |= {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(self.quota)}
        if self.memory is not None:
            # with swap, not beside it: as much again is none
            files = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
            memory |= dict.fromkeys(files, str(self.memory))
        return {"cpu": cpu, "memory": memory, "pids": self._pids()}

    def _pids(self) -> dict[str, str]:
        return {} if self.pids is None else {"pids.max": str(self.pids)}


def weight_of(shares: int) -> int:
    """The weight of version 2 for shares of version 1, as runc has it since 1.3.2: 1024 shares are the default, 100.

    10 to the power of (l² + 125 l) / 612 - 7 / 34, where l is the logarithm to the base of 2.
    """
    if shares <= LEAST_SHARES:
        return 1
    if shares >= MOST_SHARES:
        return 10_000
    exponent = math.log2(shares)
    return math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def quota_of(millicores: int) -> int | None:
    """Microseconds in each `PERIOD` (the kubelet's `MilliCPUToQuota`); None is all there are."""
    return max(millicores * PERIOD // 1000, LEAST_QUOTA) if millicores else None


def shares_of(millicores: int) -> int:
    """The kubelet's `MilliCPUToShares`."""
    return min(max(millicores * 1024 // 1000, LEAST_SHARES), MOST_SHARES)
