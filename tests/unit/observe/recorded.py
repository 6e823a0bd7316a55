"""Recordings of real requests as JSON: compact, and the same values again when they are read.

A value is a list of its fields, bytes are base64. `scripts/record-traces` writes them.
"""

from __future__ import annotations

import base64
import json
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from emulab.observe.events import Frame, Recording
from emulab.observe.join.flows import join
from emulab.observe.join.sightings import Sightings
from emulab.observe.path import Hop
from emulab.observe.path import Path as Trace

FOLDER = Path(__file__).parent / "recordings"


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> Recording:
    return decode(json.loads((FOLDER / f"{name}.json").read_text()))


def dump(name: str, recording: Recording) -> None:
    """Writes a recording, a line for each piece of evidence."""
    parts = []
    for key, value in encode(recording).items():
        if isinstance(value, list) and value and isinstance(value[0], list):
            value = "[\n" + ",\n".join(_line(v) for v in value) + "\n]"
        else:
            value = _line(value)
        parts.append(f"{json.dumps(key)}: {value}")
    (FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encode(recording: Recording) -> dict[str, Any]:
    """A recording as JSON."""
    found = {f.name: _plain(getattr(recording, f.name)) for f in fields(recording)}
    found["owners"] = [[list(key), _plain(owner)] for key, owner in recording.owners.items()]
    return found


def decode(document: Mapping[str, Any]) -> Recording:
    """The recording in a JSON document."""
    hints = typing.get_type_hints(Recording)
    owners = typing.get_args(hints.pop("owners"))[1]
    found = {name: _typed(hint, document[name]) for name, hint in hints.items()}
    found["owners"] = {tuple(key): _typed(owners, owner) for key, owner in document["owners"]}
    return Recording(**found)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if is_dataclass(value):
        return [_plain(getattr(value, f.name)) for f in fields(value)]
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return value


def _typed(hint: Any, value: Any) -> Any:
    """A value of the type that is hinted at."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _typed(next(a for a in arguments if a is not type(None)), value)
    if origin is not None and issubclass(origin, Mapping):
        return {(int(k) if arguments[0] is int else k): v for k, v in value.items()}
    if origin is tuple and arguments[-1] is not Ellipsis:
        return tuple(value)
    if origin is not None:
        made = [_typed(arguments[0], v) for v in value]
        return tuple(made) if origin is tuple else made
    if hint is bytes:
        return base64.b64decode(value)
    if is_dataclass(hint) or hasattr(hint, "_fields"):
        kinds = typing.get_type_hints(hint)
        own = [f.name for f in fields(hint)] if is_dataclass(hint) else hint._fields
        return hint(*(_typed(kinds[name], v) for name, v in zip(own[: len(value)], value, strict=True)))
    return value


def told(path: Trace) -> str:
    """A path as text to compare: a line for each hop, and what else there is to it."""
    return "\n".join(_told(path)) + "\n"


def _told(path: Trace) -> Iterator[str]:
    yield f"{path.method or path.url} {path.status} {path.duration} {' → '.join(path.places)}"
    for connection in path.connections:
        yield f"[{connection.number}] {connection.title}"
    yield from (_hop(hop) for hop in path.hops)
    if path.failure is not None:
        yield f"failure {path.failure.reason} at {path.failure.place}: {path.failure.text}"
        yield f"remedy {path.failure.remedy}"
    yield f"totals {json.dumps(path.totals, ensure_ascii=False)}"
    yield f"tls {json.dumps(path.tls)}"
    yield from (f"note {note}" for note in path.notes)


def _hop(hop: Hop) -> str:
    outer = hop.encapsulation
    parts = [
        f"{hop.time:9.1f} +{hop.delta:.1f}",
        f"[{hop.connection}] {'→' if hop.direction == 'request' else '←'} {hop.place} {hop.interface or '-'}",
        f"{hop.event} {hop.protocol} {hop.source} {hop.destination} x{hop.packets}",
        hop.detail,
        f"in {outer.type} {outer.vni} {outer.outer_source} {outer.outer_destination}" if outer else "",
        *(f"{k}={v}" for k, v in (("object", hop.object), ("rule", hop.rule), ("route", hop.route)) if v),
        f"conntrack {dict(hop.conntrack)}" if hop.conntrack else "",
    ]
    return " | ".join(part for part in parts if part)


def slim(recording: Recording, mine: set[int], strangers: int = 20, kept: int = 320) -> Recording:
    """The recording with the frames `mine`, and a few of others'; of each frame and rule no more than is needed."""
    legs = join(recording).legs
    flows = {flow for leg in legs for flow in leg.flows}
    sightings = Sightings(recording.frames)
    near = {
        packet.frame for flow in flows for packet in sightings.of(flow)
    } - mine  # others' use of our connections
    numbers = mine | set(_some(near, 2 * strangers))
    numbers |= set(_some(set(range(len(recording.frames))) - mine - near, strangers))
    packets = {(s.place, s.trace_id) for s in recording.rules if s.flow in flows}
    rules = [n for n, s in enumerate(recording.rules) if (s.place, s.trace_id) in packets]
    rules += _some(set(range(len(recording.rules))) - set(rules), strangers)
    told = {id(r) for leg in legs for r in leg.records}
    shared = {
        r.fields["upstream_source"] for leg in legs for r in leg.records if "upstream_source" in r.fields
    }
    before = [r for r in recording.records if r.fields.get("upstream_source") in shared]
    clients = {(r.place, r.fields.get("client")) for r in before}
    records = [
        n
        for n, r in enumerate(recording.records)
        if id(r) in told
        or "for" in r.fields
        or (r.place, r.fields.get("client")) in clients
        or r.fields.get("client") in shared
    ]
    records += _some(set(range(len(recording.records))) - set(records), strangers)
    return replace(
        recording,
        frames=[_cut(recording.frames[n], kept) for n in sorted(numbers)],
        rules=[recording.rules[n] for n in sorted(rules)],
        records=[recording.records[n] for n in sorted(records)],
        drops=list(recording.drops)[:strangers],
    )


def _some(numbers: set[int], count: int) -> list[int]:
    """A few of them, from all over."""
    return sorted(numbers)[:: max(1, -(-len(numbers) // count))]


def _cut(frame: Frame, kept: int) -> Frame:
    """A TCP packet's payload is looked at only at its beginning; a datagram is known by all of it."""
    is_tcp = frame.data[23:24] == b"\x06" or frame.data[73:74] == b"\x06"
    return frame._replace(data=frame.data[:kept]) if is_tcp else frame
