"""Records made of the name that is asked for (plugin/template of CoreDNS). Pure.

Of Go's templates there is what stands for a word of the question: `.Name`, `.Zone`, `.Class`, `.Type`, `.Group.NAME`,
`.Match` by `index`, `.Question.Name`, and what `parseInt` makes of a group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.config import HOLE, HOLE_WORD, RCODES, TemplateConfig, check_template
from emulab.servers.dns.expressions import expression
from emulab.servers.dns.names import Name, lower
from emulab.servers.dns.plugins.made import Below, Made
from emulab.servers.dns.wire import ResourceRecord

_DEFAULT_TTL = 3600


class AnswerTemplate:
    """One template."""

    def __init__(self, config: TemplateConfig) -> None:
        """Raises ValueError."""
        self._zones, self._through = Below(config.zones), Below(config.fallthrough)
        self._rtype = rdata.ANY if config.rtype == "ANY" else rdata.type_number(config.rtype)
        self._matches = [expression(text) for text in config.matches]
        self._sections = config.answers, config.authority, config.additional
        for section in self._sections:
            for text in section:
                check_template(text)
        if config.rcode not in RCODES:
            raise ValueError(f"{config.rcode!r} is none of {', '.join(RCODES)}")
        self._rcode = RCODES[config.rcode]

    def concerns(self, name: Name, rtype: int) -> bool:
        """Whether it is about a lower-case name and a type."""
        return name in self._zones and (self._rtype == rtype or rdata.ANY in (self._rtype, rtype))

    def lets_through(self, name: Name) -> bool:
        return name in self._through

    def make(self, name: Name, rtype: int) -> Made | None:
        """The answer for a name that a regular expression finds; SERVFAIL where what comes out is no record."""
        text = names.to_text(name)
        found = next((m for pattern in self._matches if (m := pattern.search(text))), None)
        if found is None:
            return None
        words = {str(index): group or "" for index, group in enumerate((found.group(0), *found.groups()))}
        words |= {name: group or "" for name, group in found.groupdict().items()}
        said = {
            "Name": text,
            "Question.Name": text,
            "Zone": names.to_text(self._zones.zone(name) or ()),
            "Class": "IN",
            "Type": rdata.type_name(self._rtype if rtype == rdata.ANY else rtype),
        }
        try:
            answer, authority, additional = (
                tuple(_record(_filled(line, said, words)) for line in section) for section in self._sections
            )
        except ValueError:
            return Made(wire.SERVFAIL)
        return Made(self._rcode, answer, authority, additional)


def _filled(text: str, said: Mapping[str, str], words: Mapping[str, str]) -> str:
    """A line with what its holes stand for. Raises ValueError where Go's template ends with an error."""

    def fill(hole: re.Match[str]) -> str:
        word = HOLE_WORD.fullmatch(hole[1])
        assert word is not None
        if word["field"]:
            return said[word["field"]]
        found = _found(word, words)
        return str(_parsed(found, int(word["base"]), int(word["bits"]))) if word["number"] else found

    return HOLE.sub(fill, text)


def _found(word: re.Match[str], words: Mapping[str, str]) -> str:
    """What the regular expression has found: a map's missing element is one word for its field, and none by `index`."""
    if word["group"]:
        return words.get(word["group"], "<no value>")
    if word["list"] == "Match" and word["index"] not in words:
        raise ValueError(f"index out of range: {word['index']}")
    return words.get(word["index"], "")


def _parsed(text: str, base: int, bits: int) -> int:
    """A number of so many bits, without a sign (Go's strconv.ParseUint). Raises ValueError."""
    if not (text.isascii() and text.isalnum()):
        raise ValueError(f"{text!r} is no number")
    number = int(text, base)
    if number >= 1 << (bits or 64):
        raise ValueError(f"{text} has more than {bits} bits")
    return number


def _record(line: str) -> ResourceRecord:
    """A line of a zone file, all on one: owner, TTL and class in either order, type, data. Raises ValueError."""
    owner, *rest = line.split(None, 1)
    ttl, words = _DEFAULT_TTL, (rest[0] if rest else "")
    while words:
        word, _, after = words.partition(" ")
        if word.isdigit():
            ttl = int(word)
        elif word.upper() != "IN":
            break
        words = after.lstrip()
    kind, _, data = words.partition(" ")
    if kind.upper() == "SOA":  # its numbers may stand in parentheses (RFC 1035 section 5.1)
        data = data.replace("(", " ").replace(")", " ")
    rtype = rdata.type_number(kind)
    if rtype not in rdata.WORDS or not 0 <= ttl <= 0x7FFFFFFF:
        raise ValueError(f"{line!r} is no record that can be made")
    return ResourceRecord(lower(names.from_text(owner)), rtype, ttl, rdata.from_text(rtype, data.strip()))
