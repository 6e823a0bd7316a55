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

_TOKEN = re.compile(
    r'"(?:\\.|[^"\\])*"|;[^\n]*|[()\n]|(?:\\[^\n]|\\(?=\n)|[^\s;()"\\])+|[^\S\n]+|"', re.DOTALL
)
_ESCAPED = re.compile(r"\\(\d{3}|.)", re.ASCII | re.DOTALL)
_LONGEST_STRING = 255  # octets
_MOST, _MOST_SECONDS = (1 << 32) - 1, (1 << 31) - 1
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TIME = re.compile(r"(?:\d+[smhdw])*\d+[smhdw]?", re.ASCII | re.IGNORECASE)
_CLASSES = ("IN", "CH", "HS", "CS")
_NAMES = {"CNAME": (0,), "NS": (0,), "PTR": (0,), "MX": (1,), "SRV": (3,), "SOA": (0, 1)}
"""Which words of a record's data are names, by its type."""
_SOA_WORDS = 7
_OTHER_TYPES = ASKED_TYPES | {"LP", "SMIMEA"}


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
        ttl, classed = None, False
        while words and (words[0].upper() in _CLASSES or _TIME.fullmatch(words[0])):
            word = words.pop(0).upper()
            if word not in _CLASSES:
                ttl = self._last_ttl = _seconds(line, word)
            elif word != "IN":
                self._leave_out(line, f"class {word}")
                return
            classed |= word == "IN"
        if not words:
            raise CorefileError(line.number, "file: a record without a type")
        rtype = words.pop(0).upper()
        known = rtype in RECORD_VALUES or rtype == "SOA"
        if not known and rtype not in _OTHER_TYPES and not re.fullmatch(r"TYPE\d{1,5}", rtype, re.ASCII):
            raise CorefileError(line.number, f"file: {rtype} is no type of records")
        lasts = self._lasts(line, ttl, classed)
        if not known:
            self._leave_out(line, f"type {rtype}")
        elif not sayable(self._owner):
            self._leave_out(line, "such a name")
        elif rtype == "TXT" and any(map(_is_beyond_ascii, words)):
            self._leave_out(line, "a text of octets beyond ASCII")
        elif not self._is_inside(self._owner):
            self._draft.warn(
                line.number, f"file: {self._owner} is outside of {self._zone}; the record is left out"
            )
        else:
            yield ZoneRecord(self._owner, rtype, self._data(line, rtype, words), lasts)

    def _lasts(self, line: ZoneLine, ttl: int | None, classed: bool) -> int:
        """The TTL of a record: its own, else that of $TTL or the last one that was told. Where there is none, a parser
        of miekg/dns takes 0, but for a record of an owner that has no class either. Raises CorefileError."""
        told = next((seconds for seconds in (ttl, self._ttl, self._last_ttl) if seconds is not None), None)
        if told is None and not classed and not line.goes_on:
            raise CorefileError(line.number, "file: missing TTL with no previous value, as of $TTL")
        return min(told or 0, _MOST_SECONDS)

    def _directive(self, line: ZoneLine) -> None:
        match [line.words[0].upper(), *line.words[1:]]:
            case ["$ORIGIN", name]:
                self._origin = self._absolute(name)
            case ["$TTL", text] if _TIME.fullmatch(text):
                self._ttl = _seconds(line, text)
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
            return self._checked(line, rtype, " ".join(part for word in words for part in _strings(word)))
        if rtype != "SOA":
            self._checked(line, rtype, " ".join(said))
            return " ".join(words)
        serial, *times = words[2:3] + words[3:]
        whole = len(words) == _SOA_WORDS and is_number(serial) and all(map(_TIME.fullmatch, times))
        if not whole or not all(sayable(name.replace("\\", "")) for name in words[:2]):
            raise CorefileError(line.number, f"file: {' '.join(words)} is no data of SOA")
        return " ".join((*words[:2], *(str(_seconds(line, text)) for text in (serial, *times))))

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


def _seconds(line: ZoneLine, text: str) -> int:
    """Of a number, or of several with their units: `1h30m`. Raises CorefileError."""
    parts = re.findall(r"(\d+)([smhdw]?)", text.lower(), re.ASCII)
    # More digits than these Python doesn't read.
    total = sum(int(number[-20:]) * _UNITS[unit or "s"] for number, unit in parts)
    if total > _MOST or any(len(number) > 20 for number, _ in parts):
        raise CorefileError(line.number, f"file: {text[:20]} is more seconds than a record can say")
    return total


def _is_beyond_ascii(word: str) -> bool:
    """Whether a text says octets by their numbers that are no letters by themselves."""
    return any(len(said) == 3 and int(said) > 127 for said in _ESCAPED.findall(word))


def _strings(word: str) -> Iterator[str]:
    """A text in quotes, without what stands for other characters; several where it is too long for one."""
    plain = _ESCAPED.sub(
        lambda found: found[1] if len(found[1]) == 1 else chr(int(found[1])),
        word[1:-1] if word[0] == '"' else word,
    )
    part, octets = "", 0
    for letter in plain:
        more = len(letter.encode())
        if octets + more > _LONGEST_STRING:
            yield _quoted(part)
            part, octets = "", 0
        part, octets = part + letter, octets + more
    yield _quoted(part)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
