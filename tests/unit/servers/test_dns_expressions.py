"""Regular expressions of Go's."""

from __future__ import annotations

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
    ],
)
def test_what_go_has_is_found(text: str, found: str, not_found: str) -> None:
    assert expression(text).search(found) and not expression(text).search(not_found)


@pytest.mark.parametrize(
    "text",
    [
        *("a(?=b)", "(?!a)b", "(?<!b)a", "(?<=b)a", r"(a)\1", "(?P<x>a)(?P=x)", "a++", "a*+", "a{2}+", "a**"),
        *("a{1001}", "a{2,99999}", r"[a-\d]", r"[\C]", r"[\b]"),
        *("(a", "a)", "[a", "*a", "[[:nope:]]", "(?)", "(?#a)", r"a\Z", "[z-a]", r"\y"),
    ],
)
def test_what_go_has_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        expression(text)


@pytest.mark.parametrize("part", ["[", r"\Q\E", "[[:a"], ids=["brackets", "quotations", "classes"])
def test_what_does_not_end_takes_no_time(part: str) -> None:
    """Whoever writes a Corefile keeps nobody waiting for what is wrong with it."""
    with pytest.raises(ValueError, match="missing closing"):
        expression("[" + part * 20_000)
