"""Who makes the names of a lab's places: the supervisor few, a process of its own many."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emulab.errors import KernelError
from emulab.kernel import names
from emulab.kernel.netns import Handle
from emulab.lab.supervisor import publisher
from emulab.lab.supervisor.publisher import Publisher
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.plan.state import Place

PLACES = [f"default.web-{number}" for number in range(publisher._MANY)]


class Served:
    """Serves names in a thread, where the lab has a process; or ends without a word, or can't begin."""

    def __init__(self, fate: str) -> None:
        self.fate = fate
        self.asked = 0

    async def serve(self, kind: str, name: str, stdio: object, control: socket.socket, join: object) -> None:
        assert kind == "names"
        self.asked += 1
        if self.fate == "can't begin":
            raise KernelError("start a process: there may be no more")
        own = control.dup()
        if self.fate == "ends":
            own.close()
        else:
            threading.Thread(target=served, args=(own,)).start()


def served(control: socket.socket) -> None:
    with control:
        names.serve(control)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(names, "NETNS", tmp_path / "netns")
    monkeypatch.setattr(names, "ETC_NETNS", tmp_path / "etc-netns")
    (tmp_path / "etc").mkdir()
    return tmp_path


def publishing(folder: Path, fate: str) -> tuple[Publisher, Served]:
    processes = Served(fate)
    around = SimpleNamespace(lab="x", folder=folder, processes=processes)
    return Publisher(cast(Surroundings, around), 4711), processes


def pods(some: list[str]) -> dict[str, Place]:
    return {name: Place(name, name, name, "nameserver 10.96.0.10\n", "", (), "pod") for name in some}


def handles(some: list[str]) -> dict[str, Handle]:
    return {name: cast(Any, SimpleNamespace(fd=number)) for number, name in enumerate(some, 10)}


@pytest.mark.parametrize("fate", ["serves", "ends", "can't begin"])
async def test_many_names_are_made_by_a_process_or_without_one(folder: Path, fate: str) -> None:
    made, processes = publishing(folder, fate)
    await made.publish(pods(PLACES), handles(PLACES))
    assert processes.asked == 1
    found = {path.name: os.readlink(path) for path in names.NETNS.iterdir()}
    assert found == {f"x.{name}": f"/proc/4711/fd/{number}" for number, name in enumerate(PLACES, 10)}
    (etc,) = {os.readlink(path) for path in names.ETC_NETNS.iterdir()}
    assert (Path(etc) / "resolv.conf").read_text() == "nameserver 10.96.0.10\n"
    fewer = PLACES[1:]
    await made.publish(pods(fewer), {n: h for n, h in handles(PLACES).items() if n in fewer})
    assert len(list(names.NETNS.iterdir())) == len(fewer) and processes.asked == 1
    made.retract_all()
    assert not [*names.NETNS.iterdir(), *names.ETC_NETNS.iterdir()]


async def test_few_names_are_made_at_once(folder: Path) -> None:
    made, processes = publishing(folder, "serves")
    await made.publish(pods(PLACES[:3]), handles(PLACES[:3]))
    assert processes.asked == 0 and len(list(names.NETNS.iterdir())) == 3


@pytest.mark.parametrize("some", [PLACES[:3], PLACES], ids=["few", "many"])
async def test_what_the_system_refuses_is_told_with_its_file(folder: Path, some: list[str]) -> None:
    made, _ = publishing(folder, "serves")
    names.ETC_NETNS.write_text("in the way")
    with pytest.raises(KernelError, match=rf"^write {names.ETC_NETNS}\S*: ENOTDIR"):
        await made.publish(pods(some), handles(some))
    assert not [*names.NETNS.iterdir()]
    names.ETC_NETNS.unlink()
    await made.publish(pods(some), handles(some))  # what wasn't made is, once it can be
    assert len([*names.NETNS.iterdir()]) == len([*names.ETC_NETNS.iterdir()]) == len(some)


async def test_namespaces_that_the_next_pass_takes_away_are_named_all_the_same(folder: Path) -> None:
    made, _ = publishing(folder, "serves")
    there, may = handles(PLACES[:3]), threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, may.wait)
    naming = asyncio.ensure_future(made.publish(pods(PLACES[:3]), there))
    await asyncio.sleep(0)
    there.clear()
    may.set()
    await asyncio.gather(busy, naming)
    assert len([*names.NETNS.iterdir()]) == 3
