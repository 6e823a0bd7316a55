"""The processes of the servers: started, configured, restarted, ended, as the plan says.

A server that hangs (`pulse`) is killed; one that ended, however it did, is started again.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Container, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from emulab.errors import EmulabError, KernelError
from emulab.kernel.netns import Handle
from emulab.lab.hosts.crews import Crews
from emulab.lab.hosts.hosted import Hosted
from emulab.lab.hosts.houses import opened_house
from emulab.lab.hosts.listeners import listeners
from emulab.lab.hosts.logs import Logs
from emulab.lab.hosts.news import News, news_between
from emulab.lab.hosts.orders import Orders
from emulab.lab.hosts.pauses import Pauses
from emulab.lab.hosts.processes import Process, Processes
from emulab.lab.hosts.recordings import Recordings
from emulab.plan.state import PlannedServer
from emulab.servers.crew.remote import TakeRecord
from emulab.servers.kinds import HOUSED, JOURNALING, LEAVING_FIRST
from emulab.servers.told import told_bytes

_CLOSE_ANSWER = 5.0  # seconds that a server may take to end, beyond those that what it has begun has


class ServerHosts:
    """All servers of a lab. `changed` is called when one went up or down of its own accord."""

    def __init__(
        self, processes: Processes, logs: Logs, changed: Callable[[], None], record: TakeRecord
    ) -> None:
        self._logs = logs
        self._changed = changed
        self._record = record
        self._wanted: Mapping[str, PlannedServer] = {}
        self._handles: Mapping[str, Handle] = {}
        self._hosts: dict[str, Hosted] = {}
        self._crews = Crews(processes, logs)
        self._pauses = Pauses()
        self._beginning: dict[str, object] = {}  # whoever begins a server again: the last one alone goes on
        # One at a time brings a server up: a plan, or its own restart. Whoever has a lock, or waits for it, keeps it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._left: set[str] = set()  # servers that have ended first, until `apply` misses them
        self._tasks: set[asyncio.Task[None]] = set()
        self.recordings = Recordings(self._hosts)
        # Servers that are to end, with the namespaces of their pods.
        self._draining: dict[str, Handle | None] = {}
        self._orders = Orders()
        self._ending: set[Process] = set()  # killed, and perhaps not gone yet
        self.restarts: dict[str, int] = {}
        self.exits: dict[str, int] = {}  # how those that were started again had ended

    def running(self, name: str) -> bool:
        """Whether the server is up with a configuration."""
        host = self._hosts.get(name)
        return host is not None and host.process.running and host.applied is not None

    def put_off(self, name: str) -> float:
        """After how many seconds in all a server is begun again that has ended as it fails; 0 for others."""
        wanted = self._wanted.get(name)
        return self._pauses.last(wanted) if wanted is not None and wanted.fails else 0.0

    def has(self, name: str) -> bool:
        """Whether there is a process of the server, or one whose end is yet to be noticed."""
        return name in self._hosts

    def process(self, name: str) -> Process | None:
        host = self._hosts.get(name)
        return host.process if host and host.process.running else None

    async def status(self, name: str) -> dict[str, Any]:
        """The server's own counters; empty when it isn't up."""
        return await self._ask(name, "status") or {}

    async def files(self, name: str) -> dict[str, str]:
        """The texts that programs beside the server see, by path; none when it isn't up."""
        return await self._ask(name, "files") or {}

    async def flush(self, name: str) -> None:
        """Has a server write the lines that it has for others' logs; nothing where it isn't up, or doesn't answer."""
        host = self._hosts.get(name)
        if host is not None and host.process.running:
            with suppress(KernelError):
                await host.ask("flush")

    async def order(self, name: str, order: Mapping[str, Any]) -> dict[str, Any] | None:
        """What came of an operator's order; None when the server isn't up. Raises KernelError if it can't be done."""
        return await self._ask(name, "order", order=dict(order))

    def keep_order(self, name: str, key: str, order: Mapping[str, Any] | None) -> None:
        """From now on who is started in a server's place gets this order before it serves; None: not any more."""
        self._orders.keep(name, key, order)

    async def _ask(self, name: str, op: str, **arguments: Any) -> dict[str, Any] | None:
        """What a server says; None where it isn't up, or ends before it has answered."""
        host = self._hosts.get(name)
        if host is None or host.ended or not host.process.running:
            return None
        try:
            result: dict[str, Any] = await host.ask(op, **arguments)
        except KernelError:
            if not host.ended:
                raise
            return None
        return result

    def tell(self, name: str, message: Mapping[str, Any]) -> None:
        """Tells a server what it may want to know. One that isn't up, or too busy to listen, misses it."""
        host = self._hosts.get(name)
        if host is not None and host.process.running:
            host.send("tell", message=message)

    async def drain(self, name: str, before: float, grace: float) -> None:
        """Has a server end in good order; returns when it has, or time is up.

        For `before` seconds it serves whoever doesn't know yet, then nobody new, and what it has begun by then has
        `grace` seconds. It is told nothing more until `apply` misses it, or finds it wanted in another namespace, or
        `let_go`.
        """
        host = self._hosts.get(name)
        if host is None or not host.process.running:
            return
        self._draining[name] = self._handles.get(host.applied.namespace) if host.applied else None
        host.send("tell", message={"ending": True})
        await asyncio.sleep(before)
        with suppress(KernelError):
            await host.ask("close", timeout=grace + _CLOSE_ANSWER, grace=grace)

    async def stop(self, name: str, grace: float) -> None:
        """Has a server end in good order, as a container that is to live anew; it stays so until `resume`."""
        host = self._hosts.get(name)
        try:
            await self.drain(name, 0.0, grace)
        finally:  # also where nobody waits any more: who has closed would never serve again
            if host is not None and self._hosts.get(name) is host:
                host.process.signal(signal.SIGKILL)
        if host is not None:
            await host.process.wait()

    async def resume(self, name: str) -> None:
        """Starts a server again that `stop` has ended, whether anybody waits for it or not."""
        stopped = self._draining.pop(name, self) is not self and name not in self._hosts
        if stopped and name not in self._beginning:  # else whoever begins it again finds that it may
            await asyncio.shield(self._spawn_task(self._start_again(name)))

    def let_go(self, name: str) -> None:
        """The pod has gone with which a server was to end, or for which it was stopped: who is wanted under its name
        from now on is another one, even in the same namespace, as pods at a node's address are."""
        if name in self._draining:
            self._draining[name] = None
            self._changed()

    async def prepare(
        self, wanted: Mapping[str, PlannedServer], handles: Mapping[str, Handle], staying: Container[str]
    ) -> None:
        """Before rules are written: has servers listen to which the rules will lead, and those end that make what the
        rules will be in the place of. Raises KernelError. `staying`: the namespaces that there will be.

        Where their namespaces aren't there yet, nobody is either whom rules could lead anywhere. In one that goes,
        nothing is planned: who makes routes to its pods is `going` with it, once no rule leads there any more.
        """
        self._handles = handles
        await self.leave(one.name for one in self._leaving(wanted) if one.namespace in staying)
        ahead = [
            (self._applied(s.name), s)
            for s in wanted.values()
            if s.ahead
            and s.name not in self._draining
            and handles.keys() >= {s.namespace, *s.listen.values()}
        ]
        await self._bring_all([(old, s) for old, s in ahead if old is not s], ahead=True)

    async def apply(self, wanted: Mapping[str, PlannedServer], handles: Mapping[str, Handle]) -> None:
        """Makes the running servers equal to `wanted`. Raises KernelError."""
        self._wanted, self._handles = wanted, handles
        self._left.clear()
        known = dict.fromkeys(
            (*self._hosts, *self._draining, *self._pauses)
        )  # the last may be down for minutes
        for name in [n for n in known if n not in wanted or self._is_anothers(wanted[n])]:
            self._end(name)
        told = [
            (self._applied(n), s)
            for n, s in wanted.items()
            if n not in self._draining and not (s.fails and n in self._pauses and self._applied(n) is None)
        ]
        await self._bring_all([(old, s) for old, s in told if old is not s])

    def going(self, wanted: Mapping[str, PlannedServer], staying: Container[str]) -> list[str]:
        """Who is to `leave` while its namespace is still there: others keep what they have of it else."""
        gone = (s for s in self._leaving(wanted) if s.namespace not in staying)
        return [one.name for one in gone if self.running(one.name)]

    async def leave(self, names: Iterable[str]) -> None:
        await asyncio.gather(*map(self._leave, names))

    def _leaving(self, wanted: Mapping[str, PlannedServer]) -> list[PlannedServer]:
        return [s for name, s in self._wanted.items() if name not in wanted and s.kind in LEAVING_FIRST]

    async def _leave(self, name: str) -> None:
        """Ends a server in good order. What one has left behind that isn't up, or begins, another one takes away."""
        self._left.add(name)
        lock, host = self._locks.setdefault(name, asyncio.Lock()), self._hosts.get(name)
        if host is not None and host.applied is None and host.configuring:
            self._end(name)  # else its configuration would be waited for
        async with lock:
            for _ in range(2):  # it may be ending while it is asked, with what it has left behind still there
                if not self.running(name):
                    if name in self._hosts:
                        self._end(name)
                    await self._start(self._wanted[name])
                try:
                    await self._hosts[name].ask("close", timeout=_CLOSE_ANSWER, grace=0.0)
                    break
                except KernelError:
                    if name in self._hosts:
                        self._end(name)
            if name in self._hosts:
                self._end(name)

    def _is_anothers(self, server: PlannedServer) -> bool:
        """Whether it is wanted for another pod, of the name of that with which it ends."""
        return server.name in self._draining and self._draining[server.name] is not self._handles.get(
            server.namespace
        )

    def _applied(self, name: str) -> PlannedServer | None:
        host = self._hosts.get(name)
        return host.applied if host else None

    async def _bring_all(
        self, changes: list[tuple[PlannedServer | None, PlannedServer]], ahead: bool = False
    ) -> None:
        """Brings servers from what they are to what they shall be; with `ahead`, only so far that either will do."""
        if not changes:
            return
        news = await asyncio.to_thread(news_between, changes, ahead)
        for (old, server), new in zip(changes, news, strict=True):
            # Who is told nothing ahead is both what it was and what it shall be, and that it stays.
            if new is None and not ahead and old is self._applied(server.name):
                self._hosts[server.name].applied = server
        results = await asyncio.gather(
            *(self._bring(new) for new in news if new is not None), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _bring(self, news: News) -> None:
        async with self._locks.setdefault(news.server.name, asyncio.Lock()):
            await self._bring_alone(news)

    async def _bring_alone(self, news: News) -> None:
        server = news.server
        host = self._hosts.get(server.name)
        if host is not None and host.applied is server:
            return
        if news.known is not None:
            if host is not None and host.process.running and host.applied is news.known:
                await host.patch(server, news.content)
                return
            # It has begun anew meanwhile.
            news = News(server, await asyncio.to_thread(told_bytes, server.config))
            host = self._hosts.get(server.name)
        there = host.applied if host is not None else None
        # One of another kind, or whose sockets bear others beside them where this one's don't.
        replaced = there is not None and (there.kind, there.workers > 0) != (server.kind, server.workers > 0)
        if host is not None and replaced:
            self._replace(host)
            await host.process.wait()  # whose addresses the next one wants
        if host is None or self._hosts.get(server.name) is not host or not host.process.running:
            host = await self._start(server)
        if server.name in self._left:
            raise KernelError(f"{server.name} is to end")
        await self._crews.man(host, server, self._handles)
        known = host.applied.listen if host.applied else {}
        missing = {k: n for k, n in server.listen.items() if known.get(k) != n}
        wanted = [(key, n, self._handles[n].fd) for key, n in missing.items()]
        again = replaced or server.name in self.restarts or bool(self._ending)
        opened = await listeners(wanted, server.everywhere, again, server.workers > 0)
        try:
            await host.configure(server, news.content, opened)
        except KernelError:
            if not server.fails:
                raise
            if not host.ended:
                host.process.signal(signal.SIGKILL)
            await host.process.wait()
            return
        finally:
            for sock in opened.values():
                sock.close()
        self._pauses.forget(server.name)

    async def _start(self, server: PlannedServer) -> Hosted:
        process, ours = await self._crews.begin(server, self._handles)
        host = self._hosts[server.name] = Hosted(server.name, process, ours, self._record)
        if server.kind in JOURNALING:
            _, journal = self._logs.open("")
            host.send("journal", (journal,))
            os.close(journal)
        if server.kind in HOUSED:
            house = await asyncio.to_thread(opened_house, self._logs.folder.parent, server.name)
            host.send("house", (house,))
            os.close(house)
        if recorders := self.recordings.recorders(server.name):
            host.send("record", recorders=recorders)
        self._spawn_task(self._watch(host))
        await self._orders.give(host)
        return host

    def _replace(self, host: Hosted) -> None:
        """Makes room for a server of another kind under the same name."""
        del self._hosts[host.name]
        host.close()
        host.process.signal(signal.SIGKILL)

    def _end(self, name: str) -> None:
        self._draining.pop(name, None)
        self._logs.of(name).remove()
        if (host := self._hosts.pop(name, None)) is not None:  # else it has been stopped
            host.close()  # the server ends when its control socket does
            host.process.signal(signal.SIGKILL)
            self._ending.add(host.process)
        self._forget(name)

    def _forget(self, name: str) -> None:
        """A server is wanted no more: one of that name would be another one."""
        self._pauses.forget(name)
        for counted in (self.restarts, self.exits, self._beginning):
            counted.pop(name, None)

    async def _watch(self, host: Hosted) -> None:
        """Starts a server again that ended of its own accord, or hung."""
        hanging = asyncio.ensure_future(host.end_when_hanging())
        status = await host.process.wait()
        self._ending.discard(host.process)
        hanging.cancel()
        host.close()
        if self._hosts.get(host.name) is not host:
            return
        del self._hosts[host.name]
        self.exits[host.name] = status
        self._record(host.name, {"event": "ended", "status": status})
        self.restarts[host.name] = self.restarts.get(host.name, 0) + 1
        self._changed()
        await self._start_again(host.name)

    async def _start_again(self, name: str) -> None:
        mine = self._beginning[name] = object()
        try:
            while not await self._again(name, mine):
                pass
        finally:
            if self._beginning.get(name) is mine:
                del self._beginning[name]
        self._changed()

    async def _again(self, name: str, mine: object) -> bool:
        """Starts a server after a while that is longer each time; whether nothing is left to be done.

        What a program of a server's that was killed has open may be there a moment longer than the server.
        """
        await asyncio.sleep(self._pauses.next(name, self._wanted.get(name)))
        if self._beginning.get(name) is not mine:
            return True  # meanwhile it has lived and ended once more, or is another one of that name
        # What is wanted is asked with the lock: who changes it meanwhile brings the server up behind this, not before.
        async with self._locks.setdefault(name, asyncio.Lock()):
            server = self._wanted.get(name)
            if (
                server is None
                or self._applied(name) is not None
                or name in self._left
                or name in self._draining
            ):
                if server is None:
                    self._forget(name)
                return True
            try:
                await self._bring_alone(News(server, await asyncio.to_thread(told_bytes, server.config)))
            except EmulabError as error:
                self._record(name, {"event": "error", "error": str(error)})
                return self._beginning.get(name) is not mine  # whoever watched one that ended begins again
        if name not in self._wanted and name in self._hosts:
            self._end(name)  # it was missed while there was nothing to end
        return True

    def _spawn_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
