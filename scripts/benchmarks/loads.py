"""wrk and h2load, from the last CPU: what they are told, and what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

DECIMAL = {"us": 1, "ms": 1e3, "s": 1e6}
HTTP2 = "h2"
CARRIED = 900  # requests of a connection, which both sides end after a thousand (`keepalive_requests`)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load came to."""

    rate: float  # requests a second
    p99: float  # µs; 0: not known
    requests: int
    protocol: str = ""


def wrk(
    url: str, connections: int, seconds: int, *fields: str, script: str = "", place: Sequence[str] = ()
) -> Loaded:
    """Exits when a request isn't answered with 200. `place`: what a command begins with that runs elsewhere."""
    command = [*place, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += [word for field in fields for word in ("-H", field)]
    output = run([*command, *(["-s", script] if script else []), url])
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(output)
    tail = re.search(r"99% +([0-9.]+)(us|ms|s)", output)
    assert tail, output
    rate, total = _found(r"Requests/sec: +([0-9.]+)", output), _found(r"([0-9]+) requests in", output)
    return Loaded(rate, float(tail[1]) * DECIMAL[tail[2]], int(total))


def h2load(host: str, address: str, connections: int, streams: int) -> Loaded:
    """As many requests as all connections may carry. Exits when one isn't answered with 200. Which protocol was agreed
    upon is in the result."""
    load = [f"-c{connections}", f"-m{streams}", f"-n{CARRIED * connections}"]
    output = run(["h2load", *load, f"--connect-to={address}", f"https://{host}/"])
    protocol = re.search(r"Application protocol: (\S+)", output)
    rate, total = _found(r"finished in [^,]*, ([0-9.]+) req/s", output), _found(r"([0-9]+) succeeded", output)
    if _found(r"([0-9]+) failed", output) or not total:
        sys.exit(output)
    return Loaded(rate, 0.0, int(total), protocol[1] if protocol else "")


def run(command: Sequence[str]) -> str:
    """The output of a program on the last CPU. Exits when it fails."""
    last = {sorted(os.sched_getaffinity(0))[-1]}
    done = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, last)
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def _found(pattern: str, output: str) -> float:
    match = re.search(pattern, output)
    assert match, output
    return float(match[1])
