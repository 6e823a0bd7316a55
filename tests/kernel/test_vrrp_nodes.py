"""Two nodes that speak VRRP over a veth pair, of either family: what is on the wire, and where the addresses are."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from namespaces import isolated

from emulab.servers.configuration import to_json
from emulab.servers.vrrp.config import VrrpConfig
from emulab.servers.vrrp.server import VrrpNode

_ALL_FRAMES = 3  # ETH_P_ALL
CONFIG = VrrpConfig((), name="lb", identifier=7, interval=0.5)
FAMILIES = {
    4: ("10.9.0.1", "10.9.0.2", ("10.9.0.9", "203.0.113.9"), ("fd09::9",)),
    6: ("fd09::1", "fd09::2", ("fd09::9",), ("10.9.0.9",)),
}


class Told:
    """The records of a node."""

    wanted = False

    def __init__(self) -> None:
        self.states: list[str] = []

    def __call__(self, record: dict[str, Any], /) -> None:
        self.states.append(record["state"])


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def prepare() -> None:
    for setting in ("disable_ipv6=0", "accept_dad=0", "dad_transmits=0"):
        name, _, value = setting.partition("=")
        with open(f"/proc/sys/net/ipv6/conf/default/{name}", "w") as file:
            file.write(value)
    run("ip", "link", "add", "one", "type", "veth", "peer", "name", "two")
    for number, link in enumerate(("one", "two"), 1):
        run("ip", "address", "add", f"10.9.0.{number}/24", "dev", link)
        run("ip", "address", "add", f"fd09::{number}/64", "dev", link, "nodad")
        run("ip", "link", "set", link, "up")


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.01)


async def shown(link: str) -> str:
    """The addresses of a link. Both nodes live in this loop, which must not wait for a program."""
    return await asyncio.to_thread(run, "ip", "address", "show", "dev", link)


async def are_at(link: str, other: str, addresses: tuple[str, ...]) -> bool:
    here, there = await shown(link), await shown(other)
    return all(f" {a}/" in here and f" {a}/" not in there for a in addresses)


def announced(frame: bytes) -> str:
    """The address that a frame tells the MAC address of, "" for another frame."""
    kind = frame[12:14]
    if kind == b"\x08\x06" and frame[28:32] == frame[38:42]:
        return socket.inet_ntop(socket.AF_INET, frame[28:32])
    if kind == b"\x86\xdd" and frame[20] == 58 and frame[54] == 136:
        return socket.inet_ntop(socket.AF_INET6, frame[62:78])
    return ""


async def hand_over(family: int) -> None:
    first, second, addresses, along = FAMILIES[family]
    common = replace(CONFIG, addresses=addresses, along=along)
    told, nodes = [Told(), Told()], []
    for link, own, priority, emit in (("one", first, 150, told[0]), ("two", second, 100, told[1])):
        node = VrrpNode(emit)
        config = replace(common, link=link, own=own, priority=priority)
        await node.configure(to_json(config), {})
        nodes.append(node)
    await until(lambda: told[0].states == ["standby", "active"])
    assert await are_at("one", "two", (*addresses, *along))
    # What is heard of an address of IPv6 is never sent from it.
    [six] = [
        line for line in run("ip", "address", "show", "dev", "one").splitlines() if " fd09::9/128" in line
    ]
    assert "deprecated" in six
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_FRAMES))
    frames.bind(("one", _ALL_FRAMES))
    frames.setblocking(False)
    begun = asyncio.get_running_loop().time()
    await nodes[0].close()
    await until(lambda: told[1].states == ["standby", "active"])
    assert asyncio.get_running_loop().time() - begun < 1.4  # it was told, and didn't wait for silence
    assert await are_at("two", "one", (*addresses, *along))
    seen: set[str] = set()

    def all_told() -> bool:
        try:
            while True:
                seen.add(announced(frames.recv(2048)))
        except BlockingIOError:
            return {*addresses, *along} <= seen

    await until(all_told)
    assert nodes[1].status()["sent"] > 0
    await asyncio.to_thread(run, "ip", "link", "set", "two", "down")
    await until(lambda: told[1].states[-1] == "fault")
    await nodes[1].close()


@pytest.mark.parametrize("family", FAMILIES)
@isolated
def test_addresses_go_from_one_node_to_the_other(family: int) -> None:
    prepare()
    asyncio.run(hand_over(family))
