"""What stands beside what in `scripts/bench balancer`, each in the network namespace where it would be in a lab.

    clients ── proxies (emulab's, HAProxy) ── backend (nginx)
       └────── router (nat: rules alone) ───────┘

The measuring process is in the namespace of the proxies.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from benchmarks.proxied import configure, pin
from benchmarks.sides import SIZE, upstream_conf
from emulab.model.addresses import parse_address
from emulab.model.families import family_of
from emulab.plan.balancing.nat import BalancerRules, forwarding_rules
from emulab.plan.rules.rulesets import ruleset_script
from emulab.servers.configuration import json_bytes
from emulab.servers.l4.config import FrontendConfig, L4Config, TargetConfig

EMULAB, HAPROXY, NAT = "emulab", "haproxy", "nat"
ADDRESSES = {EMULAB: "203.0.113.41", HAPROXY: "203.0.113.42", NAT: "203.0.113.43"}
BACKEND, PORT = "10.0.0.2", 8000
PATIENCE = 30.0

# A link: who is at its ends, and their addresses there.
_LINKS = (
    ("clients", "198.51.100.2", "", "198.51.100.1"),
    ("clients", "198.51.101.2", "router", "198.51.101.1"),
    ("backend", BACKEND, "", "10.0.0.1"),
    ("backend", "10.0.1.2", "router", "10.0.1.1"),
)
_ROUTES = (
    ("clients", ADDRESSES[EMULAB], "198.51.100.1"),
    ("clients", ADDRESSES[HAPROXY], "198.51.100.1"),
    ("clients", ADDRESSES[NAT], "198.51.101.1"),
    ("backend", "198.51.101.2", "10.0.1.1"),
    ("router", BACKEND, "10.0.1.2"),
)
_HAPROXY = """
global
  maxconn 9000
  nbthread 1
defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
listen balancer
  bind {address}:80 backlog 4096
  server backend {backend}:{port}
"""


@dataclass(frozen=True, slots=True)
class Balancer:
    """One of those that are measured."""

    name: str
    pid: int = 0  # of the process that serves; 0: the kernel does

    @property
    def address(self) -> str:
        return ADDRESSES[self.name]


@dataclass(slots=True)
class Surroundings:
    """The namespaces with all that runs in them."""

    folder: Path
    _programs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _places: dict[str, list[str]] = field(default_factory=lambda: {"": []})
    _control: socket.socket | None = None

    def set(self) -> list[Balancer]:
        """Builds and starts everything."""
        for name in ("clients", "backend", "router"):
            keeper = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
            self._programs.append(keeper)
            _wait_for_namespace(keeper.pid)
            self._places[name] = ["nsenter", "-t", str(keeper.pid), "--net"]
        for number, link in enumerate(_LINKS):
            self._link(number, *link)
        for place in self._places:
            self._run(place, "ip link set lo up")
        for place, to, via in _ROUTES:
            self._run(place, f"ip route add {to} via {via}")
        for name in (EMULAB, HAPROXY):
            self._run("", f"ip addr add {ADDRESSES[name]}/32 dev lo")
        (self.folder / "big").write_bytes(b"x" * SIZE)
        (self.folder / "upstream.conf").write_text(upstream_conf(self.folder, "0.0.0.0", PORT))
        self._start("backend", -1, "nginx", "-c", str(self.folder / "upstream.conf"), "-e", "stderr")
        _wait_for_answer((BACKEND, PORT))
        self._forward()
        return [self._emulab(), self._haproxy(), Balancer(NAT)]

    @property
    def clients(self) -> list[str]:
        """What a command begins with that runs where the clients are."""
        return self._places["clients"]

    def strike(self) -> None:
        """Ends everything."""
        if self._control is not None:
            self._control.close()  # with which the server ends
        for program in reversed(self._programs):
            program.terminate()
            program.wait()

    def _link(self, number: int, one: str, address: str, other: str, gateway: str) -> None:
        ends = [(one, address, f"a{number}"), (other, gateway, f"b{number}")]
        subprocess.run(["ip", "link", "add", "a0x", "type", "veth", "peer", "name", "b0x"], check=True)
        for (place, own, name), made in zip(ends, ("a0x", "b0x"), strict=True):
            command = f"ip link set {made} name {name}"
            if place:
                command += f" netns {self._places[place][2]}"
            self._run("", command)
            self._run(place, f"ip addr add {own}/24 dev {name}")
            self._run(place, f"ip link set {name} up")

    def _forward(self) -> None:
        frontend = FrontendConfig("roundrobin", (TargetConfig("backend", BACKEND, PORT),))
        own = parse_address("10.0.1.1")
        rules = BalancerRules(
            "bench", {f"tcp/{ADDRESSES[NAT]}/80": frontend}, "reject", {family_of(own): own}
        )
        script = "".join(ruleset_script(None, table) for table in forwarding_rules(rules))
        subprocess.run([*self._places["router"], "nft", "-f", "-"], input=script, text=True, check=True)
        # The kernel would forward on the CPU of whoever sends: it shall do so on that of the proxies' workers.
        steered = (
            "mount -t sysfs sysfs /sys && echo %x | tee /sys/class/net/b*/queues/rx-0/rps_cpus >/dev/null"
        )
        first = 1 << min(os.sched_getaffinity(0))
        unshared = [*self._places["router"], "unshare", "--mount", "sh", "-c", steered % first]
        subprocess.run(unshared, check=True)
        # A flow is over when it is over: thousands a second would fill the table of the machine's first namespace.
        for name in ("ipv4/ip_forward=1", "netfilter/nf_conntrack_tcp_timeout_time_wait=1"):
            key, _, value = name.partition("=")
            self._run("router", f"sysctl -qw net.{key.replace('/', '.')}={value}")

    def _emulab(self) -> Balancer:
        key = f"tcp/{ADDRESSES[EMULAB]}/80"
        config = L4Config.at({key: FrontendConfig("roundrobin", (TargetConfig("backend", BACKEND, PORT),))})
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server = get_context("fork").Process(target=_serve, args=(theirs, control), daemon=True)
        server.start()
        theirs.close()
        configure(control, json.loads(json_bytes(config)), [key])
        self._control = control
        assert server.pid is not None
        return Balancer(EMULAB, server.pid)

    def _haproxy(self) -> Balancer:
        text = _HAPROXY.format(address=ADDRESSES[HAPROXY], backend=BACKEND, port=PORT)
        (self.folder / "haproxy.cfg").write_text(text)
        program = self._start("", 0, "haproxy", "-db", "-q", "-f", str(self.folder / "haproxy.cfg"))
        _wait_for_answer((ADDRESSES[HAPROXY], 80))
        return Balancer(HAPROXY, program.pid)

    def _start(self, place: str, cpu: int, *command: str) -> subprocess.Popen[bytes]:
        program = subprocess.Popen([*self._places[place], *command], preexec_fn=lambda: pin(cpu))
        self._programs.append(program)
        return program

    def _run(self, place: str, command: str) -> None:
        subprocess.run([*self._places[place], *command.split()], check=True)


def _serve(control: socket.socket, parents: socket.socket) -> None:
    """Is the balancer, on the first CPU, until `control` closes."""
    from emulab.servers.host import preload, serve

    preload()  # as whoever starts the servers of a lab has
    parents.close()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # HAProxy writes no log here either
    pin(0)
    serve("l4", control)


def _wait_for_namespace(pid: int) -> None:
    """Until a process is in a network namespace of its own."""
    deadline = time.monotonic() + PATIENCE
    while os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):
        if time.monotonic() > deadline:
            raise TimeoutError("a network namespace doesn't come")
        time.sleep(0.01)


def _wait_for_answer(address: tuple[str, int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(address, 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
