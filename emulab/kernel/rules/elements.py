"""Elements of nftables' sets and maps as netlink messages. Pure.

libnftables reads a whole set before it changes one element of it: 35 ms at 10,000 Services. Here an element is a few
bytes, whatever else is in the set. What kinds of fields a key and a value have is read from the collection's own
declaration (`typeof ip daddr . meta l4proto . th dport : verdict`), so both ways write the same.

Each field of a concatenation fills whole 32-bit registers; a key of one field has that field's length.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple

from emulab.kernel.netlink import nftables
from emulab.kernel.netlink.messages import NLM_F_CREATE, Message
from emulab.plan.persistent import change_between
from emulab.plan.state import Collection, Ruleset

_VERDICTS = {**nftables.VERDICTS, **nftables.CONTROL}
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": 132}
_MOST = 400  # elements of a message
_ROOM = 60_000  # bytes of them: an attribute's length has 16 bits, and verdicts name chains of any length

EncodeText = Callable[[str], bytes]


class ElementChange(NamedTuple):
    """What changes in one collection: keys that go, and keys with values that come."""

    name: str
    collection: Collection
    removed: Sequence[str]
    added: Mapping[str, str]


def element_changes(before: Ruleset, after: Ruleset) -> list[ElementChange] | None:
    """The changes that turn one table into another; None when more than elements differ, or they can't be sent."""
    if before.chains is not after.chains and before.chains != after.chains:
        return None
    if before.collections.keys() != after.collections.keys():
        return None
    found = []
    for name, new in after.collections.items():
        old = before.collections[name]
        if old is new:
            continue
        if (old.kind, old.declaration) != (new.kind, new.declaration):
            return None
        change = change_between(old.elements, new.elements)
        if change.empty:
            continue
        if _encoders(new.declaration) is None:
            return None
        found.append(ElementChange(name, new, change.removed, change.added))
    return found


def encode(table: Ruleset, changes: Iterable[ElementChange]) -> list[Message]:
    """The messages that make the changes, for one transaction. Pure.

    Everything that goes goes first: a key may come back with another value.
    """
    todo = list(changes)
    element = nftables.ELEMENTS.item
    found: list[Message] = []
    for change in todo:
        key, _ = _known_encoders(change.collection)
        gone = (element({"NFTA_SET_ELEM_KEY": key(k)}) for k in change.removed)
        found += _messages(table, change.name, nftables.NFT_MSG_DELSETELEM, 0, gone)
    for change in todo:
        key, value = _known_encoders(change.collection)
        come = (
            element({"NFTA_SET_ELEM_KEY": key(k), "NFTA_SET_ELEM_DATA": value(v) if v else None})
            for k, v in change.added.items()
        )
        found += _messages(table, change.name, nftables.NFT_MSG_NEWSETELEM, NLM_F_CREATE, come)
    return found


def _known_encoders(collection: Collection) -> tuple[EncodeText, EncodeText]:
    encoders = _encoders(collection.declaration)
    assert encoders is not None, collection.declaration  # `element_changes` gives none of others
    return encoders


def small(changes: Iterable[ElementChange]) -> Iterable[list[ElementChange]]:
    """The changes in parts that any socket takes; what goes and comes under one key is in one part.

    What sets lead to is in the maps before it is in the sets, and stays there for longer.
    """
    todo = list(changes)
    maps = [c for c in todo if c.collection.kind == "map"]
    sets = [c for c in todo if c.collection.kind != "map"]
    for change in (*maps, *sets):
        removed = set(change.removed)
        for keys in _parts(list(change.added)):
            added = {k: change.added[k] for k in keys}
            yield [change._replace(removed=[k for k in keys if k in removed], added=added)]
    for change in (*sets, *maps):
        for keys in _parts([k for k in change.removed if k not in change.added]):
            yield [change._replace(removed=keys, added={})]


def _messages(
    table: Ruleset, name: str, kind: int, flags: int, elements: Iterable[bytes]
) -> Iterable[Message]:
    for part in _loads(elements):
        payload = nftables.SET_ELEMENTS.encode(
            {
                "nfgen_family": nftables.FAMILIES[table.family],
                "NFTA_SET_ELEM_LIST_TABLE": table.table,
                "NFTA_SET_ELEM_LIST_SET": name,
                "NFTA_SET_ELEM_LIST_ELEMENTS": b"".join(part),
            }
        )
        yield Message(kind, flags, payload)


def _loads(elements: Iterable[bytes]) -> Iterable[list[bytes]]:
    """Elements in loads, each as many as a message holds."""
    part: list[bytes] = []
    size = 0
    for element in elements:
        if len(part) == _MOST or (part and size + len(element) > _ROOM):
            yield part
            part, size = [], 0
        part.append(element)
        size += len(element)
    if part:
        yield part


def _parts(keys: list[str]) -> Iterable[list[str]]:
    return (keys[start : start + _MOST] for start in range(0, len(keys), _MOST))


class _Field(NamedTuple):
    """How a field is encoded alone, and as one of several."""

    alone: EncodeText
    joined: EncodeText


def _field(encode: EncodeText, size: int) -> _Field:
    padding = b"\0" * (-size % 4)
    return _Field(encode, (lambda text: encode(text) + padding) if padding else encode)


def _protocol(text: str) -> bytes:
    return bytes([_PROTOCOLS[text]])


def _port(text: str) -> bytes:
    return _PORT.pack(int(text))


def _number(text: str) -> bytes:
    return _NUMBER.pack(int(text))


_PORT, _NUMBER = struct.Struct("!H"), struct.Struct("=I")  # numgen's is in the kernel's own order
_TYPES = {
    "ip daddr": _field(partial(socket.inet_pton, socket.AF_INET), 4),
    "ip saddr": _field(partial(socket.inet_pton, socket.AF_INET), 4),
    "ip6 daddr": _field(partial(socket.inet_pton, socket.AF_INET6), 16),
    "ip6 saddr": _field(partial(socket.inet_pton, socket.AF_INET6), 16),
    "meta l4proto": _field(_protocol, 1),
    "th dport": _field(_port, 2),
    "tcp dport": _field(_port, 2),
    "udp dport": _field(_port, 2),
    "sctp dport": _field(_port, 2),
}
_NUMGEN = "numgen random mod "


@cache
def _encoders(declaration: str) -> tuple[EncodeText, EncodeText] | None:
    """How a collection's keys and values become what an element's attributes hold; there are few declarations.

    None for a declaration that says something which isn't known here.
    """
    if not declaration.startswith("typeof ") or "flags" in declaration:
        return None
    text = declaration.removeprefix("typeof ").rstrip("; ")
    key, _, value = text.partition(" : ")
    is_plain = value not in ("", "verdict")
    keys, values = _fields_of_type(key), _fields_of_type(value) if is_plain else []
    if keys is None or values is None:
        return None
    return _concatenation(keys), _concatenation(values) if is_plain else _verdict


def _fields_of_type(text: str) -> list[_Field] | None:
    found: list[_Field] = []
    for part in text.split(" . "):
        if part.startswith(_NUMGEN):
            found.append(_field(_number, 4))
        elif part in _TYPES:
            found.append(_TYPES[part])
        else:
            return None
    return found


def _concatenation(fields: list[_Field]) -> EncodeText:
    value = nftables.DATA.encoders["NFTA_DATA_VALUE"]
    if len(fields) == 1:
        (alone, _), *_ = fields
        return lambda text: value(alone(text))
    each = [field.joined for field in fields]
    return lambda text: value(
        b"".join([encode(part) for encode, part in zip(each, text.split(" . "), strict=True)])
    )


def _verdict(text: str) -> bytes:
    word, _, chain = text.partition(" ")
    verdict = {"NFTA_VERDICT_CODE": _VERDICTS[word], "NFTA_VERDICT_CHAIN": chain or None}
    return nftables.DATA.encode({"NFTA_DATA_VERDICT": verdict})
