"""Balancers with two nodes: VRRP on the wire, who has the address after a failure; real keepalived as well."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.kernel.processes.programs import this_program
from emulab.model.families import IPV6

from .families import At, at_of, lab_in, modes_in_worlds, translated
from .tools import capture, connect, emulab, eventually, output

pytestmark = pytest.mark.asyncio(loop_scope="module")

VIP = "203.0.113.81"
ENGINES = ("builtin", "haproxy", "haproxy+keepalived")
MOST = 1.5
"""Seconds within which another node has to serve."""
WORLD = """
apiVersion: emulab.dev/v1
kind: Client
metadata: {name: third}
spec: {network: vpc}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: example/web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
BALANCER = """
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {name: alb}
spec:
  network: internet
  address: %s
  ports: [80]
  replicas: 2
  engine: %s
  target: {service: {name: web, port: 80}}
%s
"""


@pytest_asyncio.fixture(
    loop_scope="module", scope="module", params=modes_in_worlds("balancers of two nodes", ENGINES)
)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    engine, families = request.param
    async with lab_in(families, WORLD, BALANCER % (VIP, engine, "")) as lab:
        yield lab


@pytest.fixture
def engine(lab: Lab, request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["lab"][0])


@pytest.fixture
def at(lab: Lab) -> At:
    return at_of(lab)


def balancer(lab: Lab, engine: str, more: str = "") -> str:
    return translated(BALANCER % (VIP, engine, more), at_of(lab))


async def status(lab: Lab) -> dict[str, Any]:
    [found] = await lab.get("LoadBalancer", "alb", "")
    told = found["status"]
    assert isinstance(told, dict)
    return told


async def states(lab: Lab) -> dict[str, str]:
    return {one["name"]: one.get("state", "") for one in (await status(lab))["replicas"]}


def are(lab: Lab, first: str, second: str) -> Callable[[], Awaitable[bool]]:
    """Whether the nodes are in these states."""

    async def check() -> bool:
        return await states(lab) == {"alb": first, "alb-2": second}

    return check


async def has_address(lab: Lab, place: str) -> bool:
    at = at_of(lab)
    shown = await output(lab, place, "ip", "address", "show", "eth0")
    return f"{at.inet} {at.alone(VIP)}" in shown


async def served(lab: Lab, within: float = 0.2) -> bool:
    """Whether a request is answered in so many seconds; a busy machine needs more than the network does."""
    try:
        async with asyncio.timeout(within):
            reader, writer = await connect(lab, "client", at_of(lab)(VIP), 80)
            writer.write(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            answered = (await reader.read(12)).endswith(b"200")
            writer.close()
            return answered
    except (OSError, TimeoutError):
        return False


@asynccontextmanager
async def cut_off(lab: Lab, node: str = "alb") -> AsyncIterator[float]:
    """A node without its network, for so long; gives the time since when. A link that goes down takes its addresses of
    IPv6 with it (ip-sysctl, keep_addr_on_down)."""
    [found] = [one for one in (await status(lab))["replicas"] if one["name"] == node]
    await output(lab, node, "ip", "link", "set", "eth0", "down")
    try:
        yield time.monotonic()
    finally:
        await output(lab, node, "ip", "link", "set", "eth0", "up")
        for own in (a for a in found["addresses"] if ":" in a):
            await output(lab, node, "ip", "address", "replace", f"{own}/64", "dev", "eth0", "nodad")
        for at in map(At, [(family,) for family in at_of(lab).families]):
            option = f"-{at.family.version}"
            await output(lab, node, "ip", option, "route", "replace", "default", "via", at("10.0.0.1"))


async def test_the_first_node_has_the_address_and_says_so(lab: Lab, at: At) -> None:
    await eventually(are(lab, "active", "standby"))  # the other one may have been up first for a moment
    assert await has_address(lab, "alb") and not await has_address(lab, "alb-2")
    own = (await status(lab))["replicas"][0]["addresses"][0]
    async with capture(lab, "alb-2", at.vrrp, "-v") as seen:
        vrid = (await lab.server_status("alb/vrrp"))["identifier"]
        six = at.family is IPV6
        await seen.until(r"hlim 255, next-header VRRP \(112\)" if six else r"ttl 255.* proto VRRP \(112\)")
        to = r"\S+ > ff02::12" if six else rf"{re.escape(own)} > 224\.0\.0\.18"
        await seen.until(rf"{to}: .*VRRPv3, Advertisement, vrid {vrid}, prio 150, intvl 25cs")
        await seen.until(rf"addrs(?:\(\d\))?.*{at.pattern(VIP)}")


async def test_the_second_takes_over_in_time_and_all_neighbours_hear_of_it(lab: Lab, at: At) -> None:
    assert await served(lab, 5)
    asked = "icmp6 and ip6[40] == 136" if at.family is IPV6 else "arp"
    async with capture(lab, "router", asked, "-e", link="vpc") as seen, cut_off(lab) as since:
        await eventually(lambda: served(lab), pause=0.01)
        gap = time.monotonic() - since
        assert await has_address(lab, "alb-2")
        await eventually(are(lab, "fault", "active"))
        own = at.pattern(VIP)
        if at.family is IPV6:  # an unsolicited neighbour advertisement (RFC 9568, section 7.2.6)
            await seen.until(rf"> 33:33:00:00:00:01, .*> ff02::1: .*neighbor advertisement, tgt is {own}\b")
        else:
            await seen.until(rf"> ff:ff:ff:ff:ff:ff, .*Request who-has {own}(?: \(ff\S+\))? tell {own}")
        path = await lab.trace(f"http://{at.host(at(VIP))}/")
        connects = [hop.place for hop in path.hops if hop.event == "proxy-connect"]
        assert path.status == 200 and connects == ["alb-2"]
        text = (await emulab("-l", lab.name, "describe", "lb", "alb")).text
        assert re.search(r"^ +alb +\S.* fault$", text, re.M) and re.search(
            r"^ +alb-2 +\S.* active$", text, re.M
        )
        assert re.search(r"NodeActive .* alb-2 is active: ", text)
        assert f"tcp/{at(VIP)}/80" in text  # the numbers of the one that serves
        assert gap < MOST
    # It is preferred, and takes the address back.
    await eventually(are(lab, "active", "standby"))
    assert await has_address(lab, "alb") and not await has_address(lab, "alb-2")
    await eventually(lambda: served(lab))


async def test_a_program_that_is_killed_is_started_again(lab: Lab) -> None:
    pid = (await lab.server_status("alb/vrrp"))["pid"]
    await output(lab, "alb", "kill", "-9", str(pid))

    async def another() -> bool:
        try:
            return (await lab.server_status("alb/vrrp")).get("pid", 0) not in (0, pid)
        except Exception:  # it is ending
            return False

    await eventually(another)
    await eventually(are(lab, "active", "standby"))
    await eventually(lambda: served(lab))


async def test_its_configuration_is_there_to_be_read(lab: Lab, engine: str, at: At) -> None:
    if engine != "haproxy+keepalived":
        assert "keepalived" not in str(await lab.server_status("alb/vrrp"))
        return
    text = await output(lab, "alb-2", "cat", "/etc/keepalived/keepalived.conf")
    assert "priority 100" in text and f"{at.alone(VIP)} dev eth0" in text
    assert f"frontend tcp:{at(VIP)}:80" in await output(lab, "alb-2", "cat", "/etc/haproxy/haproxy.cfg")
    assert (await lab.server_status("alb/vrrp"))["engine"] == "keepalived"


KEEPALIVED = """
global_defs {
    router_id third
}
vrrp_instance third {
    version %(version)d
    state BACKUP
    interface eth0
    virtual_router_id %(vrid)d
    priority 200
    advert_int %(interval)s
    virtual_ipaddress {
        %(address)s dev eth0
        %(vip)s dev eth0
    }
}
"""


@asynccontextmanager
async def keepalived(lab: Lab, folder: Path, **values: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A keepalived of higher priority in the place `third`."""
    conf = folder / "keepalived.conf"
    conf.write_text(KEEPALIVED % values)
    files = ["--use-file", str(conf), "--pid", str(folder / "pid"), "--vrrp_pid", str(folder / "vrrp.pid")]
    words = ["keepalived", "--vrrp", "--dont-fork", "--log-console", "--no-syslog", *files]
    process = await asyncio.create_subprocess_exec(
        *this_program(), "-l", lab.name, "exec", "third", "--", *words
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


@pytest.mark.parametrize("version", [2, 3])
async def test_real_keepalived_is_understood_and_understands(
    lab: Lab, engine: str, at: At, version: int, tmp_path: Path
) -> None:
    """One of a higher priority takes the addresses, and when it ends our own has them at once: it said so."""
    if version == 2 and at.family is IPV6:
        pytest.skip("VRRP 2 is of IPv4 alone (RFC 3768)")
    interval = 1 if version == 2 else 0.25
    await lab.apply(balancer(lab, engine, f"  vrrp: {{version: {version}, interval: {interval}}}"))
    await eventually(are(lab, "active", "standby"))
    vrid, address = (await lab.server_status("alb/vrrp"))["identifier"], (await status(lab))["address"]
    values = {
        "version": version,
        "vrid": vrid,
        "interval": interval,
        "address": f"{address}/{at.family.bits}",
        "vip": at.alone(VIP),
    }
    async with capture(lab, "third", at.vrrp, "-v") as seen:
        async with keepalived(lab, tmp_path, **values) as process:
            await eventually(are(lab, "standby", "standby"))
            await eventually(lambda: has_address(lab, "third"))
            assert not await has_address(lab, "alb")
            await seen.until(rf"VRRPv{version}, Advertisement, vrid {vrid}, prio 200")
            process.terminate()
            since = time.monotonic()
            await process.wait()
            await eventually(are(lab, "active", "standby"), pause=0.01)
            assert time.monotonic() - since < MOST
        await seen.until(rf"VRRPv{version}, Advertisement, vrid {vrid}, prio 0\b")
        await seen.until(rf"VRRPv{version}, Advertisement, vrid {vrid}, prio 150")
    await eventually(lambda: served(lab))


async def test_nodes_come_and_go(lab: Lab, engine: str) -> None:
    """One node instead of two, and two again, under the same address."""
    plain = balancer(lab, engine).replace("replicas: 2", "replicas: 1")
    await eventually(lambda: served(lab))
    await lab.apply(plain)
    assert "replicas" not in await status(lab)
    begun = time.monotonic()
    await eventually(lambda: served(lab))
    # Nobody asks for five seconds and more where the address was before (delay_first_probe_time of the kernel).
    assert time.monotonic() - begun < 2 * MOST
    await lab.apply(balancer(lab, engine, "  vrrp: {preempt: false}"))

    async def active() -> str:
        """Whichever node is up first, as nobody is pre-empted; nothing until the other one stands by."""
        found = {state: name for name, state in (await states(lab)).items()}
        return found["active"] if found.keys() == {"active", "standby"} else ""

    first = await eventually(active)
    (other,) = {"alb", "alb-2"} - {first}
    await eventually(lambda: served(lab))

    async def taken() -> bool:
        return await states(lab) == {first: "fault", other: "active"}

    async with cut_off(lab, first):
        await eventually(taken)

    async def well() -> bool:
        return await states(lab) == {first: "standby", other: "active"}

    await eventually(well)  # and stays there: nobody is pre-empted
    await asyncio.sleep(1.2)
    assert await well() and await served(lab, 5)
