"""Who may in, by scripts of events: addresses, passwords, another service's word."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from scripted import Script, contains, has, page, starts

from emulab.servers.configuration import from_json, to_json
from emulab.servers.l7.config import (
    AccessControl,
    BasicAuthentication,
    ExternalAuthentication,
    Field,
    Filter,
    L7Config,
    Match,
    Options,
    Policy,
    Refusal,
    RequestRoute,
    SourceRanges,
    Upstream,
    WeightedUpstream,
)
from emulab.servers.l7.engine.questions import PasswordQuestion, RequestQuestion, ServiceAnswer
from emulab.servers.l7.engine.snapshot import Snapshot, take

A = "10.0.0.1:80"
HASH = "$2y$05$abcdefghijklmnopqrstuuGYLtQ2.kTYyf5Zo0mVEGVXtLHY6sJqK"
USERS = f"# who may in\nann:{HASH}:her\nbob:{{SHA}}x\nann:other\n"
REALM = "Who are you"
BASIC = BasicAuthentication(REALM, USERS, "auth-type basic")
CHALLENGE = b'WWW-Authenticate: Basic realm="Who are you"\r\n'
ANY_END = (("end", None),)
ANN = "Authorization: Basic " + b64encode(b"ann:secret").decode()


def snapshot(*filters: Filter, policy: Policy | None = None, options: Options | None = None) -> Snapshot:
    route = RequestRoute(
        Match("", "/", "Prefix"), (WeightedUpstream("up"),), "Ingress d/r", filters, policy or Policy()
    )
    config = L7Config((), routes=(route,), upstreams={"up": Upstream((A,))}, options=options or Options())
    assert from_json(L7Config, to_json(config)) == config
    return take(config, {})


def script(*filters: Filter, policy: Policy | None = None, **more: Any) -> Script:
    play = Script(snapshot(*filters, policy=policy), **more)
    play.skip()
    return play


def ask(play: Script, *fields: str, target: str = "/", method: str = "GET", body: bytes = b"") -> None:
    play.client(
        "\r\n".join([f"{method} {target} HTTP/1.1", "Host: shop.example", *fields, "", ""]).encode() + body
    )


def question(play: Script) -> Any:
    ((word, asked),) = play.taken()
    assert word == "ask"
    return asked


class TestAddresses:
    ALLOW = SourceRanges(("192.0.2.0/28", "2001:db8::/32"), "whitelist-source-range")

    @pytest.mark.parametrize("address", ["192.0.2.7", "192.0.2.15", "2001:db8::1", "::ffff:192.0.2.7"])
    def test_lets_in_who_is_named(self, address: str) -> None:
        play = script(AccessControl(allow=self.ALLOW), client=address)
        ask(play)
        play.expect(("select", A))

    @pytest.mark.parametrize("address", ["192.0.2.16", "2001:db9::1", "198.51.100.2", ""])
    def test_lets_in_nobody_else(self, address: str) -> None:
        play = script(AccessControl(allow=self.ALLOW), client=address, told=True, lines=2)
        ask(play)
        why = f"access forbidden by rule: {address} is not in whitelist-source-range"
        play.expect(
            ("send", page(403)),
            ("log", starts(f"2026/11/28 12:00:00 [error] {why}, client: {address}, server: shop")),
            ("log", starts(f'{address} - - [28/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 403 ')),
            ("tell", has(status=403, answered_by="ingress", refused_by="whitelist-source-range", reason=why)),
        )

    def test_denies_before_it_allows(self) -> None:
        play = script(AccessControl(SourceRanges(("192.0.2.7",), "denylist-source-range"), self.ALLOW))
        ask(play)
        play.expect(("send", page(403)))

    def test_with_a_denylist_alone_lets_everybody_else_in(self) -> None:
        play = script(AccessControl(SourceRanges(("192.0.2.8",), "denylist-source-range")))
        ask(play)
        play.expect(("select", A))

    def test_keeps_the_connection(self) -> None:
        play = script(AccessControl(allow=self.ALLOW), client="198.51.100.2")
        ask(play)
        play.expect(("send", contains(b"Connection: keep-alive")))
        ask(play)
        play.expect(("send", page(403)))


class TestBasic:
    def test_asks_for_a_name(self) -> None:
        play = script(AccessControl(basic=BASIC))
        ask(play)
        play.expect(
            (
                "send",
                contains(b" 401 Unauthorized\r\n", CHALLENGE, b"<title>401 Authorization Required"),
            )
        )

    @pytest.mark.parametrize(
        "given", ["Bearer x", "Basic", "Basic !", "Basic " + b64encode(b"ann").decode(), "Basic OnBhc3M="]
    )
    def test_reads_nothing_else_as_a_name(self, given: str) -> None:
        play = script(AccessControl(basic=BASIC))
        ask(play, f"Authorization: {given}")
        play.expect(("send", starts(b"HTTP/1.1 401")))

    def test_looks_at_a_password_once(self) -> None:
        play = script(AccessControl(basic=BASIC))
        ask(play, ANN, "X-More: yes")
        assert question(play) == PasswordQuestion(b"secret", HASH)
        assert play.deadline == float("inf")
        play.told(True)
        play.expect(("select", A))
        play.connected()
        ((_, sent),) = play.taken()
        assert b"Authorization" not in sent and b"X-More: yes\r\n" in sent
        play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        play.skip()
        ask(play, ANN)
        play.expect(("select", A))

    def test_refuses_a_wrong_one_and_names_the_user(self) -> None:
        play = script(AccessControl(basic=BASIC), lines=2)
        ask(play, ANN)
        play.skip()
        play.told(False)
        play.expect(
            ("send", contains(CHALLENGE)),
            ("log", contains('[error] user "ann": password mismatch (auth-type basic), client: 192.0.2.7')),
            ("log", starts("192.0.2.7 - ann [28/Nov")),
        )

    def test_knows_nobody_else(self) -> None:
        play = script(AccessControl(basic=BASIC))
        ask(play, "Authorization: basic " + b64encode(b"eve:secret").decode())
        play.expect(("send", contains(CHALLENGE)))

    def test_answers_500_where_a_hash_is_of_no_known_kind(self) -> None:
        play = script(AccessControl(basic=BASIC))
        ask(play, ANN)
        play.skip()
        play.told(None)
        play.expect(("send", page(500)), *ANY_END)

    def test_lets_everybody_in_whose_realm_is_off(self) -> None:
        play = script(AccessControl(basic=BasicAuthentication("off", USERS)))
        ask(play)
        play.expect(("select", A))

    def test_forgets_the_question_of_who_has_left(self) -> None:
        play = script(AccessControl(basic=BASIC))
        ask(play, ANN)
        play.skip()
        play.client_left()
        play.expect(("unask", None))
        play.told(True)
        play.expect()

    def test_keeps_what_comes_of_a_body_meanwhile(self) -> None:
        play = script(AccessControl(basic=BASIC))
        ask(play, ANN, "Content-Length: 6", "Expect: 100-continue", method="PUT", body=b"abc")
        assert isinstance(question(play), PasswordQuestion)
        play.wait(100)
        play.client(b"def")
        play.expect()
        play.told(True)
        play.expect(("send", starts(b"HTTP/1.1 100")), ("select", A))
        play.connected()
        play.expect(("forward", contains(b"Content-Length: 6\r\n", b"\r\n\r\nabcdef")))

    @pytest.mark.parametrize("late", [False, True])
    def test_keeps_a_body_that_has_to_be_whole(self, late: bool) -> None:
        play = script(AccessControl(basic=BASIC), policy=Policy(request_buffer=100))
        ask(play, ANN, "Transfer-Encoding: chunked", method="PUT", body=b"3\r\nabc\r\n")
        play.skip()
        if late:
            play.told(True)
            play.expect()
        play.client(b"0\r\n\r\n")
        if not late:
            play.expect()
            play.told(True)
        play.expect(("select", A))
        play.connected()
        play.expect(("forward", contains(b"Content-Length: 3\r\n", b"\r\n\r\nabc")))


class TestSatisfy:
    ELSEWHERE = SourceRanges(("198.51.100.0/24",), "whitelist-source-range")
    HERE = SourceRanges(("192.0.2.0/24",), "whitelist-source-range")

    def test_any_is_enough(self) -> None:
        play = script(AccessControl(allow=self.HERE, basic=BASIC, any=True))
        ask(play)
        play.expect(("select", A))

    def test_any_asks_for_a_name_rather_than_refuse(self) -> None:
        play = script(AccessControl(allow=self.ELSEWHERE, basic=BASIC, any=True))
        ask(play)
        play.expect(("send", contains(CHALLENGE)))
        ask(play, ANN)
        assert question(play) == PasswordQuestion(b"secret", HASH)
        play.told(True)
        play.expect(("select", A))

    def test_all_have_to_let_in(self) -> None:
        play = script(AccessControl(allow=self.ELSEWHERE, basic=BASIC))
        ask(play, ANN)
        play.expect(("send", page(403)))

    def test_a_denylist_alone_lets_nobody_in(self) -> None:
        """To be in no list is no recommendation: with `any` the password is still asked for."""
        play = script(AccessControl(SourceRanges(("203.0.113.1",), "deny"), basic=BASIC, any=True))
        ask(play)
        play.expect(("send", contains(CHALLENGE)))


class TestExternal:
    URL = "http://auth.d.svc.cluster.local:8080/check?host=$host"

    def external(self, **more: Any) -> AccessControl:
        return AccessControl(external=ExternalAuthentication(self.URL, source="auth-url", **more))

    def test_asks_with_the_fields_of_the_client(self) -> None:
        play = script(self.external(), told=True)
        ask(play, "Cookie: a=b", "X-Forwarded-Proto: gopher", "X-Real-IP: 1.2.3.4", target="/x?y=1")
        asked = question(play)
        assert isinstance(asked, RequestQuestion)
        assert (asked.host, asked.port, asked.server_name) == ("auth.d.svc.cluster.local", 8080, "")
        start, *lines = asked.request.decode().removesuffix("\r\n\r\n").split("\r\n")
        assert start == "GET /check?host=shop.example HTTP/1.1"
        assert lines == [
            "Cookie: a=b",
            "Host: auth.d.svc.cluster.local",
            "Connection: close",
            f"X-Request-ID: {'f' * 32}",
            "X-Original-URL: http://shop.example/x?y=1",
            "X-Original-Method: GET",
            "X-Sent-From: nginx-ingress-controller",
            "X-Real-IP: 192.0.2.7",
            "X-Forwarded-For: 192.0.2.7",
            "X-Auth-Request-Redirect: /x?y=1",
        ]
        play.told(ServiceAnswer(200))
        play.expect(
            (
                "tell",
                has(
                    event="auth-request",
                    status=200,
                    url="http://auth.d.svc.cluster.local:8080/check?host=shop.example",
                ),
            ),
            ("select", A),
        )

    def test_has_a_method_and_fields_of_its_own(self) -> None:
        play = script(
            self.external(
                method="POST", set_headers=(Field("X-Who", "$remote_addr $http_x_a"), Field("Cookie", ""))
            )
        )
        ask(play, "X-A: 1", "Cookie: a=b", "Content-Length: 0", method="PUT")
        request = question(play).request
        assert request.startswith(b"POST /check")
        for line in (
            b"X-Who: 192.0.2.7 1\r\n",
            b"X-Original-URI: /\r\n",
            b"X-Scheme: http\r\n",
            b"X-Original-Method: PUT\r\n",
        ):
            assert line in request
        assert b"Cookie" not in request and b"Content-Length" not in request

    def test_tells_the_upstream_who_it_is(self) -> None:
        play = script(self.external(response_headers=("X-User", "X-None")))
        ask(play, "X-User: root", "X-None: 1")
        play.skip()
        play.told(ServiceAnswer(204, (("x-user", "ann"), ("Set-Cookie", "s=1"))))
        play.expect(("select", A))
        play.connected()
        ((_, sent),) = play.taken()
        assert b"X-User: ann\r\n" in sent and b"root" not in sent and b"X-None" not in sent
        play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        play.expect(("send", contains(b"Set-Cookie: s=1\r\n")), ("release", 0.0))

    @pytest.mark.parametrize(("always", "seen"), [(True, True), (False, False)])
    def test_gives_its_cookie_to_the_client(self, always: bool, seen: bool) -> None:
        play = script(self.external(always_set_cookie=always))
        ask(play)
        play.told(ServiceAnswer(200, (("Set-Cookie", "s=1"),)))
        play.connected()
        play.skip()
        play.upstream(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        ((_, sent), _) = play.taken()
        assert (b"Set-Cookie: s=1\r\n" in sent) is seen

    def test_passes_a_refusal_on(self) -> None:
        play = script(self.external())
        ask(play)
        play.skip()
        play.told(ServiceAnswer(401, (("WWW-Authenticate", "Bearer"), ("X-Other", "1"))))
        ((_, sent),) = play.taken()
        assert (
            sent.startswith(b"HTTP/1.1 401")
            and b"WWW-Authenticate: Bearer\r\n" in sent
            and b"X-Other" not in sent
        )
        ask(play)
        play.skip()
        play.told(ServiceAnswer(403))
        play.expect(("send", page(403)))

    @pytest.mark.parametrize(
        "told",
        [
            ServiceAnswer(404),
            ServiceAnswer(302, (("Location", "/"),)),
            ServiceAnswer(0, why="no answer within 60 s"),
        ],
    )
    def test_takes_anything_else_for_a_failure(self, told: ServiceAnswer) -> None:
        play = script(self.external(), told=True)
        ask(play)
        play.skip()
        play.told(told)
        play.expect(
            ("tell", has(event="auth-request", status=told.status)),
            ("send", page(500)),
            ("tell", has(status=500, refused_by="auth-url")),
            *ANY_END,
        )

    @pytest.mark.parametrize(
        ("signin", "param", "location"),
        [
            ("https://in.example/start", "rd", "https://in.example/start?rd=http://shop.example%2Fx%3Fy%3D1"),
            (
                "https://$host/start?a=1",
                "back",
                "https://shop.example/start?a=1&back=http://shop.example%2Fx%3Fy%3D1",
            ),
            (
                "https://in.example/start?rd=$escaped_request_uri",
                "rd",
                "https://in.example/start?rd=%2Fx%3Fy%3D1",
            ),
        ],
    )
    def test_sends_to_sign_in(self, signin: str, param: str, location: str) -> None:
        play = script(self.external(signin=signin, signin_param=param))
        ask(play, target="/x?y=1")
        play.skip()
        play.told(ServiceAnswer(401, (("Set-Cookie", "csrf=1"), ("WWW-Authenticate", "Bearer"))))
        sent = [b" 302 ", f"Location: {location}\r\n".encode(), b"Set-Cookie: csrf=1\r\n"]
        # The challenge is there already when nginx goes to where clients sign in.
        play.expect(("send", contains(*sent, b"WWW-Authenticate: Bearer\r\n")))

    def test_asks_for_its_own_path_without_one(self) -> None:
        play = script(AccessControl(external=ExternalAuthentication("https://auth.test")))
        ask(play)
        asked = question(play)
        assert (asked.port, asked.server_name) == (443, "auth.test")
        assert asked.request.startswith(b"GET /_external-auth-Lw-Prefix HTTP/1.1\r\n")

    def test_keeps_answers(self) -> None:
        play = script(self.external(cache_key="$cookie_who", cache_durations=("200 10s", "401 1m")))

        def once(who: str, told: ServiceAnswer | None) -> None:
            ask(play, f"Cookie: who={who}")
            if told is not None:
                assert isinstance(question(play), RequestQuestion)
                play.told(told)
            play.connected()
            play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            play.skip()

        once("ann", ServiceAnswer(200))
        once("ann", None)
        once("bob", ServiceAnswer(200, (("Set-Cookie", "x=1"),)))
        once("bob", ServiceAnswer(200, (("Cache-Control", "max-age=30"),)))
        play.wait(11)
        once("bob", None)
        once("ann", ServiceAnswer(200))
        ask(play, "Cookie: who=eve")
        play.skip()
        play.told(ServiceAnswer(401))
        play.skip()
        ask(play, "Cookie: who=eve")
        play.expect(("send", starts(b"HTTP/1.1 401")))

    def test_is_a_request_of_its_own(self) -> None:
        """A subrequest has no query, and a path that nobody asked for; `$request_uri` stays the client's."""
        url = "http://auth.test/$arg_a$args$is_args|$uri|$request_uri"
        play = script(AccessControl(external=ExternalAuthentication(url)))
        ask(play, target="/x?a=1")
        assert question(play).target == "/|/_external-auth-Lw-Prefix|/x?a=1"

    def test_refuses_what_makes_no_url(self) -> None:
        play = script(AccessControl(external=ExternalAuthentication("http://$cookie_where/")))
        ask(play)
        play.expect(("send", page(500)), *ANY_END)


def test_refuses_all_where_nobody_can_tell_who_may() -> None:
    play = script(Refusal("there is no Secret d/users", "auth-secret"), AccessControl(basic=BASIC), told=True)
    ask(play)
    play.expect(("send", page(503)), ("tell", has(status=503, reason="there is no Secret d/users")))
