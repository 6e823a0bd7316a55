"""Labs that are about to be killed, as whole commands of a user, and how to see what is left of them.

Every test runs the real command line in processes of its own, as root and as an ordinary user. Processes of
a lab are known by a variable in their environment or by their descent from its supervisor; nothing else is ever
killed.
"""

from __future__ import annotations

import glob
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import shares
from readable import ROOT, checkout_for, python_for

from emulab.errors import KernelError
from emulab.kernel import netns

SHOP = str(ROOT / "topologies" / "shop.yaml")
URL = "http://shop.example.com/products/42"
SO_NETNS_COOKIE = 71  # asm-generic/socket.h
MARK = "EMULAB_CRASH_TEST"  # in the environment of every process that these tests start
ORDINARY = 54321  # a user id that nobody has, for when the tests run as root
SEED = int(os.environ.get("EMULAB_CRASH_SEED", "2026"))
POINTS = 5  # kills a user and a verb, where all of them are wanted


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Waits until the condition holds; returns whether it did in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def become_user(uid: int) -> tuple[str, ...]:
    """The command that runs another as this user (it execs, so the pid stays)."""
    return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")


def link(path: str) -> str:
    """What a link of /proc says, "" when its process has gone."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


class User:
    """Runs `emulab` as somebody, with a run directory of its own."""

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.mark = uuid.uuid4().hex
        self.run_dir = Path(tempfile.mkdtemp(prefix="emulab-crash-"))
        self.lab = f"e2e-{os.getpid()}-{self.mark[:8]}"
        if os.geteuid() == 0:
            os.chown(self.run_dir, uid, uid)
        self.noted: set[tuple[int, str]] = (
            set()
        )  # processes, told from later ones of the same pid by their start
        self.net_namespaces: set[tuple[str, int]] = set()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command of emulab that has just been started."""
        checkout = str(checkout_for(self.uid))
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("EMULAB_")},
            MARK: self.mark,
            "EMULAB_RUN_DIR": str(self.run_dir),
            "EMULAB_LAB": self.lab,
            "PYTHONPATH": checkout,
            "HOME": str(self.run_dir),
        }
        become = become_user(self.uid) if os.geteuid() != self.uid else ()
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        readable = [argument.replace(str(ROOT), checkout) for argument in arguments]
        command = [*become, python_for(self.uid), "-m", "emulab", *readable]
        return subprocess.Popen(command, text=True, env=environment, cwd="/", **pipes)

    def run(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """A command of emulab at its end; killed when that does not come."""
        return finish(self.start(*arguments), timeout)

    def up(self, *files: str) -> None:
        result = self.run("up", *(files or (SHOP,)))
        assert result.returncode == 0, result.stderr
        self.note()

    def answers(self, lab: str = "") -> bool:
        """Whether the client gets an answer by the whole path."""
        curl = ("curl", "-s", "-m", "15", "-o", "/dev/null", "-w", "%{http_code}", URL)
        result = self.run("-l", lab or self.lab, "exec", "client", "--", *curl)
        return result.stdout == "200"

    def labs(self) -> list[str]:
        result = self.run("labs", "-o", "json")
        assert result.returncode == 0, result.stderr
        return [lab["name"] for lab in json.loads(result.stdout)]

    def supervisor(self, lab: str = "") -> int:
        """The supervisor's pid by lab.json, 0 when it isn't there yet."""
        try:
            return int(json.loads((self.run_dir / (lab or self.lab) / "lab.json").read_text())["pid"])
        except (OSError, ValueError):
            return 0

    def released(self) -> bool:
        """Whether the starting command had let go of the lab, which then is to stay."""
        try:
            return "released: " in (self.run_dir / self.lab / "supervisor.log").read_text()
        except OSError:
            return False

    def earliest(self) -> int:
        """The supervisor from its first moment on, when no lab.json tells it yet; 0 when there is none."""
        found = {p for p in self.processes() if b"emulab.lab.supervisor" in read(p, "cmdline")}
        first = [p for p in found if re.search(rb"^NSpid:.*\t1$", read(p, "status"), re.MULTILINE)]
        return min(first, default=min(found, default=0))

    def processes(self) -> list[int]:
        """Living processes of this user's commands and labs."""
        marked = f"{MARK}={self.mark}".encode()
        found = {p for p in pids() if marked in read(p, "environ").split(b"\0")}
        found |= {p for p, start in self.noted if started(p) == start}
        # One that has ended waits for the machine's init to take note of it, which isn't the lab's affair.
        return sorted(p for p in found if b"State:\tZ" not in read(p, "status"))

    def note(self, lab: str = "") -> None:
        """Notes the processes and namespaces of the running lab, to look for them when it is gone."""
        pid = self.supervisor(lab)
        if not pid:
            return
        self.noted |= {(p, start) for p in (pid, *descendants(pid)) if (start := started(p))}
        own = network_namespace("/proc/self/ns/net")
        with suppress(OSError):
            held = {network_namespace(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
            self.net_namespaces |= {h for h in held if h and h != own}

    def left(self) -> list[str]:
        """What there is of this user's labs on the host, in words."""
        found = [f"process {p}: {read(p, 'cmdline')!r}" for p in self.processes()]
        numbers = {number for number, _ in self.net_namespaces}
        held = {network_namespace(path) for path in held_namespaces() if link(path) in numbers}
        found += [f"namespace {n}" for n, _ in sorted(self.net_namespaces & held)]
        for mount in mounts():
            point = mount.split()[4]
            of_lab = mount.split()[3] in numbers and network_namespace(point) in self.net_namespaces
            found += [mount] if of_lab or str(self.run_dir) in mount else []
        return found

    def files(self) -> list[str]:
        """The names and folders of this user's labs."""
        found = [str(p) for p in self.run_dir.iterdir() if p.is_dir()]
        cgroups = glob.glob("/sys/fs/cgroup/emulab") + glob.glob("/sys/fs/cgroup/*/emulab")
        for folder in ("/run/netns", "/etc/netns", *cgroups):
            with suppress(OSError):
                found += [f"{folder}/{n}" for n in os.listdir(folder) if n.startswith(self.lab)]
        return found

    def assert_gone(self) -> None:
        """Asserts that the lab ended whole by itself, and that the next command sweeps its names."""

        # Several looks: a process between its fork and its exec still looks like the one that started it.
        def quiet() -> bool:
            return not any(time.sleep(0.02) or self.left() for _ in range(5))

        assert eventually(quiet), f"left of the lab: {self.left()}"
        assert self.lab not in self.labs(), "the lab is listed still"
        files = self.files()
        assert not files, f"left of the lab's names and folders: {files}"

    def close(self) -> None:
        """Ends whatever a failed test left."""
        self.run("down", "--all")
        for pid in self.processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for name in self.files():
            if os.path.islink(name):
                os.unlink(name)
        shutil.rmtree(self.run_dir, ignore_errors=True)


def assert_plain(result: subprocess.CompletedProcess[str]) -> None:
    """Asserts that a failed command said so in plain words."""
    assert result.returncode in (0, 1), result
    assert "Traceback" not in result.stderr
    assert result.returncode == 0 or result.stderr.startswith("emulab: "), result


def kill(pid: int) -> bool:
    """kill -9; returns whether there was anybody to kill."""
    if pid == 0:  # which would be all of the test run
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_earliest(user: User) -> bool:
    """kill -9 of the supervisor, at its start of the process that is about to fork it.

    That process is stopped first: what it forks between a look and the kill would live on, and be a lab that works.
    """
    first = user.earliest()
    if first:
        with suppress(ProcessLookupError):
            os.kill(first, signal.SIGSTOP)
        assert eventually(lambda: not re.search(rb"^State:\t[RSD]", read(first, "status"), re.MULTILINE))
    met = [kill(pid) for pid in (first, user.earliest())]
    return any(met)


def pause_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def moments(user: User, *command: str, count: int = POINTS) -> list[float]:
    """Random moments of a command's life, one in each part of it that is the user's.

    Runs it once to know how long it takes.
    """
    begun = time.monotonic()
    result = user.run(*command)
    assert result.returncode == 0, result.stderr
    return drawn(user, command[0], time.monotonic() - begun, count)


def drawn(user: User, verb: str, taken: float, count: int) -> list[float]:
    """The moments, of a command that takes so long."""
    rng = random.Random(f"{SEED} {verb} {user.uid}")
    found = [taken * (i + rng.random()) / count for i in range(count)]
    return [found[i] for i in shares.given(os.environ).parts(count, user.uid == 0)]


time_of_up: dict[int, float] = {}
"""How many seconds `up` takes, by the user's id."""


def moments_of_up(user: User, count: int = POINTS) -> list[float]:
    if user.uid not in time_of_up:
        begun = time.monotonic()
        user.up()
        time_of_up[user.uid] = time.monotonic() - begun
        assert user.answers()
        assert user.run("down").returncode == 0
        user.assert_gone()
    return drawn(user, "up", time_of_up[user.uid], count)


def read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def started(pid: int) -> str:
    """When a process began, in the machine's clock ticks; "" when there is none."""
    fields = read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()
    return fields[19] if fields else ""


def children(pid: int) -> list[int]:
    return _families().get(pid, [])


def descendants(pid: int) -> list[int]:
    """All of them, of one look at the machine."""
    families, found = _families(), [pid]
    for one in found:
        found += families.get(one, [])
    return found[1:]


def _families() -> dict[int, list[int]]:
    """The children of each process that has any."""
    found: dict[int, list[int]] = {}
    for pid in pids():
        if parent := re.search(rb"^PPid:\t(\d+)", read(pid, "status"), re.MULTILINE):
            found.setdefault(int(parent[1]), []).append(pid)
    return found


def mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def held_namespaces() -> list[str]:
    """Where /proc tells of the network namespaces that processes outside all labs use or hold."""
    here = link("/proc/self/ns/pid")
    found = []
    for pid in pids():
        if link(f"/proc/{pid}/ns/pid") == here:
            found.append(f"/proc/{pid}/ns/net")
            with suppress(OSError):
                found += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    return found


def network_namespace(path: str) -> tuple[str, int] | None:
    """The namespace behind a path: its number, and its cookie, as numbers are given to others again at once.

    The cookie is 0 for who may not enter it.
    """
    number = link(path)
    if not number.startswith("net:") and "/proc/" in path:
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return f"net:[{os.fstat(fd).st_ino}]", netns.inside(fd, net_cookie)
    except KernelError:
        return f"net:[{os.fstat(fd).st_ino}]", 0
    finally:
        os.close(fd)


def net_cookie() -> int:
    with socket.socket() as sock:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)


def finish(process: subprocess.Popen[str], timeout: float = 240) -> subprocess.CompletedProcess[str]:
    try:
        output, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, error = process.communicate()
        pytest.fail(f"{process.args} did not end in {timeout} s: {output}{error}")
    return subprocess.CompletedProcess(process.args, process.returncode, output, error)
