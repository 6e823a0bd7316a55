"""What the tables say of engines is what engines do.

An annotation or a key that changes what emulab's own engine is told changes what a program is told, too, unless its
line says that it isn't followed.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

import pytest
from engine_samples import ASKED, HOSTED, HOSTED_KEYS, KEYS, SAMPLES
from test_ingress_plan import NGINX as CLASS
from test_ingress_plan import PREFIX, ingress, rule
from tlspairs import pair, tls_secret
from worlds import raw_service, raw_slice

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.controllerkeys import COMPOSED, DEFAULTED
from emulab.kinds.networking.controllersettings import HSTS, SETTINGS
from emulab.kinds.networking.enginelacks import HAPROXY, NGINX, Lack, lacking
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.plan.kept import PlanSource
from emulab.plan.l7.annotations import known
from emulab.plan.l7.annotations.lacking import lacks_of_key
from emulab.plan.l7.ingress import ingress_config
from emulab.servers.engines.haproxy.conf import HaproxyPlace, haproxy_files
from emulab.servers.engines.nginx import access
from emulab.servers.engines.nginx.conf import NginxPlace, nginx_conf
from emulab.servers.l7.config import L7Config

FLAGS = ControllerFlags(without_class=True, config_map="ingress-nginx/settings")
LISTEN = ("tcp/10.244.1.9/80", "tcp/10.244.1.9/443")
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
Texts = Mapping[str, str]


def data(kind: str, name: str, namespace: str = "default", **texts: str) -> Object:
    given = {key.replace("_", "."): text for key, text in texts.items()}
    if kind == "Secret":
        given = {key: b64encode(text.encode()).decode() for key, text in given.items()}
    metadata = {"name": name, "namespace": namespace}
    return Object({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": given})


@lru_cache(maxsize=1)
def beside() -> tuple[Object, ...]:
    both = pair("a.test")
    return (
        CLASS,
        raw_service("web", clusterIP="10.96.0.5"),
        raw_slice("web", "10.244.1.2", "10.244.2.2", "10.244.3.2"),
        raw_service("other", clusterIP="10.96.0.6"),
        raw_slice("other", "10.244.1.3"),
        data("Secret", "users", auth="ann:{SHA}x\n"),
        data("Secret", "others", auth="bob:{SHA}y\n"),
        data("Secret", "authority", ca_crt=CERTIFICATE),
        data("Secret", "backend", ca_crt=both[0], tls_crt=both[0], tls_key=both[1]),
        data("ConfigMap", "fields", **{"X-Field": "v"}),
        tls_secret("tls", both),
    )


def prefixed(annotations: Texts) -> dict[str, str]:
    return {PREFIX + name: text for name, text in annotations.items()}


def config(annotations: Texts, settings: Texts, canary: Texts = {}) -> L7Config:  # noqa: B006
    given = {"global-allowed-response-headers": "X-Field", **settings}
    tls = [{"hosts": ["a.test"], "secretName": "tls"}]
    objects = [
        *beside(),
        data("ConfigMap", "settings", "ingress-nginx", **given),
        ingress("shop", rule("a.test"), annotations=prefixed(annotations), tls=tls),
    ]
    if canary:
        objects.append(ingress("new", rule("a.test", service="other"), annotations=prefixed(canary)))
    return ingress_config(PlanSource.of(Objects(objects)), Cluster(), FLAGS)


def told(given: L7Config) -> dict[str, object]:
    """What each program is told."""
    whole = replace(
        given, listen=LISTEN, tls_listen=LISTEN[1:], resolv_conf="nameserver 10.96.0.10\n", notices=()
    )
    sockets = {key: key.removeprefix("tcp/").replace("/", ":") for key in LISTEN}
    conf = nginx_conf(whole, NginxPlace(sockets, given.workers, 1, "nobody", {}))
    haproxy = HaproxyPlace(dict(zip(LISTEN, (3, 4), strict=True)), 1, {}, given.workers)
    return {
        NGINX: (conf, access.files(whole)),
        HAPROXY: haproxy_files(whole, haproxy, "fake"),
    }


def of_annotation(name: str) -> Iterator[L7Config]:
    """Without it and with it."""
    value, others = SAMPLES[name]
    if "canary" in name or "canary" in others:
        main = {key: text for key, text in others.items() if not key.startswith("canary")}
        own = {key: text for key, text in others.items() if key.startswith("canary")}
        yield config(main, {}, own)
        yield config(main, {}, {**own, name: value})
        return
    settings = ASKED if name == "enable-global-auth" else {}
    yield config(others, settings)
    yield config({**others, name: value}, settings)


def check(before: L7Config, after: L7Config, lacks: tuple[Lack, ...], value: object) -> None:
    assert before != after, "the sample shows nothing of it"
    first, second = told(before), told(after)
    for engine in (NGINX, HAPROXY):
        isnt = any("isn't followed" in what for what in lacking(lacks, engine, value))
        assert (first[engine] != second[engine]) is not isnt, engine


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - {"affinity-mode"}))
def test_an_annotation_is_followed_as_its_line_says(name: str) -> None:
    one = known()[name]
    check(*of_annotation(name), one.lacks, one.read(SAMPLES[name][0]))


def test_of_the_modes_of_affinity_real_programs_have_one() -> None:
    one, (before, after) = known()["affinity-mode"], of_annotation("affinity-mode")
    assert before != after and told(before) == told(after), "it is theirs without being asked for"
    for engine in (NGINX, HAPROXY):
        assert not [*lacking(one.lacks, engine, "persistent")]
        assert len([*lacking(one.lacks, engine, "balanced")]) == 1


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_key_is_followed_as_its_line_says(key: str) -> None:
    value, others = KEYS[key]
    annotations = {"limit-rps": "5", "limit-connections": "3"} if key.startswith("limit-") else {}
    readers = {**{name: one.read for name, one in SETTINGS.items()}, **DEFAULTED, **dict.fromkeys(HSTS, str)}
    read = COMPOSED[key].read if key in COMPOSED else readers[key]
    check(
        config(annotations, others),
        config(annotations, {**others, key: value}),
        lacks_of_key(key),
        read(value),
    )


def test_each_has_a_sample() -> None:
    untold = {name for name, one in known().items() if one.untold}
    assert known().keys() == SAMPLES.keys() | untold | HOSTED
    assert {*SETTINGS, *COMPOSED, *DEFAULTED, *HSTS} - untold == KEYS.keys() | HOSTED_KEYS


@pytest.mark.parametrize("name", sorted(name for name, one in known().items() if one.untold))
def test_what_nobody_could_tell_changes_nothing(name: str) -> None:
    asking = {"auth-url": "http://auth.default.svc.cluster.local/"}
    texts = {"enable-rewrite-log": "true", "auth-keepalive-share-vars": "true"}
    value = texts.get(name, "7" if name.startswith("auth") else "16k")
    known()[name].read(value)
    assert config(asking, {}) == config({**asking, name: value}, {})
