"""The parts of an ingress of several processes that need none: figures that are added, sockets, pages that are awaited,
logs that several write."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from loopback import bound
from patience import soon

from emulab.servers.journal import _WHOLE, _piece
from emulab.servers.l7.personalities.figures import (
    Connections,
    Figures,
    ProcessUse,
    SeriesFigures,
    added,
)
from emulab.servers.l7.shell.pages import FoundPage, PageReader
from emulab.servers.l7.workers.gathering import together
from emulab.servers.l7.workers.listeners import beside, lead_to_all, lead_to_first

KEY = ("a.test", "Ingress d/a", "/", "d/web/80", "GET", "200")


def figures(requests: int, active: int = 1, started: float = 100.0) -> Figures:
    series = {KEY: SeriesFigures(requests, [requests, 0, 1], [0.5])}
    return Figures(Connections(1, requests, active, active), ProcessUse(1, 0.5, 10, 20, started), series)


def test_figures_of_several_are_added() -> None:
    told = added(
        [
            figures(3),
            figures(4, started=50.0),
            Figures.from_json(json.loads(json.dumps(figures(5).to_json()))),
        ]
    )
    assert told.connections == Connections(3, 12, 3, 3)
    assert told.process == ProcessUse(3, 1.5, 30, 60, 50.0)
    assert told.series == {KEY: SeriesFigures(12, [12, 0, 3], [1.5])}


def test_what_a_process_has_counted_outlives_it_and_what_it_was_does_not() -> None:
    told = added([figures(3), figures(4).past()])
    assert told.connections == Connections(2, 7, 1, 1)
    assert told.process == ProcessUse(1, 1.0, 10, 20, 100.0)
    assert told.series[KEY].requests == 7


def test_histograms_with_other_bounds_are_left() -> None:
    other = Figures(*figures(4)[:2], {KEY: SeriesFigures(4, [4], [1.0])})
    assert added([figures(3), other]).series[KEY] == SeriesFigures(3, [3, 0, 1], [0.5])


def test_statuses_are_put_together() -> None:
    one: dict[str, Any] = {
        "requests": 1,
        "listen": ["a"],
        "upstreams": {"x": {"idle": 1}},
        "up": False,
        "name": "n",
    }
    two: dict[str, Any] = {
        "requests": 2,
        "listen": ["b", "a"],
        "upstreams": {"x": {"idle": 2}, "y": {"idle": 1}},
    }
    assert together([one, two]) == {
        "requests": 3, "listen": ["a", "b"], "upstreams": {"x": {"idle": 3}, "y": {"idle": 1}}, "up": False,
        "name": "n",
    }  # fmt: skip


async def test_connections_are_spread_over_sockets_and_kept_from_those_that_leave() -> None:
    first = bound()
    sockets = [first, beside(first), beside(first)]
    taken: Counter[int] = Counter()

    def come(number: int) -> None:
        taken.clear()
        clients = [socket.create_connection(first.getsockname()) for _ in range(number)]
        for index, one in enumerate(sockets):
            one.setblocking(False)
            while True:
                try:
                    one.accept()[0].close()
                except BlockingIOError:
                    break
                taken[index] += 1
        for client in clients:
            client.close()
        assert taken.total() == number

    come(120)
    assert len(taken) == 3 and min(taken.values()) > 12
    lead_to_first(sockets[2], 2)
    come(80)
    assert set(taken) == {0, 1}
    lead_to_all(first)
    come(120)
    assert len(taken) == 3
    for one in sockets:
        one.close()


async def test_pages_that_are_awaited_come_in_order() -> None:
    gate = asyncio.Event()

    async def slow(path: str) -> FoundPage:
        await gate.wait()
        return "text/plain", f"slow {path}"

    def found(path: str) -> Any:
        return slow(path) if path.startswith("/slow") else ("text/plain", f"fast {path}")

    server = await asyncio.get_running_loop().create_server(lambda: PageReader(found), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    for path in ("/slow/1", "/fast", "/slow/2"):
        close = "Connection: close\r\n" if path == "/slow/2" else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n{close}\r\n".encode())
    await asyncio.sleep(0.02)
    gate.set()
    said = (await soon(reader.read())).decode()
    assert said.index("slow /slow/1") < said.index("fast /fast") < said.index("slow /slow/2")
    writer.close()
    server.close()


@given(
    st.lists(
        st.binary(min_size=1, max_size=3000).map(lambda data: data.replace(b"\n", b"") + b"\n"), min_size=1
    )
)
def test_what_goes_into_a_log_at_once_are_whole_lines(lines: list[bytes]) -> None:
    data = b"".join(lines)
    while data:
        size = _piece(data)
        assert data[:size].endswith(b"\n") and size <= _WHOLE
        data = data[size:]
