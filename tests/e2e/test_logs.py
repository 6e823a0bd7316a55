"""Logs of containers: bounded, read and followed while they are renewed, gone with their pods."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path

from emulab import Lab
from emulab.kernel.processes.launch import import_path
from emulab.kernel.processes.programs import this_program
from emulab.lab.folders import rundir

from .tools import emulab, eventually, mounted, sharing

BLOCKS, LINES = 36, 5_000  # of 80 octets: 14 MB, so that the log is renewed once; a block at a time
REST = "." * 72  # of a line, after its number

COUNTING = f"""
apiVersion: v1
kind: Pod
metadata: {{name: counting}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      command:
        - sh
        - -c
        - |
          n=0
          while [ $n -lt {BLOCKS} ]; do
            seq -f %07.0f{REST} $((n * {LINES})) $(((n + 1) * {LINES} - 1))
            n=$((n + 1))
            sleep 0.2
          done
          echo end
          sleep 1000
"""

LOUD = """
apiVersion: v1
kind: Pod
metadata: {name: loud}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: main, command: [sh, -c, "yes loud | head -c 120000000; echo end; exec sleep 1000"]}
    - {name: short, command: [sh, -c, "echo last words; exit 3"]}
"""


def files(lab: Lab, pod: str) -> dict[str, int]:
    """The files of a pod's logs, and their sizes."""

    def found() -> Iterator[tuple[str, int]]:
        for path in (rundir.folder(lab.name) / "logs").iterdir():
            if path.name.startswith(f"default.{pod}."):
                yield path.name, path.stat().st_size

    return dict(found())


async def test_a_log_that_is_followed_is_whole_while_it_is_renewed():
    async with Lab.from_text(COUNTING) as lab:
        process = await asyncio.create_subprocess_exec(
            *this_program(), "-l", lab.name, "logs", "-f", "counting",
            stdout=PIPE, env={**os.environ, "PYTHONPATH": import_path()},
        )  # fmt: skip
        assert process.stdout
        try:
            async with asyncio.timeout(120):
                for number in range(BLOCKS * LINES):
                    assert await process.stdout.readline() == b"%07d%b\n" % (number, REST.encode())
                assert await process.stdout.readline() == b"end\n"
        finally:
            process.send_signal(signal.SIGINT)
            await process.wait()
        assert set(files(lab, "counting")) == {"default.counting.main.log", "default.counting.main.log.1"}
        tail = await emulab("-l", lab.name, "logs", "counting", "--tail", "2")
        assert tail.text.splitlines() == [f"{BLOCKS * LINES - 1:07}{REST}", "end"]
        whole = await emulab("-l", lab.name, "logs", "counting")  # of all files that are left
        assert len(whole.stdout) == sum(files(lab, "counting").values())
        assert whole.text.splitlines()[0] == f"{0:07}{REST}"
        assert await lab.logs("counting") == whole.stdout.decode()
        assert (await lab.logs("counting", tail=1, prefix=True)) == "[pod/counting/main] end\n"


async def test_a_loud_container_has_bounded_logs_that_go_with_its_pod():
    async with Lab.from_text("{apiVersion: v1, kind: Namespace, metadata: {name: quiet}}") as lab:
        await lab.apply(LOUD, ready=False)  # one of its containers is never ready: it always ends at once

        async def said_all() -> bool:
            return (await emulab("-l", lab.name, "logs", "loud", "--tail", "1")).text == "end"

        async def ended() -> bool:
            (pod,) = await lab.get("Pod", "loud")
            return any(c["restartCount"] for c in pod["status"]["containerStatuses"])

        await eventually(said_all)
        sizes = files(lab, "loud")
        del sizes["default.loud.short.log"]
        assert len(sizes) == 5 and max(sizes.values()) <= 10 << 20
        await eventually(ended)
        short = await emulab("-l", lab.name, "logs", "loud", "-c", "short")
        assert short.text.startswith("last words")
        await lab.delete("Pod", "loud")

        async def gone() -> bool:
            return not files(lab, "loud")

        await eventually(gone)


LIVES = """
apiVersion: v1
kind: Pod
metadata: {name: lives}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      command: [sh, -c, "if [ -e FLAG ]; then echo second; exec sleep 1000; fi; : > FLAG; echo first; exit 3"]
"""


async def test_lives_times_and_the_end_of_a_pod(tmp_path: Path) -> None:
    async with Lab.from_text(sharing(tmp_path)) as lab:
        await lab.apply(mounted(LIVES.replace("FLAG", str(tmp_path / "flag")), tmp_path), ready=False)

        async def said(*words: str) -> str:
            return (await emulab("-l", lab.name, "logs", "lives", *words)).text

        async def again() -> bool:
            return await said() == "second"

        await eventually(again)
        assert await said("--previous") == "first"
        assert await said("-p", "--tail", "0") == "" and await said("--since", "1h") == "second"
        stamped = await said("--timestamps")
        at, _, word = stamped.partition(" ")
        assert word == "second" and at.endswith("Z")
        assert await said("--since-time", at) == "second"
        assert await said("--since-time", "2100-01-01T00:00:00Z") == ""

        await lab.apply(
            "{apiVersion: v1, kind: Pod, metadata: {name: mute}, spec: {terminationGracePeriodSeconds: 0,"
            " containers: [{name: main, command: [sleep, '1000']}]}}"
        )
        following = asyncio.ensure_future(emulab("-l", lab.name, "logs", "-f", "mute"))
        await lab.delete("Pod", "mute")
        async with asyncio.timeout(120):
            assert (await following).stdout == b""
