"""/agnhost as a program: what it says of connections, with real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from pathlib import Path

import pytest

from emulab.kinds.core.podspec import Container
from emulab.lab.kubelet.imagefiles import binds
from emulab.lab.kubelet.programs import has_word, missing_program

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"


@pytest.fixture
def agnhost(tmp_path: Path) -> str:
    found = binds(AGNHOST, tmp_path / "files")
    assert [(bind.target, bind.read_only) for bind in found] == [("/agnhost", True), ("/agnhost-2", True)]
    assert binds(AGNHOST, tmp_path / "files") == found
    return found[0].source


def run(program: str, *words: str) -> tuple[int, str]:
    """Its status, and what it says on its standard error."""
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=60, env={})
    return done.returncode, done.stderr


def test_other_images_bring_no_programs(tmp_path: Path) -> None:
    assert binds("nginx", tmp_path) == () and not list(tmp_path.iterdir())


def test_connections_by_tcp(agnhost: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert run(agnhost, "connect", f"127.0.0.1:{port}") == (0, "")
        assert run(agnhost, "connect", "--timeout=5s", "--protocol", "tcp", f"127.0.0.1:{port}") == (0, "")
    assert run(agnhost, "connect", "--timeout=5s", f"127.0.0.1:{port}") == (1, "REFUSED\n")


def test_a_connection_that_nobody_takes_times_out(agnhost: str) -> None:
    """A queue that is full drops what comes (tcp_conn_request)."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening, contextlib.ExitStack() as waiting:
        for _ in range(4):
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listening.getsockname())
        port = listening.getsockname()[1]
        assert run(agnhost, "connect", "--timeout=300ms", f"127.0.0.1:{port}") == (1, "TIMEOUT\n")


def test_what_is_asked_wrongly(agnhost: str) -> None:
    assert run(agnhost, "connect", "127.0.0.1") == (
        1,
        "UNKNOWN: address 127.0.0.1: missing port in address\n",
    )
    assert run(agnhost, "connect", "no-such-name.invalid:80")[1].startswith(
        "DNS: lookup no-such-name.invalid: "
    )
    assert run(agnhost, "connect", "--protocol=icmp", "a:1") == (1, "Unsupported protocol\nicmp\n")
    assert run(agnhost, "connect")[0] == 1
    assert run(agnhost, "netexec")[1].startswith("agnhost: netexec isn't run here")


async def test_connections_by_udp(agnhost: str) -> None:
    heard: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(60)

        def answer() -> None:
            data, sender = sock.recvfrom(100)
            heard.append(data)
            sock.sendto(b"here", sender)

        port = sock.getsockname()[1]
        words = ("connect", "--protocol=udp", "--timeout=20s", f"127.0.0.1:{port}")
        answering = asyncio.create_task(asyncio.to_thread(answer))
        assert await asyncio.to_thread(run, agnhost, *words) == (0, "")
        await answering
    assert heard == [b"hostname\n"]
    assert await asyncio.to_thread(run, agnhost, *words) == (1, "REFUSED\n")


def test_mounts(agnhost: str, tmp_path: Path) -> None:
    def told(*words: str) -> str:
        done = subprocess.run(
            [agnhost, "mounttest", *words], capture_output=True, text=True, timeout=60, env={}
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    folder, file = tmp_path / "folder", tmp_path / "new"
    folder.mkdir()
    folder.chmod(0o1777)
    assert told(f"--file_mode={folder}", f"--file_owner={folder}") == (
        f'mode of file "{folder}": dtrwxrwxrwx\nowner UID of "{folder}": {os.getuid()}\n'
        f'owner GID of "{folder}": {os.stat(folder).st_gid}\n'
    )
    assert told(f"--file_perm={file}", f"--new_file_0660={file}") == (
        f'content of file "{file}": mount-tester new file\n\nperms of file "{file}": -rw-rw----\n'
    )
    assert told("--fs_type=/proc") == 'mount type of "/proc": proc\n'
    loop = ("--retry_time=60", f"--file_content_in_loop={file}")
    assert told(*loop) == f'content of file "{file}": mount-tester new file\n\n'
    assert subprocess.run([agnhost, "mounttest", "--file_content=/no/such"], env={}).returncode == 1


def test_arguments(agnhost: str) -> None:
    done = subprocess.run(
        [agnhost, "entrypoint-tester", "a", "b"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"[{agnhost} entrypoint-tester a b]\n"


def test_it_is_a_program_that_containers_of_its_image_find() -> None:
    container = Container.of({"name": "c", "image": AGNHOST, "command": ["/agnhost", "connect", "a:1"]})
    assert has_word(container, "/agnhost") and missing_program(container) == ""
    alone = Container.of({"name": "c", "image": AGNHOST, "args": ["entrypoint-tester", "x"]})
    assert alone.command == ("/agnhost", "entrypoint-tester", "x")
    assert Container.of({"name": "c", "image": AGNHOST, "args": ["netexec"]}).command == ()
    other = Container.of({"name": "c", "image": "x", "command": ["/agnhost", "connect", "a:1"]})
    assert missing_program(other) == "/agnhost"


def test_pausing_ends_as_it_is_told(agnhost: str) -> None:
    paused = subprocess.Popen([agnhost, "pause"], stdout=subprocess.PIPE, text=True)
    assert paused.stdout is not None
    with paused.stdout:
        assert paused.stdout.readline() == "Paused\n"
        paused.terminate()
        assert paused.wait(60) == 2


def test_nothing_but_the_standard_library_is_imported(agnhost: str) -> None:
    assert os.access(agnhost, os.X_OK)
    assert Path(agnhost).read_text().splitlines()[0].endswith(" -IS")
