"""What can be asked of a running lab: one method an operation, arguments and results JSON-able."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emulab.errors import EmulabError, KernelError, ManifestError, UserError
from emulab.kernel import probe, sockets
from emulab.lab.kubelet import Kubelet
from emulab.lab.merge import check_cluster, merge
from emulab.lab.observation import Observation
from emulab.lab.readiness import not_ready
from emulab.lab.reconciler import Reconciler
from emulab.lab.surroundings import Surroundings
from emulab.lab.targets import describe_entry, find_place, find_pod
from emulab.model.collection import Objects
from emulab.model.conflicts import conflicts
from emulab.model.crosscheck import warnings as crosscheck
from emulab.model.loader import Manifest, Source, load
from emulab.model.objects import NOWHERE, Key, Object
from emulab.plan.balancers import expected_frontends
from emulab.plan.system import system_objects
from emulab.plan.world import cluster_of

Arguments = Mapping[str, Any]
Progress = Callable[[str], None]


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
        self._furnished = False

    async def apply(self, arguments: Arguments, progress: Progress) -> Any:
        """`sources`: [[name, text], …]. Result: `{"applied": [[key, "created" | …]], "warnings": [...]}`."""
        progress("reading manifests")
        store = self._around.store
        sources = [Source(name, text) for name, text in arguments["sources"]]
        cluster = cluster_of(store.objects()) if self._furnished else None
        manifest = await asyncio.to_thread(load, sources, cluster) if sources else Manifest((), ())
        self._refuse_conflicts(manifest.objects)
        for o in manifest.objects:
            if cluster is not None and o.kind == "Cluster":
                check_cluster(cluster, o)
        await self._refuse_mode(manifest.objects)
        outcome: list[list[str]] = []

        def work() -> None:
            self._furnish(manifest.objects)
            for o in manifest.objects:
                old = store.get(o.key)
                version = store.version
                store.put(merge(old, o))
                verdict = (
                    "created" if old is None else "unchanged" if store.version == version else "configured"
                )
                outcome.append([_kubectl_name(o.key), verdict])

        await self._reconciler.change(work, progress)
        self._furnished = True
        # What looked odd in these files alone may be right with what the lab has.
        remaining = set(crosscheck(_asked(store.objects())))
        return {"applied": outcome, "warnings": [w for w in manifest.warnings if w in remaining]}

    def _refuse_conflicts(self, given: Sequence[Object]) -> None:
        """Raises ManifestError when `given` can't be there together with what the lab has."""
        together = {o.key: o for o in (*_asked(self._around.store.objects()), *given)}
        found = [f.line(f.object.position) for f in conflicts(together.values())] if self._furnished else []
        if found:
            raise ManifestError(found)

    async def _refuse_mode(self, given: Sequence[Object]) -> None:
        """Raises KernelError when the proxy mode that is asked for can't work here."""
        clusters = [o for o in given if o.kind == "Cluster"]
        if self._furnished and not clusters:
            return
        asked, there = cluster_of(Objects(clusters)), cluster_of(self._around.store.objects())
        same = (asked.proxy_mode, asked.scheduler) == (there.proxy_mode, there.scheduler)
        if self._furnished and same:
            return
        missing = await asyncio.to_thread(probe.missing_for, asked.proxy_mode, asked.scheduler)
        if missing:
            raise KernelError(f"proxy mode {asked.proxy_mode} can't work here: {missing}")

    def _furnish(self, given: Sequence[Object]) -> None:
        """Puts the system's objects into an empty lab, and adapts them to a Cluster that is given anew."""
        store = self._around.store
        cluster = next((o for o in given if o.kind == "Cluster"), None)
        if self._furnished and cluster is None:
            return
        own = {o.key for o in given}
        for o in system_objects(cluster_of(Objects([cluster] if cluster else []))):
            old = store.get(o.key)
            if o.key not in own and (old is None or old.position == NOWHERE):
                store.put(merge(old, o))

    async def delete(self, arguments: Arguments, progress: Progress) -> Any:
        """`keys`: [[kind, namespace, name], …] or `sources`. Result: names of what was deleted."""
        keys = [Key(*k) for k in arguments.get("keys") or ()]
        if arguments.get("sources"):
            sources = [Source(name, text) for name, text in arguments["sources"]]
            keys += [o.key for o in (await asyncio.to_thread(load, sources)).objects]
        missing = [k for k in keys if self._around.store.get(k) is None]
        if missing and not arguments.get("ignore_missing"):
            raise UserError(f"{missing[0]} not found")

        def work() -> None:
            for key in keys:
                if key.kind == "Namespace":
                    self._delete_namespace(key.name)
                self._around.store.delete(key)

        await self._reconciler.change(work, progress)
        return [_kubectl_name(k) for k in keys if k not in missing]

    def _delete_namespace(self, name: str) -> None:
        for o in list(self._around.store.objects()):
            if o.namespace == name:
                self._around.store.delete(o.key)

    async def scale(self, arguments: Arguments, progress: Progress) -> Any:
        """`kind`, `namespace`, `name`, `replicas`."""
        key = Key(arguments["kind"], arguments["namespace"], arguments["name"])
        o = self._around.store.get(key)
        if o is None:
            raise UserError(f"{key} not found")
        if key.kind not in ("Deployment", "ReplicaSet", "StatefulSet"):
            raise UserError(f"{key} can't be scaled; a Deployment, ReplicaSet or StatefulSet can")
        spec = {**o.spec, "replicas": int(arguments["replicas"])}

        def work() -> None:
            self._around.store.put(o.replace(spec=spec))

        await self._reconciler.change(work, progress)
        return _kubectl_name(key)

    async def get(self, arguments: Arguments, _: Progress) -> Any:
        """`kind`, optional `namespace` ("" for all) and `name`: the objects, as they are."""
        objects = self._around.store.objects().kind(arguments["kind"], arguments.get("namespace") or None)
        name = arguments.get("name")
        return [o.raw for o in objects if not name or o.name == name]

    async def logs(self, arguments: Arguments, _: Progress) -> Any:
        """`target`, `namespace`, `container`: where the container's log is, as a path."""
        target = arguments["target"]
        place = self._around.world.places.get(target) if self._around.world else None
        if place is not None and place.kind != "pod":
            return str(self._around.folder / "logs" / f"{place.name}.log")
        pod = find_pod(self._around, target, arguments["namespace"])
        containers = [c["name"] for c in pod.spec["containers"]]
        container = arguments.get("container") or containers[0]
        if container not in containers:
            raise UserError(f"pod {pod.name} has no container {container!r}; it has {', '.join(containers)}")
        return str(self._around.folder / "logs" / f"{pod.namespace}.{pod.name}.{container}.log")

    async def entry(self, arguments: Arguments, _: Progress) -> Any:
        """`target`, `namespace`, `container`: what a process needs to enter it."""
        return describe_entry(
            *(self._around, self._kubelet, arguments["target"]),
            *(arguments.get("namespace") or "default", arguments.get("container") or "", self._pid),
        )

    async def resolver_files(self, arguments: Arguments, _: Progress) -> Any:
        """`target`, `namespace`: the texts of the place's resolv.conf and hosts."""
        place, _pod = find_place(self._around, arguments["target"], arguments.get("namespace") or "default")
        return [place.resolv_conf, place.hosts]

    def open_socket(self, arguments: Arguments) -> socket.socket:
        """`target`, `namespace`, `family`, `type`, `protocol`: a fresh socket of that place."""
        place, _ = find_place(self._around, arguments["target"], arguments.get("namespace") or "default")
        return sockets.open_socket(
            *(self._around.handles[place.namespace].fd, arguments["family"], arguments["type"]),
            arguments.get("protocol", 0),
        )

    def observation(self) -> Observation:
        """What a trace of this lab is made with."""
        return Observation(self._around)

    async def ready(self, arguments: Arguments, progress: Progress) -> Any:
        """Waits up to `timeout` seconds until everything is Ready. Raises EmulabError saying what isn't."""
        store = self._around.store

        def condition() -> bool:
            missing = not_ready(store.objects())
            progress(
                f"waiting for {len(missing)} of {len(store.objects().kind('Pod'))} pods"
                if missing
                else "ready"
            )
            return not missing

        try:
            async with asyncio.timeout(float(arguments.get("timeout", 60))):
                await self._reconciler.until(condition)
                await self._reconciler.rest()  # what the last readiness meant for the data plane
                while unhealthy := await self._unhealthy_balancers():
                    progress(f"waiting for {unhealthy[0]}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            reasons = not_ready(store.objects()) or await self._unhealthy_balancers()
            more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
            raise EmulabError(f"not ready in time: {'; '.join(reasons[:3])}{more}") from None
        return None

    async def _unhealthy_balancers(self) -> list[str]:
        """Balancers that have found none of the targets that are there, one line each."""
        servers = self._around.world.servers if self._around.world else {}
        reasons = []
        for name, expected in expected_frontends(self._around.store.objects(), servers).items():
            frontends = (await self._around.servers.status(name)).get("frontends", {})
            for key in sorted(expected):
                targets = frontends.get(key, {}).get("targets", {}).values()
                if not any(t["healthy"] for t in targets):
                    reasons.append(f"balancer {name} has no healthy target for {key}")
        return reasons

    async def summary(self, _: Arguments, __: Progress) -> Any:
        """What the lab consists of, for people."""
        world = self._around.world
        objects = self._around.store.objects()
        return {
            "nodes": len(objects.kind("Node")),
            "pods": len(objects.kind("Pod")),
            "state": "Ready" if world and not not_ready(objects) else "NotReady",
            "failure": self._reconciler.failure,
            "spent": self._reconciler.spent,
            "programmed": self._reconciler.programmed,
            "places": {p.name: [str(a) for a in p.addresses] for p in world.places.values()} if world else {},
        }

    async def server_status(self, arguments: Arguments, _: Progress) -> Any:
        """`name`: the counters of a server (`public-lb`, `stand-ins`, `NAMESPACE.POD/CONTAINER`)."""
        return await self._around.servers.status(arguments["name"])

    async def release(self, _: Arguments, __: Progress) -> Any:
        """Lets the lab outlive who started it."""
        self._release()

    async def down(self, _: Arguments, __: Progress) -> Any:
        """Ends the lab. That begins once this is answered: see `stop`."""

    def stop(self) -> None:
        self._stop()


def _kubectl_name(key: Key) -> str:
    """An object's name as kubectl prints it: `deployment/web`."""
    return f"{key.kind.lower()}/{key.name}"


def _asked(objects: Objects) -> Sequence[Object]:
    """What users asked for, without what controllers made of it."""
    made = ("ReplicaSet", "Pod", "EndpointSlice")
    return [
        o for o in objects if o.kind != "Node" and not (o.kind in made and o.metadata.get("ownerReferences"))
    ]
