"""Who may in, as annotations and the controller's ConfigMap say it, with curl, openssl and real packets."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import pytest_asyncio

from emulab import Lab

from .engine_differences import expected, served_by
from .test_ingress import BACKEND, certificate, secret
from .tools import output

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIX = "nginx.ingress.kubernetes.io/"
AUTH = "http://auth.default.svc.cluster.local/status/$cookie_code"
HASH = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"

LISTS = {
    "allowed": {"whitelist-source-range": "10.0.0.0/8"},
    "shut": {"whitelist-source-range": "192.0.2.0/24"},
    "denied": {"denylist-source-range": "10.0.0.0/8"},
    "wrong": {"whitelist-source-range": "nonsense"},
    "limited": {"limit-rps": "1", "limit-burst-multiplier": "1"},
    "basic": {"auth-type": "basic", "auth-secret": "users", "auth-realm": "Who"},
    "either": {
        "auth-type": "basic",
        "auth-secret": "users",
        "satisfy": "any",
        "whitelist-source-range": "10.0.0.0/8",
    },
    "asked": {"auth-url": AUTH, "auth-response-headers": "Content-Type"},
    "signin": {"auth-url": AUTH, "auth-signin": "https://in.test/start"},
    "local": {"auth-url": AUTH, "auth-signin": "/start?rd=/"},
    "short": {"auth-url": "http://auth.default/status/200"},
    "certs": {"auth-tls-secret": "default/authority"},
    "passed": {
        "auth-tls-secret": "default/authority",
        "auth-tls-verify-client": "optional_no_ca",
        "auth-tls-pass-certificate-to-upstream": "true",
        "auth-tls-match-cn": "CN=(ann|eve)",
    },
}


def ingress(name: str, annotations: dict[str, str]) -> str:
    backend = {"service": {"name": "one", "port": {"number": 80}}}
    rule = {
        "host": f"{name}.test",
        "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
    }
    spec: dict[str, object] = {"ingressClassName": "nginx", "rules": [rule]}
    if name in ("certs", "passed"):
        spec["tls"] = [{"hosts": [f"{name}.test"], "secretName": f"{name}-tls"}]
    metadata = {"name": name, "annotations": {PREFIX + key: text for key, text in annotations.items()}}
    return json.dumps(
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}
    )


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority's certificate, a client's that it has signed, and one that nobody has."""
    folder = tmp_path_factory.mktemp("authority")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=CA", "-days", "2",
            "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.crt")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=Shop/CN=ann",
            "-keyout", f"{folder}/ann.key", "-out", f"{folder}/ann.csr")  # fmt: skip
    openssl("x509", "-req", "-in", f"{folder}/ann.csr", "-CA", f"{folder}/ca.crt", "-CAkey", f"{folder}/ca.key",
            "-CAcreateserial", "-days", "2", "-out", f"{folder}/ann.crt")  # fmt: skip
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=eve", "-days", "2",
            "-keyout", f"{folder}/eve.key", "-out", f"{folder}/eve.crt")  # fmt: skip
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


def opaque(name: str, **data: bytes) -> str:
    encoded = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in data.items()}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded})


def settings(**data: str) -> str:
    metadata = {"name": "ingress-nginx-controller", "namespace": "ingress-nginx"}
    named = {key.replace("_", "-"): text for key, text in data.items()}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": named})


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["builtin", "nginx", "haproxy"])
async def lab(
    request: pytest.FixtureRequest, authority: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Lab]:
    pair = certificate(tmp_path_factory.mktemp("tls"), "certs.test")
    texts = [
        BACKEND.format(name="one", extra=""),
        BACKEND.format(name="auth", extra=""),
        opaque("users", auth=f"ann:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=\nbob:{HASH}\n".encode()),
        opaque("authority", ca_crt=(authority / "ca.crt").read_bytes()),
        secret("certs-tls", pair),
        secret("passed-tls", certificate(tmp_path_factory.mktemp("tls"), "passed.test")),
        settings(
            use_proxy_protocol="false",
            limit_req_status_code="429",
            block_user_agents="~*badbot",
            relative_redirects="true",
        ),
        *(ingress(name, annotations) for name, annotations in LISTS.items()),
    ]
    async with Lab.from_text(served_by(request.param), "\n---\n".join(texts)) as made:
        made.engine = request.param  # type: ignore[attr-defined]
        yield made


def tells(lab: Lab) -> bool:
    """Whether there is a word about who refused a request."""
    return expected(lab.engine, "who refused a request", True)  # type: ignore[attr-defined]


async def curl(lab: Lab, url: str, *options: str, place: str = "client") -> str:
    return await output(lab, place, "curl", "-ski", "--max-time", "20", *options, url)


@pytest.mark.parametrize(
    ("host", "status"), [("allowed", "200 OK"), ("shut", "403 Forbidden"), ("denied", "403 Forbidden")]
)
async def test_addresses(lab: Lab, host: str, status: str) -> None:
    """The ingress sees the balancer's address, or that of the node that sent it on."""
    assert (await curl(lab, f"http://{host}.test/")).startswith(f"HTTP/1.1 {status}")


async def test_a_trace_names_the_annotation(lab: Lab) -> None:
    path = await lab.trace("http://shut.test/")
    assert path.status == 403 and path.failure is not None
    log = await lab.logs("deploy/ingress-nginx-controller", namespace="ingress-nginx")
    about = "lines of the error log for who is refused"
    assert ("[error]" in log and "access forbidden by rule" in log) is expected(lab.engine, about, True)  # type: ignore[attr-defined]
    if not tells(lab):
        return
    assert (path.failure.reason, path.failure.object) == ("not-allowed", "Ingress default/shut")
    assert " is not in whitelist-source-range" in path.failure.text


async def test_a_lock_that_is_wrong_locks(lab: Lab) -> None:
    assert (await curl(lab, "http://wrong.test/")).startswith("HTTP/1.1 503")
    path = await lab.trace("http://wrong.test/")
    assert path.failure is not None
    assert not tells(lab) or "'nonsense', which is no network" in path.failure.text


async def test_who_comes_too_often(lab: Lab) -> None:
    answers = await asyncio.gather(*(curl(lab, "http://limited.test/") for _ in range(6)))
    refused = [one for one in answers if one.startswith("HTTP/1.1 429 Too Many Requests")]
    assert 0 < len([one for one in answers if " 200 OK" in one]) <= 4 and refused


async def test_passwords(lab: Lab) -> None:
    answer = await curl(lab, "http://basic.test/")
    assert (
        answer.startswith("HTTP/1.1 401 Unauthorized")
        and 'www-authenticate: basic realm="who"' in answer.lower()
    )
    answer = await curl(lab, "http://basic.test/", "-u", "ann:secret")
    assert " 200 OK" in answer and "authorization" not in answer.lower()
    assert " 200 OK" in await curl(lab, "http://basic.test/", "-u", "bob:secret")
    assert " 401 " in await curl(lab, "http://basic.test/", "-u", "bob:wrong")
    assert " 200 OK" in await curl(lab, "http://either.test/")


@pytest.mark.parametrize(
    ("code", "status"),
    [("200", "200 OK"), ("401", "401 Unauthorized"), ("403", "403 Forbidden"), ("404", "500 ")],
)
async def test_another_service_is_asked(lab: Lab, code: str, status: str) -> None:
    answer = await curl(lab, "http://asked.test/", "-b", f"code={code}")
    assert answer.startswith(f"HTTP/1.1 {status}")


async def test_a_client_is_sent_to_sign_in(lab: Lab) -> None:
    answer = await curl(lab, "http://signin.test/x?y=1", "-b", "code=401")
    assert answer.startswith("HTTP/1.1 302")
    about = "the escaped way back from where clients sign in"
    path = "%2Fx%3Fy%3D1" if expected(lab.engine, about, True) else "/x?y=1"  # type: ignore[attr-defined]
    assert f"ocation: https://in.test/start?rd=http://signin.test{path}\r\n" in answer
    assert " 200 OK" in await curl(lab, "http://signin.test/", "-b", "code=204")


async def test_where_a_client_signs_in_may_be_a_path_and_stay_one(lab: Lab) -> None:
    assert "ocation: /start?rd=/\r\n" in await curl(lab, "http://local.test/x", "-b", "code=401")


async def test_names_of_services_that_are_asked_have_to_be_whole(lab: Lab) -> None:
    path = await lab.trace("http://short.test/")
    assert path.status == 500 and path.failure is not None
    assert not tells(lab) or "nginx completes no name by a search list" in path.failure.text


async def test_certificates_of_clients(lab: Lab, authority: Path) -> None:
    mine = ("--cert", f"{authority}/ann.crt", "--key", f"{authority}/ann.key")
    answer = await curl(lab, "https://certs.test/", *mine)
    body = json.loads(answer.partition("\r\n\r\n")[2])
    headers = {name.lower(): values for name, values in body["headers"].items()}
    assert headers["ssl-client-verify"] == ["SUCCESS"]
    assert headers["ssl-client-subject-dn"] == ["CN=ann,O=Shop"]
    answer = await curl(lab, "https://certs.test/")
    assert answer.split()[1] == "400" and "No required SSL certificate was sent" in answer


@pytest.mark.parametrize(("who", "verdict"), [("ann", "SUCCESS"), ("eve", "FAILED:self-signed certificate")])
async def test_a_certificate_of_nobodys_may_do_and_is_passed_on(
    lab: Lab, authority: Path, who: str, verdict: str
) -> None:
    mine = ("--cert", f"{authority}/{who}.crt", "--key", f"{authority}/{who}.key")
    answer = await curl(lab, "https://passed.test/", *mine)
    body = json.loads(answer.partition("\r\n\r\n")[2])
    headers = {name.lower(): values[0] for name, values in body["headers"].items()}
    assert headers["ssl-client-verify"].replace("self signed", "self-signed") == verdict
    assert unquote(headers["ssl-client-cert"]).strip() == (authority / f"{who}.crt").read_text().strip()
    answer = await curl(lab, "https://passed.test/")
    assert answer.split()[1] == "403" and answer.endswith("client certificate unauthorized")


async def test_who_is_blocked(lab: Lab) -> None:
    assert " 403 " in await curl(lab, "http://allowed.test/", "-A", "a BadBot/1")
    assert " 403 " in await curl(
        lab, "http://nobody.test/", "--resolve", "nobody.test:80:203.0.113.10", "-A", "badbot"
    )


async def test_a_proxy_header_tells_who_asks(lab: Lab) -> None:
    """Who asks the controller's pod itself has to speak it, as the lab's balancers do by themselves."""
    pods = await lab.get("pods", namespace="ingress-nginx")
    (pod,) = [one for one in pods if "controller" in one["metadata"]["name"]]
    address = pod["status"]["podIP"]
    await lab.apply(settings(use_proxy_protocol="true", proxy_real_ip_cidr="10.0.0.0/8"))
    try:
        ask = ("-H", "Host: shut.test", f"http://{address}/")
        assert " 403 " in await output(lab, "node1", "curl", "-si", "--haproxy-protocol", *ask)
        spoofed = ("--haproxy-protocol", "--haproxy-clientip", "192.0.2.9")
        done = await lab.exec("node1", "curl", "-si", *spoofed, *ask)
        if done.status != 2:  # a curl that knows the option
            assert " 200 OK" in done.text and "192.0.2.9" in done.text
        # Through a balancer it is the client itself who asks, and no node, which the list has.
        assert " 403 " in await curl(lab, "http://allowed.test/")
        path = await lab.trace(f"http://{address}/", source="node1")
        assert path.failure is not None and (not tells(lab) or path.failure.reason == "no-proxy-header")
        # With both, it is whom a header's field names, by the word of the client of the PROXY header.
        both = settings(
            use_proxy_protocol="true", use_forwarded_headers="true", compute_full_forwarded_for="true"
        )
        await lab.apply(both)
        text = await curl(lab, "http://allowed.test/", "-H", "X-Forwarded-For: 10.9.9.9")
        fields = json.loads(text.partition("\r\n\r\n")[2])["headers"]
        assert fields["X-Real-Ip"] == ["10.9.9.9"] and fields["X-Forwarded-For"] == ["10.9.9.9, 198.51.100.2"]
        assert " 403 " in await curl(lab, "http://allowed.test/", "-H", "X-Forwarded-For: 192.0.2.9")
        # Another field may say it, which upstreams are told of then.
        forwarded = {"use_forwarded_headers": "true", "compute_full_forwarded_for": "true"}
        other = settings(use_proxy_protocol="false", forwarded_for_header="CF-Connecting-IP", **forwarded)
        await lab.apply(other)
        said = ("-H", "CF-Connecting-IP: 10.9.9.9", "-H", "X-Forwarded-For: 192.0.2.9")
        text = await curl(lab, "http://allowed.test/", *said)
        fields = json.loads(text.partition("\r\n\r\n")[2])["headers"]
        assert fields["X-Real-Ip"] == fields["X-Original-Forwarded-For"] == ["10.9.9.9"]
        assert fields["X-Forwarded-For"][0].startswith("192.0.2.9, 10."), "the node that hands it on"
    finally:
        await lab.apply(settings(use_proxy_protocol="false"))
    assert " 200 OK" in await curl(lab, "http://allowed.test/")
