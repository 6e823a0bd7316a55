"""`emulab bench` as a user runs it: all parts are there, counts are right, a slow hop is found. No speed is judged."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.bench import ledger, worlds
from emulab.bench.ledger import PathLayer
from emulab.bench.measures import SINGLE, Target
from emulab.bench.processors import shares
from emulab.bench.rounds import TurnSchedule, by_turns
from emulab.bench.stage import stages
from emulab.bench.turns import TurnPace

from .tools import TOPOLOGIES, emulab, output

pytestmark = pytest.mark.asyncio(loop_scope="module")
URL = "http://shop.example.com/products/42"
LB = "tcp/203.0.113.10/80"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_files(TOPOLOGIES / "shop.yaml", name=f"e2e-{os.getpid()}-bench") as made:
        yield made


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]


async def bench(*words: str) -> tuple[int, dict[str, Any]]:
    done = await emulab("bench", *words, "-o", "json")
    assert done.stdout, done.stderr.decode()
    document: dict[str, Any] = json.loads(done.stdout)
    return done.status, document


async def test_the_ledger_has_every_layer_and_a_page_that_needs_no_network(tmp_path: Path) -> None:
    page = tmp_path / "path.html"
    status, told = await bench("path", "--for", "1s", "--seed", "3", "--html", str(page))
    assert status == 0 and (told["benchmark"], told["seed"]) == ("path", 3) and told["rounds"] >= 4
    layers = {one["name"]: one for one in told["layers"]}
    trunk = [name for name, one in layers.items() if one["trunk"]]
    assert trunk == [
        *("loopback", "veth", "node forwarding", "DNAT", "second node", "VXLAN", "router, node port"),
        *("balancer, proxy", "ingress, builtin", "TLS", "DNS"),
    ]
    assert {"balancer, nat", "ingress, nginx", "ingress, haproxy"} <= set(layers)
    for name, one in layers.items():
        assert one["base"] is None or one["base"] in layers
        assert one["figures"]["p50"]["value"] > 0, name
        added = one["added"].get("p50", {"told": True, "value": 0})
        assert (added["value"] is not None) == added["told"]
        assert all(len(values) >= 1 for values in told["samples"]["path"][name].values())
    assert {"requests", "cpu", "connections", "new", "throughput"} <= set(layers["TLS"]["figures"])
    assert told["sum"]["whole"]["value"] > 0 and told["stopped"]["why"] in ("time", "narrow")
    shown = Page(page.read_text())
    assert shown.tags.count("svg") == 3 and "table" in shown.tags and shown.links == []


async def test_overlays_are_compared_and_told_beside_a_baseline(tmp_path: Path) -> None:
    """The baseline is of a run in which all was many times better, but for the machine itself."""
    better = {"p50": 1e-6, "requests": 1e14, "throughput": 1e12}
    ways = {"pod to pod": {name: [value] * 12 for name, value in better.items()}}
    samples = {"flannel-vxlan": ways, "reference": {"loopback": {"p50": [60.0] * 12}}}
    before = tmp_path / "before.json"
    before.write_text(json.dumps({"benchmark": "overlay", "version": 1, "samples": samples}))
    only = ("--networks", "flannel,bridge")
    status, told = await bench("overlay", *only, "--for", "1s", "--baseline", str(before))
    assert told["subjects"] == ["flannel-routed", "flannel-vxlan", "bridge-routed"]
    lines = {(one["subject"], one["measure"]): one for one in told["figures"]}
    assert lines["flannel-vxlan", "throughput"]["value"] > 0 and "ratio" in lines["flannel-vxlan", "p50"]
    assert status == 1 and told["baseline"]["better"] == []
    assert "flannel-vxlan, pod to pod: latency, p50 is" in told["baseline"]["worse"][0]


async def test_two_clusters_are_compared(tmp_path: Path) -> None:
    files = []
    for mode in ("nftables", "iptables"):
        files.append(tmp_path / f"{mode}.yaml")
        files[-1].write_text(
            f"apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {{name: lab}}\nspec: {{proxy: {{mode: {mode}}}}}\n"
        )
    names = [*map(str, files)]
    status, told = await bench("compare", *names, "--only", "service-both,name", "--for", "1s")
    assert status == 0 and told["subjects"] == names and set(told["ways"]) == {"service-both", "name"}
    measured = {(one["way"], one["measure"]) for one in told["figures"] if one["subject"] == names[1]}
    assert {("service-both", "requests"), ("service-both", "new"), ("name", "p99")} <= measured


async def test_a_load_is_what_the_balancer_counts(lab: Lab, tmp_path: Path) -> None:
    """Every request over a connection of its own, of which the balancer counts as many, beside its own trace's."""

    async def connections() -> int:
        return int((await lab.server_status("public-lb"))["frontends"][LB]["total"])

    before, page = await connections(), tmp_path / "load.html"
    words = ("--rate", "40", "--for", "2s", "--fresh", "--timeout", "60s", "--html", str(page))
    status, told = await bench("load", "-l", lab.name, URL, *words)
    assert status == 0, told["failures"]
    assert told["requests"] == told["answered"] == 80 == sum(told["histogram"].values())
    assert await connections() - before in (80, 81)
    assert 0 < told["microseconds"]["p50"] <= told["microseconds"]["p99"] <= told["microseconds"]["max"]
    hops = [one["hop"] for one in told["hops"]]
    ingress = next(hop for hop in hops if hop.startswith("ingress-nginx."))
    assert "client" not in hops and hops.index("public-lb") < hops.index(ingress)
    metrics = {one["hop"]: one["metrics"] for one in told["hops"]}
    sessions = next(
        v for n, v in metrics["public-lb"].items() if n.startswith("haproxy_frontend_sessions_total")
    )
    assert sessions[-1] - sessions[0] in (80, 81)
    assert Page(page.read_text()).tags.count("svg") >= 2


async def test_latencies_are_those_that_wrk_sees(lab: Lab) -> None:
    """Of the same requests at the same rate of one after the other, within what a busy machine does in between."""
    said = await output(lab, "client", "wrk", "-t1", "-c1", "-d2s", "--latency", URL)
    middle = re.search(r"50% +([0-9.]+)(us|ms|s)", said)
    assert middle, said
    wrk = float(middle[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[middle[2]]
    _, told = await bench("load", "-l", lab.name, URL, "--rate", "50", "--for", "2s", "--timeout", "60s")
    assert wrk / 20 < told["microseconds_from_sent"]["p50"] < wrk * 20


async def test_what_cannot_be_loaded_says_why(lab: Lab) -> None:
    done = await emulab("bench", "load", "-l", lab.name, "http://203.0.113.10:81/", "--for", "1s")
    assert (
        done.status == 1
        and b"a request fails, so there is nothing to load; see why: emulab trace" in done.stderr
    )
    done = await emulab("bench", "load", "-l", lab.name, "ftp://shop.example.com/")
    assert done.status == 1 and b"not a URL of http or https" in done.stderr


async def test_a_slow_hop_is_found_there_and_nowhere_else() -> None:
    """Who answers behind VXLAN takes 60 ms longer, and that step has it: more than a busy machine adds to others."""
    slow = 60_000
    layers = [
        PathLayer("loopback", "", ""),
        PathLayer("forwarding", "loopback", ""),
        PathLayer("DNAT", "forwarding", ""),
        PathLayer("VXLAN", "DNAT", ""),
        PathLayer("router", "VXLAN", ""),
    ]
    own = shares(sorted(os.sched_getaffinity(0)))
    text = worlds.world(one_way=True, slow=slow)
    async with stages({"lab": text}, own, 60.0, lambda _, __: None) as (labs, _):
        stage = labs["lab"]
        near, far = (stage.address("Service", name) for name in (worlds.NEAR, worlds.FAR))
        asked = {
            "loopback": (f"pod/{worlds.NEAR}", Target("127.0.0.1", worlds.PORT)),
            "forwarding": (f"pod/{worlds.FROM}", Target(stage.address("Pod", worlds.NEAR), worlds.PORT)),
            "DNAT": (f"pod/{worlds.FROM}", Target(near, 80)),
            "VXLAN": (f"pod/{worlds.FROM}", Target(far, 80)),
            "router": ("client", Target(stage.address("Node", "node1"), worlds.NODE_PORT)),
        }
        ways = [await stage.way(name, *where, kinds=(SINGLE,)) for name, where in asked.items()]
        schedule = TurnSchedule(0.1, TurnPace(least=5, most=5))
        measured = await by_turns(ways, schedule, lambda _: ([("", 0.0)], 0.0), lambda _, __: None, 1)
    assert measured.rounds == 5
    steps = {one.layer.name: one for one in ledger.steps(layers, measured.samples["lab"])}
    for name in ("forwarding", "DNAT", "VXLAN", "router"):
        found = steps[name].added["p50"].value
        assert (found > 0.75 * slow) if name == "VXLAN" else (abs(found) < 0.5 * slow), (name, found)


async def test_ctrl_c_leaves_nothing(lab: Lab) -> None:
    """A benchmark that is interrupted takes its labs down."""
    from emulab.kernel.processes.programs import this_program

    process = await asyncio.create_subprocess_exec(
        *this_program(), "bench", "overlay", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    names: list[str] = []
    while not names:
        assert process.returncode is None
        listed = json.loads((await emulab("labs", "-o", "json")).stdout)
        names = [one["name"] for one in listed if one["name"].startswith(f"bench-{process.pid}-")]
        await asyncio.sleep(0.05)
    process.send_signal(2)
    out, err = await process.communicate()
    assert process.returncode == 130 and out == b"" and b"Traceback" not in err, err.decode()
    listed = json.loads((await emulab("labs", "-o", "json")).stdout)
    assert not [one for one in listed if one["name"] in names]
