"""Which cookie of a request is meant: by nginx' variables, and by ingress-nginx' affinity."""

from __future__ import annotations

import pytest

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
