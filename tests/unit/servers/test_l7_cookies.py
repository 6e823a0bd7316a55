"""Which cookie of a request is meant: by nginx' variables, and by ingress-nginx' affinity."""

from __future__ import annotations

import pytest

from emulab.servers.l7.config import CookieAffinity
from emulab.servers.l7.engine.balance.affinity import expiry
from emulab.servers.l7.engine.cookies import of_affinity, variable


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        ("", None),
        ("cc=always", "always"),
        ("CC=always", "always"),
        ("a=1;Cc=v", "v"),
        ("a=1, cc=v", "v"),
        ("a=1,cc=v", "v"),
        ("cc =v", "v"),
        ("cc=  v", "v"),
        ("cc=v w;x=1", "v w"),
        ("cc=v,w; x=1", "v,w"),
        ("acc=1; cc=2", "2"),
        ("ccc=1; cc=2", "2"),
        ("cc=; cc=2", ""),
        ("cc=1; cc=2", "1"),
        ("cc; cc=2", None),
        ("cc; x; cc=2", "2"),
        ("cc", None),
        ("x", None),
        ('cc="q"', '"q"'),
    ],
)
def test_a_variable_is_the_first_of_whatever_case(sent: str, value: str | None) -> None:
    """As nginx 1.22 and 1.27 answer `return 200 $cookie_cc`."""
    assert variable(sent, "cc") == variable(sent, "CC") == value


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        ("", None),
        ("s=1", "1"),
        ("S=1", None),
        ("s=1; s=2", "2"),
        ("a=1;s=2;b=3", "2"),
        (" \ts=1.2|x; b", "1.2|x"),
        ("s=a b; c=d", "a b"),
        ("s=", ""),
        ("word; s=1", None),
        ("as=1", None),
        ("a=s=1", None),
    ],
)
def test_affinity_takes_the_last_of_the_very_name(sent: str, value: str | None) -> None:
    """As lua-resty-cookie reads them."""
    assert of_affinity(sent, "s") == value


def test_a_cookie_may_hold_for_longer_than_dates_go() -> None:
    date = b"Date: Tue, 01 Dec 2026 05:00:00 GMT\r\n"
    assert expiry(date, 60) == "Tue, 01-Dec-26 05:01:00 GMT"
    assert expiry(date, 1 << 62) == "Fri, 31-Dec-9999 23:59:59 GMT"
    assert expiry(date, -(1 << 62)).startswith("Mon, 01-Jan-")


def test_no_path_ends_the_field_of_a_cookie() -> None:
    assert CookieAffinity().path_of("/a\r\nX-A: b\x00") == "/a%0D%0AX-A: b%00"
    assert CookieAffinity(path="/p").path_of("/a") == "/p" and CookieAffinity().path_of("") == "/"
