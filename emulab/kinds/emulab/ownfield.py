"""A field of a kind of emulab's own, as it is described."""

from __future__ import annotations

from typing import NamedTuple


class OwnField(NamedTuple):
    """A field: its type as in `ApiField`, what it is, and what holds where it isn't given."""

    type: str
    text: str
    default: str = ""
    required: bool = False


METADATA = OwnField("ObjectMeta", "Its name, labels and annotations; it is in no Namespace", required=True)
