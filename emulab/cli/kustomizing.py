"""What kustomize makes of a folder. It is a program of its own, or kubectl's; there is no second one here."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

from emulab.errors import UserError
from emulab.kernel.processes.programs import run_program
from emulab.model.sources import Source

PROGRAMS = {"kubectl": ("kubectl", "kustomize"), "kustomize": ("kustomize", "build")}
"""The programs that do it, in the order in which they are looked for, and how each is asked."""


def made(folder: str) -> Source:
    """The manifests of a folder with a kustomization. Raises UserError."""
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: -k takes a folder with a kustomization, and this is none")
    command = next((how for program, how in PROGRAMS.items() if shutil.which(program)), None)
    if command is None:
        raise UserError(
            f"{folder}: neither kubectl nor kustomize is on this machine, one of which -k needs; install one, or give"
            f" what it makes elsewhere: kubectl kustomize {folder} > made.yaml"
        )
    done = asyncio.run(run_program([*command, folder]))
    said = done.stderr.decode(errors="replace")
    if done.status:
        raise UserError(f"{folder}: {' '.join(command)}: {_why(said) or f'it ended with {done.status}'}")
    sys.stderr.write(said)  # of what is deprecated, say
    return Source.of_bytes(f"({' '.join(command)} {folder})", done.stdout)


def _why(said: str) -> str:
    """The first line of what a program that failed has said; kubectl's may stand in a line of its log."""
    line = next((line for line in said.splitlines() if line.strip()), "")
    logged = re.search(r'err="(.*)"$', line)
    return (logged[1] if logged else line).removeprefix("error: ").removeprefix("Error: ")
