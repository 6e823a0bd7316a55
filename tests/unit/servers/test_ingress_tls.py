"""TLS: which certificate is seen, by the clients that people use."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import test_ingress_harness as harness
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from patience import soon
from test_ingress_harness import World, listener, read_message

from emulab.servers.l7.config import Certificate
from emulab.servers.l7.shell.tls import FAKE_NAME, CertificateStore

world = harness.world


def certificate(*hosts: str) -> dict[str, Any]:
    """A self-signed certificate for `hosts`, its common name the first."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    return {"hosts": list(hosts), "certificate": pem, "key": private.decode()}


async def run(*command: str, stdin: bytes = b"") -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await soon(process.communicate(stdin))
    return out.decode("latin-1")


async def subject(port: int, *options: str) -> str:
    out = await run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options)
    return next(line for line in out.splitlines() if line.startswith("subject="))


async def listen_tls(world: World, *certificates: dict[str, Any], **changes: Any) -> int:
    key, sock = listener()
    config = {**world.config, **changes, "certificates": list(certificates), "tls_listen": [key]}
    world.config = {**config, "listen": [*world.config["listen"], key]}
    await world.tell(world.config, {key: sock})
    return int(sock.getsockname()[1])


async def test_sni_picks_the_certificate(world: World) -> None:
    port = await listen_tls(
        world, certificate("*.example.com"), certificate("shop.example.com", "other.example.org")
    )
    for name, expected in {
        "shop.example.com": "shop.example.com",
        "SHOP.example.com": "shop.example.com",
        "other.example.org": "shop.example.com",
        "x.example.com": "*.example.com",
        "y.x.example.com": FAKE_NAME,
        "example.com": FAKE_NAME,
    }.items():
        assert (await subject(port, "-servername", name)).endswith(expected), name
    assert (await subject(port, "-noservername")).endswith(FAKE_NAME)


async def test_tls_1_1_is_refused_and_both_versions_of_http_are_offered(world: World) -> None:
    port = await listen_tls(world, certificate("h.test"))
    address = f"127.0.0.1:{port}"
    wish = ("openssl", "s_client", "-connect", address, "-servername", "h.test", "-alpn")
    assert "ALPN protocol: h2" in await run(*wish, "http/1.1,h2")
    assert "ALPN protocol: http/1.1" in await run(*wish, "http/1.1")
    await world.configure(options={"http2": False})
    assert "ALPN protocol: http/1.1" in await run(*wish, "h2,http/1.1")
    old = ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert "no peer certificate available" in await run("openssl", "s_client", "-connect", address, *old)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_who_comes_again_goes_on_with_its_session(world: World, tmp_path: Path, version: str) -> None:
    """And gets a ticket for the next time, whichever certificate it was shown."""
    port = await listen_tls(world, certificate("h.test"))
    kept = tmp_path / "session"
    ask = (
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{port}",
        "-servername",
        "h.test",
        version,
        "-ign_eof",
    )
    request = b"GET / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n"
    first = await run(*ask, "-sess_out", str(kept), stdin=request)
    assert "New, TLS" in first
    assert first.count("Post-Handshake New Session Ticket arrived") == (1 if version == "-tls1_3" else 0)
    for _ in range(2):
        again = await run(*ask, "-sess_in", str(kept), "-sess_out", str(kept), stdin=request)
        assert "Reused, TLS" in again and "HTTP/1.1 " in again


async def test_pages_of_our_own_are_http_1_1(world: World) -> None:
    key, sock = listener()
    config = {**world.config, "tls_listen": [key], "pages": {key: {"/x": "text"}}}
    world.config = {**config, "listen": [*world.config["listen"], key]}
    await world.tell(world.config, {key: sock})
    url = f"https://127.0.0.1:{sock.getsockname()[1]}/x"
    assert (await run("curl", "-sk", "-w", " %{http_version}", url)) == "text 1.1"


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_curl_through_tls(world: World, tmp_path: Path, version: str) -> None:
    backend, address = await world.backend()
    await world.serve(address, host="shop.example.com")
    shop = certificate("shop.example.com")
    port = await listen_tls(world, shop)
    trusted = tmp_path / "ca.pem"
    trusted.write_text(shop["certificate"])
    curl = (
        "curl",
        "-sSi",
        f"--http{version}",
        "--cacert",
        str(trusted),
        "--resolve",
        f"shop.example.com:{port}:127.0.0.1",
    )
    url = f"https://shop.example.com:{port}/a"
    out = await run(*curl, "--data-binary", "@-", url, url, stdin=b"x" * 300_000)
    assert out.count(f"HTTP/{version} 200 ") == 2
    assert "strict-transport-security: max-age=31536000; includesubdomains" in out.lower()
    assert out.count("b:" + "x" * 300_000) == 2
    assert world.server.status()["accepted"] == 1
    assert backend.requests[0].get("X-Forwarded-Proto") == "https"
    assert backend.requests[0].get("X-Forwarded-Port") == "443"


async def test_a_redirect_is_for_plain_http_alone(world: World) -> None:
    _, address = await world.backend()
    rule = {"host": "", "path": "/", "path_type": "Prefix", "upstream": "up", "ssl_redirect": True}
    port = await listen_tls(world, rules=[rule], upstreams={"up": {"servers": [address]}})
    assert (await world.get()).status == 308
    assert " 200 " in await run("curl", "-ski", f"https://127.0.0.1:{port}/")


async def test_a_large_answer_over_tls(world: World) -> None:
    async def handler(_backend: Any, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (8 << 20))
        writer.write(bytes(8 << 20))
        await writer.drain()

    _, address = await world.backend(handler)
    await world.serve(address)
    port = await listen_tls(world)
    out = await run("curl", "-sk", "-o", "/dev/null", "-w", "%{size_download}", f"https://127.0.0.1:{port}/")
    assert out == str(8 << 20)


async def test_a_broken_certificate_breaks_no_other(world: World) -> None:
    broken = {"hosts": ["bad.example.com"], "certificate": "nonsense", "key": "none"}
    mixed = {**certificate("mixed.example.com"), "key": certificate("x")["key"]}
    port = await listen_tls(world, broken, certificate("good.example.com"), mixed)
    messages = [record["message"] for record in world.events("error")]
    assert len(messages) == 2
    assert "bad.example.com" in messages[0] and "mixed.example.com" in messages[1]
    assert (await subject(port, "-servername", "good.example.com")).endswith("good.example.com")
    assert (await subject(port, "-servername", "bad.example.com")).endswith(FAKE_NAME)


async def test_certificates_and_tls_change_while_it_runs(world: World) -> None:
    port = await listen_tls(world, certificate("a.example.com"))
    assert (await subject(port, "-servername", "b.example.com")).endswith(FAKE_NAME)
    await world.configure(certificates=[certificate("b.example.com")])
    assert (await subject(port, "-servername", "b.example.com")).endswith("b.example.com")
    await world.configure(tls_listen=[])
    world.port = port
    assert (await world.get()).status == 404


async def test_plain_http_to_a_tls_port_is_no_harm(world: World) -> None:
    port = await listen_tls(world)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    with suppress(ConnectionError):
        assert not (await soon(reader.read())).startswith(b"HTTP/1.1 200")
    writer.close()
    assert "fake" in (await subject(port)).lower()


def test_contexts_are_kept_while_their_certificate_is() -> None:
    given = certificate("a")
    one = Certificate(("a",), given["certificate"], given["key"])
    store = CertificateStore(pytest.fail)
    store.configure([one])
    first = store.find("a")
    store.configure([one])
    assert isinstance(first, ssl.SSLContext) and store.find("A") is first
    store.configure([])
    assert store.find("a") is None


async def test_a_host_that_has_the_default_certificate_has_none_of_a_wildcard(world: World) -> None:
    """Neither one that is told so, nor one whose own can't be used; case and a dot at the end mean nothing."""
    plain = {"hosts": ["plain.example.com"], "certificate": "", "key": ""}
    broken = {"hosts": ["bad.example.com"], "certificate": "nonsense", "key": "none"}
    port = await listen_tls(world, certificate("*.example.com"), plain, broken)
    for name, expected in {
        "plain.example.com": FAKE_NAME,
        "Plain.Example.com": FAKE_NAME,
        "bad.example.com": FAKE_NAME,
        "else.example.com": "*.example.com",
    }.items():
        assert (await subject(port, "-servername", name)).endswith(expected), name
    default = {**certificate("default.test"), "hosts": ["_"]}
    await world.configure(certificates=[certificate("*.example.com"), plain, default])
    for name in ("plain.example.com", "else.test"):
        assert (await subject(port, "-servername", name)).endswith("default.test")
    assert (await subject(port, "-noservername")).endswith("default.test")


def test_a_dot_at_the_end_of_a_name_means_nothing() -> None:
    given = certificate("a.test")
    store = CertificateStore(pytest.fail)
    store.configure([Certificate(("a.test",), given["certificate"], given["key"])])
    assert store.find("a.test.") is store.find("A.TEST") is not None


def test_no_descriptor_is_left_behind() -> None:
    def opened() -> int:
        probe = socket.socket()
        number = probe.fileno()
        probe.close()
        return number

    given = certificate("a")
    gc.collect()  # what others left is not to be closed in between
    before = opened()
    CertificateStore(pytest.fail).configure([Certificate(("a",), given["certificate"], given["key"])])
    assert opened() == before
