"""Runs a test's body where it may do what it likes: in a child process with namespaces of its own.

Root unshares a network namespace; anyone else becomes root of a new user namespace first. What the body
does to the kernel is gone with the child.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import select
import signal
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

from emulab.errors import KernelError
from emulab.kernel import libc, netns

P = ParamSpec("P")

TIMEOUT = 120.0
"""Seconds after which a body that hangs is ended and its test fails."""


def isolated(test: Callable[P, None]) -> Callable[P, None]:
    """The test with its body in a child; an exception there is a failure here."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        read, write = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _child(lambda: test(*args, **kwargs), write)
        os.close(write)
        report = _read(read, pid)
        os.close(read)
        _, status = os.waitpid(pid, 0)
        assert status == 0, report or f"the child ended with status {status}"

    return run


def _child(body: Callable[[], None], report: int) -> None:
    status = 1
    try:
        try:
            _unshare()
        except (KernelError, OSError) as error:
            os.write(report, f"no namespaces can be made here: {error}".encode())
            os._exit(1)
        body()
        status = 0
    except BaseException:
        os.write(report, traceback.format_exc().encode()[:60000])
    finally:
        os._exit(status)


def _unshare() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        libc.unshare(libc.CLONE_NEWNET)
        return
    libc.unshare(libc.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWNS)


def _read(fd: int, pid: int) -> str:
    found = b""
    while select.select([fd], [], [], TIMEOUT)[0]:
        chunk = os.read(fd, 65536)
        if not chunk:
            return found.decode(errors="replace")
        found += chunk
    os.kill(pid, signal.SIGKILL)
    return f"the child was ended after {TIMEOUT} s"


def ip(handle: netns.Handle, *words: str) -> list[dict[str, Any]]:
    """`ip -j WORDS` inside a namespace."""
    command = ["ip", "-j", "-details", *words]
    text = netns.inside(handle.fd, lambda: subprocess.check_output(command, text=True))
    found: list[dict[str, Any]] = json.loads(text or "[]")
    return found


def open_descriptors() -> list[str]:
    """What this process's descriptors are, without the one that looks and those that nobody refers to any more."""
    gc.collect()
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{entry}").partition(":")[0] + f" {entry}")
        except FileNotFoundError:
            continue
    return sorted(found)
