"""What cgroups and processes tell of their use."""

from __future__ import annotations

import os
from pathlib import Path

from emulab.kernel.cgroups.usage import Usage, oom_kills, usage
from emulab.kernel.processes.family import families


def folder(path: Path, files: dict[str, str]) -> str:
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return str(path)


def test_both_versions_tell_the_working_set_and_the_time(tmp_path: Path) -> None:
    new = folder(
        tmp_path / "new",
        {
            "cpu.stat": "usage_usec 1500\nuser_usec 1000\n",
            "memory.current": "5000\n",
            "memory.stat": "anon 1\ninactive_file 2000\n",
            "memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 1\n",
        },
    )
    assert usage([new]) == Usage(1_500_000, 3000)
    assert oom_kills([new]) == 2
    cpu = folder(tmp_path / "cpu", {"cpuacct.usage": "42\n", "cpu.stat": "nr_periods 5\n"})
    memory = folder(
        tmp_path / "memory",
        {
            "memory.usage_in_bytes": "900\n",
            "memory.stat": "inactive_file 1\ntotal_inactive_file 1000\n",
            "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
        },
    )
    assert usage([cpu, memory]) == Usage(42, 0)
    assert oom_kills([cpu, memory]) == 1
    assert oom_kills([cpu]) == 0
    assert usage([]) is None


def test_a_family_is_a_process_and_all_that_it_has_started(tmp_path: Path) -> None:
    tick, page = 1_000_000_000 // os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")

    def process(pid: int, parent: int, name: str) -> None:
        times = [1, 2, 0, 0] if pid != 7 else [0, 0, 3, 4]
        fields = ["S", parent, *[0] * 9, *times, *[0] * 6, 10]
        folder(tmp_path / str(pid), {"stat": f"{pid} ({name}) {' '.join(map(str, fields))} 0 0\n"})

    process(5, 1, "a) S 1")
    process(6, 5, "b")
    process(7, 6, "c")
    process(8, 1, "other")
    folder(tmp_path / "self", {})
    assert families([5, 8, 99], tmp_path) == {5: Usage(13 * tick, 30 * page), 8: Usage(3 * tick, 10 * page)}
    own = families([os.getpid()])[os.getpid()]
    assert own.memory > 1 << 20 and own.cpu > 0
