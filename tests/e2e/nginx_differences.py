"""Where the ingress differs from nginx on purpose, each with its reason; whatever else differs is a fault.

A row explains some aspects of an outcome: `statuses`, `requests`, `hosts`, `framings` (what the backend saw), `kept`
(whether the client's connection was), `ended`; for answers also `answers`, `trash`, `dropped` (the backend's
connection). A row that explains nothing fails, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .peers import Outcome

REFUSALS = frozenset({400, 405, 414, 501, 505})


@dataclass(frozen=True)
class Difference:
    """A kind of difference: `applies(sent, ingress, nginx)` says whether one is of it."""

    reason: str
    aspects: str
    applies: Callable[[bytes, Outcome, Outcome], bool]
    until: tuple[int, ...] = (99,)
    """The version of nginx that does as the ingress does: with it nothing of this kind is to be found."""

    def explains(self, aspect: str, sent: bytes, ingress: Outcome, nginx: Outcome) -> bool:
        return aspect in self.aspects.split() and self.applies(sent, ingress, nginx)


def refused_alone(pattern: bytes) -> Callable[[bytes, Outcome, Outcome], bool]:
    """The ingress answers 400 to what the pattern finds, and passes on nothing from there; nginx takes it."""
    compiled = re.compile(pattern)

    def applies(sent: bytes, ingress: Outcome, nginx: Outcome) -> bool:
        found = compiled.search(sent) is not None
        ours, theirs = ([(seen.target, seen.body) for seen in one.requests] for one in (ingress, nginx))
        return found and ingress.statuses[-1:] == [400] and ours == theirs[: len(ours)]

    return applies


def both_refuse(sent: bytes, ingress: Outcome, nginx: Outcome) -> bool:
    return ingress.statuses[:-1] == nginx.statuses[:-1] and REFUSALS.issuperset(
        ingress.statuses[-1:] + nginx.statuses[-1:]
    )


def number_of_bodies(outcome: Outcome) -> list[bytes]:
    return [seen.body for seen in outcome.requests]


TAKEN = "statuses requests hosts framings kept"

REQUESTS = [
    Difference(
        "HTTP/0.9, which nginx still answers, without a head, is obsolete: 400 at once (RFC 9112 is about 1.x alone)",
        TAKEN,
        refused_alone(rb"(?m)^[A-Z]+ +\S+ *\r$"),
    ),
    Difference(
        "a CR that isn't before an LF may end a line for another server: refused",
        TAKEN,
        refused_alone(rb"\r\r\n"),
    ),
    Difference(
        "a field without a colon isn't one (RFC 9112, section 5): refused",
        TAKEN,
        refused_alone(rb"\r\n[A-Za-z]+\r\n"),
    ),
    Difference(
        "a chunk's size is followed by a semicolon or the line's end (RFC 9112, section 7.1): refused",
        TAKEN,
        refused_alone(rb"\r\n5 x\r\n"),
    ),
    Difference(
        "a control character in a chunk extension: refused",
        TAKEN,
        refused_alone(rb"\r\n5;\x01\r\n"),
    ),
    Difference(
        "a trailer that is no field (RFC 9112, section 7.1.2): refused",
        TAKEN,
        refused_alone(rb"\r\n0\r\n(bad trailer| X: y|X : y)\r\n"),
    ),
    Difference(
        "of several faults in one head nginx names the one in the first field, the ingress another",
        "statuses",
        both_refuse,
    ),
    Difference(
        "CONNECT's target is a host and a port; nginx learnt to read them, and to answer 405, in 1.29",
        "statuses",
        lambda sent, ingress, nginx: b"CONNECT" in sent and both_refuse(sent, ingress, nginx),
    ),
    Difference(
        "an absolute target's host replaces the field (RFC 9112, section 3.2.2); nginx's $http_host is the field",
        "hosts",
        lambda sent, ingress, nginx: b"://" in sent and len(ingress.requests) == len(nginx.requests),
    ),
    Difference(
        "a request of HTTP/1.0 without Host goes on with nginx's name for its default server; 1.1 must have one",
        "hosts",
        lambda sent, ingress, nginx: (
            b"HTTP/1.0\r\n" in sent and [seen.host for seen in ingress.requests] == [b"_"]
        ),
    ),
]


def malformed(pattern: bytes) -> Callable[[bytes, Outcome, Outcome], bool]:
    """The ingress answers 502 to what the pattern finds, and with its own answer to the request after it."""
    compiled = re.compile(pattern)

    def applies(sent: bytes, ingress: Outcome, nginx: Outcome) -> bool:
        return compiled.search(sent) is not None and ingress.statuses == [502, 200] and not ingress.trash

    return applies


GIVEN = "answers trash kept"
FRAMING = rb"(?i)\n(content-length|transfer-encoding):"

ANSWERS = [
    Difference(
        "a status line that is none of HTTP/1.x with three digits from 100 is a 502; nginx passes it and all behind it "
        "to the client as the body of an HTTP/0.9 answer, or as it is (RFC 9110, section 15: no status is below 100)",
        GIVEN,
        malformed(rb"close=\w+ (?!HTTP/1\.\d+ +[1-9]\d\d([ .][^\r\n\0]*)?\r?\n)"),
    ),
    Difference("a CR that isn't before an LF may end a line for a client: 502", GIVEN, malformed(rb"\r\r\n")),
    Difference("a field without a colon isn't one: 502", GIVEN, malformed(rb"\r\n[A-Za-z]+\r\n")),
    Difference(
        "a length or coding that is malformed, unknown, twice or beside the other is a 502, as in nginx since 1.23",
        GIVEN,
        malformed(FRAMING),
        until=(1, 23),
    ),
    Difference(
        "malformed chunks that come with the head are a 502; nginx, about to send the head, cuts the connection",
        GIVEN,
        lambda sent, ingress, nginx: (
            malformed(rb"(?i)transfer-encoding: *chunked")(sent, ingress, nginx)
            and not any(got.whole for got in nginx.answers)
        ),
    ),
    Difference(
        "chunk extensions and trailers by the letter (RFC 9112, section 7.1), or 502",
        GIVEN,
        malformed(rb"5 x\r\n|5;\x01|bad trailer|0\r\n X: y|X : y"),
    ),
    Difference(
        "an interim answer isn't the answer (RFC 9110, section 15.2); nginx, until 1.29, takes it for that",
        GIVEN,
        lambda sent, ingress, nginx: (
            re.search(rb"HTTP/1.1 10[03] ", sent) is not None and 100 <= nginx.statuses[0] < 104
        ),
    ),
    Difference(
        "nobody asked for another protocol, so a 101 is a 502",
        GIVEN,
        malformed(rb"HTTP/1.1 101 "),
    ),
]
