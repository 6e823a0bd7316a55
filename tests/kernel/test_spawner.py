"""The spawner on its own: whatever it is asked for, that fails alone."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from emulab.kernel.processes import spawner


class Asker:
    """The supervisor's end of a spawner's socket."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self.sock = sock
        self.pid = pid
        self._next = 0
        sock.settimeout(120)

    def told(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.sock.recv(1 << 16))
        return message

    def ask(self, fds: list[int] | None = None, **message: Any) -> dict[str, Any]:
        """The answer to a request for a program that has `fds`, /dev/null thrice by default."""
        self._next += 1
        null = os.open("/dev/null", os.O_RDWR)
        try:
            request = {"id": self._next, "join": [], **message}
            spawner.request(self.sock, request, [null] * 3 if fds is None else fds)
        finally:
            os.close(null)
        while (answer := self.told()).get("id") != self._next:
            pass
        return answer

    def runs(self, *argv: str, **environment: str) -> tuple[int, str]:
        """Exit status and output of a program."""
        read, write = os.pipe()
        with open(read) as output:
            null = os.open("/dev/null", os.O_RDWR)
            program = {"argv": argv, "environment": {"PATH": os.defpath, **environment}}
            answer = self.ask([null, write, write], program=program)
            os.close(write)
            os.close(null)
            assert "error" not in answer, answer
            text = output.read()
        while (ended := self.told()).get("exited") != answer["pid"]:
            pass  # another's, that never became a program
        return ended["status"], text


@contextmanager
def running() -> Iterator[Asker]:
    def serve(kind: str, control: socket.socket) -> None:
        if kind == "bad":
            raise RuntimeError("can't serve")
        listed = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
        control.sendall(f"{listed} {control.fileno()}".encode())

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as _:  # a descriptor that the spawner inherits, and nobody has any business with
        others = children(os.getpid())  # those that earlier tests of this process may have left to end
        sock = spawner.start_spawner(serve, lambda: None, (77, limits[1]))
    with sock:
        (pid,) = set(children(os.getpid())) - set(others)
        asker = Asker(sock, pid)
        yield asker
        assert asker.runs("echo", "well") == (0, "well\n")
    os.waitpid(pid, 0)


@pytest.fixture
def asker() -> Iterator[Asker]:
    with running() as asker:
        yield asker


NOWHERE = {"groups": [{"path": "/nowhere/at/all"}], "enter": ["/nowhere/at/all"]}
WRONG: dict[str, dict[str, Any]] = {
    "no program": {"argv": ["no-such-program"], "environment": {}},
    "words that are none": {"argv": [1, None], "environment": {}},
    "no words": {"argv": [], "environment": {}},
    "a null byte": {"argv": ["true", "a\0b"], "environment": {"PATH": "/bin:/usr/bin"}},
    "a null byte in a value": {"argv": ["/bin/true"], "environment": {"A": "\0"}},
    "a variable with =": {"argv": ["/bin/true"], "environment": {"A=B": "c"}},
    "a lone surrogate": {"argv": ["/bin/true", "\ud800"], "environment": {}},
    "a cgroup that isn't there": {"argv": ["/bin/true"], "environment": {}, "cgroup": NOWHERE},
    "a folder that isn't there": {"argv": ["/bin/true"], "environment": {}, "working_directory": "/nowhere"},
    "too many words": {"argv": ["/bin/true", *["x" * 100_000] * 60], "environment": {}},
    "too much environment": {
        "argv": ["/bin/true"],
        "environment": {f"V{i}": "x" * 100_000 for i in range(60)},
    },
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_program_fails_alone(asker: Asker, what: str) -> None:
    answer = asker.ask(program=WRONG[what])
    assert answer["error"] and answer["status"] > 0, answer
    assert "pid" in answer, answer
    assert asker.told()["exited"] == answer["pid"]


@pytest.mark.parametrize(
    "message",
    [
        {"program": "text"},
        {"program": {"argv": ["/bin/true"], "environment": {}}, "join": ["net"]},
        {"program": {"argv": ["/bin/true"], "environment": {}}, "join": ["pid"]},
        {"program": {"argv": ["/bin/true"], "environment": {}}, "join": 7},
        {"program": {"argv": ["/bin/true"], "environment": {}, "colour": "green"}},
        {"program": {"argv": ["/bin/true"], "environment": {}, "cgroup": "/nowhere"}},
        {"program": {"argv": ["/bin/true"], "environment": {}}, "in": "file"},
        {},
    ],
)
def test_a_wrong_message_fails_alone(asker: Asker, message: dict[str, Any]) -> None:
    assert asker.ask(**message)["error"]


def test_a_child_that_somebody_stops_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the programs of a container may do with one that is about to be their neighbour: others don't wait for it."""
    monkeypatch.setattr(spawner, "_PATIENCE", 2.0)
    os.mkfifo(tmp_path / "cgroup.procs")  # a cgroup that the child enters only once there is a reader
    with running() as asker:
        program = {
            "argv": ["/bin/true"],
            "environment": {},
            "cgroup": {"groups": [], "enter": [str(tmp_path)]},
        }
        null = os.open("/dev/null", os.O_RDWR)
        spawner.request(asker.sock, {"id": 1000, "join": [], "program": program}, [null] * 3)
        os.close(null)
        while not (begun := children(asker.pid)):
            time.sleep(0.01)
        os.kill(begun[0], signal.SIGSTOP)
        while not re.search("^State:\tT", (Path("/proc") / f"{begun[0]}/status").read_text(), re.MULTILINE):
            time.sleep(0.01)
        reader = os.open(tmp_path / "cgroup.procs", os.O_RDONLY | os.O_NONBLOCK)
        assert asker.runs("echo", "meanwhile") == (0, "meanwhile\n")
        answer = asker.told()
        assert answer == {"id": 1000, "error": "didn't begin within 2 s", "status": 1, "pid": begun[0]}
        assert asker.told() == {"exited": begun[0], "status": 128 + signal.SIGKILL}
        os.close(reader)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("size", [10, 1000, 32_000, 33_000, 100_000])
def test_messages_of_any_length(asker: Asker, size: int) -> None:
    status, text = asker.runs("sh", "-c", "echo ${#A} $B", A="x" * size, B="é")
    assert (status, text) == (0, f"{size} é\n")


def test_a_program_has_its_descriptors_and_limits_alone(asker: Asker) -> None:
    assert asker.runs("ls", "/proc/self/fd") == (0, "0\n1\n2\n3\n")  # the last is the folder that is read
    assert asker.runs("sh", "-c", "ulimit -n") == (0, "77\n")


def test_a_program_is_found_as_a_shell_finds_it(asker: Asker, tmp_path: Path) -> None:
    """In the first folder where it can be run; one that can't be run is told only where there is no other."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "here").write_text(f"#!/bin/sh\necho {folder}\n")
    (tmp_path / "two" / "here").chmod(0o755)
    path = f"/proc/1/cwd:{tmp_path}/none:{tmp_path}/one:{tmp_path}/two"
    assert asker.runs("here", PATH=path) == (0, "two\n")
    (tmp_path / "two" / "here").chmod(0o644)
    program = {"argv": ["here"], "environment": {"PATH": path}}
    answer = asker.ask(program=program)
    assert (answer["status"], answer["error"]) == (126, "here: Permission denied")
    answer = asker.ask(program=program | {"argv": ["nowhere"]})
    assert (answer["status"], answer["error"]) == (127, "nowhere: command not found")


def test_a_server_has_its_control_socket_alone(asker: Asker) -> None:
    ours, theirs = socket.socketpair()
    null = os.open("/dev/null", os.O_RDWR)
    answer = asker.ask([null, null, null, theirs.fileno()], serve="good", name="good")
    theirs.close()
    with ours:
        listed, _, control = ours.recv(1000).decode().rpartition(" ")
    # One more is the folder that the list was read from.
    assert set(json.loads(listed)) - {0, 1, 2, int(control)} <= {3, 4} and len(json.loads(listed)) == 5
    assert asker.told() == {"exited": answer["pid"], "status": 0}
    # One that fails has become what it should: that is told in its log and its exit status.
    ours, theirs = socket.socketpair()
    answer = asker.ask([null, null, null, theirs.fileno()], serve="bad", name="bad")
    theirs.close()
    ours.close()
    os.close(null)
    assert asker.told() == {"exited": answer["pid"], "status": 1}
