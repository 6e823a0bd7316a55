"""A container that has ended while somebody enters it: its number may be another process's by then, the host's even."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any, cast

import pytest
from test_container_roots import inside

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.processes.enter import Entry
from emulab.lab.hosts.processes import Process
from emulab.lab.kubelet.runtime.builtin import BuiltinRuntime, Created
from emulab.lab.kubelet.runtime.interface import ContainerConfig
from emulab.lab.kubelet.runtime.sandbox import PodSandbox

pytestmark = pytest.mark.privilege


def container() -> tuple[int, int]:
    """A process that is the first of a PID namespace, and the process that has started it."""
    read, write = os.pipe()
    starter = os.fork()
    if starter == 0:
        libc.unshare(libc.CLONE_NEWPID)
        if (pid := os.fork()) == 0:
            signal.pause()
        os.write(write, str(pid).encode())
        os.waitpid(pid, 0)
        os._exit(0)
    os.close(write)
    number = int(os.read(read, 9))
    os.close(read)
    return number, starter


def another(number: int) -> None:
    """A process with that number."""
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1))
    if (pid := os.fork()) == 0:
        signal.pause()
    assert pid == number


class Sandbox:
    shares_processes = False

    class config:
        own_users = False


async def enter() -> list[Any]:
    runtime = BuiltinRuntime.__new__(BuiltinRuntime)
    number, starter = container()
    made = Created("c", cast(PodSandbox, Sandbox()), ContainerConfig("c", (), {}))
    runtime._containers = {"c": made}
    made.begun(Process(1, number))
    entered = Entry(runtime._namespaces("c")).open()
    same = os.stat(f"/proc/{number}/ns/pid").st_ino == os.fstat(entered["pid"]).st_ino
    os.kill(number, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, starter, 0)
    another(number)  # and nobody has told the runtime of the end yet
    try:
        Entry(runtime._namespaces("c")).open()
        refused = ""
    except KernelError as error:
        refused = str(error)
    late = Created("d", made.sandbox, made.config)
    late.begun(Process(1, number))  # it had ended before its folder was opened
    return [same, refused, late.folder]


def test_nobody_enters_who_has_the_number_of_one_that_has_ended() -> None:
    def work() -> list[Any]:
        libc.mount("proc", "/proc", "proc")
        return asyncio.run(enter())

    same, refused, late = inside(work)
    assert same and late == -1
    assert "No such" in refused and "has the lab or the container ended?" in refused
