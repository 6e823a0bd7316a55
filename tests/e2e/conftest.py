"""Fixtures of the end-to-end tests, and the proof that they leave the host as it was."""

from __future__ import annotations

import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.kernel.processes.launch import import_path
from emulab.kernel.processes.programs import this_program

from .crashes import ORDINARY, User
from .tools import TOPOLOGIES, all_healthy

VOLATILE = frozenset(
    {
        "net/netfilter/nf_conntrack_count",  # a counter
        "net/ipv4/tcp_fastopen_key",  # made when it is first read
        "net/core/netdev_rss_key",  # likewise
    }
)
"""Settings below /proc/sys/net that change of their own accord."""

COMMANDS = (
    ("ip", "-details", "link", "show"),
    ("ip", "address", "show"),
    ("ip", "-4", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("ip", "-4", "rule", "show"),
    ("ip", "-6", "rule", "show"),
    ("ip", "neighbour", "show", "nud", "permanent"),
    ("nft", "-s", "list", "ruleset"),
    ("iptables-legacy-save",),
)

Picture = dict[str, str]


@pytest.fixture(scope="session", autouse=True)
def signals() -> None:
    """Programs hear the signals that tests send them, though this run may be in the background or under nohup.

    What is ignored here would be there, too; a shell couldn't even trap it.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def run_dir() -> Iterator[Path]:
    """A run directory of this test run alone, so that other labs on the machine are none of its business."""
    given = os.environ.get("EMULAB_RUN_DIR")
    if given:
        Path(given).mkdir(mode=0o700, parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="emulab-e2e-", dir=given))
    os.environ["EMULAB_RUN_DIR"] = str(path)
    yield path
    if given:
        os.environ["EMULAB_RUN_DIR"] = given
    else:
        del os.environ["EMULAB_RUN_DIR"]
    shutil.rmtree(path)


@pytest.fixture(scope="session", autouse=True)
def host_unchanged(run_dir: Path) -> Iterator[None]:
    """The host's own namespace is the same after all tests, and nothing of a lab is left."""
    if not Path("/proc/sys/net/nf_conntrack_max").exists():
        _load_modules()
    before = _picture()
    yield
    after = _picture()
    changed = [
        f"{key}:\n- {before.get(key)}\n+ {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    assert not changed, "the host is not as it was:\n" + "\n".join(changed)
    assert [p.name for p in run_dir.iterdir()] == [], "labs have left their folders"
    end = time.monotonic() + 20  # a supervisor's last act for its lab isn't yet its end
    while (left := _processes(run_dir)) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == {}, "labs have left processes"


def _load_modules() -> None:
    """A lab is what loads them where the kernel has them apart, and they bring settings with them."""
    words = ["-l", f"e2e-{os.getpid()}-modules", "run", str(TOPOLOGIES / "shop.yaml"), "--", "true"]
    environment = {**os.environ, "PYTHONPATH": import_path()}
    subprocess.run([*this_program(), *words], stdin=subprocess.DEVNULL, check=True, env=environment)


def _picture() -> Picture:
    """Everything about the host that a lab might touch."""
    found = {" ".join(command): _stable(_run(command)) for command in COMMANDS}
    found |= {f"sysctl {key}": value for key, value in _sysctls() if key not in VOLATILE}
    found["mounts"] = Path("/proc/self/mountinfo").read_text()
    for folder in (Path("/run/netns"), Path("/etc/netns")):
        found[str(folder)] = "\n".join(_names(folder))
    found["runtimes' temporary files"] = "\n".join(sorted(glob.glob("/tmp/crun.*") + glob.glob("/tmp/runc*")))
    return found


def _run(command: tuple[str, ...]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return f"{done.stdout}{done.stderr}"


def _stable(text: str) -> str:
    """Without times that count down and without comments, which hold the date."""
    text = re.sub(r"(?m)^#.*$", "", text)
    return re.sub(r"(expires|valid_lft|preferred_lft|age|\w+_timer) *\d+(\.\d+)?(sec)?", r"\1", text)


def _sysctls() -> Iterator[tuple[str, str]]:
    top = "/proc/sys/"
    for folder, _, files in os.walk(f"{top}net"):  # no Path, which would take seconds in the VM
        for file in files:
            path = f"{folder}/{file}"
            try:
                with open(path, "rb", buffering=0) as setting:
                    yield path.removeprefix(top), setting.read().decode(errors="replace")
            except OSError:
                continue  # write-only, or not ours to read


def _names(folder: Path) -> list[str]:
    """Names of namespaces; those that living labs of other run directories publish meanwhile are left out."""
    return sorted(p.name for p in folder.iterdir() if not _foreign(p)) if folder.is_dir() else []


def _foreign(path: Path) -> bool:
    """Whether a name is a link of a lab whose name isn't one that these tests give; or was, and has gone by now."""
    ours = re.match(rf"(py|e2e)-{os.getpid()}-", path.name)
    return not ours and (path.is_symlink() or not path.exists())


def _processes(run_dir: Path) -> dict[int, str]:
    """Processes that were started for labs of this run directory, this one left out."""
    found = {}
    mark = f"EMULAB_RUN_DIR={run_dir}".encode()
    names = re.compile(rf"\b(py|e2e)-{os.getpid()}-".encode())
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes() if os.access(entry / "environ", os.R_OK) else b""
        except OSError:
            continue
        if mark in environment.split(b"\0") or names.search(command):
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shop() -> AsyncIterator[Lab]:
    """A lab of topologies/shop.yaml."""
    async with Lab.from_files(TOPOLOGIES / "shop.yaml") as lab:
        await all_healthy(lab)
        yield lab


@pytest.fixture(params=["root", "ordinary"] if os.geteuid() == 0 else ["ordinary"])
def user(request: pytest.FixtureRequest) -> Iterator[User]:
    """Root, and an ordinary user: each runs commands whose labs are about to be killed."""
    user = User(0 if request.param == "root" else os.geteuid() or ORDINARY)
    try:
        listed = user.run("labs")
        assert listed.returncode == 0, listed.stderr
        before = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
        yield user
        after = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
        assert after == before
    finally:
        user.close()
