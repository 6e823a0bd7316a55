"""What annotations do to real requests whichever engine serves: affinity, hashes, canaries, rates, cookies, sizes."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .engine_differences import expected, served_by
from .test_ingress_annotations import curl, document, ingress, pod, service
from .test_spreading import A_HUNDRED_THOUSANDTH, chi_square, load, workload
from .tools import VIP, connect, emulab, eventually, program, response

pytestmark = pytest.mark.asyncio(loop_scope="module")


def several(name: str, replicas: int) -> list[str]:
    container = {"name": name, "image": name, "ports": [{"containerPort": 8080}]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return [document("Deployment", name, "apps/v1", spec=spec), service(name)]


def half(name: str, program_of_pods: str) -> list[str]:
    """Two Pods of which one answers, and as many Services of them as hosts below ask for."""
    made = workload(f"{name}-good", name) + workload(f"{name}-bad", name, command=program_of_pods)
    return [part for part in made.split("---\n") if part.strip()]


def of_half(host: str, app: str, **annotations: str) -> list[str]:
    name = host.replace(".", "-")
    return [
        service(name).replace(f'"app": "{name}"', f'"app": "{app}"'),
        ingress(host, ("/", name), service_upstream="false", **annotations),
    ]


def canary_of(host: str, to: str, **annotations: str) -> str:
    made = ingress(host, ("/", to), canary="true", **annotations)
    return made.replace(
        f'"name": "{host.replace(".", "-")}"', f'"name": "canary-{host.replace(".", "-")}"', 1
    )


def shared(host: str) -> list[str]:
    """A host with a Service of its own: what a canary shares is a Service's."""
    name = host.replace(".", "-")
    return [service(name).replace(f'"app": "{name}"', '"app": "web"'), ingress(host, ("/", name))]


def part(host: str, **annotations: str) -> list[str]:
    """A canary with a Service of its own: the first Ingress of one says how much it gets."""
    name = f"part-{host.replace('.', '-')}"
    return [service(name).replace(f'"app": "{name}"', '"app": "new"'), canary_of(host, name, **annotations)]


WORLD = [
    *half("failing", program("failing_server.py", "8080", "503")),
    *half("closing", program("broken.py", "8080", "close")),
    *of_half("next503.test", "failing", proxy_next_upstream="error http_503"),
    *of_half("stays503.test", "failing"),
    *of_half("next.test", "closing"),
    *of_half("stays.test", "closing", proxy_next_upstream="off"),
    *of_half("once.test", "closing", proxy_next_upstream_tries="1"),
    *several("web", 4),
    *several("ring", 4),
    ingress("ring.test", ("/", "ring"), upstream_hash_by="$arg_user"),
    service("hashed").replace('"app": "hashed"', '"app": "web"'),
    service("stuck").replace('"app": "stuck"', '"app": "web"'),
    service("kept").replace('"app": "kept"', '"app": "web"'),
    *pod("new"),
    *pod("newer"),
    document(
        "ConfigMap",
        "ingress-nginx-controller",
        metadata={"namespace": "ingress-nginx"},
        data={
            "use-proxy-protocol": "false",
            "use-forwarded-headers": "true",
            "compute-full-forwarded-for": "true",
            "proxy-real-ip-cidr": "198.51.100.0/24,10.0.0.0/8",
        },
    ),
    ingress("root.test", ("/app", "web"), app_root="/app"),
    ingress("moved.test", permanent_redirect="/new"),
    ingress(
        "stuck.test",
        ("/", "stuck"),
        affinity="cookie",
        session_cookie_name="my-cookie",
        session_cookie_max_age="600",
        session_cookie_path="/p",
        session_cookie_samesite="Lax",
    ),
    ingress("hashed.test", ("/", "hashed"), upstream_hash_by="$arg_user"),
    *shared("main.test"),
    *part("main.test", canary_by_header="X-Try", canary_by_cookie="try", canary_weight="30"),
    *shared("exact.test"),
    *part("exact.test", canary_by_header="X-Try", canary_by_header_value="Me"),
    *shared("pattern.test"),
    *part("pattern.test", canary_by_header="X-Try", canary_by_header_pattern="^(a|b)+$"),
    *shared("all.test"),
    *part("all.test", canary_weight="100", canary_weight_total="50"),
    ingress("kind.test", ("/", "web"), kind="Exact"),
    canary_of("kind.test", "new", canary_weight="100"),
    service("nobody"),
    *shared("nobody.test"),
    canary_of("nobody.test", "nobody", canary_weight="100"),
    ingress("both.test", ("/", "kept"), affinity="cookie"),
    canary_of("both.test", "newer", canary_weight="50"),
    service("deaf").replace('"app": "deaf"', '"deployment": "closing-bad"'),
    ingress("pages.test", ("/", "web"), custom_http_errors="404", default_backend="deaf"),
    *of_half("half.pages", "closing"),  # whose wish to be asked by its endpoints is that of the Service
    ingress("halfpages.test", ("/", "web"), custom_http_errors="404", default_backend="half-pages"),
    ingress("slow.test", ("/", "web"), limit_rate="64", limit_rate_after="32", proxy_buffering="on"),
    ingress("cookies.test", ("/", "web"), proxy_cookie_path="/a /b", proxy_cookie_domain="a.test b.test"),
    ingress("small.test", ("/", "web"), proxy_body_size="1k"),
    ingress("one.test", ("/", "web"), limit_connections="1"),
    ingress("places.test", ("/", "web"), proxy_redirect_from="http://in.test/", proxy_redirect_to="/out/"),
    ingress(
        "kept.test",
        ("/", "web"),
        auth_url="http://new.default.svc.cluster.local/status/$cookie_code",
        auth_cache_key="$http_x_key",
        auth_cache_duration="200 401 1m",
    ),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["builtin", "nginx", "haproxy"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with Lab.from_text(served_by(request.param), "\n---\n".join(WORLD)) as made:
        made.engine = request.param  # type: ignore[attr-defined]
        yield made


async def asked(lab: Lab, url: str, **fields: str) -> Any:
    return await lab.request(url, headers={name.replace("_", "-"): text for name, text in fields.items()})


async def pods_of(lab: Lab, url: str, number: int, **fields: str) -> set[str]:
    return {(await asked(lab, url, **fields)).json()["pod"] for _ in range(number)}


async def test_a_cookie_keeps_a_client_with_its_pod(lab: Lab) -> None:
    found = []
    for _ in range(6):
        first = await asked(lab, "http://stuck.test/")
        value, *attributes = first.headers["set-cookie"].split("; ")
        assert value.startswith("my-cookie=")
        assert attributes == ["Max-Age=600", "Path=/p", "HttpOnly", "SameSite=Lax"]
        again = await asked(lab, "http://stuck.test/", Cookie=f"a=b; {value}")
        assert again.json()["pod"] == first.json()["pod"] and "set-cookie" not in again.headers
        assert value in again.json()["headers"]["Cookie"][0], "the pod gets it, too"
        assert await pods_of(lab, "http://stuck.test/", 4, Cookie=value) == {first.json()["pod"]}
        found.append(first.json()["pod"])
    unknown = await asked(lab, "http://stuck.test/", Cookie="my-cookie=nobody")
    assert unknown.status == 200
    seen = await pods_of(lab, "http://stuck.test/", 16)
    assert len(seen) > 1


async def test_a_key_leads_to_one_pod(lab: Lab) -> None:
    found = [await pods_of(lab, f"http://hashed.test/?user={n}", 3) for n in range(12)]
    assert all(len(one) == 1 for one in found) and len(set.union(*found)) > 1


async def test_a_key_stays_with_its_pod_unless_a_new_one_has_it(lab: Lab) -> None:
    """The pods' addresses are in no order of their age."""

    async def of_keys() -> dict[int, str]:
        return {n: next(iter(await pods_of(lab, f"http://ring.test/?user={n}", 1))) for n in range(40)}

    before = await of_keys()
    assert len(set(before.values())) == 4
    await lab.scale("ring", 6)

    async def moved() -> set[str]:
        after = await of_keys()
        return {after[n] for n in after if before[n] != after[n]}

    assert (await eventually(moved)).isdisjoint(before.values())
    assert (await moved()).isdisjoint(before.values())


async def test_requests_by_a_cluster_ip_are_spread_however_few_the_clients(lab: Lab) -> None:
    answers = (await load(lab, "cookies", 400, 1))["pods"]
    assert len(answers) == 4 and chi_square(answers, 4) < A_HUNDRED_THOUSANDTH


async def test_a_service_of_another_name_answers_as_soon_as_it_is_there(lab: Lab) -> None:
    """HAProxy resolves names of its own accord, and says 502 until it has."""
    far = document(
        "Service", "far", spec={"type": "ExternalName", "externalName": "new.default.svc.cluster.local"}
    )
    await lab.apply(far, ingress("far.test", ("/", "far")))
    assert {await answered_by(lab, "far.test") for _ in range(5)} == {"new"}
    await lab.apply(ingress("farther.test", ("/", "new")))  # which has the programs begin anew
    assert {await answered_by(lab, "far.test") for _ in range(5)} == {"new"}
    for name in ("far-test", "farther-test"):
        await lab.delete("Ingress", name)


async def test_a_canary_by_header_cookie_and_weight(lab: Lab) -> None:
    async def services(host: str, number: int = 5, **fields: str) -> Counter[str]:
        answers = [await asked(lab, f"http://{host}.test/", **fields) for _ in range(number)]
        return Counter(str(answer.json()["service"]) for answer in answers)

    assert set(await services("main", X_Try="always")) == {"new"}
    assert set(await services("main", X_Try="never", Cookie="try=always")) == {"web"}
    assert set(await services("main", X_Try="what", Cookie="a=b; try=always")) == {"new"}
    drawn = await services("main", 120)
    assert 14 < drawn["new"] < 60, "36 of 120 are expected; 4.4 standard deviations"
    assert set(await services("exact", X_Try="Me")) == {"new"}
    assert set(await services("exact", X_Try="me")) == set(await services("exact", X_Try="always")) == {"web"}
    assert set(await services("all")) == {"new"}, "of a total of 100, and no less"
    assert set(await services("kind")) == set(await services("nobody")) == {"web"}, (
        "there is nobody to share with"
    )
    assert set(await services("pattern", X_Try="abba")) == {"new"}
    assert set(await services("pattern", X_Try="abc")) == {"web"}


async def test_who_came_to_a_canary_stays_with_it(lab: Lab) -> None:
    found = set()
    for _ in range(12):
        first = await asked(lab, "http://both.test/")
        cookie = first.headers["set-cookie"].split(";")[0]
        again = {(await asked(lab, "http://both.test/", Cookie=cookie)).json()["service"] for _ in range(4)}
        assert again == {first.json()["service"]}
        found.add(first.json()["service"])
    assert found == {"web", "newer"}


async def test_who_is_asked_next(lab: Lab) -> None:
    """One of two pods answers 503, or hangs up: what is tried at another one, and what isn't."""

    async def statuses(host: str, **asked_with: Any) -> Counter[int]:
        return Counter([(await lab.request(f"http://{host}.test/", **asked_with)).status for _ in range(8)])

    assert await statuses("next503") == {200: 8} == await statuses("next")
    assert await statuses("stays503") == {200: 4, 503: 4}
    assert await statuses("stays") == {200: 4, 502: 4} == await statuses("once")
    posted = await statuses("next", method="POST", body=b"x")
    assert posted == {200: 4, 502: 4}, "a method that may not be asked twice"


async def test_who_has_the_pages_of_errors_may_be_gone(lab: Lab) -> None:
    """Then it is a 502, of an ingress; one of several that is gone is passed over."""
    answer = await asked(lab, "http://pages.test/status/404")
    assert answer.status == 502 and "502 Bad Gateway" in answer.text()
    statuses = {(await asked(lab, "http://halfpages.test/status/404")).status for _ in range(8)}
    assert statuses == {200}


async def test_an_answer_comes_as_fast_as_it_may(lab: Lab) -> None:
    """160 KB at 64 KB a second, after the first 32: two seconds; nginx counts whole ones, and the present one."""
    began = time.monotonic()
    answer = await lab.request("http://slow.test/bytes/163840")
    took = time.monotonic() - began
    assert len(answer.body) == 163840 and 0.8 < took < 4.5
    began = time.monotonic()
    assert (await lab.request("http://slow.test/bytes/1000")).status == 200
    assert time.monotonic() - began < 1.0


async def test_who_sends_too_much_and_who_is_there_already(lab: Lab) -> None:
    status, _, _ = await curl(lab, "-d", "x" * 1025, "http://small.test/")
    assert status == "413"
    status, _, _ = await curl(lab, "-d", "x" * 1024, "http://small.test/")
    assert status == "200"
    status, _, _ = await curl(lab, "-H", "Transfer-Encoding: chunked", "-d", "x" * 1025, "http://small.test/")
    assert status == "413"
    one = {"X-Forwarded-For": "192.0.2.1"}
    answers = await asyncio.gather(*(lab.request("http://one.test/delay/1", headers=one) for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [200, 503, 503]
    assert (await lab.request("http://one.test/", headers=one)).status == 200


async def test_an_answer_of_a_service_that_is_asked_may_be_kept(lab: Lab) -> None:
    assert (await asked(lab, "http://kept.test/", X_Key="1", Cookie="code=200")).status == 200
    about = "answers that are kept of a service that is asked"
    kept = await asked(lab, "http://kept.test/", X_Key="1", Cookie="code=401")
    assert kept.status == expected(lab.engine, about, 200)  # type: ignore[attr-defined]
    assert (await asked(lab, "http://kept.test/", X_Key="2", Cookie="code=401")).status == 401
    assert (await asked(lab, "http://kept.test/", X_Key="3", Cookie="code=204")).status == 200
    assert (await asked(lab, "http://kept.test/", X_Key="3", Cookie="code=404")).status == 500, (
        "204 isn't kept"
    )


async def test_who_was_in_front_is_believed_as_far_as_it_goes(lab: Lab) -> None:
    """The address by who is trusted, from the list's end; host, scheme and port of everybody. The route is of Host."""

    async def told(**fields: str) -> dict[str, str]:
        answer = await asked(lab, "http://all.test/", **fields)
        return {name: values[0] for name, values in answer.json()["headers"].items()}

    seen = await told(X_Forwarded_For="1.1.1.1, 10.2.2.2")
    assert seen["X-Real-Ip"] == "1.1.1.1" and seen["X-Original-Forwarded-For"] == "1.1.1.1, 10.2.2.2"
    assert seen["X-Forwarded-For"].startswith("1.1.1.1, 10.2.2.2, 10.")
    seen = await told(X_Forwarded_For="10.1.1.1, 1.2.3.4, 10.2.2.2")
    assert seen["X-Real-Ip"] == "1.2.3.4", "who isn't trusted may say what he likes"
    seen = await told(X_Forwarded_For="nonsense")
    assert seen["X-Real-Ip"].startswith("10."), "the one in front, whose word is none"
    seen = await told(X_Forwarded_Host="h1.test, h2.test", X_Forwarded_Proto="https", X_Forwarded_Port="9")
    assert (seen["X-Forwarded-Host"], seen["X-Original-Forwarded-Host"]) == ("h1.test", "h1.test, h2.test")
    assert (seen["X-Forwarded-Proto"], seen["X-Scheme"], seen["X-Forwarded-Port"]) == ("https", "https", "9")
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "h1.test"}
    answer = await lab.request("http://moved.test/", headers=told)
    assert answer.headers["location"] == "http://moved.test/new", (
        "of the connection, and of the one that was asked"
    )
    answer = await lab.request("http://root.test/", headers={"X-Forwarded-Proto": "https"})
    assert (answer.status, answer.headers["location"]) == (302, "http://root.test/app")


async def test_what_the_engine_does_not_follow_is_told(lab: Lab) -> None:
    odd = ingress("odd.test", ("/", "web"), load_balance="ewma", proxy_buffer_size="8k")
    done = await emulab("-l", lab.name, "apply", "-f", "-", stdin=odd.encode())
    said = done.stderr.decode()
    expected_words = {
        "builtin": [],
        "nginx": ["load-balance]: is followed in part by the engine nginx: "],
        "haproxy": [
            "load-balance]: is followed in part by the engine haproxy: ",
            "proxy-buffer-size]: isn't followed by the engine haproxy: its buffers are of one size",
        ],
    }[lab.engine]  # type: ignore[attr-defined]
    assert done.status == 0 and all(words in said for words in expected_words), said
    assert said.count("by the engine") == len(expected_words)


async def answered_by(lab: Lab, host: str) -> str:
    """The pod that answers a request on a connection of its own, or what came instead."""
    try:
        reader, writer = await connect(lab, "client", VIP, 80)
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        status, _, body = await response(reader)
        writer.close()
    except (OSError, EOFError) as error:
        return repr(error)
    return str(json.loads(body)["pod"]).partition("-")[0] if status == 200 else str(status)


async def test_changes_lose_no_request_and_no_websocket(lab: Lab) -> None:
    """Ingresses that come, change and go under load, with a value that is wrong: what `apply` returns from holds."""
    outcomes: Counter[str] = Counter()
    over = False

    async def ask() -> None:
        while not over:
            outcomes[await answered_by(lab, "pattern.test")] += 1

    reader, writer = await connect(lab, "client", VIP, 80)
    fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    writer.write(f"GET / HTTP/1.1\r\nHost: pattern.test\r\n{fields}{key}\r\n".encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    load = [asyncio.ensure_future(ask()) for _ in range(3)]
    try:
        await lab.apply(service("changing").replace('"app": "changing"', '"app": "new"'))
        for to, pod_of in (("web", "web"), ("changing", "new"), ("web", "web")):
            await lab.apply(ingress("changing.test", ("/", to), limit_rps="many"))
            assert await answered_by(lab, "changing.test") == pod_of
            writer.write(b"\x81\x85\0\0\0\0hello")
            assert await reader.readexactly(7) == b"\x81\x05hello"
        await lab.delete("Ingress", "changing-test")
        assert await answered_by(lab, "changing.test") == "404"
    finally:
        over = True
        await asyncio.gather(*load)
    writer.close()
    assert set(outcomes) == {"web"}, outcomes
