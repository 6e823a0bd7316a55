"""Loads both sides of `scripts/bench ingress` in turn: prints their figures, as JSON.

    python -m benchmarks.ingressed ROUNDS SECONDS PART,… <PLAN

In a network namespace that may be spoilt. PLAN is what `emulab plan -o json` says. The result has, by figure and side,
a value for each round; of figures that are taken once, one value.
"""

from __future__ import annotations

import copy
import http.client
import json
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from benchmarks.loads import HTTP2, h2load, wrk
from benchmarks.proxied import HOST, idle_bytes
from benchmarks.sides import BIG, EMULAB, SMALL, Side, Stage
from emulab.bench.processors import used
from emulab.bench.turns import order

SMALL_CONNECTIONS, NEW_CONNECTIONS, BIG_CONNECTIONS, TLS_CONNECTIONS = 32, 16, 16, 16
FEW_CONNECTIONS = 4  # enough to have requests fail; more would only make others wait
H2_CONNECTIONS, H2_STREAMS = 8, 16
IDLE = 2000
FEW, MANY = 10, 10_000
CHANGES = 5
TURNS = 3  # of looking up among few and many, as neighbours on the machine come and go
SETTLED = 2.0  # seconds after which no process of an older configuration accepts any more
PARTS = ("small", "new", "big", "tls", "h2", "idle", "rules")

Figures = dict[str, dict[str, list[float]]]


def main(rounds: int, seconds: int, parts: Sequence[str]) -> Figures:
    """Measures."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    planned = next(s for s in json.load(sys.stdin)["servers"].values() if s["kind"] == "ingress")
    figures: Figures = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(prefix="emulab-bench-") as folder:
        Path(folder).chmod(0o755)
        stage = Stage(planned, Path(folder))
        sides: Sequence[Side] = ()
        try:
            sides = stage.set()
            _once(sides, figures, parts)
            for number in range(rounds):
                for part, measure in LOADS.items():
                    for side in order(sides, number) if part in parts else ():
                        for name, value in measure(side, seconds).items():
                            figures[name][side.name].append(value)
            if "rules" in parts:
                _rules(sides, planned["config"], figures, Path(folder), seconds)
        except BaseException:
            print(*stage.complaints(), sep="\n", file=sys.stderr)
            raise
        finally:
            for side in sides:
                side.stop()
            stage.strike()
    return figures


def _once(sides: Sequence[Side], figures: Figures, parts: Sequence[str]) -> None:
    """Warms up, and looks at what can't be seen twice in a process: memory that was freed is used again."""
    for side in sides:
        wrk(_url(side), SMALL_CONNECTIONS, 1, f"Host: {HOST}")
        if "idle" in parts:
            figures["idle"][side.name].append(idle_bytes(side.pid, (side.address, 80), IDLE))


def _url(side: Side, path: str = SMALL, scheme: str = "http") -> str:
    return f"{scheme}://{side.address}{path}"


def _small(side: Side, seconds: int) -> dict[str, float]:
    before = used(side.pid)
    loaded = wrk(_url(side), SMALL_CONNECTIONS, seconds, f"Host: {HOST}")
    cpu = (used(side.pid) - before) / 1e3 / loaded.requests
    return {"small": loaded.rate, "small p99": loaded.p99, "small CPU": cpu}


def _loaded(
    name: str, connections: int, path: str, scheme: str, *fields: str
) -> Callable[[Side, int], dict[str, float]]:
    def measure(side: Side, seconds: int) -> dict[str, float]:
        before = used(side.pid)
        loaded = wrk(_url(side, path, scheme), connections, seconds, f"Host: {HOST}", *fields)
        return {name: loaded.rate, f"{name} CPU": (used(side.pid) - before) / 1e3 / loaded.requests}

    return measure


def _h2(side: Side, _seconds: int) -> dict[str, float]:
    before = used(side.pid)
    loaded = h2load(HOST, f"{side.address}:443", H2_CONNECTIONS, H2_STREAMS)
    if loaded.protocol != HTTP2:
        return {}
    return {"h2": loaded.rate, "h2 CPU": (used(side.pid) - before) / 1e3 / loaded.requests}


CLOSED = "Connection: close"
LOADS: dict[str, Callable[[Side, int], dict[str, float]]] = {
    "small": _small,
    "new": _loaded("new", NEW_CONNECTIONS, SMALL, "http", CLOSED),
    "big": _loaded("big", BIG_CONNECTIONS, BIG, "http"),
    "tls": _loaded("tls", TLS_CONNECTIONS, SMALL, "https", CLOSED),
    "h2": _h2,
}

# --- many rules -------------------------------------------------------------------------------------------------

HOSTS, PATHS = "hosts", "paths"
_ASK = """
local requests = {{}}
for i = 0, {number} - 1 do requests[i] = wrk.format("GET", {path}, {{["Host"] = {host}}}) end
request = function() return requests[math.random(0, {number} - 1)] end
"""
_WAYS = {
    HOSTS: ('"/"', '"h" .. i .. ".test"'),
    PATHS: ('"/p" .. i .. "/x"', f'"{HOST}"'),
}


def many_rules(config: dict[str, Any], way: str, number: int) -> dict[str, Any]:
    """A configuration with so many rules: each of a host, or of a path, of its own."""
    first = config["routes"][0]
    routes = [config["routes"][0]]
    for index in range(number):
        route = copy.deepcopy(first)
        route["match"] |= {"host": f"h{index}.test"} if way == HOSTS else {"path": f"/p{index}"}
        routes.append(route)
    return {**config, "routes": routes}


def _rules(
    sides: Sequence[Side], config: dict[str, Any], figures: Figures, folder: Path, seconds: int
) -> None:
    own = next(side for side in sides if side.name == EMULAB)
    asking = partial(_look_up, figures=figures, script=folder / "ask.lua", seconds=seconds)
    for turn in range(TURNS):
        for way in (PATHS, HOSTS):
            for number in (FEW, MANY):
                with_nginx = (way, number) == (HOSTS, FEW)  # it takes a minute for many
                for side in sides if with_nginx else [own]:
                    _use(side, many_rules(config, way, number), f"{way}{number}turn{turn}")
                    time.sleep(0 if side is own else SETTLED)
                    asking(side, way, number)
    many = many_rules(config, HOSTS, MANY)
    for number in range(CHANGES + 1):  # the first one makes them many
        spent = used(own.pid)
        _use(own, many, f"quiet{number}")
        if number:
            figures["change CPU"][own.name].append((used(own.pid) - spent) / 1e9)
    for side in sides:
        _use(side, many, "many")
        time.sleep(SETTLED)
        if side is not own:
            asking(side, HOSTS, MANY)
        _changes(side, many, figures)


def _look_up(side: Side, way: str, number: int, figures: Figures, script: Path, seconds: int) -> None:
    """CPU of a request for any of so many rules."""
    path, host = _WAYS[way]
    script.write_text(_ASK.format(number=number, path=path, host=host))
    wrk(_url(side), SMALL_CONNECTIONS, seconds, script=str(script))  # each was asked for before
    before = used(side.pid)
    loaded = wrk(_url(side), SMALL_CONNECTIONS, seconds, script=str(script))
    figures[f"{way} {number}"][side.name].append((used(side.pid) - before) / 1e3 / loaded.requests)


def _changes(side: Side, config: dict[str, Any], figures: Figures) -> None:
    """A rule more, and another, while requests come: how long until it is live, and whether any request fails."""
    command = ["wrk", "-t1", f"-c{FEW_CONNECTIONS}", "-d60s", "--latency", "-H", "Host: h1.test", _url(side)]
    load = Popen(command, stdout=PIPE, text=True)
    try:
        for number in range(CHANGES if side.name == EMULAB else 1):  # nginx takes a minute for one
            time.sleep(1)
            figures["change"][side.name].append(_use(side, config, f"change{number}"))
    finally:
        load.send_signal(2)  # wrk tells then what there was
        told, _ = load.communicate()
    failed = "Non-2xx" in told or "Socket errors" in told
    figures["failed"][side.name].append(float(failed))


def _use(side: Side, config: dict[str, Any], name: str) -> float:
    """Seconds until a configuration with one more rule, of a host of that name, is in use."""
    route = copy.deepcopy(config["routes"][0])
    route["match"]["host"] = f"{name}.test"
    wanted = {**config, "routes": [*config["routes"], route]}
    change = side.change(wanted)
    begun = time.perf_counter()
    change()
    while not _served(side.address, f"{name}.test"):
        time.sleep(0.001)
    return time.perf_counter() - begun


def _served(address: str, host: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("GET", "/", headers={"Host": host})
    status = connection.getresponse().status
    connection.close()
    return status == 200


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","))))
