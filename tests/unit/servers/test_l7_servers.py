"""What a host decides before a route is looked for: certificates of clients, and who is blocked."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import Script, contains, has, page, starts

from emulab.servers.configuration import BadConfiguration, from_json, to_json
from emulab.servers.l7.config import (
    ClientVerification,
    L7Config,
    Match,
    Options,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)
from emulab.servers.l7.engine.secured import ClientIdentity
from emulab.servers.l7.engine.snapshot import take

A = "10.0.0.1:80"
RIGHT = ClientIdentity(
    "a.test", "-----BEGIN CERTIFICATE-----\nMII+/=\n-----END\n", 0, "", "CN=ann,O=Shop", "CN=CA"
)
UNKNOWN = RIGHT._replace(code=20, reason="unable to get local issuer certificate")
EXPIRED = RIGHT._replace(code=10, reason="certificate has expired")
NONE = ClientIdentity("a.test")


def script(*verifications: ClientVerification, options: Options | None = None, **more: Any) -> Script:
    routes = [
        RequestRoute(Match(host, path, "Prefix"), (WeightedUpstream("up"),), "Ingress d/r")
        for host, path in (("a.test", "/"), ("*.test", "/"), ("b.test", "/"), ("", "/any"))
    ]
    config = L7Config(
        (),
        routes=tuple(routes),
        upstreams={"up": Upstream((A,))},
        verifications=verifications,
        options=options or Options(),
    )
    assert from_json(L7Config, to_json(config)) == config
    play = Script(take(config, {}), **more)
    play.skip()
    return play


def verification(*hosts: str, **more: Any) -> ClientVerification:
    return ClientVerification(hosts or ("a.test",), "PEM", source="auth-tls-secret d/ca", **more)


def ask(play: Script, *fields: str, host: str = "a.test") -> None:
    play.client("\r\n".join(["GET /x HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode())


def told(play: Script, *fields: str) -> dict[str, str]:
    ask(play, *fields)
    play.connected()
    (data,) = (argument for word, argument in play.taken() if word == "forward")
    lines = (line.split(": ", 1) for line in data.decode().removesuffix("\r\n\r\n").split("\r\n")[1:])
    return {name: value for name, value in lines if name.lower().startswith("ssl-")}


class TestCertificates:
    def test_has_to_be_there(self) -> None:
        play = script(verification(), scheme="https", secured=NONE, told=True)
        ask(play)
        play.expect(
            (
                "send",
                contains(
                    b"HTTP/1.1 400 Bad Request", b"<title>400 No required SSL certificate was sent</title>"
                ),
            ),
            ("tell", has(status=400, refused_by="auth-tls-secret d/ca")),
            ("end", None),
        )

    @pytest.mark.parametrize("secured", [UNKNOWN, EXPIRED])
    def test_has_to_be_right(self, secured: ClientIdentity) -> None:
        play = script(verification(verify="optional"), scheme="https", secured=secured)
        ask(play)
        play.expect(
            ("send", contains(b"<center>The SSL certificate error</center>", b"Connection: close")),
            ("end", None),
        )

    @pytest.mark.parametrize(
        ("verify", "secured", "verdict"),
        [
            ("on", RIGHT, "SUCCESS"),
            ("optional", RIGHT, "SUCCESS"),
            ("optional", NONE, "NONE"),
            ("optional_no_ca", UNKNOWN, "FAILED:unable to get local issuer certificate"),
            ("optional_no_ca", NONE, "NONE"),
        ],
    )
    def test_is_told_to_the_upstream(self, verify: str, secured: ClientIdentity, verdict: str) -> None:
        play = script(verification(verify=verify), scheme="https", secured=secured)
        expected = {"ssl-client-verify": verdict}
        if secured is not NONE:
            expected |= {"ssl-client-subject-dn": "CN=ann,O=Shop", "ssl-client-issuer-dn": "CN=CA"}
        assert (
            told(play, "SSL-Client-Verify: SUCCESS", "ssl-client-subject-dn: CN=root", "Ssl-Client-Cert: x")
            == expected
        )

    def test_is_passed_on_where_that_is_asked_for(self) -> None:
        play = script(verification(pass_certificate=True), scheme="https", secured=RIGHT)
        assert told(play)["ssl-client-cert"] == "-----BEGIN%20CERTIFICATE-----%0AMII%2B%2F%3D%0A-----END%0A"

    def test_expired_is_expired_without_an_authority(self) -> None:
        play = script(verification(verify="optional_no_ca"), scheme="https", secured=EXPIRED)
        ask(play)
        play.expect(("send", starts(b"HTTP/1.1 400 ")), ("end", None))

    def test_is_not_asked_for_over_plain_http(self) -> None:
        assert told(script(verification()), "ssl-client-verify: SUCCESS") == {}

    def test_is_not_asked_for_by_other_hosts(self) -> None:
        play = script(verification(), scheme="https", secured=ClientIdentity("b.test"))
        ask(play, host="b.test")
        play.expect(("select", A))

    @pytest.mark.parametrize("name", ["b.test", "nobody.example"])
    def test_has_to_be_for_the_host_that_is_asked(self, name: str) -> None:
        play = script(verification(), scheme="https", secured=RIGHT._replace(server_name=name))
        ask(play)
        play.expect(("send", starts(b"HTTP/1.1 421 Misdirected Request")))

    def test_holds_for_a_wildcard_but_not_for_the_host_below(self) -> None:
        play = script(verification("*.test"), scheme="https", secured=ClientIdentity("c.test"))
        ask(play, host="a.test")
        play.expect(("select", A))
        play = script(verification("*.test"), scheme="https", secured=ClientIdentity("c.test"))
        ask(play, host="c.test")
        play.expect(("send", starts(b"HTTP/1.1 400 ")), ("end", None))

    @pytest.mark.parametrize("host", ["nobody.example", "a.b.test"])
    def test_of_the_host_without_a_name_is_that_of_all_others(self, host: str) -> None:
        play = script(verification(""), scheme="https", secured=ClientIdentity(host))
        ask(play, host=host)
        play.expect(("send", starts(b"HTTP/1.1 400 ")), ("end", None))

    def test_missing_leads_to_a_page(self) -> None:
        play = script(verification(error_page="http://sorry.test/x"), scheme="https", secured=NONE)
        ask(play)
        play.expect(("send", contains(b"HTTP/1.1 302 ", b"Location: http://sorry.test/x\r\n")))
        play = script(verification(error_page="/sorry"), scheme="https", secured=NONE)
        ask(play)
        play.expect(("select", A))
        play.connected()
        play.expect(("forward", starts(b"GET /sorry HTTP/1.1\r\n")))

    def test_is_told_to_the_upstream_of_that_page(self) -> None:
        play = script(verification(error_page="/sorry"), scheme="https", secured=NONE)
        forged = "SSL-Client-Verify: SUCCESS", "ssl-client-subject-dn: CN=ann"
        assert told(play, *forged) == {"ssl-client-verify": "NONE"}

    @pytest.mark.parametrize(
        ("match", "scheme", "refused"),
        [("CN=ann", "https", False), ("CN=(bob|eve)", "https", True), ("CN=ann", "http", True)],
    )
    def test_has_the_subject_that_is_wanted(self, match: str, scheme: str, refused: bool) -> None:
        play = script(verification(match=match), scheme=scheme, secured=RIGHT if scheme == "https" else None)
        ask(play)
        if refused:
            play.expect(("send", contains(b"HTTP/1.1 403 ", b"\r\n\r\nclient certificate unauthorized")))
        else:
            play.expect(("select", A))

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_host_whose_secret_is_missing_lets_nobody_in(self, scheme: str) -> None:
        play = script(ClientVerification(("a.test",), error="there is no Secret d/ca"), scheme=scheme)
        ask(play)
        play.expect(("send", page(403)))

    def test_a_mode_that_is_none_is_refused(self) -> None:
        with pytest.raises(
            BadConfiguration, match=r"config.verifications\[0\].verify: 'maybe' is not one of on, "
        ):
            script(verification(verify="maybe"))


class TestBlocked:
    OPTIONS = Options(block_agents=("curl/8", "~Bot", "~*spider"), block_referers=("~^http://spam",))

    @pytest.mark.parametrize(
        ("field", "blocked"),
        [
            ("User-Agent: CURL/8", True),
            ("User-Agent: curl/8.1", False),
            ("User-Agent: my Bot/1", True),
            ("User-Agent: my bot/1", False),
            ("User-Agent: a SPIDER", True),
            ("Referer: http://spam.test/", True),
            ("Referer: http://ham.test/http://spam", False),
        ],
    )
    def test_values(self, field: str, blocked: bool) -> None:
        play = script(options=self.OPTIONS, told=True)
        ask(play, field)
        if blocked:
            source = "block-user-agents" if field.startswith("User") else "block-referers"
            play.expect(("send", page(403)), ("tell", has(status=403, refused_by=source)))
        else:
            play.expect(("select", A))

    def test_before_there_is_a_route(self) -> None:
        play = script(options=self.OPTIONS)
        ask(play, "User-Agent: curl/8", host="nobody.example")
        play.expect(("send", page(403)))

    @pytest.mark.parametrize("target", ["/a%00b", "/../x", "/%zz"])
    def test_after_what_is_malformed(self, target: str) -> None:
        play = script(options=self.OPTIONS)
        play.client(f"GET {target} HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/8\r\n\r\n".encode())
        assert play.taken()[0] == ("send", page(400))
