"""Runs programs outside any lab, and awaits them: another emulab command, say."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence

from emulab.dataclass import dataclass
from emulab.kernel.processes.installed import finding_all
from emulab.kernel.processes.launch import import_path


@dataclass(frozen=True, slots=True)
class Completed:
    """What became of a program: exit status (128 + signal for a killed one) and its output."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output, decoded and stripped."""
        return self.stdout.decode(errors="replace").strip()


def this_program() -> list[str]:
    """The command that runs emulab's command line with this very code."""
    return [sys.executable, "-P", "-m", "emulab"]


async def run_program(
    command: Sequence[str], stdin: bytes = b"", descriptors: Sequence[int] = ()
) -> Completed:
    """Runs a program to its end; kills it when the caller is cancelled. It inherits these descriptors."""
    process = await asyncio.create_subprocess_exec(
        *command,
        # A pipe that has nothing to say is one that may be closed before uvloop says so.
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**finding_all(os.environ), "PYTHONPATH": import_path()},
        pass_fds=tuple(descriptors),
    )
    try:
        stdout, stderr = await process.communicate(stdin or None)
    except asyncio.CancelledError:
        process.terminate()
        raise
    status = process.returncode or 0
    return Completed(status if status >= 0 else 128 - status, stdout, stderr)
