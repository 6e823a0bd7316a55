"""Anything at all, said to the control socket of a lab: it answers in one line, and goes on answering."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

from emulab.cli import ending
from emulab.lab.client import launch
from emulab.lab.client.client import LabClient
from emulab.lab.folders import rundir

PATIENCE = 60.0  # seconds; only what hangs takes as long
MANIFEST = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80}], selector: {a: b}}\n"
)
FIELDS: dict[str, dict[str, Any]] = {
    "apply": {"sources": [["s.yaml", MANIFEST]]},
    "delete": {"keys": [["", "Service", "default", "s"]], "sources": None, "ignore_missing": True},
    "describe-entry": {"target": "client", "namespace": "default", "container": ""},
    "get": {"group": "", "kind": "Pod", "namespace": "default", "name": ""},
    "gone": {"objects": [["", "Service", "default", "s", "u"]], "timeout": 0.01},
    "logs": {"target": "client", "namespace": "default", "container": ""},
    "ready": {"timeout": 0.01},
    "resolver-files": {"target": "client", "namespace": "default"},
    "scale": {"group": "apps", "kind": "Deployment", "namespace": "default", "name": "web", "replicas": 1},
    "patch-status": {
        "group": "",
        "kind": "Pod",
        "namespace": "default",
        "name": "p",
        "patch": '{"status": {"conditions": [{"type": "a/b", "status": "True"}]}}',
    },
    "server-status": {"name": "public-lb"},
    "socket": {"target": "client", "namespace": "default", "family": 2, "type": 1, "protocol": 0},
    "observe": {"target": "client", "namespace": "default", "protocol": "tcp", "ports": [1], "whole": False},
    "summary": {},
}
"""Operation → arguments that it takes. Those that end the lab, or keep it, aren't among them."""
CHAINS = {"chains": [["client", "ip", "nat", "x"]], "owners": [["tcp", "10.96.0.10", 53]]}
TAP = {"place": "client", "family": 16, "type": 3, "protocol": 0}


def run(random: Random, going: Callable[[], bool]) -> int:
    """Says one thing after the other until `going` is false; how many it were. AssertionError shows a bad answer."""
    count = 0
    with _lab() as path:
        idle: list[socket.socket] = []
        try:
            while going():
                _say(path, random, idle)
                count += 1
                if count % 50 == 0:
                    _still_answers(path)
        finally:
            for sock in idle:
                sock.close()
        _still_answers(path)
    return count


@contextmanager
def _lab() -> Iterator[Path]:
    """The folder of a lab of our own, with what every lab has in it."""
    before, folder = os.environ.get("EMULAB_RUN_DIR"), tempfile.mkdtemp(prefix="emulab-fuzz-")
    os.environ["EMULAB_RUN_DIR"] = folder
    try:
        client, leash = launch.start_lab("fuzz", leashed=True)
        path = rundir.folder("fuzz")
        try:
            with client:
                client.request("apply", sources=[])
            yield path
        finally:
            ending.end(path)
            os.close(leash)
    finally:
        shutil.rmtree(folder)
        os.environ.pop("EMULAB_RUN_DIR")
        if before is not None:
            os.environ["EMULAB_RUN_DIR"] = before


def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    with rundir.socket_path(path) as address:
        sock.connect(address)
    return sock


def _still_answers(path: Path) -> None:
    with LabClient(path) as client:
        assert client.request("summary")["nodes"] > 0


def _say(path: Path, random: Random, idle: list[socket.socket]) -> None:
    """One connection with some requests, some of which may be none, and an end of some kind."""
    sock = _connected(path)
    if random.random() < 0.2:
        idle.append(sock)
        if random.random() < 0.5:
            sock.sendall(_request(random).rstrip(b"\n")[: random.randrange(200)])
        if len(idle) > 1000:
            for old in idle:
                old.close()
            idle.clear()
        return
    with sock:
        for _ in range(random.randint(1, 4)):
            said = _broken(_request(random), random) if random.random() < 0.4 else _request(random)
            with suppress(ConnectionError):
                _send(sock, said, random)
            if random.random() < 0.1:
                return  # without having heard the answer
            if said.endswith(b"\n"):
                if not _answered(sock, said):
                    return
            else:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
                _answered(sock, said)
                return


def _send(sock: socket.socket, said: bytes, random: Random) -> None:
    cut = random.randrange(len(said) + 1) if random.random() < 0.3 else len(said)
    sock.sendall(said[:cut])
    if random.random() < 0.1:  # descriptors that nobody has asked for
        with open(os.devnull) as null:
            socket.send_fds(sock, [b" "], [null.fileno()] * random.randint(1, 200))
    sock.sendall(said[cut:])


def _answered(sock: socket.socket, said: bytes) -> bool:
    """Reads answers up to a last one; returns whether the connection goes on. Raises AssertionError for a bad one."""
    buffer = b""
    while True:
        try:
            chunk, fds, _, _ = socket.recv_fds(sock, 1 << 20, 250)
        except ConnectionError:
            return False
        except TimeoutError:
            raise AssertionError(f"no answer to {said[:2000]!r}") from None
        for fd in fds:
            os.close(fd)
        if not chunk:
            return False
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            answer = json.loads(line)
            error = answer.get("error", "")
            assert "fault of emulab" not in error, f"{error}\nafter {said[:2000]!r}"
            assert answer.get("problems") or "\n" not in error, (
                f"more than a line: {error}\nafter {said[:2000]!r}"
            )
        if any(b'"result"' in line[:12] or b'"error"' in line[:12] for line in lines):
            return True


def _request(random: Random) -> bytes:
    """An operation with right and wrong arguments, missing and additional ones."""
    op = random.choice(list(FIELDS))
    fields = dict(FIELDS[op])
    if op == "observe" and random.random() < 0.7:
        fields = dict(random.choice((CHAINS, TAP, {})))
    for name in list(fields):
        chance = random.random()
        if chance < 0.1:
            del fields[name]
        elif chance < 0.5:
            fields[name] = _changed(fields[name], random)
    if random.random() < 0.05:
        fields[_text(random)] = _value(random, 3)
    what: Any = op if random.random() < 0.95 else _value(random, 2)
    if what in ("down", "release"):
        what = op
    return json.dumps({"op": what, **fields}).encode() + b"\n"


def _changed(value: Any, random: Random) -> Any:
    """Something else, or the same with something else in it."""
    if isinstance(value, list) and value and random.random() < 0.7:
        at = random.randrange(len(value))
        return [*value[:at], _changed(value[at], random), *value[at + random.randint(0, 1) :]]
    return _value(random, 4)


def _value(random: Random, depth: int) -> Any:
    kind = random.randrange(9 if depth else 7)
    if kind == 7:
        return [_value(random, depth - 1) for _ in range(random.randrange(5))]
    if kind == 8:
        return {_text(random): _value(random, depth - 1) for _ in range(random.randrange(4))}
    numbers = (
        0,
        -1,
        1.5,
        1 << 31,
        1 << 63,
        10**40,
        1e308,
        float("nan"),
        float("inf"),
        random.randrange(1 << 16),
    )
    return (None, True, False, random.choice(numbers), _text(random), _text(random), "")[kind]


def _text(random: Random) -> str:
    words = (
        *(
            "client",
            "node1",
            "pod/x",
            "deploy/x",
            "default",
            "kube-system",
            "public-lb",
            "../../etc/passwd",
            "/",
            ".",
        ),
        *(
            "a" * 70_000,
            "\0",
            "\n",
            "\x1b[2J",
            "\ud800",
            "ü",
            "x; flush ruleset",
            "$(reboot)",
            "{",
            "Pod",
            "tcp",
        ),
        *("- " * 500, "{a: " * 500, "&a [*a]", "kind: Pod", MANIFEST),
    )
    return random.choice(words)


def _broken(said: bytes, random: Random) -> bytes:
    """What isn't a request, or not a whole one."""
    kind = random.randrange(7)
    if kind == 0:
        return said[: random.randrange(len(said))]
    if kind == 1:
        at = random.randrange(len(said))
        return said[:at] + random.randbytes(random.randrange(1, 5)) + said[at + 1 :]
    if kind == 2:
        return random.randbytes(random.randrange(1, 200)) + b"\n"
    if kind == 3:
        depth = random.choice((10, 900, 1000, 5000, 100_000))
        return b'{"op": "get", "kind": ' + b"[" * depth + b"]" * depth + b"}\n"
    if kind == 4:
        return said.rstrip(b"\n") + said  # two at once
    if kind == 5:
        return b'{"op": ' + b"9" * 6000 + b"}\n"
    return random.choice((b"\n", b"null\n", b"[]\n", b'"down"\n', b"{}\n", b"\0\n", b"{" * 3000 + b"\n"))
