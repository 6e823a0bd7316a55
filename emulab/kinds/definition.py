"""What is true of a kind beside its names: what its module says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.kinds.cells import NAME_AND_AGE, Columns, Raw
from emulab.kinds.fields import Fields, Slices, generic
from emulab.kinds.following import NOTHING, FollowedFields
from emulab.kinds.selectable import NO_MORE, Selectable

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.checks import Check
    from emulab.model.findings import Finding
    from emulab.model.objects import Object
    from emulab.model.quantity import Quantity


class Standing(NamedTuple):
    """What becomes of a user's object: it is followed, or kept although nothing follows it, or refused."""

    name: str
    why: str = ""  # what a warning or an error says


FOLLOWED = Standing("followed")
ASIDE = Standing("aside", "kept, without effect")
"""As in a cluster, where it has none on packets and programs either: said in one line for all such objects."""
CUSTOM = Standing("custom", "kept, without effect")
"""What it would do in a cluster with its controllers is its own matter (`emulab.kinds.custom`)."""


def kept(why: str) -> Standing:
    return Standing("kept", why)


def refused(why: str) -> Standing:
    return Standing("refused", why)


class RolloutStatus(NamedTuple):
    """How far the replacement of a workload's Pods is, and whether that is all."""

    text: str
    done: bool = False


def as_asked(new: Object) -> Object:
    return new


def as_given(_old: Object, _new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    return spec


def no_fields(_old: Object, _new: Object) -> tuple[str, ...]:
    return ()


def as_edited(new: dict[str, Any], _old: Object) -> dict[str, Any]:
    return new


def no_amounts(_o: Object) -> Mapping[str, Quantity]:
    return {}


def no_findings(_o: Object, _world: Lookup) -> Iterable[Finding]:
    return ()


def no_notes(_: Object) -> Iterable[Finding]:
    return ()


class Definition(NamedTuple):
    """One kind. Its functions are pure.

    `check`         what is wrong with a whole object by itself
    `stored`        an object in a version of another group (`served_as`), as it is kept
    `updated`       a user's object, which nobody has checked yet, over one that is there: without what it can
                    have no more and nobody may have asked for (a registry's `PrepareForUpdate`)
    `written`       what becomes of a user's object whenever it is written, be it new or there already
    `created`       what the lab makes of a user's object that is new (a registry's `PrepareForCreate`)
    `merge`         a user's spec, a copy, with what the lab added to the old object's and the user did not say; raises
                    UserError for changes that Kubernetes refuses too
    `outdated`      fields of the old object's status that don't hold for the new object: they are given anew
    `annotations`   prefixes of annotations that controllers write, and that stay
    `undone`        those of the old object that don't hold for the new one
    `finalizers`    those that the lab gives to every one, and takes back itself
    `warnings`      what looks odd in an object among others
    `notes`         what else is to be said of an object
    `fields`        what of its fields is followed; of a kind that nothing follows, it's nothing
    `columns`       its table, as `get` prints it
    `describe`      the fields of a description beside metadata
    `uses`          what an object uses of what a ResourceQuota may name, beside counting as one
    `rollout`       how far the replacement of a workload's Pods is; None for kinds that don't replace any
    `selectable`    what field selectors may ask for beside name and Namespace
    """

    check: Check
    standing: Standing = FOLLOWED
    stored: Callable[[Raw], dict[str, Any]] = dict
    updated: Callable[[dict[str, Any], Object], dict[str, Any]] = as_edited
    written: Callable[[Object], Object] = as_asked
    created: Callable[[Object], Object] = as_asked
    merge: Callable[[Object, Object, dict[str, Any]], Mapping[str, Any]] = as_given
    outdated: Callable[[Object, Object], tuple[str, ...]] = no_fields
    annotations: tuple[str, ...] = ()
    undone: Callable[[Object, Object], tuple[str, ...]] = no_fields
    finalizers: tuple[str, ...] = ()
    warnings: Callable[[Object, Lookup], Iterable[Finding]] = no_findings
    notes: Callable[[Object], Iterable[Finding]] = no_notes
    fields: FollowedFields = NOTHING
    columns: Columns = NAME_AND_AGE
    describe: Callable[[Raw, Slices], Fields] = generic
    uses: Callable[[Object], Mapping[str, Quantity]] = no_amounts
    rollout: Callable[[Raw], RolloutStatus] | None = None
    selectable: Selectable = NO_MORE
