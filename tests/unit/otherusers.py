"""Programs of other users, for tests of what these can do to us. Root's to start."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from patience import LONG
from readable import checkout_for, python_for

HOSTILE = 65534
Run = subprocess.CompletedProcess[str]


def become(uid: int) -> tuple[str, ...]:
    """The command that runs another as this user."""
    return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")


def emulab(uid: int, *arguments: str, **environment: str) -> Run:
    """A command of emulab, run by this user without any settings but these."""
    given = {k: v for k, v in os.environ.items() if not k.startswith(("EMULAB_", "XDG_"))}
    return subprocess.run(
        [*become(uid), python_for(uid), "-m", "emulab", *arguments],
        env={**given, "PYTHONPATH": str(checkout_for(uid)), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONG,
        cwd="/",
    )


@contextmanager
def program(uid: int, text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program of this user, which has said `ready` and is killed in the end."""
    command = [*become(uid), python_for(uid), "-c", text, *arguments]
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
