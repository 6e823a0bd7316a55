"""What the kernel tells of this process."""

from __future__ import annotations

import os
import time
from pathlib import Path

from emulab.servers.l7.personalities.figures import ProcessUse


def own_process() -> ProcessUse:
    """Processor time, memory and the start of this process; zeros where there is no /proc."""
    times = os.times()
    cpu = times.user + times.system
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return ProcessUse(1, cpu, 0, 0, 0.0)
    started, virtual, resident = int(fields[19]), int(fields[20]), int(fields[21])
    age = uptime - started / os.sysconf("SC_CLK_TCK")
    return ProcessUse(1, cpu, resident * os.sysconf("SC_PAGE_SIZE"), virtual, round(time.time() - age, 2))
