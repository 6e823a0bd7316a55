"""`file` of a Corefile: zones in the words of RFC 1035 section 5, which are keys of the ConfigMap. Pure.

Records of types that are not followed are left out, with a warning; what is no zone file is a CorefileError, as
CoreDNS doesn't start with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from emulab.kinds.emulab.zone import RECORD_VALUES
from emulab.plan.coredns import arguments
from emulab.plan.coredns.arguments import within, wrong
from emulab.plan.coredns.drafting import BlockDraft, sayable, through, zones_of
from emulab.plan.coredns.imports import path_of
from emulab.plan.coredns.lines import CorefileError, LineNumber, is_number
from emulab.plan.coredns.syntax import Directive
from emulab.servers.dns.config import ASKED_TYPES, ZoneFile, ZoneRecord

_DEFAULT_TTL = 3600
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|;[^\n]*|[()\n]|[^\s;()"]+|[^\S\n]+|"', re.DOTALL)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TIME = re.compile(r"(?:\d+[smhdw])*\d+[smhdw]?", re.ASCII | re.IGNORECASE)
_CLASSES = ("IN", "CH", "HS", "CS")
_NAMES = {"CNAME": (0,), "NS": (0,), "PTR": (0,), "MX": (1,), "SRV": (3,), "SOA": (0, 1)}
"""Which words of a record's data are names, by its type."""
_SOA_WORDS = 7
_LEFT_OUT = """
AFSDB APL CDNSKEY CDS CERT DNAME EUI48 EUI64 HIP KX LP NSEC3PARAM OPENPGPKEY RP SMIMEA SPF SSHFP SVCB URI
"""
_OTHER_TYPES = ASKED_TYPES.union(_LEFT_OUT.split())


class ZoneLine(NamedTuple):
    """An entry of a zone file, which parentheses may spread over lines. One that `goes_on` is of the owner before."""

    number: LineNumber
    goes_on: bool
    words: tuple[str, ...]


def file(draft: BlockDraft, told: Directive) -> None:
    """`file DBFILE [ZONES…]`."""
    if not told.words:
        raise wrong(told, "wrong argument count or unexpected line ending")
    name, *zones = told.words
    within(told, arguments.FILE)
    text = draft.files.get(path_of(name))
    if text is None:
        where = (
            "a key of that name in the ConfigMap is read for it; until it is there, its zones are SERVFAIL"
        )
        draft.warn(told.line, f"file: there is no {name}: {where}")
    files = {one.origin: one for one in draft.block.get("files", ())}
    for origin in zones_of(told, zones) or draft.zones:
        records = () if text is None else _zone(draft, told, text, origin, path_of(name))
        files[origin] = ZoneFile(origin, records)
    draft.block["files"] = tuple(files.values())
    for option in told.inside:
        if option.name == "fallthrough":  # of all files of the block
            draft.block["files_through"] = through(option)


def _zone(draft: BlockDraft, told: Directive, text: str, origin: str, path: str) -> tuple[ZoneRecord, ...]:
    """The records of a zone. Raises CorefileError."""
    reader = _Reader(draft, origin)
    records = [record for line in _lines(text, path) for record in reader.read(line)]
    if not any(record.type == "SOA" and record.name == origin for record in records):
        raise wrong(told, f"{path} has no SOA record for origin {origin}")
    return tuple(records)


def _lines(text: str, path: str) -> Iterator[ZoneLine]:
    words: list[str] = []
    number, begun, depth, goes_on = 1, 1, 0, False
    for token in _TOKEN.finditer(f"{text}\n"):
        said = token[0]
        if said == '"':
            raise CorefileError(LineNumber(number, path), "file: a quotation that doesn't end")
        if said in "()":
            depth += 1 if said == "(" else -1
            if depth < 0:
                raise CorefileError(LineNumber(number, path), "file: a ) without its (")
        elif said == "\n" and not depth:
            if words:
                yield ZoneLine(LineNumber(begun, path), goes_on, tuple(words))
            words, goes_on = [], False
        elif said.isspace():
            goes_on |= not words
        elif said[0] != ";":
            begun = begun if words else number
            words.append(said)
        number += said.count("\n")
    if depth:
        raise CorefileError(LineNumber(begun, path), "file: a ) is missing")


class _Reader:
    """What holds from one entry to the next."""

    def __init__(self, draft: BlockDraft, zone: str) -> None:
        self._draft, self._zone, self._origin = draft, zone, zone
        self._owner = zone
        self._ttl: int | None = None  # by $TTL, without which that of the record before holds
        self._last_ttl: int | None = None

    def read(self, line: ZoneLine) -> Iterator[ZoneRecord]:
        """The record of an entry, unless it has none that is followed."""
        words = [*line.words]
        if words[0].startswith("$"):
            self._directive(line)
            return
        if not line.goes_on:
            self._owner = self._absolute(words.pop(0))
        ttl: int | None = None
        while words and (words[0].upper() in _CLASSES or _TIME.fullmatch(words[0])):
            word = words.pop(0).upper()
            if word not in _CLASSES:
                ttl = _seconds(word)
            elif word != "IN":
                self._leave_out(line, f"class {word}")
                return
        if not words:
            raise CorefileError(line.number, "file: a record without a type")
        rtype = words.pop(0).upper()
        if rtype not in RECORD_VALUES and rtype != "SOA":
            if rtype not in _OTHER_TYPES and not re.fullmatch(r"TYPE\d{1,5}", rtype, re.ASCII):
                raise CorefileError(line.number, f"file: {rtype} is no type of records")
            self._leave_out(line, f"type {rtype}")
        elif not self._is_inside(self._owner):
            self._draft.warn(
                line.number, f"file: {self._owner} is outside of {self._zone}; the record is left out"
            )
        else:
            if ttl is not None:
                self._last_ttl = ttl
            told = (ttl, self._ttl, self._last_ttl, _DEFAULT_TTL)
            lasts = next(seconds for seconds in told if seconds is not None)
            yield ZoneRecord(self._owner, rtype, self._data(line, rtype, words), lasts)

    def _directive(self, line: ZoneLine) -> None:
        match [line.words[0].upper(), *line.words[1:]]:
            case ["$ORIGIN", name]:
                self._origin = self._absolute(name)
            case ["$TTL", text] if _TIME.fullmatch(text):
                self._ttl = _seconds(text)
            case ["$INCLUDE" | "$GENERATE" as directive, *_]:
                self._draft.warn(line.number, f"file: {directive} is not followed")
            case _:
                raise CorefileError(line.number, f"file: {' '.join(line.words)} is no directive")

    def _data(self, line: ZoneLine, rtype: str, words: list[str]) -> str:
        """What a record says, with whole names. Raises CorefileError."""
        said = list(words)
        for at in _NAMES.get(rtype, ()):
            if at < len(words):
                words[at] = self._absolute(words[at])
                # What a host may be called is stricter than what a name server hands out.
                said[at] = "name." if sayable(words[at]) else words[at]
        if rtype == "TXT":
            return self._checked(
                line, rtype, " ".join(word if word.startswith('"') else f'"{word}"' for word in words)
            )
        if rtype != "SOA":
            self._checked(line, rtype, " ".join(said))
            return " ".join(words)
        serial, *times = words[2:3] + words[3:]
        if len(words) != _SOA_WORDS or not is_number(serial) or not all(map(_TIME.fullmatch, times)):
            raise CorefileError(line.number, f"file: {' '.join(words)} is no data of SOA")
        return " ".join((*words[:2], serial, *(str(_seconds(text)) for text in times)))

    def _checked(self, line: ZoneLine, rtype: str, data: str) -> str:
        for _, why in RECORD_VALUES[rtype](data):
            raise CorefileError(line.number, f"file: {rtype}: {why}")
        return data

    def _leave_out(self, line: ZoneLine, what: str) -> None:
        self._draft.warn(
            line.number, f"file: {what} is not followed; the record of {self._owner} is left out"
        )

    def _is_inside(self, name: str) -> bool:
        return sayable(name) and (self._zone in (".", name) or name.endswith(f".{self._zone}"))

    def _absolute(self, name: str) -> str:
        if name == "@":
            return self._origin
        name = name.lower()
        return name if name.endswith(".") else f"{name}.{self._origin.removeprefix('.')}"


def _seconds(text: str) -> int:
    """Of a number, or of several with their units: `1h30m`."""
    parts = re.findall(r"(\d+)([smhdw]?)", text.lower(), re.ASCII)
    return min(sum(int(number) * _UNITS[unit or "s"] for number, unit in parts), (1 << 31) - 1)
