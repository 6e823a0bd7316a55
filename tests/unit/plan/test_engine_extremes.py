"""Whatever an Ingress says, nginx and haproxy take what is written for it.

A configuration that they refuse would keep the changes of all other Ingresses from being followed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from engine_programs import pair, refused
from engine_samples import KEYS, SAMPLES
from test_access_plan import config, config_map, secret, settings
from test_ingress_plan import PREFIX, WEB, ingress, raw_service, raw_slice, rule

from emulab.model.objects import Object
from emulab.servers.engines.haproxy.maps import route_maps
from emulab.servers.l7.config import Certificate, L7Config, Match, RequestRoute, Upstream, WeightedUpstream
from emulab.servers.selfsigned import self_signed

NUMBERS = ("0", "-1", "+5", "99999", "2147483648", "9223372036854775807", "9" * 20, "1" * 400, "٣")
SIZES = ("1k", "0k", "1048576g", "99999999999g", "2147484", "9223372036854775807s")
TEXTS = (
    'a"b',
    "a'b",
    "a;b",
    "a{b}",
    "a#b",
    "a$b",
    "a\\b",
    "a\\",
    "é",
    "a b",
    "$",
    "${host",
    "%[src]",
    "%",
    "a\tb",
)
ODD_TEXTS = ("a\rb", "*", "a,b", "()", "-1", "/a;b", "~^(.*)$", "https://x.test/a;b", "a\x00b")
AUTHORITY = pair()[0]
TLS = "tcp/10.244.1.3/443"
BESIDE = (
    secret("users", auth="u:$apr1$x$y\n"),
    secret("others", auth="u:{PLAIN}x\n"),
    secret("authority", **{"ca.crt": AUTHORITY}),
    secret("backend", **{"ca.crt": AUTHORITY, "tls.crt": AUTHORITY, "tls.key": pair()[1]}),
    config_map("fields", **{"X-A": "b"}),
)


def planned(*objects: Object) -> L7Config:
    return replace(config(*WEB, *BESIDE, *objects), resolv_conf="nameserver 10.96.0.10\n")


@pytest.mark.parametrize(
    "values", [NUMBERS, SIZES, TEXTS, ODD_TEXTS], ids=["numbers", "sizes", "texts", "odd"]
)
def test_no_annotation_keeps_a_program_from_starting(values: tuple[str, ...], tmp_path: Path) -> None:
    said = [
        {**beside, name: text}
        for name, (_, beside) in SAMPLES.items()
        for text in values
        if not (name == "server-alias" and len(text) > 253)
    ]
    ingresses = [
        ingress(
            f"i{n}", rule(f"h{n}.test", "/p"), annotations={PREFIX + name: text for name, text in one.items()}
        )
        for n, one in enumerate(said)
    ]
    assert refused(planned(*ingresses), tmp_path) == {}


@pytest.mark.parametrize("text", [*NUMBERS, *SIZES, *TEXTS, *ODD_TEXTS, "4 8k", "0 8k", "4 99999999999g"])
def test_no_key_of_the_config_map_does(text: str, tmp_path: Path) -> None:
    beside = {name: said for _, others in KEYS.values() for name, said in others.items()}
    said = settings({**beside, **dict.fromkeys(KEYS, text)})
    assert refused(planned(said, ingress("i", rule("a.test"))), tmp_path) == {}


def test_a_configuration_may_have_no_routes(tmp_path: Path) -> None:
    assert planned().routes == () and refused(planned(), tmp_path) == {}


def test_who_is_blocked_may_be_named_twice(tmp_path: Path) -> None:
    """nginx takes no text twice in a map, whatever its case."""
    twice = r"bot,Bot,~x,~x,~X,\~y,\~Y,default,include"
    said = settings({"block-user-agents": twice, "block-referers": twice})
    assert refused(planned(said, ingress("i", rule("a.test"))), tmp_path) == {}
    text = (tmp_path / "nginx/nginx.conf").read_text()
    assert text.count('"bot" 1;') == 2 and '"Bot" 1;' not in text and text.count('"~X" 1;') == 2


def led(
    name: str, host: str, service: str, namespace: str = "default", path: str = "/", **said: str
) -> Object:
    annotations = {PREFIX + key.replace("_", "-"): text for key, text in said.items()}
    found = ingress(
        name, rule(host, path, kind="ImplementationSpecific", service=service), annotations=annotations
    )
    found.raw["metadata"]["namespace"] = namespace
    return found


def service(name: str, namespace: str = "default") -> tuple[Object, Object]:
    found = raw_service(name, clusterIP="10.96.0.9"), raw_slice(name, "10.244.1.7", "10.244.2.7")
    for one in found:
        one.raw["metadata"]["namespace"] = namespace
    return found


def test_names_as_long_as_they_may_be(tmp_path: Path) -> None:
    long, other = "s" * 63, "c" * 63
    canary = {"canary": "true", "canary_weight": "20", "canary_by_header": "X-" + "y" * 99}
    host = ".".join(["a" * 63] * 3 + ["b" * 61])
    objects = (
        *service(long),
        *service(other),
        led(
            "main",
            host,
            long,
            affinity="cookie",
            auth_url="http://a.test/",
            auth_response_headers="X-" + "z" * 99,
        ),
        led("canary", host, other, **canary),
    )
    assert refused(planned(*objects), tmp_path) == {}


def test_names_that_would_be_one_without_their_slashes(tmp_path: Path) -> None:
    objects = [
        *service("b-c", "a"),
        *service("c", "a-b"),
        led("x-y", "a.test", "b-c", "a", limit_rps="5", affinity="cookie"),
        led("y", "b.test", "c", "a-b", limit_rps="6", affinity="cookie"),
    ]
    assert refused(planned(*objects), tmp_path) == {}
    text = (tmp_path / "nginx/nginx.conf").read_text()
    assert "upstream a-b-c-80 {" in text and "upstream a-b-c-80_2 {" in text
    assert {line.split("rate=")[1] for line in text.splitlines() if "limit_req_zone" in line} == {
        "5r/s;",
        "6r/s;",
    }


PATHS = ['"', ";", "{b}", "a b", "$b", "\\b", "\\", "é", "#b", "%20b", "%", "'", "${x}", "%[src]", "\tb"]
PATHS += ["\nb", "\n1/ 0", "\rb", "\x00b", '\nX-A: "b']


def test_paths_with_whatever_characters(tmp_path: Path) -> None:
    """A line's end would be another entry of haproxy's maps, perhaps of somebody else's host."""
    paths = [f"/a{path}" for path in PATHS]
    ingresses = [
        led(f"i{n}", f"h{n}.test", "web", path=one, affinity="cookie") for n, one in enumerate(paths)
    ]
    assert refused(planned(*ingresses), tmp_path) == {}
    maps = tmp_path / "haproxy/etc/haproxy/maps"
    lines = [
        line for name in ("exact", "prefixes") for line in (maps / f"{name}.map").read_text().splitlines()
    ]
    assert all(re.fullmatch(r"\d+/\S* \d+", line) for line in lines) and len(lines) == len(set(lines))


def test_secrets_whose_names_would_be_one_have_a_file_each(tmp_path: Path) -> None:
    first, second = self_signed("x", "a.test", ["a.test"]), self_signed("y", "b.test", ["b.test"])
    shown = (Certificate(("a.test",), *first, "a/b-c"), Certificate(("b.test",), *second, "a-b/c"))
    given = replace(
        planned(led("i", "a.test", "web"), led("j", "b.test", "web")),
        listen=(TLS,),
        tls_listen=(TLS,),
        certificates=shown,
    )
    assert refused(given, tmp_path) == {}
    for name in ("nginx", "haproxy"):
        folder = tmp_path / name / "etc" / name / "ssl"
        assert {first[0].strip(), second[0].strip()} <= {
            one.read_text().partition("-----BEGIN PRIVATE")[0].strip() for one in folder.glob("*.pem")
        }


def test_of_names_that_are_expressions_the_first_of_the_routes_counts(tmp_path: Path) -> None:
    """In whichever order their texts are, and whatever the types of their paths."""
    given = planned()
    routes = tuple(
        RequestRoute(Match(host, "/", kind), (WeightedUpstream("default/web/80"),))
        for host, kind in (("~^x", "Prefix"), ("~^.*a", "Exact"), ("*.w.test", "Prefix"))
    )
    given = replace(given, routes=routes, upstreams={"default/web/80": Upstream(("10.96.0.5:80",))})
    assert refused(given, tmp_path) == {}
    text = (tmp_path / "nginx/nginx.conf").read_text()
    assert text.index('server_name "~^x"') < text.index('server_name "~^.*a"')
    assert [name for name, _ in route_maps(routes).host_expressions] == ["^x", "^.*a"]
