"""Names of images mean what containerd takes them to mean."""

from __future__ import annotations

import pytest

from emulab.model.imagenames import image_name

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("docker.io/nginx:1.27", "docker.io/library/nginx:1.27"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("acme/web", "docker.io/acme/web:latest"),
        ("localhost/web", "localhost/web:latest"),
        ("registry:5000/a/b_c/d--e:T.1-x", "registry:5000/a/b_c/d--e:T.1-x"),
        ("ghcr.io/acme/web:v1@" + DIGEST, "ghcr.io/acme/web:v1@" + DIGEST),
        ("web@" + DIGEST, "docker.io/library/web@" + DIGEST),
        ("[2001:db8::1]:5000/web", "[2001:db8::1]:5000/web:latest"),
    ],
)
def test_a_name_in_full(given: str, meant: str) -> None:
    name = image_name(given)
    assert name is not None and str(name) == meant
    assert image_name(meant) == name


NO_NAMES = (
    *(
        "",
        "Nginx",
        "nginx:",
        "nginx: x",
        "a//b",
        "/a",
        "a/",
        "nginx@sha256:1",
        "ngi nx",
        "http://x/y",
        "a:b:c",
    ),
    *("a" * 300, "0123456789abcdef" * 4, "-x/y", "x/-y", "web:" + "t" * 129, "../x", "web\n"),
)


@pytest.mark.parametrize("given", NO_NAMES)
def test_what_is_no_name(given: str) -> None:
    assert image_name(given) is None
