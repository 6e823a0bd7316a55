"""Programs of the host, as containers find them, and what shells say of those that they don't find."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from emulab.kinds.core.podspec import Container
from emulab.lab.kubelet.programs import client_in, missing_program, missing_word


def container(*command: str, **fields: Any) -> Container:
    return Container.of({"name": "c", "command": list(command), **fields})


@pytest.mark.parametrize(
    ("command", "there"),
    [
        (("sh",), True),
        (("/bin/sh",), True),
        (("sh-that-nobody-has",), False),
        (("/no/such/program",), False),
        (("/",), False),
        (("/etc",), False),
        (("./no-such-program",), False),
        (("$(BIN)/x",), True),
        (("sh", "-c", "nobody-has-it --port 80"), False),
        (("/bin/sh", "-ec", "# of the image\nset -eu\nexport A=b\nexec /opt/nobody/run.sh"), False),
        (("bash", "-c", "PORT=80 /no/such/program & wait"), False),
        (("sh", "-c", "cat /etc/hosts"), True),
        (("sh", "-c", "until nobody-has-it; do sleep 1; done"), True),
        (("sh", "-c", "$RUN nobody-has-it"), True),
        (("sh", "-c", "echo hi; nobody-has-it"), True),
        (("sh", "/no/such/script.sh"), False),
        (("sh", "/etc/profile"), True),
        (("python3", "nobody-has-it.py"), False),
        (("python3", "-m", "http.server"), True),
        (("cp", "-f", "/nobody-has-it", "/tmp"), False),
        (("cp", "/etc/hosts", "/nobody-has-it"), True),
        (("sh", "-c", "/bin/cp --update=none /nobody-has-it /shared/it && ln -s it /shared/other"), False),
        (("sh", "-c", "cp /nobody-has-it/* /shared"), True),
        (("sh", "-c", "cp /etc/hosts /shared; cp /nobody-has-it /shared"), True),
        (("sysctl", "-w", "vm.max_map_count=262144"), False),
        (("sh", "-c", "set -e; sysctl -q -w net.core.somaxconn=4096 || true"), False),
        (("sysctl", "vm.max_map_count"), True),
        ((), True),
    ],
)
def test_what_is_there(command: tuple[str, ...], there: bool) -> None:
    assert (not missing_program(container(*command))) is there


def test_a_container_may_look_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("#!/bin/sh\n")
    (tmp_path / "own").chmod(0o755)
    assert missing_program(container("own")) == "own"
    assert not missing_program(container("own", env=[{"name": "PATH", "value": f"/bin:{tmp_path}"}]))
    assert not missing_program(container("./own", workingDir=str(tmp_path)))
    assert not missing_program(container("sh", "own", workingDir=str(tmp_path)))


def test_a_working_directory_is_made_and_is_nobodys_program() -> None:
    assert not missing_program(container("sh", workingDir="/no/such/folder"))
    assert missing_program(container("sh", "run.sh", workingDir="/no/such/folder")) == "run.sh"


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (("/scripts/deep/run",), ""),
        (("sh", "/scripts/run.sh"), ""),
        (("sh", "/scripts/../run.sh"), "/scripts/../run.sh"),
        (("sh", "/scripts-not/run.sh"), "/scripts-not/run.sh"),
        (("python3", "main.py"), ""),
        (("python3", "/app/one.py"), ""),
        (("python3", "/app/two.py"), "/app/two.py"),
        (("mine",), ""),
        (("sh", "-c", "/scripts/run | cat"), ""),
        (("cp", "/scripts/a", "/b", "/tmp"), "/b"),
    ],
)
def test_what_is_mounted_may_hold_it(command: tuple[str, ...], missing: str) -> None:
    paths = ("/scripts/", "/work", "/app/one.py", "tools")
    mounts = [{"name": str(number), "mountPath": path} for number, path in enumerate(paths)]
    env = [{"name": "PATH", "value": "/bin:/tools/bin"}] if command == ("mine",) else []
    assert missing_program(container(*command, volumeMounts=mounts, workingDir="/work", env=env)) == missing


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (("sh", "-c", "exec nobody-has-it ping"), "nobody-has-it"),
        (("sh", "-c", '[ "$(nobody-has-it ping)" = PONG ]'), "nobody-has-it"),
        (("bash", "-c", "nobody-has-it"), "nobody-has-it"),
        (("sh", "-c", "/no/such/program"), "/no/such/program"),
        (("bash", "-c", "exit 127"), "exit 127"),
        (("cat", "/tmp/nothing-is-here"), ""),
        (("sh", "-c", "exit 1"), ""),
        (("sh", "-c", "nobody-has-it; true"), ""),
    ],
)
def test_what_a_shell_has_not_found(command: tuple[str, ...], missing: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert missing_word(container(), command, done.returncode, done.stdout + done.stderr) == missing


def test_a_folder_that_nobody_may_look_into_hides_no_program_that_is_elsewhere() -> None:
    said = "sh: 1: exec: {}: Permission denied\n"
    assert missing_word(container(), ("sh",), 126, said.format("nobody-has-it")) == "nobody-has-it"
    assert missing_word(container(), ("sh",), 126, said.format("sh")) == ""


def test_a_setting_of_the_machine_is_told_as_one() -> None:
    assert missing_program(container("sysctl", "-w", "a.b=1", "c=2")) == "a a.b that a container may set"


@pytest.mark.parametrize(
    ("command", "client"),
    [
        (("pg_isready", "-U", "postgres"), "pg_isready"),
        (("/opt/bin/redis-cli", "ping"), "/opt/bin/redis-cli"),
        (("sh", "-c", "-e", 'exec pg_isready -h 127.0.0.1 -p "5432"'), "pg_isready"),
        (("bash", "-ec", "[ $(redis-cli ping) = PONG ]"), "redis-cli"),
        (("curl", "-f", "http://localhost/"), ""),
        (("cat", "/tmp/healthy"), ""),
        (("my-redis-cli-wrapper",), ""),
    ],
)
def test_clients_of_servers_that_no_stand_in_is(command: tuple[str, ...], client: str) -> None:
    assert client_in(command) == client
