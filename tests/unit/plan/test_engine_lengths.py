"""nginx reads no configuration with a word of more than 4,096 octets: nobody else's Ingress suffers from one."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_programs import refused
from engine_samples import KEYS, SAMPLES
from test_access_plan import config_map, settings
from test_engine_extremes import planned
from test_ingress_plan import PREFIX, ingress, rule

from emulab.model.objects import Object
from emulab.servers.engines.nginx.conf import NginxPlace, nginx_conf
from emulab.servers.engines.nginx.unable import unable

LONG = 5000
TEXTS = {
    "letters": "a" * LONG,
    "path": "/" + "a" * LONG,
    "url": "https://a.test/" + "a" * LONG,
    "dollars": "$request_uri" * 300,
    "words": ",".join(f"X-A{number}" for number in range(1000)),
    "origins": ",".join(f"https://a{number}.test" for number in range(400)),
    "networks": ",".join(f"10.{number // 256}.{number % 256}.0/24" for number in range(600)),
    "names": ",".join(f"a{number}.test" for number in range(500)),
    "two": "/" + "a" * LONG + " /b",
    "expression": "~" + "a" * LONG,
    "groups": "(a)" * 1500,
    "ciphers": ":".join(["HIGH"] * 1000),
    "subject": "CN=" + "(a|b)" * 1000,
    "once": "a" * 950,
}


def annotated(number: int, **annotations: str) -> Object:
    return ingress(f"i{number}", rule(f"h{number}.test", "/p"), annotations=annotations)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_no_length_of_an_annotation_keeps_a_program_from_starting(text: str, tmp_path: Path) -> None:
    given = [
        annotated(number, **{PREFIX + key: said for key, said in {**beside, name: text}.items()})
        for number, (name, (_, beside)) in enumerate(SAMPLES.items())
    ]
    assert refused(planned(*given), tmp_path) == {}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_no_length_of_a_key_does(text: str, tmp_path: Path) -> None:
    beside = {name: said for _, others in KEYS.values() for name, said in others.items()}
    given = planned(settings({**beside, **dict.fromkeys(KEYS, text)}), ingress("i", rule("a.test")))
    assert refused(given, tmp_path) == {}


def test_no_length_of_a_field_of_all_answers_does(tmp_path: Path) -> None:
    fields = config_map("long", **{"X-A": "b" * LONG, "X-C": "d"})
    given = planned(fields, settings({"add-headers": "default/long"}), ingress("i", rule("a.test")))
    assert refused(given, tmp_path) == {} and [one.name for one in given.options.fields] == ["X-C"]


@pytest.mark.parametrize("kind", ["Prefix", "Exact", "ImplementationSpecific"])
def test_nobody_is_led_to_a_path_that_nginx_cannot_read(kind: str, tmp_path: Path) -> None:
    paths = [
        "/" + letter * length for letter, length in (("a", 3900), ("b", LONG), ("é", 2100), ("\\", 2100))
    ]
    given = planned(ingress("i", *(rule("a.test", path, kind=kind) for path in paths)))
    assert refused(given, tmp_path) == {}
    text = (tmp_path / "nginx/nginx.conf").read_text()
    assert f"/{'a' * 3900}" in text and "bbbb" not in text and "éé" not in text
    said = {route.match.path: list(unable(route, given)) for route in given.routes}
    assert said.pop(paths[0]) == [] and len(said) == 3
    assert all("nobody is led there" in line for (line,) in said.values())


def test_a_route_of_which_something_is_too_long_answers_nobody_and_keeps_its_number() -> None:
    """It isn't left out: the route above it might let in whom it wouldn't."""
    long = {PREFIX + "auth-url": "http://auth.test/" + "a" * LONG}
    given = planned(
        ingress("i", rule("a.test", "/p"), annotations=long), ingress("j", rule("a.test", "/")), *()
    )
    text = nginx_conf(given, NginxPlace({}, 1, 7, "root root", {}))
    place = text[text.index("location /p/ {") :].partition("\n        }\n")[0]
    assert "return 503;" in place and "proxy_pass" not in place and "aaaa" not in text
    numbers = {route.match.path: number for number, route in enumerate(given.routes)}
    assert f"set $route {numbers['/p']};" in place
    ((line,), ()) = (list(unable(given.routes[numbers[path]], given)) for path in ("/p", "/"))
    assert line.endswith("clients get 503")
