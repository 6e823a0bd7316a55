"""Paths that the regular expressions of Ingresses take."""

from __future__ import annotations

import pytest

from emulab.twins.patterns import path_of_pattern


@pytest.mark.parametrize(
    ("expression", "path"),
    [
        ("/shop", "/shop"),
        ("/v1.0/a-b", "/v1.0/a-b"),
        ("/api(/|$)(.*)", "/api/a"),
        ("/(?<lang>de|en)/items/[0-9]{3}", "/de/items/000"),
        (r"/v\d+/(?:users|orders)/[^/]+/?$", "/v0/users/a/"),
        ("/img/.*[.](png|jpe?g)$", "/img/a.png"),
        ("/()(q.*)", "/qa"),
        ("/.+", "/a"),
        ("/x{0,2}?y", "/xy"),
        (r"/([a-z]+)-\1", "/a-a"),
        ("^/begin", "/begin"),
        ("/[[:upper:]]", "/A"),
        ("/api/(?!v1)(.*)", "/api/a"),
        ("/foo/(?=bar)(.*)", None),
        ("/a b", None),
        ("/(", None),
        ("/a{99999999999}", None),
        ("/(((((a{99}){99}){99}){99}){99}){99}", None),
        ("/(" * 3000, None),
        ("", "/"),
    ],
)
def test_a_path_is_drawn_that_the_expression_takes(expression: str, path: str | None) -> None:
    assert path_of_pattern(expression) == path
