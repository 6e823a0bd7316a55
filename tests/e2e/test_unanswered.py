"""A lab that can't answer is told of, one that takes its time isn't; and what is in a lab commands no terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from emulab.kernel.processes.launch import import_path
from emulab.kernel.processes.programs import this_program

from .test_cli import is_running
from .tools import TOPOLOGIES, emulab, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP = str(TOPOLOGIES / "shop.yaml")
LAB = f"e2e-{os.getpid()}-silent"

NEVER = """
apiVersion: v1
kind: Pod
metadata: {name: never}
spec:
  containers:
    - {name: c, image: x, ports: [{containerPort: 80}], readinessProbe: {exec: {command: ["false"]}}}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[str]:
    up = await emulab("-l", LAB, "up", SHOP)
    try:
        assert up.status == 0, up.stderr
        yield LAB
    finally:
        assert (await emulab("-l", LAB, "down")).status == 0


async def supervisor(name: str) -> int:
    listed = json.loads((await emulab("labs", "-o", "json")).stdout)
    return int(next(one["pid"] for one in listed if one["name"] == name))


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


COMMANDS = (
    ("get", "pods"),
    ("get", "pods", "-o", "json"),
    ("describe", "deploy"),
    ("apply", "-f", SHOP),
    ("delete", "pod", "x"),
    ("scale", "deploy/product", "--replicas", "3"),
    ("up", SHOP),
    ("exec", "client", "--", "true"),
    ("logs", "deploy/product"),
    ("trace", "http://shop.example.com/products/42"),
)


async def test_who_asks_a_stopped_lab_is_told_so(lab: str) -> None:
    """Within seconds, with what to do, whatever was asked; and the lab, let go on, has lost nothing."""
    pid = await supervisor(lab)
    line = (
        f"emulab: lab '{lab}' does not answer: its supervisor (pid {pid}) is stopped; let it go on with: "
        f"kill -CONT {pid}, or end the lab with: emulab -l {lab} down\n"
    )
    with stopped(pid):
        begun = time.monotonic()
        answers = await asyncio.gather(*(emulab("-l", lab, *words) for words in COMMANDS))
        listed = await emulab("labs", "-o", "json")
        assert time.monotonic() - begun < 60, "it says so, but after what a person waits for"
    for words, done in zip(COMMANDS, answers, strict=True):
        assert (done.status, done.stdout, done.stderr.decode()) == (1, b"", line), words
    assert (listed.status, listed.stderr.decode()) == (1, line)
    assert [one["state"] for one in json.loads(listed.stdout) if one["name"] == lab] == ["NotReady"]

    async def answers_again() -> bool:
        return (await emulab("-l", lab, "get", "pods")).status == 0

    await eventually(answers_again)
    assert (await emulab("-l", lab, "exec", "client", "--", "true")).status == 0


async def test_a_short_halt_is_nothing(lab: str) -> None:
    pid = await supervisor(lab)
    with stopped(pid):
        asking = asyncio.ensure_future(emulab("-l", lab, "get", "pods"))
        await asyncio.sleep(2)
    done = await asking
    assert done.status == 0 and b"product-" in done.stdout


async def test_a_lab_that_waits_is_alive(lab: str, tmp_path: Path) -> None:
    """Longer than a silent supervisor that does nothing would be waited for."""
    (tmp_path / "never.yaml").write_text(NEVER)
    done = await emulab("-l", lab, "up", str(tmp_path / "never.yaml"), "--timeout", "14s")
    assert done.status == 1 and b"not ready in time" in done.stderr, done.stderr
    assert (await emulab("-l", lab, "delete", "pod", "never")).status == 0


async def test_down_ends_a_stopped_lab(tmp_path: Path) -> None:
    name = f"{LAB}-down"
    assert (await emulab("-l", name, "up", SHOP)).status == 0
    pid = await supervisor(name)
    os.kill(pid, signal.SIGSTOP)
    done = await emulab("-l", name, "down")
    assert (done.status, done.stdout.decode()) == (0, f"lab {name} is down\n"), done.stderr

    async def gone() -> bool:
        return not is_running(pid)

    await eventually(gone)


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-", "2>&- <&-"])
async def test_a_lab_starts_from_where_streams_are_closed(closed: str) -> None:
    """No pipe between the command and its supervisor gets the number of a stream, which the supervisor has taken."""
    name = f"{LAB}-closed"
    command = shlex.join([*this_program(), "-l", name, "up", SHOP])
    environment = {**os.environ, "PYTHONPATH": import_path()}
    try:
        process = await asyncio.create_subprocess_shell(f"exec {command} {closed}", env=environment)
        async with asyncio.timeout(50):  # less than a start is waited for
            assert await process.wait() == (1 if ">&-" in closed.split() else 0)
        assert (await emulab("-l", name, "exec", "client", "--", "true")).status == 0
    finally:
        assert (await emulab("-l", name, "down")).status == 0


async def test_a_hundred_thousand_replicas_stop_no_lab(lab: str) -> None:
    """The nodes fill, the rest is told of; the lab answers meanwhile and afterwards, and takes no memory for it."""
    pid = await supervisor(lab)
    before = resident(pid)
    done = await emulab("-l", lab, "scale", "deploy/product", "--replicas", "100000")
    assert done.status == 0, done.stderr
    pods = json.loads((await emulab("-l", lab, "get", "pods", "-o", "json")).stdout)["items"]
    assert 200 < len(pods) < 600
    waiting = [pod for pod in pods if not pod["spec"].get("nodeName")]
    assert waiting and "Too many pods" in json.dumps(waiting[0]["status"]["conditions"])
    text = (await emulab("-l", lab, "describe", "deploy", "product")).text
    assert "100000 desired" in text and "of 100000 Pods are made: 2 nodes have room for 220" in text
    assert resident(pid) - before < 200 << 10
    down = await emulab("-l", lab, "scale", "deploy/product", "--replicas", "3")
    assert down.status == 0, down.stderr

    async def shrunk() -> bool:
        return len(json.loads((await emulab("-l", lab, "get", "pods", "-o", "json")).stdout)["items"]) == 3

    await eventually(shrunk)


def resident(pid: int) -> int:
    """KiB of a process in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

EVIL = r"""
apiVersion: v1
kind: Pod
metadata:
  name: evil
  labels: {app: evil}
  annotations: {evil: "\e]0;owned\a\e[2J\x9b31m\x7f\u202e\r"}
spec:
  containers:
    - name: c
      image: "x\e]0;owned\a\u009b31m\x7f"
      env: [{name: A, value: "\e]0;owned\a"}]
      ports: [{containerPort: 80}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: evil}
data: {text: "\e]0;owned\a\n\x9b"}
---
apiVersion: v1
kind: Service
metadata: {name: evil}
spec: {selector: {app: evil}, ports: [{port: 80}]}
"""


def at_terminal(*arguments: str) -> tuple[int, str]:
    """A command's status and all that it sends to the terminal which is its input, output and error."""
    controller, terminal = pty.openpty()
    command = [*this_program(), *arguments]
    environment = {**os.environ, "PYTHONPATH": import_path()}
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        seen = b""
        while True:
            try:
                seen += os.read(controller, 1 << 16)
            except OSError:  # EIO: nobody has the terminal any more
                break
    os.close(controller)
    return process.returncode, seen.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("describe", "pod", "evil"), "^[]0;owned^G^[[2J\\x9b31m^?\\u202e"),
        (("describe", "configmap", "evil"), ""),
        (("get", "pods", "-o", "wide"), "evil"),
        (("get", "pod", "evil", "-o", "json"), "\\u001b]0;owned\\u0007\\u001b[2J\\u009b31m\\u007f\\u202e\\r"),
        (("get", "pod", "evil", "-o", "yaml"), "owned"),
        (("trace", "http://evil.default.svc.cluster.local/\x9b", "--from", "pod/evil"), "\\x9b"),
        (
            ("trace", "-H", "X: \u202eowned", "http://evil.default.svc.cluster.local/", "--from", "pod/evil"),
            "",
        ),
    ],
)
async def test_what_is_in_a_lab_commands_no_terminal(
    lab: str, words: tuple[str, ...], shown: str, tmp_path: Path
) -> None:
    (tmp_path / "evil.yaml").write_text(EVIL)
    assert (await emulab("-l", lab, "up", str(tmp_path / "evil.yaml"))).status == 0
    status, seen = await asyncio.to_thread(at_terminal, "-l", lab, *words)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", seen) if words[0] == "trace" else seen  # its colours
    assert shown in plain and (status == 0 or words[0] == "trace")
    assert not OBEYED.search(plain), plain


async def test_progress_draws_but_what_it_tells_of_commands_nothing(lab: str, tmp_path: Path) -> None:
    """A spinner moves its cursor; names in it are texts, neither commands nor markup."""
    (tmp_path / "never.yaml").write_text(NEVER)
    status, seen = await asyncio.to_thread(
        at_terminal, "-l", lab, "up", str(tmp_path / "never.yaml"), "--timeout", "2s"
    )
    assert status == 1 and "waiting for 1 of" in seen and "not ready in time" in seen
    assert (await emulab("-l", lab, "delete", "pod", "never")).status == 0
