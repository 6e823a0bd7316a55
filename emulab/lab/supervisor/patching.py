"""Changes of objects that aren't manifests, and changes that are only tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emulab.cluster.admission.patching import conditions_in, patched
from emulab.cluster.programs import Loaded
from emulab.cluster.store import Store
from emulab.errors import UserError
from emulab.kinds.kind import SCALABLE
from emulab.kinds.registry import KINDS
from emulab.kinds.schema import check_object
from emulab.lab.oddities import oddities
from emulab.lab.supervisor.arguments import COUNT, MAPPING, NAME, STRING, Arguments, optional, takes
from emulab.lab.supervisor.reconciler import Progress, Reconciler, Work
from emulab.model.checks import LARGEST
from emulab.model.findings import path_text
from emulab.model.keys import Key
from emulab.model.mergepatch import merge_patched


class Patching:
    """The operations of one lab that change a part of an object."""

    def __init__(self, store: Store, reconciler: Reconciler) -> None:
        self._store, self._reconciler = store, reconciler

    @takes(group=NAME, kind=NAME, namespace=NAME, name=NAME, spec=MAPPING, annotations=optional(MAPPING))
    async def patch(self, arguments: Arguments, progress: Progress) -> Any:
        """`group`, `kind`, `namespace`, `name`, `spec`: a JSON Merge Patch (RFC 7396) of the object's spec.

        `annotations`: those that it has then, in place of all.
        """
        key = Key(*(arguments[part] for part in Key._fields))

        def work(store: Store) -> None:
            there = store.get(key)
            if there is None:
                raise _not_found(key)
            changed = there.replace(spec=merge_patched(there.spec, arguments["spec"]))
            if (annotations := arguments.get("annotations")) is not None:
                changed = changed.replace(metadata={**there.metadata, "annotations": annotations})
            for path, message in check_object(changed.raw):
                raise UserError(f"{key} {path_text(path)}: {message}")
            store.put(changed)

        await self._reconciler.change(work, progress)

    @takes(group=NAME, kind=NAME, namespace=NAME, name=NAME, replicas=COUNT)
    async def scale(self, arguments: Arguments, progress: Progress) -> Any:
        """`group`, `kind`, `namespace`, `name`, `replicas`."""
        key = Key(*(arguments[part] for part in Key._fields))
        o = self._store.get(key)
        if o is None:
            raise _not_found(key)
        scalable = KINDS.of(SCALABLE)
        if key.type not in scalable:
            *some, last = (kind.kind for kind in scalable)
            raise UserError(f"{key} can't be scaled; a {', '.join(some)} or {last} can")
        replicas = int(arguments["replicas"])
        if replicas > LARGEST:
            raise UserError(f"{replicas} replicas are too many: {LARGEST} at most")

        def work(store: Store) -> None:
            there = store.get(key)
            if there is not None:
                store.put(there.replace(spec={**there.spec, "replicas": replicas}))

        await self._reconciler.change(work, progress)
        return kubectl_name(key)

    @takes(group=NAME, kind=NAME, namespace=NAME, name=NAME, patch=STRING)
    async def patch_status(self, arguments: Arguments, progress: Progress) -> Any:
        """`group`, `kind`, `namespace`, `name`, `patch`: JSON, of which the conditions are set in the object's status.

        Result: the object's name, and whether that changed anything.
        """
        key = Key(*(arguments[part] for part in Key._fields))
        o, patch = self._store.get(key), conditions_in(arguments["patch"])
        if o is None:
            raise _not_found(key)

        def work(store: Store) -> None:
            if (there := store.get(key)) is not None:
                store.set_status(key, conditions=patched(there.status.get("conditions") or (), patch))

        before = list(o.status.get("conditions") or ())
        await self._reconciler.change(work, progress)
        return [kubectl_name(key), patched(before, patch) != before]


def tried(store: Store, work: Work, keys: Sequence[Key], loaded: Loaded) -> tuple[list[Any], list[str]]:
    """What `work` would make of objects, found out on a copy: each before and after, and what looks odd in them."""
    fork = store.fork()
    before = fork.objects()
    work(fork)
    after = fork.objects()
    there = [o for key in keys if (o := after.get(key)) is not None]
    changed = [[old.raw if (old := before.get(o.key)) else None, o.raw] for o in there]
    return changed, oddities(there, after, loaded)


def kubectl_name(key: Key) -> str:
    """An object's name as kubectl prints it: `deployment.apps/web`."""
    return f"{key.kind.lower()}{'.' if key.group else ''}{key.group}/{key.name}"


def _not_found(key: Key) -> UserError:
    """An API server's words (`NewNotFound`)."""
    return UserError(f'{KINDS[key.type].resources} "{key.name}" not found')
