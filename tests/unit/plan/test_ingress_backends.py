"""Annotations that say how backends are reached, and the keys of the ConfigMap for HTTP/2."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from test_ingress_plan import WEB, config, ingress, rule

from emulab.kinds.networking.ingressview import Backend, Ingress
from emulab.model.objects import Object
from emulab.plan.l7.annotations import PREFIX, read
from emulab.plan.l7.annotations.backends import BACKENDS
from emulab.plan.l7.configmap import settings
from emulab.servers.l7.config import Policy, Reach, UpstreamTLS

SECRET = "proxy-ssl-secret"
WHOLE = {"ca.crt": "CA", "tls.crt": "CRT", "tls.key": "KEY"}


def secret(**data: str) -> Object:
    encoded = {name: b64encode(text.encode()).decode() for name, text in data.items()}
    metadata = {"name": "s", "namespace": "default"}
    return Object({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded})


def shop(annotations: dict[str, str]) -> Object:
    return ingress(
        "shop", rule("a.test"), annotations={PREFIX + name: text for name, text in annotations.items()}
    )


def policy(annotations: dict[str, str], *beside: Object) -> Policy:
    (route,) = config(*WEB, shop(annotations), *beside).routes
    return route.policy


class World:
    """What there is beside an Ingress."""

    defaults: dict[str, object] = {}  # noqa: RUF012

    def __init__(self, *objects: Object) -> None:
        self._objects = {f"{o.namespace}/{o.name}": o for o in objects}

    def named(self, _kind: Any, text: str, _namespace: str) -> Object | None:
        return self._objects.get(text)

    def upstream(self, _namespace: str, _backend: Backend) -> str:
        raise AssertionError


def wrong(annotations: dict[str, str], *beside: Object) -> dict[str, str]:
    o = shop(annotations)
    values = read(BACKENDS, o.annotations)
    return dict(BACKENDS.wrong(values, Ingress.of(o), World(*beside)))


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        ("HTTP", "HTTP"),
        ("https", "HTTPS"),
        ("Auto_Http", "AUTO_HTTP"),
        ("GRPC", "GRPC"),
        ("grpcs", "GRPCS"),
        ("AJP", "HTTP"),
    ],
)
def test_backend_protocol(text: str, protocol: str) -> None:
    assert policy({"backend-protocol": text}).reach == Reach(protocol)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("backend-protocol", "FCGI", "is not spoken here"),
        ("backend-protocol", "AJP", "is not one of HTTP, HTTPS, AUTO_HTTP, GRPC, GRPCS"),
        ("proxy-http-version", "2", "is neither 1.0 nor 1.1"),
        ("proxy-ssl-verify", "true", "is neither on nor off"),
        ("proxy-ssl-verify-depth", "-1", "is no number"),
        ("proxy-ssl-protocols", "SSLv3", "is not of TLSv1.2 and TLSv1.3"),
        ("proxy-ssl-ciphers", "HIGH;", "is no list of ciphers"),
        ("proxy-ssl-ciphers", "NONSENSE", "has no cipher before TLS 1.3 that OpenSSL knows"),
        ("proxy-ssl-name", "a b", "is no name of a server"),
        ("proxy-ssl-server-name", "yes", "is neither on nor off"),
    ],
)
def test_texts_that_say_nothing(name: str, text: str, why: str) -> None:
    (annotation,) = (one for one in BACKENDS.annotations if one.name == name)
    with pytest.raises(ValueError, match=why):
        annotation.read(text)
    assert policy({name: text}) == policy({})


def test_http_1_0() -> None:
    assert policy({"proxy-http-version": "1.0"}).http_version == "1.0"
    assert policy({"proxy-http-version": "1.0", "backend-protocol": "GRPC"}).http_version == "1.1"


def test_what_is_said_of_tls_with_a_secret() -> None:
    asked = {
        "backend-protocol": "HTTPS",
        SECRET: "default/s",
        "proxy-ssl-verify": "on",
        "proxy-ssl-verify-depth": "3",
        "proxy-ssl-name": "web.test",
        "proxy-ssl-server-name": "on",
        "proxy-ssl-ciphers": "HIGH:!aNULL",
        "proxy-ssl-protocols": "TLSv1.3 TLSv1.2",
    }
    assert policy(asked, secret(**WHOLE)).reach.tls == UpstreamTLS(
        verify=True,
        authorities="CA",
        depth=3,
        name="web.test",
        server_name=True,
        protocols=("TLSv1.2", "TLSv1.3"),
        ciphers="HIGH:!aNULL",
        certificate="CRT",
        key="KEY",
    )
    few = policy({"backend-protocol": "HTTPS", SECRET: "default/s"}, secret(**WHOLE)).reach.tls
    assert (few.verify, few.depth, few.protocols, few.name) == (False, 1, ("TLSv1.2",), "upstream_balancer")
    without = policy(asked, secret(**{"tls.crt": "CRT", "tls.key": "KEY"})).reach.tls
    assert without == UpstreamTLS(name="web.test", server_name=True)
    assert policy({**asked, "backend-protocol": "GRPCS"}, secret(**WHOLE)).reach == Reach("GRPCS")
    del asked[SECRET]
    assert policy(asked).reach == Reach("HTTPS")


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("default/none", WHOLE, "is not there"),
        ("other/s", WHOLE, "is of another namespace"),
        ("s", WHOLE, "is not of the form NAMESPACE/NAME"),
        ("default/s", {"tls.crt": "CRT"}, "has neither tls.crt and tls.key nor ca.crt"),
    ],
)
def test_without_its_secret_nobody_is_served(name: str, data: dict[str, str], why: str) -> None:
    asked = {"backend-protocol": "HTTPS", SECRET: name}
    (route,) = config(*WEB, shop(asked), secret(**data)).routes
    assert [backend.weight for backend in route.backends] == [0]
    assert wrong(asked, secret(**data)) == {
        SECRET: f"names a Secret that {why}: requests are answered with 503"
    }


def test_what_is_not_heeded_is_told() -> None:
    https = {"backend-protocol": "HTTPS", SECRET: "default/s"}
    assert wrong({"backend-protocol": "HTTPS", "proxy-ssl-verify": "on"}) == {
        "proxy-ssl-verify": "is not heeded without proxy-ssl-secret"
    }
    assert wrong({**https, "backend-protocol": "GRPCS"}, secret(**WHOLE)) == {
        SECRET: "is not heeded by backend-protocol GRPCS"
    }
    assert wrong({**https, "proxy-ssl-verify": "on"}, secret(**WHOLE)) == {
        "proxy-ssl-verify": "without proxy-ssl-name asks for a certificate for upstream_balancer"
    }
    pair = secret(**{"tls.crt": "CRT", "tls.key": "KEY"})
    assert wrong({**https, "proxy-ssl-verify": "on", "proxy-ssl-name": "a"}, pair) == {
        SECRET: "has no ca.crt, without which its certificate is not heeded",
        "proxy-ssl-verify": "is not heeded, as the Secret of proxy-ssl-secret has no ca.crt",
    }
    assert wrong({**https, "proxy-ssl-verify": "on", "proxy-ssl-name": "a"}, secret(**WHOLE)) == {}


def test_the_keys_of_the_config_map() -> None:
    _, options = settings({})
    assert (options.http2, options.http2_streams, options.keepalive_requests) == (True, 128, 1000)
    given, options = settings(
        {"use-http2": "false", "http2-max-concurrent-streams": "8", "keep-alive-requests": "5"}
        | {"proxy-http-version": "1.0"}
    )
    assert (options.http2, options.http2_streams, options.keepalive_requests) == (False, 8, 5)
    assert given.http_version == "1.0"
