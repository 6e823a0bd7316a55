"""What can be asked of a running lab: one method an operation, arguments and results JSON-able."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence, Sized
from dataclasses import replace
from typing import Any

from emulab.cluster import brought
from emulab.cluster.admission import deletion
from emulab.cluster.admission.crosscheck import notes, what_labs_have
from emulab.cluster.admission.deletion import Deletion
from emulab.cluster.admission.ingresswebhook import denied_ingresses
from emulab.cluster.admission.loader import NOTHING_KNOWN, Manifest, load
from emulab.cluster.admission.merge import admit
from emulab.cluster.admission.newcomers import Newcomers
from emulab.cluster.store import Store
from emulab.cluster.system import system_objects
from emulab.errors import KernelError, ManifestError, UserError
from emulab.kernel import libc, sockets
from emulab.kernel.processes.enter import Entry
from emulab.kinds.emulab.clusterview import Cluster, check_cluster, cluster_of, cluster_to_be
from emulab.kinds.registry import CLUSTER, ENDPOINTS, KINDS, NODE, POD
from emulab.lab.client.client import MAX_FDS
from emulab.lab.engines import refuse_missing
from emulab.lab.hosts.processes import Process
from emulab.lab.kubelet.kubelet import Kubelet
from emulab.lab.kubelet.metering import Metering
from emulab.lab.kubelet.runtime.named import refuse_unready
from emulab.lab.oddities import oddities
from emulab.lab.supervisor import kernellacks
from emulab.lab.supervisor.arguments import (
    COUNT,
    ENVIRONMENT,
    FLAG,
    KEYS,
    NAME,
    PLACED,
    SOCKET,
    SOURCES,
    STRING,
    WORDS,
    Arguments,
    check,
    optional,
    takes,
)
from emulab.lab.supervisor.dnscaches import DnsCaches
from emulab.lab.supervisor.handover import Handover
from emulab.lab.supervisor.patching import Patching, kubectl_name, tried
from emulab.lab.supervisor.podlogs import PodLogs
from emulab.lab.supervisor.readiness import not_ready
from emulab.lab.supervisor.reconciler import Progress, Reconciler
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.lab.supervisor.surveying import Surveying
from emulab.lab.supervisor.targets import describe_entry, find_place, has_ended, is_contained, spoken_by
from emulab.lab.supervisor.translators import Translators
from emulab.lab.supervisor.waiting import Waiting
from emulab.lab.supervisor.watching import Watches
from emulab.lab.supervisor.windows import WindowOpener
from emulab.model.collection import Objects
from emulab.model.keys import GroupKind, Key
from emulab.model.objects import NOWHERE, Object
from emulab.model.sources import Source
from emulab.model.validation import IGNORE, STRICT
from emulab.plan.proxy.modes import rules_shown_by

_MANY = 1000  # objects after which what reading and applying them took is given back


class Operations:
    """The operations of one lab."""

    def __init__(
        self,
        around: Surroundings,
        kubelet: Kubelet,
        reconciler: Reconciler,
        pid: int,
        stop: Callable[[], None],
        release: Callable[[], None],
    ) -> None:
        self._around = around
        self._kubelet = kubelet
        self._reconciler = reconciler
        self._pid = pid
        self._stop = stop
        self._release = release
        self._furnished, self._applying = False, asyncio.Lock()
        self._newcomers = Newcomers()
        waiting = Waiting(around, reconciler, lambda: kubelet.steady_at())
        self.ready, self.gone = waiting.ready, waiting.gone
        self.watch, self.usage = Watches(around.store).watch, Metering(around, kubelet).usage
        logs = PodLogs(around)
        self.logs, self.log_files = logs.logs, logs.log_files
        patching = Patching(around.store, reconciler)
        self.patch, self.patch_status, self.scale = patching.patch, patching.patch_status, patching.scale
        surveying, windows, maps = Surveying(around), WindowOpener(around), Translators(around)
        self.owners, self.addresses, self.topology = surveying.owners, surveying.addresses, surveying.topology
        self.observation, self.taps, self.lb_maps = windows.observation, windows.taps, maps.listed
        self.give, self.dns_cache = Handover(around, reconciler).give, DnsCaches(around).carry_out

    @takes(
        sources=SOURCES,
        validate=optional(NAME),
        strict=optional(FLAG),
        names=optional(FLAG),
        namespace=optional(NAME),
        dry_run=optional(FLAG),
        show=optional(FLAG),
    )
    async def apply(self, arguments: Arguments, progress: Progress) -> Any:
        """`sources`: [[name, text], …]; `validate`: strict, warn or ignore. `strict`: whether what would be a warning
        or a note is an error. `names`: whether names are made up of `generateName`. `namespace`: that of objects which
        don't say any; others mustn't say another one.

        Result: `{"applied": [[key, "created" | …]], "warnings": [...], "notes": [...]}`.

        `dry_run`: does nothing, and adds `objects`: of each what it is, null if it isn't there, and what it would be.
        `show`: adds `shown`: what each is then, or would be.

        One at a time: what is checked against the lab's objects must not meet others than those.
        """
        async with self._applying:
            return await self._apply(arguments, progress)

    async def _apply(self, arguments: Arguments, progress: Progress) -> Any:
        progress("reading manifests")
        cluster = cluster_of(self._around.store.objects()) if self._furnished else None
        validation, names = arguments.get("validate") or STRICT, bool(arguments.get("names"))
        known = self._around.store.objects()
        manifest = await self._load(arguments, cluster, validation, names, known)
        given = list(manifest.objects)
        without_effect = manifest.without_effect
        del manifest
        await self._refuse_conflicts(given)
        for o in given:
            if cluster is not None and o.type == CLUSTER:
                check_cluster(cluster, o)
        await self._refuse_mode(given)
        await refuse_unready(self._around, given)
        await refuse_missing(given, self._around.store.objects())
        if arguments.get("strict"):
            await self._refuse_oddities(given, without_effect)
        outcome: list[list[str]] = []
        keys = [o.key for o in given]
        noted = [*notes(given), *brought.notes(given)]

        def work(store: Store) -> None:
            self._furnish(store, given)
            outcome[:] = [[kubectl_name(o.key), admit(store, o)] for o in given]

        if arguments.get("dry_run"):
            changed, odd = tried(self._around.store, work, keys, self._around.images.program)
            found = {"warnings": [*without_effect, *odd], "notes": noted}
            shown = [after for _, after in changed]
            return {"applied": outcome, "objects": changed, "shown": shown, **found}
        await self._reconciler.change(work, progress)
        given.clear()  # the store has its own by now
        _tidy(keys)
        self._furnished = True
        objects = self._around.store.objects()
        odd = await self._warnings(objects, keys)
        told = {"applied": outcome, "warnings": [*without_effect, *odd], "notes": noted}
        there = [objects.get(key) for key in keys] if arguments.get("show") else None
        return told if there is None else {**told, "shown": [o.raw for o in there if o is not None]}

    @staticmethod
    async def _load(
        arguments: Arguments,
        cluster: Cluster | None,
        validation: str,
        names: bool = True,
        known: Objects = NOTHING_KNOWN,
    ) -> Manifest:
        """What is in `sources`, and may be put over what is `known`. Raises ManifestError.

        The texts are taken out of the request: thousands of objects are much text, which nobody needs any more.
        """
        sources = [Source(name, text) for name, text in arguments.pop("sources")]
        if not sources:
            return Manifest(())
        namespace = arguments.get("namespace") or ""
        manifest = await asyncio.to_thread(load, sources, cluster, validation, names, namespace, known)
        del sources
        _tidy(manifest.objects)
        return manifest

    async def _refuse_conflicts(self, given: Sequence[Object]) -> None:
        """Raises ManifestError when `given` can't be there together with what the lab has."""
        there, found = self._around.store.objects(), []
        if self._furnished:
            found = await asyncio.to_thread(self._newcomers.conflicts, there, given)
        else:  # `load` has looked for conflicts, and there is nothing else
            there = Objects(what_labs_have(given))
        found += await asyncio.to_thread(denied_ingresses, given, there, cluster_of(there))
        if found:
            raise ManifestError([f.line() for f in found])

    async def _refuse_oddities(self, given: Sequence[Object], known: Sequence[str]) -> None:
        """Raises ManifestError where there is something to say of `given`, as they would be in the lab."""
        fork = self._around.store.fork()
        self._furnish(fork, given)
        for o in given:
            admit(fork, o)
        odd = await self._warnings(fork.objects(), [o.key for o in given])
        if told := [*known, *odd, *notes(given)]:
            raise ManifestError(told)

    async def _warnings(self, objects: Objects, keys: Sequence[Key]) -> list[str]:
        """What looks odd in these objects, with all that there is beside them."""
        there = [o for key in keys if (o := objects.get(key)) is not None]
        return await asyncio.to_thread(oddities, there, objects, self._around.images.program)

    async def _refuse_mode(self, given: Sequence[Object]) -> None:
        """Raises KernelError when something that is asked for can't work here."""
        asked = given, self._around.store.objects(), self._furnished
        if lack := await asyncio.to_thread(kernellacks.lack_of, *asked):
            raise KernelError(lack)

    def _furnish(self, store: Store, given: Sequence[Object]) -> None:
        """Puts the system's objects into an empty lab, and adapts them to a Cluster that is given anew.

        What stands aside for an object that is given goes before that comes.
        """
        replaced = brought.brings_ingress(given) is not None
        if replaced:
            brought.stand_aside(store)
        if self._furnished and all(o.type != CLUSTER for o in given):
            return
        own = {o.key for o in given}
        ingress = not replaced and not brought.has_brought_ingress(store.objects())
        for o in system_objects(cluster_to_be(given, store.objects()), ingress=ingress):
            old = store.get(o.key)
            if o.key not in own and (old is None or old.position == NOWHERE):
                admit(store, o)
        brought.keep_settings(store)

    @takes(
        keys=optional(KEYS),
        sources=optional(SOURCES),
        namespace=optional(NAME),
        ignore_missing=optional(FLAG),
        grace=optional(COUNT),
        cascade=optional(NAME),
        dry_run=optional(FLAG),
    )
    async def delete(self, arguments: Arguments, progress: Progress) -> Any:
        """`keys`: [[group, kind, namespace, name], …] or `sources`. What can't be deleted doesn't hold up the rest.

        Result: `{"deleted": [[group, kind, namespace, name, uid], …], "refused": [[reason, message, file], …],
        "notes": […]}`. The first go, now or once they are let go of: `gone` awaits that. `grace`: the seconds that Pods
        get to end in place of their own. `namespace`: as for `apply`. `cascade`: see `deletion`. `dry_run`: says what
        would become of it, and does nothing.
        """
        asked = [Deletion(Key(*k)) for k in arguments.get("keys") or ()]
        if arguments.get("sources"):
            # What is to go needs no more than a name: kubectl doesn't validate it.
            found = await self._load(arguments, None, IGNORE)
            asked += [Deletion(o.key, o.position.file) for o in found.objects]
        ignore_missing = bool(arguments.get("ignore_missing"))
        how = arguments.get("grace"), arguments.get("cascade") or deletion.BACKGROUND
        outcome = deletion.delete(self._around.store.fork(), asked, ignore_missing, *how)
        noted = deletion.notes(self._around.store.objects(), [key for key, _ in outcome.deleted])

        def work(store: Store) -> None:
            nonlocal outcome
            outcome = deletion.delete(store, asked, ignore_missing, *how)

        if outcome.deleted and not arguments.get("dry_run"):
            await self._reconciler.change(work, progress)
        deleted = [[*key, uid] for key, uid in outcome.deleted]
        return {"deleted": deleted, "refused": outcome.refused, "notes": noted}

    @takes()
    async def kinds(self, _: Arguments, __: Progress) -> Any:
        """The kinds that aren't in the registry: [[apiVersion, kind, plural, namespaced, short…], …]."""
        return [[k.api_version, k.kind, k.plural, k.namespaced, *k.short] for k in KINDS.custom]

    @takes(group=NAME, kind=NAME, namespace=optional(NAME), name=optional(NAME))
    async def get(self, arguments: Arguments, _: Progress) -> Any:
        """`group`, `kind`, optional `namespace` ("" for all) and `name`: the objects, as they are."""
        kind = GroupKind(arguments["group"], arguments["kind"])
        there, namespace = self._around.store.objects(), arguments.get("namespace") or None
        objects = there.kind(kind, namespace)
        if kind == ENDPOINTS:
            from emulab.cluster.endpoints import derived

            objects = [*objects, *derived(there, namespace)]
        name = arguments.get("name")
        return [o.raw for o in objects if not name or o.name == name]

    @takes(target=NAME, namespace=optional(NAME), container=optional(NAME))
    async def entry(self, arguments: Arguments, _: Progress) -> Any:
        """`target`, `namespace`, `container`: what a process needs to enter it."""
        return await self._entry(arguments)

    async def _entry(self, arguments: Arguments) -> dict[str, Any]:
        return await describe_entry(self._around, self._kubelet, *_placed(arguments), self._pid)

    @takes(**PLACED, container=optional(NAME), argv=WORDS, environment=ENVIRONMENT, directory=STRING)
    async def execute(
        self, arguments: Arguments, stdio: Sequence[int], terminal: Sequence[int] = ()
    ) -> Process:
        """`target`, `namespace`, `container`, `argv`, `environment`, `directory`: a program, started there.

        `environment` and `directory` are those of who asks. With a `terminal` of so many rows and columns the first of
        `stdio` is a socket to which its other end is sent. Raises StartError when it can't be started.
        """
        if len(stdio) != 3:
            raise UserError("exec needs three descriptors: stdin, stdout and stderr")
        ended = has_ended(self._around, self._kubelet, *_placed(arguments))
        entry = Entry.of(await self._entry(arguments))
        joined = entry.open()
        try:
            asked = (arguments[name] for name in ("environment", "directory"))
            program = entry.program(arguments["argv"], joined, *asked)
            program = replace(program, terminal=tuple(terminal)) if terminal else program
            process = await self._around.processes.run(program, (stdio[0], stdio[1], stdio[2]))
        finally:
            for fd in joined.values():
                os.close(fd)
        if ended():
            process.signal(signal.SIGKILL)
        return process

    @takes(target=NAME, namespace=optional(NAME))
    async def contained(self, arguments: Arguments, _: Progress) -> Any:
        """`target`, `namespace`: whether a program there is in a container."""
        return is_contained(self._around, arguments["target"], arguments.get("namespace") or "default")

    @takes(target=NAME, namespace=optional(NAME))
    async def resolver_files(self, arguments: Arguments, _: Progress) -> Any:
        """`target`, `namespace`: the texts of the place's resolv.conf and hosts, and the families that it speaks."""
        place, _pod = find_place(self._around, arguments["target"], arguments.get("namespace") or "default")
        return [place.resolv_conf, place.hosts, spoken_by(self._around, place)]

    def open_sockets(self, arguments: Arguments) -> list[socket.socket]:
        """`target`, `namespace`, `family` (0: the place's primary one), `type`, `protocol`: a fresh socket of that
        place, or `count` of them."""
        check(arguments, **PLACED, **SOCKET, count=optional(COUNT))
        place, _ = find_place(self._around, arguments["target"], arguments.get("namespace") or "default")
        family = arguments["family"] or spoken_by(self._around, place)[0]
        return sockets.open_sockets(
            *(self._around.handles[place.namespace].fd, family, arguments["type"]),
            arguments.get("protocol") or 0,
            min(arguments.get("count") or 1, MAX_FDS),
        )

    @takes()
    async def summary(self, _: Arguments, __: Progress) -> Any:
        """What the lab consists of, for people."""
        world = self._around.world
        objects = self._around.store.objects()
        return {
            "nodes": len(objects.kind(NODE)),
            "pods": len(objects.kind(POD)),
            "state": "Ready" if world and not not_ready(objects) else "NotReady",
            "rules_shown_by": rules_shown_by(cluster_of(objects)),
            "failure": self._reconciler.failure,
            "spent": self._reconciler.spent,
            "programmed": self._reconciler.programmed,
            "places": {p.name: [str(a) for a in p.addresses] for p in world.places.values()} if world else {},
        }

    @takes(name=NAME)
    async def server_status(self, arguments: Arguments, _: Progress) -> Any:
        """`name`: the counters of a server (`public-lb`, `stand-ins`, `NAMESPACE.POD/CONTAINER`)."""
        return await self._around.servers.status(arguments["name"])

    @takes()
    async def release(self, _: Arguments, __: Progress) -> Any:
        """Lets the lab outlive who started it."""
        self._release()

    @takes()
    async def down(self, _: Arguments, __: Progress) -> Any:
        """Ends the lab. That begins once this is answered: see `stop`."""

    def stop(self) -> None:
        self._stop()


def _tidy(given: Sized) -> None:
    """Gives back the memory that many objects took on their way: texts, and rules as the kernel was told of them."""
    if len(given) >= _MANY:
        libc.give_back_free_memory()


def _placed(arguments: Arguments) -> tuple[str, str, str]:
    return arguments["target"], arguments.get("namespace") or "default", arguments.get("container") or ""
