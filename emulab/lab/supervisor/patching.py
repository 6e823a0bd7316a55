"""Changes of objects that aren't manifests, and changes that are only tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.store import Store
from emulab.errors import UserError
from emulab.kinds.schema import check_object
from emulab.lab.supervisor.arguments import MAPPING, NAME, Arguments, takes
from emulab.lab.supervisor.reconciler import Progress, Reconciler, Work
from emulab.model.findings import path_text
from emulab.model.keys import Key
from emulab.model.mergepatch import merge_patched


class Patching:
    """The operation `patch` of one lab."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler

    @takes(group=NAME, kind=NAME, namespace=NAME, name=NAME, spec=MAPPING)
    async def patch(self, arguments: Arguments, progress: Progress) -> Any:
        """`group`, `kind`, `namespace`, `name`, `spec`: a JSON Merge Patch (RFC 7396) of the object's spec."""
        key = Key(*(arguments[part] for part in Key._fields))

        def work(store: Store) -> None:
            there = store.get(key)
            if there is None:
                raise UserError(f"{key} not found")
            changed = there.replace(spec=merge_patched(there.spec, arguments["spec"]))
            for path, message in check_object(changed.raw):
                raise UserError(f"{key} {path_text(path)}: {message}")
            store.put(changed)

        await self._reconciler.change(work, progress)


def tried(store: Store, work: Work, keys: Sequence[Key]) -> tuple[list[Any], list[str]]:
    """What `work` would make of objects, found out on a copy: each before and after, and what looks odd in them."""
    fork = store.fork()
    before = fork.objects()
    work(fork)
    after = fork.objects()
    there = [o for key in keys if (o := after.get(key)) is not None]
    changed = [[old.raw if (old := before.get(o.key)) else None, o.raw] for o in there]
    return changed, warnings(there, after)
