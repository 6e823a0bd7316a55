"""The one reader of requests, in a dialect that was made up: what is anybody's own is said by the dialect alone."""

from __future__ import annotations

import pytest

from emulab.servers.wire.http1.head import END, BadMessage
from emulab.servers.wire.http1.reader import Dialect, HeadReader

LARGEST = 40


def too_large(begun: bytes, blank: int) -> int:
    return 431 if len(begun) + blank > LARGEST else 0


TERSE: Dialect[list[bytes]] = Dialect(LARGEST, too_large, 8, lambda head: head.split(b"\r\n"))


def reader(*pieces: bytes) -> HeadReader[list[bytes]]:
    """A reader that was fed pieces of a head that isn't whole."""
    made = HeadReader(TERSE)
    for piece in pieces:
        assert made.feed(piece) is None
    return made


def test_heads_come_in_pieces_and_one_after_another() -> None:
    heads = reader(b"\r\n", b"GET / HTTP/1.1\r", b"\nA: 1\r\n")
    assert heads.partial
    assert heads.feed(b"\r\nGET") == [b"GET / HTTP/1.1", b"A: 1"]
    assert (heads.rest, heads.partial) == (b"GET", b"")
    assert heads.feed(b"HEAD / HTTP/1.0" + END) == [b"HEAD / HTTP/1.0"]


def test_what_follows_a_head_does_not_count() -> None:
    heads = reader()
    assert heads.feed(b"GET / HTTP/1.1" + END + bytes(100)) == [b"GET / HTTP/1.1"]
    assert heads.rest == bytes(100)


@pytest.mark.parametrize(
    ("before", "last"),
    [
        ((), b"GET / HTTP/1.1\r\n" + b"A: 1\r\n" * 4 + b"\r\n"),
        ((b"GET / HTTP/1.1\r\n",), b"A: 1\r\n" * 5),
        ((b"\r\n" * 10, b"\r\n" * 5), b"GET / HTTP/1.1" + END),
        ((b"\r\n" * 20,), b"\r\n"),
    ],
)
def test_the_dialect_says_what_is_too_large(before: tuple[bytes, ...], last: bytes) -> None:
    with pytest.raises(BadMessage) as refused:
        reader(*before).feed(last)
    assert refused.value.status == 431


def test_empty_lines_are_counted_for_each_head() -> None:
    heads = reader()
    for _ in range(9):
        assert heads.feed(b"\r\n" * 5 + b"GET / HTTP/1.1" + END)


@pytest.mark.parametrize(
    ("begun", "status"), [(b"(GET / " + bytes(50), 400), (b"GET / HT" + b"\0" * 50, 431)]
)
def test_a_mistake_at_the_beginning_outranks_the_size(begun: bytes, status: int) -> None:
    with pytest.raises(BadMessage) as refused:
        reader().feed(begun)
    assert refused.value.status == status


@pytest.mark.parametrize(("method", "to_head"), [(b"HEAD", True), (b"HEADER", False), (b"GET", False)])
def test_whether_a_refused_head_asked_for_one(method: bytes, to_head: bool) -> None:
    heads = reader(method + b" / HTTP/1.1\r\n")
    with pytest.raises(BadMessage):
        heads.feed(b"bad field\r\n")
    assert heads.to_head is to_head
