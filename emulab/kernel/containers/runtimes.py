"""The OCI runtimes that containers can be run with, and whether one works here."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.containers.bundle import OciRun, become_runtime
from emulab.kernel.containers.rights import Rights
from emulab.kernel.containers.root import Root

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where runtimes are looked for."""


class _Ways(NamedTuple):
    """What is different between runtimes. `options` make one leave cgroups alone."""

    options: tuple[str, ...]
    binds_devices: bool


RUNTIMES: Mapping[str, _Ways] = {
    # 1.8 binds nothing of what is mounted below a folder, where a pod has users of its own
    "crun": _Ways(("--cgroup-manager=disabled",), binds_devices=False),
    # it leaves cgroups alone where it can write to none and was asked for none; it opens devices to bind them
    "runc": _Ways(("--rootless=true",), binds_devices=True),
}
"""By the names of their programs."""


def program_of(name: str) -> str:
    """The file of a runtime. Raises KernelError when it isn't installed."""
    found = shutil.which(name, path=PATH)
    if found is None:
        raise KernelError(f"{name} isn't installed", remedy=f"apt install {name}")
    return found


def run_of(name: str, folder: str, id: str) -> OciRun:
    """One run of a runtime. Raises KernelError when it isn't installed."""
    return OciRun((program_of(name), *RUNTIMES[name].options), folder, id, RUNTIMES[name].binds_devices)


def last_error(folder: Path) -> str:
    """What a runtime has said last of why it failed, in the folder of a run; "" when it said nothing. Blocks."""
    found = ""
    with suppress(OSError):
        for line in (folder / "log").read_text().splitlines():
            with suppress(ValueError):
                said = json.loads(line)
                if said.get("level") in ("error", "fatal"):
                    found = str(said.get("msg", ""))
    return found


def attempt(name: str, scratch: str) -> None:
    """Runs a container on a folder in which there is nothing needed. Raises KernelError.

    For a process that is root of namespaces of its own, and is thrown away.
    """
    if shutil.which(name, path=PATH) is None:  # how that is mended is said by who asks
        raise KernelError(f"{name} isn't installed")
    folder, stage = Path(scratch, "files"), Path(scratch, "stage")
    libc.mount("tmpfs", scratch, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV)
    for made in (folder, stage):
        made.mkdir()
    run = run_of(name, str(folder), "try")
    pid = os.fork()
    if pid == 0:
        try:
            _become(run, str(stage))
        except BaseException as error:
            (folder / "log").write_text(json.dumps({"level": "error", "msg": str(error)}))
        finally:
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        raise KernelError(f"{name}: {last_error(folder) or 'it ran no container'}")


def _become(run: OciRun, stage: str) -> None:
    os.setsid()
    signal.alarm(10)  # seconds, in which even a busy machine has run it
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.close(writing)
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    for number, fd in enumerate((reading, null, null)):
        os.dup2(fd, number)
    libc.unshare(libc.CLONE_NEWNS | libc.CLONE_NEWCGROUP)
    become_runtime(
        *(run, Root(stage=stage), Rights(capabilities=()), {}),
        users=-1,
        argv=("true",),
        environment={"PATH": PATH},
        directory="/",
    )
