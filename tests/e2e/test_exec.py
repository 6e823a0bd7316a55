"""Programs that are run in a lab: their descriptors, surroundings, signals, terminals and ends."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from fcntl import ioctl
from pathlib import Path

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.errors import UserError
from emulab.kernel.processes.launch import import_path
from emulab.kernel.processes.programs import this_program

from .tools import INTERPRETER, PROGRAMS, PYTHON, TOPOLOGIES, emulab, eventually, name, output, pods

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.privilege]


def environment() -> dict[str, str]:
    """Ours, once the fixtures have named a run directory in it."""
    return {**os.environ, "PYTHONPATH": import_path()}


WORLD = """
apiVersion: v1
kind: Pod
metadata: {name: real}
spec:
  containers:
    - name: c
      workingDir: /usr/share
      command: [sh, -c, 'exec sleep 100000']
      env: [{name: COLOUR, value: green}]
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def made() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD, (TOPOLOGIES / "shop.yaml").read_text()) as lab:
        yield lab


@pytest.fixture
def lab(made: Lab) -> str:
    """The lab's name."""
    return made.name


def command(lab: str, *words: str) -> list[str]:
    return [*this_program(), "-l", lab, "exec", *words]


async def test_exec_passes_stdin_status_and_both_outputs(lab: str) -> None:
    data = os.urandom(300_000)
    done = await emulab("-l", lab, "exec", "client", "--", "cat", stdin=data)
    assert done.status == 0 and done.stdout == data
    done = await emulab("-l", lab, "exec", "client", "--", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.status, done.stdout, done.stderr) == (42, b"out\n", b"err\n")
    for target in ("dns", "resolver", "router", "public-lb", "node1", "node2", "deploy/product"):
        done = await emulab("-l", lab, "exec", target, "--", "ip", "-br", "address", "show", "lo")
        assert done.status == 0, (target, done.stderr)
    wrong = await emulab("-l", lab, "exec", "nowhere", "--", "true")
    assert wrong.status == 1 and b"nowhere" in wrong.stderr and b"client" in wrong.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
async def test_exec_passes_signals(lab: str, number: signal.Signals) -> None:
    """A signal to `emulab exec` reaches the program, whose exit status is the command's."""
    script = f"trap 'echo caught; exit 7' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    process = await asyncio.create_subprocess_exec(
        *(*this_program(), "-l", lab, "exec", "client", "--", "sh", "-c", script),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": import_path()},
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert await process.stdout.readline() == b"caught\n"
        assert await process.wait() == 7


async def test_a_program_in_exec_ends_with_the_command(lab: str) -> None:
    """kill -9 of `emulab exec` ends the program inside too."""
    mark = f"31{os.getpid()}"
    process = await asyncio.create_subprocess_exec(
        *(*this_program(), "-l", lab, "exec", "client", "--", "sh", "-c", f"echo up; exec sleep {mark}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": import_path()},
    )
    assert process.stdout is not None
    async with asyncio.timeout(120):
        await process.stdout.readline()

        async def running() -> bool:
            return (
                await emulab("-l", lab, "exec", "client", "--", "pgrep", "-f", f"^sleep {mark}$")
            ).status == 0

        assert await running()
        process.kill()
        await process.wait()

        async def ended() -> bool:
            return not await running()

        await eventually(ended)


async def test_a_program_has_three_descriptors(made: Lab) -> None:
    """Nothing of the supervisor, the spawner or the asker is open in a program: exec, container or probe."""
    script = "import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd')))"
    for target in ("client", "node1", "deploy/product", "pod/real"):
        # The fourth is the folder that the list was read from.
        assert await output(made, target, INTERPRETER, "-c", script) == "[0, 1, 2, 3]", target
    shown = await output(made, "pod/real", "sh", "-c", "ls /proc/1/fd | tr '\\n' ' '")
    assert shown == "0 1 2"
    # From a terminal, whose shell has a descriptor of its own open.
    with Terminal(
        lab_name := made.name, "pod/real", "--", INTERPRETER, "-c", script, opened=(7, 8)
    ) as terminal:
        assert await terminal.ends() == 0, lab_name
        assert terminal.shown == "[0, 1, 2, 3]\n"


async def test_a_container_has_a_terminal_of_its_own(made: Lab) -> None:
    """With which a program can do what it likes: the asker's is another one, and it is as large."""
    with Terminal(made.name, "pod/real", "--", "sh", "-c", "tty; stty size") as terminal:
        assert await terminal.ends() == 0
    name, size = terminal.shown.split("\n")[:2]
    assert re.fullmatch(r"/dev/pts/\d+", name) and size == "0 0", terminal.shown


async def test_a_container_gets_nothing_of_who_asks(made: Lab, tmp_path: Path) -> None:
    """A file that it is given to read is a pipe for it, and what it hasn't read is still there for others."""
    file = tmp_path / "given"
    file.write_text("one\ntwo\nthree\n")
    script = "cat /proc/self/fd/0 | head -n 1; echo no > /proc/self/fd/0; chmod 7 /proc/self/fd/0; echo $?"
    with file.open() as given:
        words = command(made.name, "pod/real", "--", "sh", "-c", script)
        done = await asyncio.to_thread(
            subprocess.run, words, stdin=given, capture_output=True, env=environment()
        )
    assert done.stdout.startswith(b"one\n") and file.read_text() == "one\ntwo\nthree\n", done
    assert file.stat().st_mode & 0o777 == 0o644 or file.stat().st_mode & 0o777 == 0o600
    loop = f'while read -r line; do {shlex.join(command(made.name, "pod/real", "--", "true"))}; echo "$line"; done'
    with file.open() as given:
        done = await asyncio.to_thread(
            subprocess.run, ["sh", "-c", loop], stdin=given, capture_output=True, env=environment()
        )
    assert done.stdout == b"one\ntwo\nthree\n", done


async def test_signals_that_python_ignores_end_programs(made: Lab) -> None:
    """`yes | head` ends by SIGPIPE, in a place and in a container."""
    for target in ("client", "pod/real"):
        done = await made.exec(target, "bash", "-c", "yes | head -n 1; echo ${PIPESTATUS[0]}")
        assert done.stdout == b"y\n141\n", (target, done)


async def test_surroundings_of_a_program(made: Lab, tmp_path: Path) -> None:
    """A place has the asker's environment and folder, a container its own, of the asker's TERM alone."""
    asker = {**environment(), "TERM": "vt52", "COLOUR": "grey", "ODD": "\udcff"}

    def ask(target: str, script: str) -> str:
        done = subprocess.run(
            command(made.name, target, "--", "sh", "-c", script),
            *(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=asker,
            cwd=tmp_path,
            timeout=120,
        )
        return done.stdout.decode(errors="surrogateescape") + done.stderr.decode()

    script = "echo $TERM $COLOUR $ODD; pwd"
    assert await asyncio.to_thread(ask, "client", script) == f"vt52 grey \udcff\n{tmp_path}\n"
    assert await asyncio.to_thread(ask, "pod/real", script) == "vt52 green\n/usr/share\n"


async def test_what_cannot_be_run_is_told_as_a_shell_does(made: Lab) -> None:
    plain = "/etc/passwd"  # which is a file of a container's, too, and no program
    wide = "x" * 3_000_000
    for argv, status, why in (
        (("no-such-program",), 127, b"emulab: no-such-program: command not found\n"),
        ((plain,), 126, f"emulab: {plain}: Permission denied\n".encode()),
        (("true", wide), 126, b"emulab: true: Argument list too long\n"),
        (("true", "a\0b"), 126, b"emulab: true: "),
    ):
        for target in ("client", "pod/real"):
            done = await made.exec(target, *argv)
            assert (done.status, done.stdout) == (status, b""), (target, argv[0])
            assert done.stderr.startswith(why) and done.stderr.count(b"\n") == 1, (target, done.stderr)
    with pytest.raises(UserError, match="nowhere: no such place"):
        await made.exec("nowhere", "true")
    with pytest.raises(UserError, match="pod/client: no such pod in namespace default; client is a place"):
        await made.exec("pod/client", "true")
    with pytest.raises(UserError, match="client has no containers, and so no 'web'"):
        await made.exec("client", "true", container="web")
    assert (await made.exec("client", "true")).status == 0


async def test_much_is_passed_both_ways(made: Lab) -> None:
    data = os.urandom(3_000_000)
    done = await made.exec("deploy/product", "cat", stdin=data)
    assert done.status == 0 and done.stdout == data
    done = await made.exec("client", "head", "-c", "3", stdin=data)  # which doesn't read it all
    assert done.status == 0 and done.stdout == data[:3]
    wide = {f"WIDE_{i}": "x" * 1000 for i in range(300)}
    ask = [*command(made.name, "client", "--", "sh", "-c", "env | grep -c ^WIDE_")]
    done_too = await asyncio.to_thread(
        subprocess.run,
        ask,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**environment(), **wide},
        timeout=120,
    )
    assert done_too.stdout == b"300\n", done_too.stderr


async def test_many_programs_at_a_time(made: Lab) -> None:
    """More than the spawner's socket holds."""
    wide = "x" * 20_000
    results = await asyncio.gather(*(made.exec("client", "echo", str(i), wide) for i in range(60)))
    assert [r.stdout for r in results] == [f"{i} {wide}\n".encode() for i in range(60)]


async def test_a_cancelled_exec_ends_its_program_and_what_that_started(made: Lab) -> None:
    mark = f"32{os.getpid()}"
    work = asyncio.ensure_future(made.exec("client", "sh", "-c", f"sleep {mark} & sleep {mark}; true"))

    async def running(number: int) -> bool:
        found = await made.exec("client", "pgrep", "-fc", f"^sleep {mark}$")
        return int(found.stdout) == number

    await eventually(lambda: running(2))
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await eventually(lambda: running(0))


async def test_a_hangup_that_the_asker_ignores(made: Lab) -> None:
    """nohup(1): the program of one that ignores SIGHUP doesn't get it."""
    script = "trap 'echo up; exit 5' HUP; trap 'exit 6' TERM; echo ready; while :; do sleep 0.05; done"
    words = ["env", "nohup", *command(made.name, "client", "--", "sh", "-c", script)]
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(),
    )
    assert process.stdout is not None
    async with asyncio.timeout(120):
        assert await process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 6


async def test_ctrl_c_reaches_what_a_shell_waits_for(made: Lab) -> None:
    """SIGINT and SIGQUIT are what a terminal sends to all that run in front."""
    script = f"{PYTHON} {PROGRAMS / 'interrupted.py'}; echo went on"
    process = await asyncio.create_subprocess_exec(
        *command(made.name, "client", "--", "bash", "-c", f"trap : INT; {script}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    async with asyncio.timeout(120):
        assert await process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert await process.stdout.read() == b"interrupted\nwent on\n"
        assert await process.wait() == 0


async def test_closed_descriptors(made: Lab) -> None:
    """A program whose asker has no stdin or stdout has none to speak of, and its status is its own."""
    words = " ".join(command(made.name, "client", "--", "sh", "-c", "'cat; echo x; exit 9'"))
    for redirections in ("<&-", ">&-", "<&- >&- 2>&-"):
        done = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-c", f"{words} {redirections}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment(),
            timeout=120,
        )
        assert done.returncode == 9, (redirections, done)


class Terminal:
    """`emulab exec` in a terminal of its own, as a user has it; the end of the block ends it."""

    def __init__(self, lab: str, *words: str, opened: tuple[int, ...] = ()) -> None:
        self.shown = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for fd in opened:
                os.dup2(0, fd)
            # One that has no sequences of its own for readline to write.
            os.execve(sys.executable, command(lab, *words), {**environment(), "TERM": "dumb"})
        os.set_blocking(self.fd, False)

    async def until(self, text: str) -> None:
        """Waits until this has been shown."""
        while text not in self.shown:
            assert await self._more(), f"it ended and showed {self.shown!r}"

    async def ends(self) -> int:
        """The exit status."""
        while await self._more():
            pass
        _, status = await asyncio.to_thread(os.waitpid, self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def _more(self) -> bool:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.fd, ready.set)
        try:
            async with asyncio.timeout(120):
                await ready.wait()
            data = os.read(self.fd, 1 << 16)
        except OSError:  # EIO: nobody has the other side any more
            return False
        finally:
            loop.remove_reader(self.fd)
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.mark.parametrize("target", ["client", "pod/real"])
async def test_a_shell_in_a_terminal(made: Lab, target: str) -> None:
    """A terminal of the program's own: its size and changes of it, job control, Ctrl-C, the exit status."""
    with Terminal(made.name, target, "--", "bash", "--norc", "--noprofile", "-i") as terminal:
        terminal.resize(33, 99)
        terminal.type("unset HISTFILE; stty -echo; PS1='; '; echo $((6*7))\n")
        await terminal.until("\n42\n")
        terminal.type("stty size; tty -s && echo a terminal\n")
        await terminal.until("33 99\na terminal\n")
        terminal.type("trap 'echo resized' WINCH; echo $((50+5))\n")
        await terminal.until("55\n")
        terminal.resize(44, 88)
        terminal.type("\n")
        await terminal.until("resized\n")
        job = "trap 'echo went $((4+4)) on' CONT; trap 'exit 9' INT; echo star''ted; while :; do sleep 0.1; done"
        terminal.type(f"({job})\n")
        await terminal.until("started\n")
        terminal.type("\x1a")  # Ctrl-Z
        await terminal.until("Stopped")
        terminal.type("fg\n")
        await terminal.until("went 8 on\n")  # it has the terminal by then
        terminal.type("\x03")  # Ctrl-C
        terminal.type("echo $((6*8)) $?\n")
        await terminal.until("48 9\n")
        terminal.type("echo rea''dy; cat; echo read $((30+3))\n")
        await terminal.until("ready\n")
        terminal.type("\x04")  # Ctrl-D
        await terminal.until("read 33\n")
        terminal.type("exit 17\n")
        assert await terminal.ends() == 17


async def test_a_pipe_beside_a_terminal(made: Lab) -> None:
    """One of three is a terminal: Ctrl-C ends the program, and `emulab exec` with 130 as shells tell it."""
    mark = f"33{os.getpid()}"
    script = (
        f"exec {' '.join(command(made.name, 'client', '--', 'sleep', mark))} | cat; exit ${{PIPESTATUS[0]}}"
    )
    with Terminal.__new__(Terminal) as terminal:
        terminal.shown = ""
        terminal.pid, terminal.fd = pty.fork()
        if terminal.pid == 0:
            os.execve("/bin/bash", ["bash", "-c", f"trap : INT; {script}"], environment())
        os.set_blocking(terminal.fd, False)

        async def sleeping() -> bool:
            return (await made.exec("client", "pgrep", "-f", f"^sleep {mark}$")).status == 0

        await eventually(sleeping)
        terminal.type("\x03")
        assert await terminal.ends() == 130


async def test_a_pod_with_much_environment(made: Lab) -> None:
    """300 variables of 1,000 characters are legal (execve(2)); 5 MB are too much for that container alone."""

    def pod(called: str, count: int, size: int) -> str:
        env = [{"name": f"V{i}", "value": "x" * size} for i in range(count)]
        spec = {
            "restartPolicy": "Never",
            "containers": [{"name": "c", "command": ["sh", "-c", "exec sleep 100000"], "env": env}],
        }
        return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": called}, "spec": spec})

    await made.apply(pod("wide", 300, 1000))
    count = await output(made, "pod/wide", "sh", "-c", "tr '\\0' '\\n' </proc/1/environ | grep -c ^V")
    assert count == "300"
    await made.apply(pod("too-wide", 5000, 1000), ready=False)

    async def failed() -> bool:
        [one] = [p for p in await pods(made) if name(p) == "too-wide"]
        return str(one["status"]["phase"]) == "Failed"

    await eventually(failed)
    done = await emulab("-l", made.name, "logs", "too-wide")
    assert b"Argument list too long" in done.stdout
    assert (await made.exec("pod/wide", "true")).status == 0
    await made.delete("Pod", "wide")
    await made.delete("Pod", "too-wide")
