"""Regular expressions of Go's."""

from __future__ import annotations

import time

import pytest

from emulab.servers.dns.expressions import expression


@pytest.mark.parametrize(
    ("text", "found", "not_found"),
    [
        (r"^[[:alpha:]-]+\.test\.\z", "web-x.test.", "w3b.test."),
        ("(?i)Foo|bar", "BAR", "baz"),
        ("^(a(?i)b|c)$", "C", "Ab"),
        (r"(?<n>\w+)\.test", "web.test", ".test"),
        (r"^\Qa.b\E+$", "a.bb", "axb"),
        (r"^a\x{2d}b[\x{2d}x]$", "a-b-", "a_b-"),
        ("^[^]a]+$", "bc", "b]"),
        ("^[[&|~]$", "[", "a"),
        ("^x{,3}$", "x{,3}", "xx"),
        (r"^\d$", "7", "٧"),
        (r"^[\w-.]+$", "a-b.c", "a+b"),
        (r"^[[:blank:]-z]$", "-", "a"),
        (r"^[[:word:]-z]$", "-", "`"),
        (r"^[+--]$", ",", "."),
        (r"^[]-a]$", "_", "b"),
        ("^a{1000}$", "a" * 1000, "a" * 999),
        ("^[[:^alpha:]]$", "1", "a"),
        (r"^\p{Lu}$", "A", "a"),
        ("^(?U)(a+)b$", "aab", "ac"),
        ("^(?)a$", "a", "b"),
    ],
)
def test_what_go_has_is_found(text: str, found: str, not_found: str) -> None:
    assert expression(text).search(found) and not expression(text).search(not_found)


@pytest.mark.parametrize(
    "text",
    [
        *("a(?=b)", "(?!a)b", "(?<!b)a", "(?<=b)a", r"(a)\1", "(?P<x>a)(?P=x)", "a++", "a*+", "a{2}+", "a**"),
        *("a{1001}", "a{2,99999}", r"[a-\d]", r"[\C]", r"[\b]"),
        *("(a", "a)", "[a", "*a", "[[:nope:]]", "(?#a)", r"a\Z", "[z-a]", r"\y"),
    ],
)
def test_what_go_has_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        expression(text)


@pytest.mark.parametrize(
    "part", ["[", r"\Q\E", "[[:a", "(a|"], ids=["brackets", "quotations", "classes", "groups"]
)
def test_what_does_not_end_is_refused_all_the_same(part: str) -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        expression("[" + part * 20_000)


@pytest.mark.parametrize("text", ["^(a+)+$", "^(a|aa)+$", "(.*)*x", "^(?:a?){40}a{40}$"])
def test_no_expression_holds_its_server_up(text: str) -> None:
    """Each of them takes Python's `re` longer than a name server may think, some of them for ever."""
    before = time.thread_time()
    expression(text).search("a" * 250 + "!")
    assert time.thread_time() - before < 1


def test_groups_are_told_by_number_and_by_name() -> None:
    found = expression(r"^(?P<pod>[a-z]+)(-[0-9]+)?\.(.*)$").search("web.test.")
    assert found is not None
    assert (found.group(0), found.groups()) == ("web.test.", ("web", None, "test."))
    assert dict(found.groupdict()) == {"pod": "web"}
