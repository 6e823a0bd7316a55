"""What stands beside what in `scripts/bench ingress`: emulab's own engine and Debian's nginx, and the upstream of both.

All are configured from one plan. nginx has the configuration that it would have as a lab's engine, which is that of
ingress-nginx, but for its log: one line for each request goes to us there, so here there is none.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

from benchmarks.proxied import UPSTREAM, configure, pin, serve_ingress, tell
from emulab.servers.configuration import from_json, json_bytes
from emulab.servers.engines.nginx.conf import FOLDER, NginxPlace, nginx_conf
from emulab.servers.l7.config import L7Config
from emulab.servers.l7.shell.tls import fake_certificate
from emulab.servers.patches import patch_between

EMULAB, NGINX = "emulab", "nginx"
OTHER = "10.244.99.99"  # nginx' address
SIZE = 1 << 20
SMALL, BIG = "/", "/big"
PATIENCE = 60.0
SAID_MAX = 5
"""Lines that are shown of what a program complains of: who refuses each request says the same a thousand times."""

_UPSTREAM = """
daemon off; pid {folder}/upstream.pid; error_log stderr error; user {user}; worker_processes 1;
events {{ worker_connections 16384; multi_accept on; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; default_type text/plain;
  client_body_temp_path {folder}/u1; proxy_temp_path {folder}/u2; fastcgi_temp_path {folder}/u3;
  uwsgi_temp_path {folder}/u4; scgi_temp_path {folder}/u5;
  server {{
    listen {address}:{port} backlog=4096;
    location / {{ return 200 "{small}"; }}
    location = {big} {{ alias {folder}/big; }}
  }}
}}
"""


def upstream_conf(folder: Path, address: str, port: int) -> str:
    """nginx' configuration as an upstream that answers with little or, of a file `big`, with much."""
    return _UPSTREAM.format(folder=folder, address=address, port=port, small="x" * 100, big=BIG, user=_user())


@dataclass(frozen=True, slots=True)
class Side:
    """One proxy that is measured."""

    name: str
    address: str
    process: Callable[[], int]  # the one that serves now, by its number
    change: Callable[[dict[str, Any]], Callable[[], None]]
    """Of a configuration, what has the side follow it, or begin to; what is called beforehand a lab does elsewhere."""
    stop: Callable[[], None]

    @property
    def pid(self) -> int:
        return self.process()


class Complaints:
    """Reads what a program complains of, so that it never waits for us, and keeps the first lines."""

    def __init__(self, name: str, pipe: IO[bytes]) -> None:
        self._name, self._pipe = name, pipe
        self._kept: list[str] = []
        self._number = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._pipe:
            self._number += 1
            if len(self._kept) < SAID_MAX:
                self._kept.append(line.decode(errors="replace").rstrip())

    def lines(self) -> list[str]:
        """The first lines, and how many there were besides."""
        more = self._number - len(self._kept)
        left = [f"and {more} lines more"] if more > 0 else []
        return [f"{self._name}: {line}" for line in [*self._kept, *left]]


@dataclass(slots=True)
class Stage:
    """The network namespace with all that runs in it."""

    planned: dict[str, Any]  # the server, as a plan has it
    folder: Path
    _programs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _complaints: list[Complaints] = field(default_factory=list)

    def set(self) -> tuple[Side, Side]:
        """Starts everything."""
        config = self.planned["config"]
        address = next(key for key in config["listen"] if key.endswith("/80")).split("/")[1]
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for one in (address, OTHER, UPSTREAM[0]):
            subprocess.run(["ip", "addr", "add", f"{one}/32", "dev", "lo"], check=True)
        (self.folder / "big").write_bytes(b"x" * SIZE)
        (self.folder / "upstream.conf").write_text(upstream_conf(self.folder, *UPSTREAM))
        self._nginx("upstream.conf", -1)
        _wait(UPSTREAM)
        return self._emulab(config, address), self._beside(config, address)

    def strike(self) -> None:
        """Ends everything."""
        for program in self._programs:
            program.terminate()
            program.wait()

    def complaints(self) -> list[str]:
        """What the programs have complained of, a few lines of each."""
        return [line for one in self._complaints for line in one.lines()]

    def _emulab(self, config: dict[str, Any], address: str) -> Side:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server = get_context("fork").Process(target=serve_ingress, args=(theirs, control), daemon=True)
        server.start()
        theirs.close()
        configure(control, config, config["listen"])

        def stop() -> None:
            control.close()
            server.join()

        told = from_json(L7Config, config)

        def change(wanted: dict[str, Any]) -> Callable[[], None]:
            nonlocal told
            before, told = told, from_json(L7Config, wanted)
            patch = patch_between(before, told)
            return lambda: (
                configure(control, wanted, []) if patch is None else tell(control, "patch", json_bytes(patch))
            )

        pid = server.pid
        assert pid is not None
        return Side(EMULAB, address, lambda: pid, change, stop)

    def _beside(self, config: dict[str, Any], address: str) -> Side:
        number = 1

        def write(wanted: dict[str, Any]) -> None:
            text = json.dumps(wanted).replace(address, OTHER)
            _write_conf(json.loads(text), self.folder, number)

        def change(wanted: dict[str, Any]) -> Callable[[], None]:
            nonlocal number
            number += 1
            write(wanted)
            return lambda: master.send_signal(signal.SIGHUP)

        write(config)
        master = self._nginx("nginx.conf", 0)
        _wait((OTHER, 80))
        return Side(NGINX, OTHER, lambda: _worker(master.pid), change, lambda: None)

    def _nginx(self, conf: str, cpu: int) -> subprocess.Popen[bytes]:
        command = ["nginx", "-c", str(self.folder / conf), "-e", "stderr"]
        program = subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=lambda: pin(cpu))
        assert program.stderr is not None
        self._programs.append(program)
        self._complaints.append(Complaints(conf, program.stderr))
        return program


def _write_conf(config: dict[str, Any], folder: Path, number: int) -> None:
    sockets = {key: ":".join(key.split("/")[1:]) for key in config["listen"]}
    place = NginxPlace(sockets, workers=1, generation=number, user=_user(), names={})
    text = nginx_conf(from_json(L7Config, config), place)
    text = re.sub(r"access_log syslog[^;]*;", "access_log off;", text)
    if "http2" not in text:
        text = re.sub(r"(listen [^;]* ssl);", r"\1 http2;", text)
    text = text.replace(f"{FOLDER}/", f"{folder}/")
    for name in ("ssl", "run"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "ssl" / f"{place.fake}.pem").write_text("\n".join(fake_certificate()))
    (folder / "nginx.conf").write_text(text)


def _user() -> str:
    """Whose nginx' workers are: ours, who may be root of a user namespace that knows nobody else."""
    return "root root"


def _worker(master: int) -> int:
    children = Path(f"/proc/{master}/task/{master}/children")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := children.read_text().split():
            return int(found[-1])
        time.sleep(0.05)
    raise TimeoutError("nginx has no worker")


def _wait(address: tuple[str, int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(address, 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
