"""Logs from Python: which files a lab names, and what is read of them."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab_objects import obj

from emulab.cluster.store import Store
from emulab.errors import UserError
from emulab.lab.client.logfiles import instant, stamp
from emulab.lab.client.podlogs import LogOptions, read_logs
from emulab.lab.supervisor.podlogs import PodLogs
from emulab.servers.logs.marks import marks_name


def log(path: Path) -> None:
    """A log of two lives, a second between two lines."""
    text, marks = b"", b""
    for second, line, begins in ((10, "first", True), (20, "second", True), (21, "third", False)):
        marks += struct.pack("<QQ", len(text) | (begins << 63), second * 1_000_000_000)
        text += f"{line}\n".encode()
    path.write_bytes(text)
    path.with_name(marks_name(path.name)).write_bytes(marks)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (LogOptions(), "second\nthird\n"),
        (LogOptions(tail=1), "third\n"),
        (LogOptions(previous=True), "first\n"),
        (LogOptions(since=3600), ""),
        (LogOptions(since_time="1970-01-01T00:00:21Z"), "third\n"),
        (LogOptions(since_time=datetime(1970, 1, 1, 0, 0, 21, tzinfo=UTC)), "third\n"),
        (
            LogOptions(timestamps=True, prefix=True, tail=1),
            "[pod/web/main] 1970-01-01T00:00:21.000000000Z third\n",
        ),
    ],
)
def test_what_is_read(options: LogOptions, text: str, tmp_path: Path) -> None:
    log(tmp_path / "log")
    assert read_logs([("web", "main", str(tmp_path / "log"))], options) == text


def test_a_place_has_no_lives(tmp_path: Path) -> None:
    log(tmp_path / "log")
    files = [("dns", "", str(tmp_path / "log")), ("web", "main", str(tmp_path / "none"))]
    assert read_logs(files, LogOptions(prefix=True, tail=2)) == "[dns] second\n[dns] third\n"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (LogOptions(previous=True), 'previous terminated container "main" in pod "web" not found'),
        (LogOptions(since=1, since_time="2026-01-01"), "logs take since or since_time, not both"),
        (LogOptions(since_time="yesterday"), "'yesterday' is no time such as 2026-11-28T23:35:37Z"),
    ],
)
def test_what_cannot_be_meant(options: LogOptions, why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=why):
        read_logs([("web", "main", str(tmp_path / "none"))], options)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"target": "web-1"}, [["web-1", "main"]]),
        ({"target": "pod/web-1", "container": "side"}, [["web-1", "side"]]),
        (
            {"target": "web-1", "all_containers": True},
            [["web-1", "first"], ["web-1", "main"], ["web-1", "side"]],
        ),
        ({"selector": "app in (web)"}, [["web-1", "main"], ["web-2", "main"]]),
        ({"selector": "app=db"}, []),
        ({"target": "dns"}, [["dns", ""]]),
    ],
)
async def test_whose_files(asked: dict[str, Any], found: list[list[str]]) -> None:
    store = Store()
    many = {
        "containers": [{"name": "main", "image": "i"}, {"name": "side", "image": "i"}],
        "initContainers": [{"name": "first", "image": "i"}],
    }
    for name, spec in (("web-1", many), ("web-2", {"containers": [{"name": "main", "image": "i"}]})):
        store.put(obj("Pod", name, metadata={"labels": {"app": "web"}}).replace(spec=spec))
    logs = SimpleNamespace(of=lambda *parts: SimpleNamespace(path=Path("/logs", ".".join(parts))))
    world = SimpleNamespace(places={"dns": SimpleNamespace(name="dns", kind="dns")})
    podlogs = PodLogs(cast(Any, SimpleNamespace(store=store, logs=logs, world=world)))
    files = await podlogs.log_files({"op": "log-files", "namespace": "default", **asked}, print)
    assert [file[:2] for file in files] == found
    assert all(
        path == f"/logs/{f'default.{pod}.{container}' if container else pod}"
        for pod, container, path in files
    )
    with pytest.raises(UserError, match="logs are those of a target"):
        await podlogs.log_files({"op": "log-files", "namespace": "default"}, print)


@given(st.integers(0, 1 << 62))
def test_a_line_is_among_those_since_its_own_stamp(nanoseconds: int) -> None:
    at = instant(stamp(nanoseconds))
    assert nanoseconds - 1000 < at <= nanoseconds
