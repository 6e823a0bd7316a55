"""Walks a page: writes its files and runs its commands, in a folder and with labs of its own."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .blocks import Command, File, Step, steps
from .forms import difference

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 120.0
"""Seconds after which a command hangs."""
PROGRAMS = {"emulab": "-m emulab", "pytest": "-m pytest", "python3": ""}
"""Commands of .venv that pages name, and how the Python that walks starts them."""
_CHOSEN = re.compile(r"(?<= -l )(?=[a-z][a-z0-9-]*(?:\s|$))")
_FAILS = re.compile(
    r"^(emulab: |error: |Error from server|FAILED at |curl: \(|FAILED )|: denied$", re.MULTILINE
)
"""What is shown of a command that is to fail."""


@dataclass(frozen=True)
class Outcome:
    """A command that was run: how long it took, and what is wrong with it, "" when nothing is."""

    command: Command
    seconds: float
    wrong: str


def fault(command: Command, status: int, printed: str) -> str:
    """What is wrong with how a command ended, "" when nothing is."""
    fails = bool(_FAILS.search(command.shown))
    if (status != 0) != fails:
        return f"its status is {status}"
    if "Traceback (most recent call last)" in printed:
        return "it ends in a traceback"
    return difference(command.shown, printed)


def walk(page: Path, labs: str = "") -> Iterator[Outcome]:
    """Follows a page to its end. Names of labs begin with `labs`, which what is printed doesn't show."""
    return run_steps(steps(page.read_text()), labs)


def run_steps(work: Iterable[Step], labs: str = "") -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory(prefix="emulab-page-") as scratch:
        folder = _checkout(Path(scratch))
        environment = _environment(Path(scratch), labs)
        try:
            for step in work:
                if isinstance(step, File):
                    (folder / step.name).write_text(step.text)
                else:
                    yield _run(step, folder, environment, labs)
        finally:
            down = [sys.executable, "-m", "emulab", "down", "--all"]
            subprocess.run(down, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False)


def _checkout(scratch: Path) -> Path:
    """A folder that looks like the checkout, and in which commands may write."""
    folder = scratch / "emulab"
    folder.mkdir()
    for name in ("topologies", "scripts", "docs", "README.md", "pyproject.toml"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return folder


def _environment(scratch: Path, labs: str) -> Mapping[str, str]:
    programs, run = scratch / "bin", scratch / "run"
    programs.mkdir()
    run.mkdir(mode=0o700)
    for name, words in PROGRAMS.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (programs / name).chmod(0o755)
    mine = {
        "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
        "PYTHONPATH": str(ROOT),
        "EMULAB_RUN_DIR": str(run),
        "EMULAB_IMAGE_DIR": str(scratch / "images"),
        "EMULAB_LAB": f"{labs}default",
        "COLUMNS": "100",
    }
    others = {k: v for k, v in os.environ.items() if not k.startswith(("EMULAB_", "PYTEST_"))}
    return others | mine


def _run(command: Command, folder: Path, environment: Mapping[str, str], labs: str) -> Outcome:
    begun = time.monotonic()
    with subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", _CHOSEN.sub(labs, command.text)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=folder,
        start_new_session=True,  # so that what hangs is ended with all that it has started
    ) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT)
            wrong = fault(command, process.returncode, _as_shown(output, labs))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, wrong = "", f"it hasn't ended after {LIMIT:.0f} s"
    if wrong:
        wrong = f"{wrong}\nit said:\n{output}"
    return Outcome(command, time.monotonic() - begun, wrong)


def _as_shown(output: str, labs: str) -> str:
    """What is printed of labs with names that the page doesn't know: without what they begin with, and of the
    default one without `-l`."""
    if not labs:
        return output
    return output.replace(f" -l {labs}default", "").replace(labs, "")
