"""Programs of other users, for tests of what these can do to us. Root's to start."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patience import LONG

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = 65534
Run = subprocess.CompletedProcess[str]


@functools.cache
def become(uid: int) -> tuple[str, ...]:
    """The command that runs another as this user; a checkout that others can't read stays readable to it."""
    plain = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    can = subprocess.run([*plain, "test", "-r", str(ROOT / "pyproject.toml"), "-a", "-x", sys.executable])
    readable = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return plain if can.returncode == 0 else (*plain, *readable)


def emulab(uid: int, *arguments: str, **environment: str) -> Run:
    """A command of emulab, run by this user without any settings but these."""
    given = {k: v for k, v in os.environ.items() if not k.startswith(("EMULAB_", "XDG_"))}
    return subprocess.run(
        [*become(uid), sys.executable, "-m", "emulab", *arguments],
        env={**given, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG,
        cwd="/",
    )


@contextmanager
def program(uid: int, text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program of this user, which has said `ready` and is killed in the end."""
    command = [*become(uid), sys.executable, "-c", text, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


EXCHANGE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])  # however the folder is called later
names = [os.fsencode(a) for a in sys.argv[2:]]
pairs = list(zip(names[::2], names[1::2]))
print("ready", flush=True)
while True:
    for one, other in pairs:  # AT_FDCWD, RENAME_EXCHANGE (renameat2(2))
        libc.renameat2(-100, one, -100, other, 2)
"""
"""A program that exchanges names in a folder in pairs, again and again."""
