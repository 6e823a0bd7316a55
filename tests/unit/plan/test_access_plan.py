"""What annotations and keys of the ConfigMap say about who may in, and what becomes of it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from test_ingress_plan import NGINX, PREFIX, WEB, ingress, rule

from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.plan.kept import PlanSource
from emulab.plan.l7.annotations.unheeded import unheeded
from emulab.plan.l7.ingress import ingress_config
from emulab.servers.configuration import from_json, to_json
from emulab.servers.l7.config import (
    AccessControl,
    BasicAuthentication,
    ClientLimits,
    ClientVerification,
    ConnectionLimit,
    ExternalAuthentication,
    Field,
    Filter,
    L7Config,
    Options,
    Refusal,
    RequestLimit,
    SourceRanges,
)
from emulab.servers.l7.engine.snapshot import take

FLAGS = ControllerFlags(without_class=True, config_map="ingress-nginx/settings")
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CRL = "-----BEGIN X509 CRL-----\nMIIC\n-----END X509 CRL-----\n"


def config(*objects: Object) -> L7Config:
    found = ingress_config(PlanSource.of(Objects([NGINX, *objects])), Cluster(), FLAGS)
    assert from_json(L7Config, to_json(found)) == found
    take(found, {})  # the server takes it
    return found


def secret(name: str, namespace: str = "default", **data: str) -> Object:
    encoded = {key: b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return Object({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded})


def config_map(name: str, namespace: str = "default", **data: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def settings(data: dict[str, str]) -> Object:
    namespace, _, name = FLAGS.config_map.partition("/")
    metadata = {"name": name, "namespace": namespace}
    return Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def wished(*beside: Object, path: str = "/", **annotations: str) -> L7Config:
    named = {PREFIX + name.replace("_", "-"): text for name, text in annotations.items()}
    return config(*WEB, *beside, ingress("shop", rule("a.test", path), annotations=named))


def filters(*beside: Object, path: str = "/", **annotations: str) -> tuple[Filter, ...]:
    routes = wished(*beside, path=path, **annotations).routes
    return next(route.filters for route in routes if route.match.path == path)


def told(*beside: Object, **annotations: str) -> list[str]:
    """What is said on `up`, without the place."""
    named = {PREFIX + name.replace("_", "-"): text for name, text in annotations.items()}
    objects = Objects([*system_objects(Cluster()), *WEB, *beside])
    classes = IngressClasses.among(objects, Cluster())
    lines = unheeded([ingress("shop", rule("a.test"), annotations=named)], classes, objects=objects)
    return [line.partition(PREFIX)[2].replace("]", "", 1) for line in lines]


class TestAddresses:
    def test_lists(self) -> None:
        assert filters(
            whitelist_source_range="10.0.0.0/8, 2001:db8::/32,192.0.2.1", denylist_source_range="10.1.0.0/16"
        ) == (
            AccessControl(
                SourceRanges(("10.1.0.0/16",), "denylist-source-range"),
                SourceRanges(("10.0.0.0/8", "2001:db8::/32", "192.0.2.1"), "whitelist-source-range"),
            ),
        )

    def test_the_newer_name_goes_first(self) -> None:
        found = filters(whitelist_source_range="10.0.0.0/8", allowlist_source_range="10.1.0.0/16")
        assert found == (AccessControl(allow=SourceRanges(("10.1.0.0/16",), "allowlist-source-range")),)

    def test_those_of_the_config_map_hold_where_no_annotation_says_it(self) -> None:
        there = settings({"whitelist-source-range": "10.0.0.0/8", "denylist-source-range": "10.9.0.0/16"})
        deny = SourceRanges(("10.9.0.0/16",), "denylist-source-range of the controller's ConfigMap")
        allow = SourceRanges(("10.0.0.0/8",), "whitelist-source-range of the controller's ConfigMap")
        assert filters(there) == (AccessControl(deny, allow),)
        own = SourceRanges(("10.1.0.0/16",), "whitelist-source-range")
        assert filters(there, whitelist_source_range="10.1.0.0/16") == (AccessControl(deny, own),)

    def test_blocked_networks_are_those_of_who_has_no_list(self) -> None:
        """nginx's rules of a location replace those around it."""
        there = settings({"block-cidrs": "10.9.0.0/16"})
        block = SourceRanges(("10.9.0.0/16",), "block-cidrs of the controller's ConfigMap")
        assert filters(there) == (AccessControl(block),)
        own = SourceRanges(("10.1.0.0/16",), "denylist-source-range")
        assert filters(there, denylist_source_range="10.1.0.0/16") == (AccessControl(own),)

    def test_one_that_is_wrong_locks(self) -> None:
        text = "10.0.0.0/8,nonsense"
        why = f"'{text}' has 'nonsense', which is no network and no address"
        assert filters(whitelist_source_range=text) == (
            Refusal(f"whitelist-source-range: {why}", "whitelist-source-range"),
        )
        assert told(whitelist_source_range=text) == [
            f"whitelist-source-range: {why}; everybody is answered 503"
        ]


class TestLimits:
    def test_rates(self) -> None:
        found = filters(limit_rps="5", limit_rpm="100", limit_connections="3", limit_whitelist="10.0.0.0/8")
        assert found == (
            ClientLimits(
                (
                    RequestLimit("default_shop_rps", 5000, 25, "limit-rps"),
                    RequestLimit("default_shop_rpm", 1666, 500, "limit-rpm"),
                ),
                ConnectionLimit("default_shop_conn", 3, "limit-connections"),
                ("10.0.0.0/8",),
            ),
        )

    def test_burst_and_statuses(self) -> None:
        there = settings({"limit-req-status-code": "429", "limit-conn-status-code": "420"})
        (found,) = filters(there, limit_rps="5", limit_burst_multiplier="2")
        assert found == ClientLimits(
            (RequestLimit("default_shop_rps", 5000, 10, "limit-rps"),),
            request_status=429,
            connection_status=420,
        )

    @pytest.mark.parametrize("text", ["0", "-1", "many", ""])
    def test_none(self, text: str) -> None:
        assert filters(limit_rps=text) == ()

    def test_speed(self) -> None:
        there = settings({"limit-rate": "10", "proxy-buffering": "on"})
        (route,) = wished(there).routes
        assert route.policy.limit_rate == 10 << 10
        (route,) = wished(there, limit_rate="5", limit_rate_after="2").routes
        assert (route.policy.limit_rate, route.policy.limit_rate_after) == (5 << 10, 2 << 10)

    def test_there_is_none_of_what_is_not_buffered(self) -> None:
        (route,) = wished(limit_rate="5", limit_rate_after="2").routes
        assert (route.policy.limit_rate, route.policy.limit_rate_after) == (0, 0)
        assert any("without proxy-buffering" in line for line in told(limit_rate="5"))
        assert told(limit_rate="5", proxy_buffering="on") == []

    def test_come_before_access(self) -> None:
        assert [type(one) for one in filters(limit_rps="1", whitelist_source_range="10.0.0.0/8")] == [
            ClientLimits,
            AccessControl,
        ]


class TestBasic:
    USERS = secret("users", auth="ann:x\n")

    def test_a_file(self) -> None:
        assert filters(self.USERS, auth_type="basic", auth_secret="users", auth_realm="Who - 1") == (
            AccessControl(basic=BasicAuthentication("Who - 1", "ann:x\n", "auth-secret default/users")),
        )

    def test_a_map(self) -> None:
        users = secret("users", ann="x", bob="y")
        (found,) = filters(
            users, auth_type="basic", auth_secret="default/users", auth_secret_type="auth-map", satisfy="any"
        )
        assert isinstance(found, AccessControl) and found.basic is not None
        assert found.basic.users == "ann:x\nbob:y\n" and found.any

    def test_nobody_is_asked_without_a_type(self) -> None:
        assert filters(self.USERS, auth_secret="users") == ()
        assert told(self.USERS, auth_secret="users") == [
            "auth-secret: says nothing without auth-type: nobody is asked for a password"
        ]

    @pytest.mark.parametrize(
        ("annotations", "name", "why"),
        [
            (
                {"auth_type": "digest", "auth_secret": "users"},
                "auth-type",
                "digest is not offered here; use basic",
            ),
            (
                {"auth_type": "basic"},
                "auth-type",
                "there is no auth-secret that says whose passwords are right",
            ),
            ({"auth_type": "basic", "auth_secret": "none"}, "auth-secret", "there is no Secret default/none"),
            (
                {"auth_type": "basic", "auth_secret": "empty"},
                "auth-secret",
                "Secret default/empty has no key auth",
            ),
            (
                {"auth_type": "basic", "auth_secret": "other/users"},
                "auth-secret",
                "other/users is of another namespace, which allow-cross-namespace-resources doesn't allow",
            ),
        ],
    )
    def test_what_cannot_be_followed_locks(self, annotations: dict[str, str], name: str, why: str) -> None:
        beside = self.USERS, secret("empty", x="y"), secret("users", "other", auth="eve:x\n")
        assert filters(*beside, **annotations) == (Refusal(f"{name}: {why}", name),)
        assert told(*beside, **annotations) == [f"{name}: {why}; everybody is answered 503"]

    def test_where_nobody_may_in_nothing_else_is_said(self) -> None:
        wrong = {
            "allowlist_source_range": "here",
            "enable_cors": "true",
            "permanent_redirect": "https://x.test",
        }
        (found,) = filters(**wrong)
        assert isinstance(found, Refusal) and found.source == "allowlist-source-range"

    def test_another_namespace_where_it_may_be(self) -> None:
        beside = (
            secret("users", "other", auth="eve:x\n"),
            settings({"allow-cross-namespace-resources": "true"}),
        )
        (found,) = filters(*beside, auth_type="basic", auth_secret="other/users")
        assert isinstance(found, AccessControl)

    def test_who_issues_certificates_may_in(self) -> None:
        assert (
            filters(self.USERS, path="/.well-known/acme-challenge/x", auth_type="basic", auth_secret="users")
            == ()
        )


class TestExternal:
    URL = "https://auth.d.svc/check?who=$remote_user_agent"

    def test_all_of_it(self) -> None:
        beside = config_map("more", **{"X-Ingress": "$namespace/$ingress_name/$service_name:$service_port"})
        (found,) = filters(
            beside,
            auth_url="http://auth.d.svc.cluster.local/check?host=$host",
            auth_method="POST",
            auth_signin="https://$host/start",
            auth_signin_redirect_param="back",
            auth_response_headers="X-User, X-Email",
            auth_request_redirect="https://a.test/",
            auth_cache_key="$cookie_s",
            auth_cache_duration="200 10m, 401 1m",
            auth_proxy_set_headers="default/more",
            auth_always_set_cookie="true",
        )
        assert found == AccessControl(
            external=ExternalAuthentication(
                "http://auth.d.svc.cluster.local/check?host=$host",
                "POST",
                (Field("X-Ingress", "default/shop/web:80"),),
                ("X-User", "X-Email"),
                "https://a.test/",
                "https://$host/start",
                "back",
                "$cookie_s",
                ("200 10m", "401 1m"),
                True,
                "auth-url",
            )
        )

    def test_that_of_the_config_map(self) -> None:
        there = settings({"global-auth-url": "http://auth.test/", "global-auth-response-headers": "X-User"})
        expected = ExternalAuthentication(
            "http://auth.test/", response_headers=("X-User",), source="global-auth-url"
        )
        assert filters(there) == (AccessControl(external=expected),)
        assert filters(there, enable_global_auth="false") == ()
        (own,) = filters(there, auth_url="http://own.test/")
        assert isinstance(own, AccessControl) and own.external is not None
        assert own.external.url == "http://own.test/"

    @pytest.mark.parametrize(
        ("annotations", "name", "why"),
        [
            (
                {"auth_url": "auth.test/x"},
                "auth-url",
                "'auth.test/x' is no URL: it begins with neither http:// nor https://",
            ),
            ({"auth_url": "http://a..b/"}, "auth-url", "'http://a..b/' is no URL: it names no host"),
            (
                {"auth_url": "http://a/{}"},
                "auth-url",
                "'http://a/{}' is no URL: it has characters that a URL can't have",
            ),
            (
                {"auth_url": "http://a/$nobody"},
                "auth-url",
                "'http://a/$nobody': nginx has no variable $nobody",
            ),
            ({"auth_url": "http://a/", "auth_method": "BREW"}, "auth-method", None),
            ({"auth_url": "http://a/", "auth_response_headers": "a b"}, "auth-response-headers", None),
            ({"auth_url": "http://a/", "auth_cache_duration": "soon"}, "auth-cache-duration", None),
            (
                {"auth_url": "http://a/", "auth_proxy_set_headers": "more"},
                "auth-proxy-set-headers",
                "more names no namespace: write default/more",
            ),
            (
                {"auth_url": "http://a/", "auth_proxy_set_headers": "default/none"},
                "auth-proxy-set-headers",
                "there is no ConfigMap default/none",
            ),
        ],
    )
    def test_what_cannot_be_followed_locks(
        self, annotations: dict[str, str], name: str, why: str | None
    ) -> None:
        (found,) = filters(**annotations)
        assert isinstance(found, Refusal) and found.source == name
        (line,) = told(**annotations)
        assert line.startswith(f"{name}: ") and line.endswith("; everybody is answered 503")
        if why is not None:
            assert why in found.reason and why in line

    @pytest.mark.parametrize(("key", "kept"), [({}, False), ({"relative-redirects": "true"}, True)])
    def test_places_where_to_sign_in_are_relative_by_the_key_alone(
        self, key: dict[str, str], kept: bool
    ) -> None:
        """The annotation is of the Ingress' own locations (nginx.tmpl), of which the one to sign in at is none."""
        (found,) = filters(settings(key), auth_url="http://a/", auth_signin="/in", relative_redirects="true")
        assert isinstance(found, AccessControl) and found.external is not None
        assert found.external.signin_relative is kept

    def test_a_sign_in_that_is_wrong_is_left(self) -> None:
        (found,) = filters(auth_url="http://a/", auth_signin="nowhere")
        assert isinstance(found, AccessControl) and found.external is not None and not found.external.signin


class TestCertificates:
    CA = secret("ca", **{"ca.crt": PEM, "ca.crl": CRL})

    def test_hold_for_the_host(self) -> None:
        found = wished(
            self.CA,
            auth_tls_secret="default/ca",
            auth_tls_verify_client="optional",
            auth_tls_verify_depth="3",
            auth_tls_error_page="http://a.test/sorry",
            auth_tls_match_cn="CN=(ann|bob)",
            auth_tls_pass_certificate_to_upstream="true",
        )
        assert found.verifications == (
            ClientVerification(
                ("a.test",), PEM, CRL, "optional", 3, "http://a.test/sorry", "CN=(ann|bob)", True, "",
                "auth-tls-secret default/ca",
            ),
        )  # fmt: skip
        assert found.routes[0].filters == ()

    def test_the_first_of_a_host_decides(self) -> None:
        """Of as old ones ingress-nginx takes the last name first."""

        def one(name: str, host: str, **more: str) -> Object:
            named = {PREFIX + key.replace("_", "-"): text for key, text in more.items()}
            return ingress(name, rule(host), annotations=named)

        found = config(
            *WEB, self.CA,
            one("z", "a.test"),
            one("y", "a.test", auth_tls_secret="default/ca"),
            one("x", "a.test", auth_tls_secret="default/ca", auth_tls_verify_client="off"),
            one("w", "d.test", auth_tls_secret="default/ca"),
        )  # fmt: skip
        assert [(one.hosts, one.verify) for one in found.verifications] == [(("a.test", "d.test"), "on")]

    @pytest.mark.parametrize(
        ("name", "error"),
        [
            ("ca", "ca is not NAMESPACE/NAME"),
            ("default/none", "there is no Secret default/none"),
            ("other/ca", "other/ca is of another namespace"),
        ],
    )
    def test_without_its_secret_the_host_is_locked(self, name: str, error: str) -> None:
        (found,) = wished(self.CA, auth_tls_secret=name).verifications
        assert (found.hosts, found.error) == (("a.test",), error)
        assert told(self.CA, auth_tls_secret=name) == [f"auth-tls-secret: {error}; everybody is answered 403"]

    def test_a_secret_without_authorities_asks_nobody(self) -> None:
        beside = secret("ca", x="y")
        assert wished(beside, auth_tls_secret="default/ca").verifications == ()
        assert told(beside, auth_tls_secret="default/ca") == [
            "auth-tls-secret: Secret default/ca has no ca.crt: nobody is asked for a certificate"
        ]


def test_options_of_the_config_map() -> None:
    data = {
        "proxy-real-ip-cidr": "10.0.0.0/8,fd00::/8",
        "enable-real-ip": "true",
        "use-proxy-protocol": "true",
        "compute-full-forwarded-for": "true",
        "forwarded-for-header": "CF-Connecting-IP",
        "block-user-agents": "curl,~*bot",
        "block-referers": "~spam",
        "ssl-protocols": "TLSv1.3",
        "ssl-ciphers": "ECDHE-RSA-AES128-GCM-SHA256",
        "ssl-reject-handshake": "true",
    }
    options: Any = wished(settings(data)).options
    assert (options.trusted, options.real_ip, options.proxy_protocol) == (
        ("10.0.0.0/8", "fd00::/8"),
        True,
        True,
    )
    assert (options.full_forwarded_for, options.forwarded_for_header) == (True, "CF-Connecting-IP")
    assert (options.block_agents, options.block_referers) == (("curl", "~*bot"), ("~spam",))
    assert (options.ssl_protocols, options.reject_handshake) == (("TLSv1.3",), True)
    assert options.ssl_ciphers == "ECDHE-RSA-AES128-GCM-SHA256"


def test_a_key_that_is_wrong_is_left() -> None:
    options = wished(
        settings(
            {
                "proxy-real-ip-cidr": "all",
                "block-user-agents": "~(",
                "ssl-protocols": "SSL",
                "ssl-ciphers": "AES8",
            }
        )
    ).options
    assert options.ssl_ciphers == Options().ssl_ciphers
    assert (options.trusted, options.block_agents) == (None, ())
    assert options.ssl_protocols == ("TLSv1.2", "TLSv1.3")
