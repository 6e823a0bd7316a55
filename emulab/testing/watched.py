"""The lab that a test gets, and what its report says of it when the test fails."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from emulab.errors import EmulabError
from emulab.lab.client.requesting import Answer
from emulab.observe.path import Path
from emulab.python import Lab

LINES = 80  # of each part of a report
PODS = 10  # whose logs are shown
TAIL = 10  # lines of each

T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own, so that fixtures and tests without one have labs too."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="emulab", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` comes to; it is cancelled when this thread is interrupted."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


class Blocking:
    """A lab whose methods block: `lab.blocking.request(url)` is what `await lab.request(url)` is in an async test."""

    def __init__(self, lab: Lab, loop: Loop) -> None:
        self._lab, self._loop = lab, loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._lab, name)
        if not asyncio.iscoroutinefunction(found):
            return found
        return lambda *arguments, **named: self._loop.run(found(*arguments, **named))


class WatchedLab(Lab):
    """A lab that remembers its last failed request; `blocking` is for tests that aren't async."""

    blocking: Blocking
    failed: tuple[str, Mapping[str, Any]] | Path | None = None
    unready = ""  # what was to be told when it didn't get Ready

    async def request(self, url: str, source: str = "client", **named: Any) -> Answer:  # type: ignore[override]
        sent = (url, {"source": source} | {k: named[k] for k in _TRACED if k in named})
        try:
            answer = await super().request(url, source, **named)
        except (EmulabError, OSError):
            self.failed = sent
            raise
        if answer.status >= 400:
            self.failed = sent
        return answer

    async def trace(self, url: str, *arguments: Any, **named: Any) -> Path:
        path = await super().trace(url, *arguments, **named)
        if path.failure is not None or (path.status or 0) >= 400:
            self.failed = path
        return path

    async def ready(self) -> None:
        try:
            await super().ready()
        except EmulabError:
            self.unready = "\n".join(f"--- {title}\n{text}" for title, text in await evidence(self))
            raise


_TRACED = ("method", "headers", "namespace", "verify")
"""What a request and its trace are told alike."""


async def evidence(lab: WatchedLab) -> list[tuple[str, str]]:
    """What a report says of a lab, part by part. Never raises for what the lab answers."""
    parts = {
        "last failed request": _trace(lab),
        "events": _events(lab),
        "logs": _logs(lab),
    }
    found = []
    for title, work in parts.items():
        try:
            async with asyncio.timeout(10):
                text = await work
        except (EmulabError, OSError) as error:  # the lab may have ended, and be the reason
            text = str(error) or type(error).__name__
        if text:
            found.append((title, _bounded(text)))
    return found


async def _trace(lab: WatchedLab) -> str:
    if lab.failed is None:
        return ""
    if isinstance(lab.failed, Path):
        return str(lab.failed)
    url, named = lab.failed
    return "sent once more:\n" + str(await Lab.trace(lab, url, **named))


async def _events(lab: Lab) -> str:
    return "\n".join(map(event_line, (await lab.events())[-LINES:]))


def event_line(event: Mapping[str, Any]) -> str:
    """An Event: when, how, and of whom. What is in no namespace has none before its name."""
    about = event.get("involvedObject") or {}
    name = "/".join(filter(None, (about.get("namespace"), about.get("name"))))
    when = event.get("lastTimestamp") or event.get("firstTimestamp")
    return (
        f"{when} {event.get('type')} {event.get('reason')} {about.get('kind')} {name}: {event.get('message')}"
    )


async def _logs(lab: Lab) -> str:
    """The ends of the logs of users' pods; the system's own are for `emulab logs`."""
    found = []
    for pod in await lab.get("pods"):
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if namespace in ("kube-system", "ingress-nginx"):
            continue
        for container in pod["spec"]["containers"]:
            text = await lab.logs(name, namespace, container["name"], tail=TAIL)
            if text:
                found.append(f"{namespace}/{name} {container['name']}:\n{text.rstrip()}")
    left = len(found) - PODS
    return "\n".join(found[:PODS] + ([f"… and {left} more"] if left > 0 else []))


def _bounded(text: str) -> str:
    """Both ends of a text: where it begins to be about something, and how it ended."""
    lines = text.splitlines()
    left = len(lines) - LINES
    if left > 0:
        half = LINES // 2
        lines = [*lines[:half], f"… {left} lines …", *lines[-half:]]
    return "\n".join(lines)


def how_to_enter(lab: Lab) -> str:
    """What to type to get at a lab that was kept, and to end it."""
    folder = os.environ.get("EMULAB_RUN_DIR")
    before = f"EMULAB_RUN_DIR={folder} " if folder else ""
    return (
        f"{lab.name}: {before}emulab exec -l {lab.name} client -- bash; "
        f"end it: {before}emulab down -l {lab.name}"
    )


async def problem(mode: str) -> str:
    """Why labs, or labs in this proxy mode, can't run here; "" when they can."""
    from emulab.kernel import probe
    from emulab.lab.folders import rundir

    found = await asyncio.to_thread(partial(probe.features, rundir.base()))
    for check in found:
        if check.state == "missing":
            return f"{check.name}: {check.problem}; {check.remedy}"
    if mode and not probe.proxy_modes(found)[mode]:
        missing = "; ".join(f"{c.problem}; {c.remedy}" for c in found if c.problem and mode in c.purpose)
        return f"proxy mode {mode} can't work here: {missing}"
    return ""
