"""`emulab timing` and `emulab cert`, beside curl and openssl."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import TOPOLOGIES, emulab, eventually, output

pytestmark = pytest.mark.asyncio(loop_scope="module")
URL = "http://shop.example.com/products/42"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_files(TOPOLOGIES / "shop.yaml", name=f"e2e-{os.getpid()}-toolbox") as made:
        yield made


async def test_the_parts_of_a_request_add_up_and_are_those_of_curl(lab: Lab) -> None:
    done = await emulab("-l", lab.name, "timing", "--number", "15", "-o", "json", URL)
    assert done.status == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["statuses"], told["number"]) == ([200], 15) and told["traced"]
    spans = told["microseconds"]
    assert list(spans) == ["name", "connect", "first byte", "rest", "total"]
    parts = [spans[part]["p50"] for part in spans if part != "total"]
    assert all(part >= 0 for part in parts) and sum(parts) <= 3 * spans["total"]["p50"]
    words = r"%{time_namelookup} %{time_connect} %{time_starttransfer} %{time_total}\n"
    curl = await output(
        lab, "client", "sh", "-c", f"for i in 1 2 3 4 5; do curl -so /dev/null -w '{words}' {URL}; done"
    )
    totals = sorted(float(line.split()[3]) * 1e6 for line in curl.splitlines())
    assert totals[0] / 20 < spans["total"]["p50"] < 20 * totals[-1]


async def test_a_delay_is_found_in_its_part(lab: Lab) -> None:
    """A name server that takes its time is in the name, and in nothing else."""
    rule = "udp sport 53 ip saddr 198.51.100.53"
    await output(lab, "client", "nft", "add table ip slow")
    await output(lab, "client", "nft", "add chain ip slow in { type filter hook input priority 0 ; }")
    # The first answer is lost, so that who asks asks again after its time-out.
    await output(lab, "client", "nft", f"add rule ip slow in {rule} numgen inc mod 1000000 lt 1 drop")
    try:
        done = await emulab("-l", lab.name, "timing", "--number", "1", "--timeout", "30s", "-o", "json", URL)
        assert done.status == 0, done.stderr
    finally:
        await output(lab, "client", "nft", "delete table ip slow")
    spans = json.loads(done.stdout)["microseconds"]
    assert (
        spans["name"]["p50"] > 900_000 > max(spans[part]["max"] for part in ("connect", "first byte", "rest"))
    )


async def test_what_cannot_be_timed_says_why(lab: Lab) -> None:
    done = await emulab("-l", lab.name, "timing", "http://nowhere.test/")
    assert done.status == 1 and done.stderr.startswith(b"emulab: nowhere.test: no such name")
    done = await emulab("-l", lab.name, "timing", "http://10.0.0.11:81/")
    assert done.status == 1 and b"see why: emulab trace http://10.0.0.11:81/" in done.stderr
    done = await emulab("-l", lab.name, "timing", "ftp://shop.example.com/")
    assert done.status == 1 and b"not a URL of http or https" in done.stderr


async def test_a_certificate_is_told_as_openssl_does(lab: Lab) -> None:
    done = await emulab("-l", lab.name, "cert", "shop.example.com", "-o", "json")
    told = json.loads(done.stdout)
    shown = await output(
        lab,
        "client",
        "sh",
        "-c",
        "openssl s_client -connect 203.0.113.10:443 -servername shop.example.com </dev/null 2>/dev/null"
        " | openssl x509 -noout -dates -ext subjectAltName",
    )
    names = re.findall(r"DNS:([^,\s]+)", shown)
    assert told["chain"][0]["names"] == names
    fits = "shop.example.com" in names
    assert (done.status, bool(told["problem"])) == (0 if fits else 1, not fits)
    done = await emulab("-l", lab.name, "cert", "shop.example.com:80")
    assert done.status == 1 and b"no TLS" in done.stderr
    done = await emulab("-l", lab.name, "cert", "shop.example.com:99999")
    assert done.status == 1 and b"is no port" in done.stderr


MAKE = """
cd "$(mktemp -d)" && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=x \\
  -addext subjectAltName=DNS:shop.example.com -keyout key.pem -out cert.pem 2>/dev/null; cat key.pem cert.pem
rm -r "$PWD"
"""


async def test_a_certificate_of_a_secret_names_it(lab: Lab) -> None:
    key, begin, certificate = (await output(lab, "client", "sh", "-c", MAKE)).partition("-----BEGIN CERT")
    ingress = (await lab.get("Ingress"))[0]
    namespace = ingress["metadata"].get("namespace", "default")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop-tls", "namespace": namespace}}
    secret |= {"type": "kubernetes.io/tls", "stringData": {"tls.crt": begin + certificate, "tls.key": key}}
    spec = {**ingress["spec"], "tls": [{"hosts": ["shop.example.com"], "secretName": "shop-tls"}]}
    named = {"name": ingress["metadata"]["name"], "namespace": namespace}
    body = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": named, "spec": spec}
    await lab.apply(json.dumps(secret) + "\n---\n" + json.dumps(body))

    async def shown() -> bytes:
        done = await emulab("-l", lab.name, "cert", "shop.example.com")
        return done.stdout if done.status == 0 else b""

    told = (await eventually(shown)).decode()
    assert f"Secret:   {namespace}/shop-tls\n" in told and "Names:    shop.example.com\n" in told
