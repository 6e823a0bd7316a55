"""What of an object's change on a fork a store can take over, when it has changed itself meanwhile. Pure.

An object has two parts that are written apart: its status, and all else. What was done to one on the fork is
taken over unless that very part was written meanwhile, or the object is another one by now.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from emulab.model.objects import Object


class Adoptable(NamedTuple):
    """What of an object's change on a fork the store can take over."""

    free: bool  # all of it
    whole: bool = False  # the object is the one that it was when the fork was made, or isn't there still
    asked: bool = False  # all but its status
    told: bool = False  # its status
    gone: bool = False  # its end, whose status alone was written meanwhile: a deletion asks for no version


def adoptable(base: Object | None, here: Object | None, new: Object | None) -> Adoptable:
    """Of an object as it was when the fork was made, in the store now, and on the fork; None where it isn't."""
    if here is base:
        return Adoptable(True, whole=new is not base)
    if new is None or base is None or here is None or here.metadata["uid"] != base.metadata["uid"]:
        return Adoptable(new is None and here is None, gone=_has_gone(base, here, new))
    asked, told = _but_status(new) != _but_status(base), new.status != base.status
    stayed, silent = _but_status(here) == _but_status(base), here.status == base.status
    return Adoptable((stayed or not asked) and (silent or not told), False, asked and stayed, told and silent)


def _has_gone(base: Object | None, here: Object | None, new: Object | None) -> bool:
    if new is not None or base is None or here is None:
        return False
    return _but_status(here) == _but_status(base)


def _but_status(o: Object) -> dict[str, Any]:
    """What of an object somebody else than its status' writer writes, without the versions of the whole."""
    metadata = {name: value for name, value in o.metadata.items() if name != "resourceVersion"}
    return {**{name: value for name, value in o.raw.items() if name != "status"}, "metadata": metadata}
