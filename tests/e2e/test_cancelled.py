"""A lab that is no longer wanted while it is being built: nothing of it is left, wherever it was."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.errors import EmulabError, UserError
from emulab.lab.folders import rundir

from .tools import TOPOLOGIES, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.privilege]

SHOP = TOPOLOGIES / "shop.yaml"
NEVER_READY = """
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec: {containers: [{name: c, readinessProbe: {exec: {command: ['false']}}}]}
"""


def processes(name: str) -> list[str]:
    """The commands of a lab's processes, as far as its name is in them; all of them end with its supervisor."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if name.encode() in command:
                found.append(b" ".join(command).decode(errors="replace"))
    return found


def descriptors() -> dict[str, str]:
    """The open descriptors of this process, and what they lead to."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # the folder's own
    return found


async def assert_gone(lab: Lab) -> None:
    """The supervisor takes its folder away last, and then ends."""
    assert not rundir.folder(lab.name).exists()

    async def ended() -> bool:
        return processes(lab.name) == []

    await eventually(ended)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def warm() -> None:
    """What a process opens once, as its event loop's threads and programs do, is open."""
    async with Lab.from_files(SHOP):
        pass


@pytest.mark.parametrize("after", [0, 0.02, 0.2, 0.4, 0.7, 1.0])
async def test_cancelled_while_it_is_entered(warm: None, after: float) -> None:
    lab = Lab.from_text(SHOP.read_text(), NEVER_READY)
    before = descriptors()
    entering = asyncio.ensure_future(lab.__aenter__())
    await asyncio.sleep(after)
    begun = time.monotonic()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert time.monotonic() - begun < 20, "it is not waited for, which would take a minute"
    await assert_gone(lab)
    assert descriptors() == before


async def test_cancelled_twice(warm: None) -> None:
    """Whoever can't wait for the end either leaves it to the lab itself."""
    lab = Lab.from_text(SHOP.read_text(), NEVER_READY)
    before = descriptors()
    entering = asyncio.ensure_future(lab.__aenter__())
    await asyncio.sleep(0.3)
    for _ in range(2):
        entering.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert await asyncio.to_thread(rundir.wait_gone, rundir.folder(lab.name))
    await assert_gone(lab)
    assert descriptors() == before


async def test_a_lab_that_fails_to_start_leaves_nothing(warm: None) -> None:
    before = descriptors()
    for text, kind in (("kind: Nonsense", UserError), (NEVER_READY, EmulabError)):
        lab = Lab.from_text(text, timeout=0.5)
        with pytest.raises(kind):
            await lab.__aenter__()
        await assert_gone(lab)
    assert descriptors() == before


async def test_a_name_that_is_taken_is_said_at_once_and_the_other_lab_lives_on(warm: None) -> None:
    async with Lab.from_files(SHOP) as lab:
        before = descriptors()
        second = Lab.from_files(SHOP, name=lab.name)
        begun = time.monotonic()
        with pytest.raises(UserError, match="is up already"):
            await second.__aenter__()
        await second.__aexit__(None, None, None)
        assert time.monotonic() - begun < 20, "it isn't waited for, which would take a minute"
        assert descriptors() == before
        assert (await lab.request("http://shop.example.com/products")).status == 200
