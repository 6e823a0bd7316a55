"""The keys of an ingress controller's ConfigMap, as ingress-nginx' ReadConfig makes values of their texts."""

from __future__ import annotations

from typing import Any

import pytest

from emulab.kinds.networking import keyvalues
from emulab.kinds.networking.controllerkeys import composed
from emulab.kinds.networking.controllersettings import (
    SETTINGS,
    unknown_keys,
    unreadable_keys,
    validates_paths,
)
from emulab.plan.l7.configmap import defaults, settings


def said(**data: str) -> dict[str, Any]:
    """All that keys say, by the names of what they set."""
    given = {key.replace("_", "-"): text for key, text in data.items()}
    policy, options = settings(given)
    found = {name: getattr(one, name) for one in (policy, options) for name in one.__dataclass_fields__}
    return {**found, **defaults(given), **composed(given)}


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [
        ("use_http2", "http2", False),
        ("ssl_redirect", "ssl_redirect", False),
        ("hsts", "hsts", ""),
        ("hsts_include_subdomains", "hsts", "max-age=31536000"),
        ("hsts_max_age", "hsts", "max-age=; includeSubDomains"),
        ("ignore_invalid_headers", "invalid_names", True),
        ("keep_alive", "keepalive_timeout", 0.0),
        ("keep_alive_requests", "keepalive_requests", 0),
        ("upstream_keepalive_connections", "upstream_keepalive", 0),
        ("proxy_next_upstream_tries", "tries", 0),
        ("gzip_min_length", "gzip-min-length", 0),
        ("proxy_real_ip_cidr", "trusted", ()),
        ("no_auth_locations", "open_paths", ()),
        ("no_tls_redirect_locations", "no-tls-redirect-locations", ()),
        ("ssl_ciphers", "ssl_ciphers", ""),
        ("use_gzip", "use-gzip", False),
    ],
)
def test_an_empty_text_is_false_or_zero_or_empty_whatever_the_default_is(
    key: str, field: str, value: object
) -> None:
    assert said(**{key: ""})[field] == value
    assert unreadable_keys({key.replace("_", "-"): ""}) == {}


def test_paths_are_not_validated_where_the_key_is_empty() -> None:
    assert not validates_paths({"strict-validate-path-type": ""})
    assert validates_paths({"strict-validate-path-type": "no"}) and validates_paths({})
    assert "strict-validate-path-type" in unreadable_keys({"strict-validate-path-type": "no"})


@pytest.mark.parametrize(
    "key",
    [
        *("proxy-buffer-size", "proxy-http-version", "proxy-next-upstream", "proxy-buffering", "gzip-level"),
        *("large-client-header-buffers", "ssl-protocols", "http-redirect-code", "limit-req-status-code"),
        *(
            "forwarded-for-header",
            "global-auth-url",
            "gzip-types",
            "proxy-buffers-number",
            "worker-processes",
        ),
    ],
)
def test_what_nginx_would_not_start_with_is_told(key: str) -> None:
    """An empty text, which isn't the default's: nginx keeps the configuration that it has."""
    assert unreadable_keys({key: ""})[key].endswith("; the default holds")
    assert said(**{key.replace("-", "_"): ""}) == said()


@pytest.mark.parametrize(
    "key", ["client-body-timeout", "client-header-timeout", "proxy-connect-timeout", "proxy-read-timeout"]
)
def test_that_a_time_of_0_is_not_for_ever_is_told(key: str) -> None:
    assert "not for ever" in unreadable_keys({key: "0"})[key] and unreadable_keys({key: "1"}) == {}
    assert unreadable_keys({"keep-alive": "0", "proxy-next-upstream-timeout": "0"}) == {}


def test_words_that_nginx_does_not_read_are_told() -> None:
    long = {
        "block-user-agents": "a" * 901,
        "block-referers": "~" + "a" * 2001,
        "gzip-disable": "a" * 2001,
        "hsts-max-age": "1" * 2001,
        "ssl-ciphers": ":".join(["HIGH"] * 500),
    }
    assert unreadable_keys(long).keys() == long.keys()
    assert unreadable_keys({key: text[:900] for key, text in long.items()}) == {}


def test_a_format_that_would_make_every_line_empty_is_told() -> None:
    assert unreadable_keys({"log-format-upstream": ""})["log-format-upstream"].endswith("; the default holds")
    assert said(log_format_upstream="") == said()


def test_spaces_beside_switches_and_numbers_are_too_much() -> None:
    data = {"use-gzip": "true\n", "keep-alive": " 5", "ssl-redirect": "false ", "http-redirect-code": "301\n"}
    assert unreadable_keys(data).keys() == data.keys()
    assert said(**{key.replace("-", "_"): text for key, text in data.items()}) == said()


def test_spaces_beside_words_of_nginx_are_none() -> None:
    data = {"proxy-body-size": "8m\n", "proxy-next-upstream": " error ", "ssl-protocols": "TLSv1.3\n"}
    assert unreadable_keys(data) == {}
    found = said(**{key.replace("-", "_"): text for key, text in data.items()})
    assert (found["body_max"], found["next_upstream"], found["ssl_protocols"]) == (
        8 << 20,
        ("error",),
        ("TLSv1.3",),
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 0), ("0x10", 16), ("010", 8), ("0o17", 15), ("0b11", 3), ("1_000", 1000), ("+7", 7), ("-0", 0)],
)
def test_numbers_are_of_gos_syntax(text: str, number: int) -> None:
    assert keyvalues.integer(text) == number


@pytest.mark.parametrize(
    "text", ["1 ", "08", "0x", "_1", "1.0", "-1", "9" * 20, "9" * 5000, "\u0661", "0x" + "f" * 16]
)
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is "):
        keyvalues.integer(text)


def test_networks_may_have_commas_too_many() -> None:
    found = said(
        whitelist_source_range="10.0.0.0/8,\n fd00::/8,\n", block_cidrs=",", denylist_source_range=""
    )
    assert (found["allow"], found["blocked"], found["deny"]) == (("10.0.0.0/8", "fd00::/8"), (), ())


def test_a_format_that_is_off_says_nothing_of_the_other() -> None:
    assert said(log_format_escape_json="true", log_format_escape_none="false")["log_escape"] == "json"
    assert said(log_format_escape_none="true", log_format_escape_json="false")["log_escape"] == "none"
    assert said(log_format_escape_json="true", log_format_escape_none="true")["log_escape"] == "none"
    assert said(log_format_escape_json="false")["log_escape"] == "default"


@pytest.mark.parametrize("text", ["31536000\n", "1\r\nX-Evil: 1", "1\u2028"])
def test_an_age_is_of_one_line(text: str) -> None:
    assert said(hsts_max_age=text)["hsts"] == "max-age=31536000; includeSubDomains"
    assert unreadable_keys({"hsts-max-age": text}) == {
        "hsts-max-age": "has characters that a header field can't have; the default holds"
    }


def test_what_is_done_anyway_may_be_said_in_any_of_gos_words() -> None:
    data = {
        "enable-modsecurity": "0",
        "enable-ocsp": "",
        "generate-request-id": "T",
        "http-snippet": "",
        "proxy-ssl-location-only": "false",
        "http2-max-requests": "",
        "upstream-keepalive-time": "1h",
    }
    assert unknown_keys(data) == []
    others = {
        "generate-request-id": "",
        "enable-modsecurity": "1",
        "http-snippet": "x",
        "enable-ocsp": "no",
        "ssl-session-cache": "false",
        "ssl-session-tickets": "true",
        "ssl-session-ticket-key": "k",
        "http2-max-requests": "7",
        "upstream-keepalive-time": "1m",
    }
    assert unknown_keys(others) == [*others]


def test_every_key_can_be_read_or_says_what_is_wrong_with_it() -> None:
    for key in SETTINGS:
        for text in ("", " ", "\n", "x", "-1", "\x00", "\u0661", "9" * 5000, "(", "~("):
            unreadable_keys({key: text})
            settings({key: text})
