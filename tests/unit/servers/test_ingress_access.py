"""Who may in, with real sockets, programs and hashes: what machines only decide."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import test_ingress_harness as harness
from authority import Authority
from loopback import no_descriptors
from patience import soon
from test_ingress_harness import World, http, read_message
from test_ingress_tls import certificate, listen_tls, run

from emulab.kernel.passwords import crypt
from emulab.servers.passwords import apr1
from emulab.servers.wire.proxyprotocol import SIGNATURE

world = harness.world


async def serve(world: World, *filters: dict[str, Any], host: str = "a.test", **more: Any) -> Any:
    """A route to a polite upstream with these filters."""
    backend, address = await world.backend()
    rule = {"host": host, "path": "/", "path_type": "Prefix", "upstream": "up", "filters": list(filters)}
    await world.configure(rules=[rule], upstreams={"up": {"servers": [address]}}, **more)
    return backend


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


def hashed(setting: str) -> str:
    """The hash of `secret` by crypt(3)."""
    found = crypt(b"secret", setting.encode())
    assert found is not None
    return found.decode()


async def test_hashes_of_all_kinds(world: World) -> None:
    users = {
        "bcrypt": hashed("$2y$04$abcdefghijklmnopqrstuu"),
        "apache": apr1(b"secret", "$apr1$abcdefgh$"),
        "sha": "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "sha512": hashed("$6$rounds=1000$salt"),
        "plain": "{PLAIN}secret",
    }
    text = "".join(f"{name}:{known}\n" for name, known in users.items())
    control = {"type": "AccessControl", "basic": {"realm": "r", "users": text}}
    backend = await serve(world, control)
    for name in users:
        for password, status in (("secret", 200), ("Secret", 401), ("secret", 200), ("Secret", 401)):
            answer = await world.get("/", f"Authorization: {basic(name, password)}", host="a.test")
            assert answer.status == status, (name, password)
    assert all(not request.all("authorization") for request in backend.requests)


async def test_the_loop_goes_on_while_a_password_is_looked_at(world: World) -> None:
    began = time.perf_counter()
    slow = hashed("$2y$12$abcdefghijklmnopqrstuu")
    takes = time.perf_counter() - began
    await serve(world, {"type": "AccessControl", "basic": {"realm": "r", "users": f"ann:{slow}"}})
    asking = asyncio.create_task(world.get("/", f"Authorization: {basic('ann', 'secret')}", host="a.test"))
    longest, last = 0.0, time.perf_counter()
    while not asking.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    assert (await asking).status == 200
    assert longest < takes / 3, f"the loop stood for {longest:.3f} of {takes:.3f} s"


class TestExternal:
    async def asked(
        self, world: World, answer: bytes, path: str = "/check", **more: Any
    ) -> tuple[Any, Any, Any]:
        async def handler(backend: Any, reader: Any, writer: Any, _number: int) -> None:
            backend.requests.append(await read_message(reader))
            writer.write(answer)

        service, address = await world.backend(handler)
        external = {"url": f"http://{address}{path}", "source": "auth-url", **more}
        backend = await serve(world, {"type": "AccessControl", "external": external})
        got = await world.get("/", "Cookie: s=1", host="a.test")
        return service, backend, got

    async def test_lets_in(self, world: World) -> None:
        answer = http(b"ignored", "200 OK", "X-User: ann")
        service, backend, got = await self.asked(world, answer, response_headers=["X-User"])
        assert got.status == 200 and backend.requests[0].get("X-User") == "ann"
        (request,) = service.requests
        assert request.start == "GET /check HTTP/1.1" and request.get("Cookie") == "s=1"
        assert request.get("X-Original-URL") == "http://a.test/"
        assert request.get("Connection") == "close"

    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            (http(b"", "401 No"), 401),
            (http(b"", "403 No"), 403),
            (http(b"", "302 Go"), 500),
            (b"nonsense\r\n\r\n", 500),
            (b"", 500),
        ],
    )
    async def test_refuses(self, world: World, answer: bytes, status: int) -> None:
        _, backend, got = await self.asked(world, answer)
        assert got.status == status and not backend.requests

    async def test_nobody_listens(self, world: World) -> None:
        external = {"url": f"http://{harness.free_address()}/", "source": "auth-url"}
        await serve(world, {"type": "AccessControl", "external": external})
        assert (await world.get(host="a.test")).status == 500
        assert "refused the connection" in world.events("request")[-1]["reason"]

    async def test_over_tls(self, world: World) -> None:
        service, _ = await self.tls_service(world)
        external = {"url": f"https://127.0.0.1:{service}/", "source": "auth-url"}
        await serve(world, {"type": "AccessControl", "external": external})
        assert (await world.get(host="a.test")).status == 200

    async def tls_service(self, world: World) -> tuple[int, Any]:
        from emulab.servers.selfsigned import make_context, self_signed

        async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_message(reader)
            writer.write(http())
            writer.close()

        context = make_context(*self_signed("o", "auth", ["auth.test"]))
        server = await asyncio.start_server(answered, "127.0.0.1", 0, ssl=context)
        return int(server.sockets[0].getsockname()[1]), server


class TestCertificates:
    @pytest.fixture
    async def port(self, world: World) -> int:
        await serve(world)
        return await listen_tls(world, certificate("a.test", "b.test"))

    async def verify(self, world: World, **wish: Any) -> None:
        one = {"hosts": ["a.test"], "source": "auth-tls-secret d/ca", **wish}
        await world.configure(verifications=[one])

    async def curl(self, port: int, *options: str, host: str = "a.test", name: str = "a.test") -> str:
        return await run(
            "curl", "-ski", "--resolve", f"{name}:{port}:127.0.0.1", "-H", f"Host: {host}", *options,
            f"https://{name}:{port}/",
        )  # fmt: skip

    async def test_a_certificate_is_wanted(self, world: World, port: int, tmp_path: Path) -> None:
        authority, other = Authority("CA"), Authority("Other")
        await self.verify(world, authorities=authority.pem, pass_certificate=True)
        right, wrong = authority.client(tmp_path, "ann"), other.client(tmp_path, "eve")
        old = authority.client(tmp_path, "old", days=-1)
        assert " 200 " in await self.curl(port, "--cert", right)
        assert "No required SSL certificate was sent" in await self.curl(port)
        assert "The SSL certificate error" in await self.curl(port, "--cert", wrong)
        assert "The SSL certificate error" in await self.curl(port, "--cert", old)
        assert " 421 " in await self.curl(port, "--cert", right, name="b.test")
        reasons = [record["reason"] for record in world.events("request")[1:4]]
        assert "client sent no required SSL certificate" in reasons[0]
        assert "(21:unable to verify the first certificate)" in reasons[1]
        assert "(10:certificate has expired)" in reasons[2]

    async def test_the_upstream_is_told(self, world: World, port: int, tmp_path: Path) -> None:
        authority = Authority("CA")
        backend = await serve(world)
        await self.verify(world, authorities=authority.pem, verify="optional_no_ca", pass_certificate=True)
        await self.curl(
            port, "--cert", authority.client(tmp_path, "ann"), "-H", "ssl-client-verify: FAILED:x"
        )
        await self.curl(port, "--cert", Authority("Other").client(tmp_path, "eve"))
        await self.curl(port)
        first, second, third = backend.requests
        assert first.get("ssl-client-verify") == "SUCCESS"
        assert first.get("ssl-client-subject-dn") == "CN=ann,O=Shop"
        assert first.get("ssl-client-issuer-dn") == "CN=CA"
        assert first.get("ssl-client-cert").startswith("-----BEGIN%20CERTIFICATE-----%0A")
        assert second.get("ssl-client-verify") == "FAILED:unable to verify the first certificate"
        assert third.get("ssl-client-verify") == "NONE"

    async def test_revoked(self, world: World, port: int, tmp_path: Path) -> None:
        authority = Authority("CA")
        made, text = authority.sign("ann")
        (tmp_path / "ann.pem").write_text(text)
        await self.verify(world, authorities=authority.pem, revoked=authority.revoked(made))
        assert "The SSL certificate error" in await self.curl(port, "--cert", str(tmp_path / "ann.pem"))
        assert "(23:certificate revoked)" in world.events("request")[-1]["reason"]
        assert " 200 " in await self.curl(port, "--cert", authority.client(tmp_path, "bob"))

    @pytest.mark.parametrize(("depth", "lets_in"), [(0, False), (1, True)])
    async def test_depth(self, world: World, port: int, tmp_path: Path, depth: int, lets_in: bool) -> None:
        root = Authority("Root")
        between = Authority("Between", root)
        file = tmp_path / "chain.pem"
        file.write_text(between.sign("ann")[1] + between.pem)
        await self.verify(world, authorities=root.pem, depth=depth)
        assert (" 200 " in await self.curl(port, "--cert", str(file))) is lets_in

    async def test_authorities_change_without_a_new_connection_to_listen_at(
        self, world: World, port: int, tmp_path: Path
    ) -> None:
        first, second = Authority("A"), Authority("B")
        mine = first.client(tmp_path, "ann")
        await self.verify(world, authorities=first.pem)
        assert " 200 " in await self.curl(port, "--cert", mine)
        await self.verify(world, authorities=second.pem)
        assert "400 Bad Request" in await self.curl(port, "--cert", mine)
        await self.verify(world, authorities=second.pem, verify="off")
        assert " 200 " in await self.curl(port)

    @pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
    async def test_a_session_of_another_host_lets_nobody_in(
        self, world: World, port: int, tmp_path: Path, version: str
    ) -> None:
        """Sessions are of the listener; a certificate is looked at for the host, by its own authorities."""
        authority = Authority("CA")
        await self.verify(world, authorities=authority.pem)
        session = str(tmp_path / "session")
        connect = ("openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-quiet", "-ign_eof")
        ask = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
        mine = ("-cert", authority.client(tmp_path, "ann"))
        out = await run(
            *connect,
            "-servername",
            "b.test",
            "-sess_out",
            session,
            *mine,
            stdin=ask.replace(b"a.test", b"b.test"),
        )
        out = await run(*connect, "-servername", "a.test", "-sess_in", session, stdin=ask)
        assert re.search("^HTTP/1.1 (400|421) ", out, re.M), out  # behind whom it connects to
        out = await run(*connect, "-servername", "a.test", "-sess_out", session, *mine, stdin=ask)
        assert "200 OK" in out
        out = await run(*connect, "-servername", "a.test", "-sess_in", session, *mine, stdin=ask)
        assert "200 OK" in out

    async def test_what_is_no_authority_is_told(self, world: World, port: int) -> None:
        await self.verify(world, authorities="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        assert "the authorities of auth-tls-secret d/ca can't be used" in world.events("error")[-1]["message"]
        assert "400 Bad Request" in await self.curl(port)


async def test_options_of_handshakes(world: World) -> None:
    await serve(world)
    options = {
        "ssl_protocols": ["TLSv1.2"],
        "ssl_ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384",
        "reject_handshake": True,
    }
    port = await listen_tls(world, certificate("a.test"), options=options)
    connect = ("openssl", "s_client", "-connect", f"127.0.0.1:{port}")
    out = await run(*connect, "-servername", "a.test")
    assert "New, TLSv1.2, Cipher is ECDHE-ECDSA-AES256-GCM-SHA384" in out
    assert "no peer certificate" in await run(*connect, "-servername", "a.test", "-tls1_3")
    assert "no peer certificate" in await run(*connect, "-servername", "nobody.test")
    assert "no peer certificate" in await run(*connect, "-noservername")
    await world.configure(options={"ssl_ciphers": "NONE-SUCH"})
    assert "ssl-ciphers 'NONE-SUCH' can't be used" in world.events("error")[-1]["message"]
    assert "TLSv1.3" in await run(*connect, "-servername", "nobody.test")


class TestProxyProtocol:
    FIRST = b"PROXY TCP4 198.51.100.9 203.0.113.10 4711 8080\r\n"
    SECOND = SIGNATURE + struct.pack(
        "!BBH4s4sHH", 0x21, 0x11, 12, bytes([198, 51, 100, 9]), bytes([203, 0, 113, 10]), 1, 2
    )
    ASK = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"

    async def raw(self, port: int, *pieces: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        try:
            return await soon(reader.read())
        except ConnectionError:
            return b""
        finally:
            writer.close()

    @pytest.mark.parametrize("header", [FIRST, SECOND])
    @pytest.mark.parametrize("cuts", [(), (3,), (14, 20), (-1,)])
    async def test_is_read_however_it_comes(self, world: World, header: bytes, cuts: tuple[int, ...]) -> None:
        backend = await serve(world, options={"proxy_protocol": True})
        stream, places = header + self.ASK, [cut % len(header) for cut in cuts]
        pieces = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
        assert b"200 OK" in await self.raw(world.port, *pieces)
        assert backend.requests[0].get("X-Forwarded-For") == "198.51.100.9"
        assert world.events("request")[-1]["address"] == "198.51.100.9"

    @pytest.mark.parametrize(
        "begun", [ASK, b"PROXY TCP9 a b 1 2\r\n" + ASK, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"]
    )
    async def test_what_is_none_ends_the_connection(self, world: World, begun: bytes) -> None:
        backend = await serve(world, options={"proxy_protocol": True})
        assert await self.raw(world.port, begun) == b"" and not backend.requests
        (record,) = world.events("proxy-header")
        assert "PROXY header" in record["reason"] and record["local"].endswith(f":{world.port}")

    async def test_has_to_come_in_time(self, world: World) -> None:
        await serve(world, options={"proxy_protocol": True, "header_timeout": 0.1})
        assert await self.raw(world.port, b"PROXY TCP4") == b""

    async def test_clients_wait_while_there_are_no_descriptors(
        self, world: World, capfd: pytest.CaptureFixture[str]
    ) -> None:
        await serve(world, options={"proxy_protocol": True})
        with socket.socket() as client:
            with no_descriptors():
                client.connect(("127.0.0.1", world.port))
                await asyncio.sleep(0.05)
            client.setblocking(False)
            client.send(self.FIRST + self.ASK)
            answer = await soon(asyncio.get_running_loop().sock_recv(client, 1 << 16))
        assert b"200 OK" in answer
        assert capfd.readouterr().err == f"tcp/127.0.0.1/{world.port}: accept: Too many open files\n"

    async def test_is_before_tls(self, world: World) -> None:
        backend = await serve(world)
        port = await listen_tls(world, certificate("a.test"), options={"proxy_protocol": True})
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        writer.write(self.SECOND)
        await writer.start_tls(context, server_hostname="a.test")
        writer.write(self.ASK)
        assert b"200 OK" in await soon(reader.read())
        assert backend.requests[0].get("X-Real-IP") == "198.51.100.9"
        writer.close()

    async def test_is_switched_on_and_off(self, world: World) -> None:
        await serve(world)
        for on, stream in ((True, self.FIRST + self.ASK), (False, self.ASK), (True, self.FIRST + self.ASK)):
            await world.configure(options={"proxy_protocol": on})
            assert b"200 OK" in await self.raw(world.port, stream)

    async def test_curl_speaks_it(self, world: World) -> None:
        backend = await serve(world, options={"proxy_protocol": True})
        out = await run(
            "curl", "-si", "--haproxy-protocol", "-H", "Host: a.test", f"http://127.0.0.1:{world.port}/"
        )
        assert "200 OK" in out and backend.requests[0].get("X-Real-IP") == "127.0.0.1"


async def test_a_client_that_leaves_while_it_waits_leaves_nothing(world: World) -> None:
    async def handler(backend: Any, reader: Any, _writer: Any, _number: int) -> None:
        backend.requests.append(await read_message(reader))
        await reader.read()

    service, address = await world.backend(handler)
    await serve(world, {"type": "AccessControl", "external": {"url": f"http://{address}/"}})
    sock = socket.create_connection(("127.0.0.1", world.port))
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    while not service.requests:
        await asyncio.sleep(0.01)
    sock.close()
    await soon(service.ended.wait())


@pytest.mark.parametrize("close", [False, True])
async def test_an_answer_goes_as_fast_as_it_may(world: World, close: bool) -> None:
    async def handler(_backend: Any, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        writer.write(http(bytes(60_000)))

    _, address = await world.backend(handler)
    await world.serve(address, host="a.test", limit_rate=20_000, limit_rate_after=30_000)
    began = time.perf_counter()
    answer = await world.get("/", *(["Connection: close"] if close else []), host="a.test")
    assert len(answer.body) == 60_000
    assert 0.2 < time.perf_counter() - began < 3


async def test_streams_of_http2_wait_at_gates_alone(world: World) -> None:
    """A password is looked at, a service asked, and bodies wait with their streams."""

    async def service(_backend: Any, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        await asyncio.sleep(0.05)
        writer.write(http(b"", "200 OK", "X-User: ann"))

    _, asked = await world.backend(service)
    backend, address = await world.backend()
    users = f"ann:{hashed('$2y$06$abcdefghijklmnopqrstuu')}"
    external = {"url": f"http://{asked}/", "response_headers": ["X-User"]}
    filters = {
        "/basic": {"basic": {"realm": "r", "users": users}},
        "/asked": {"external": external},
        "/shut": {"allow": {"cidrs": ["192.0.2.0/24"]}},
    }
    rules = [
        {
            "host": "",
            "path": path,
            "path_type": "Prefix",
            "upstream": "up",
            "filters": [{"type": "AccessControl", **one}],
        }
        for path, one in filters.items()
    ]
    await world.configure(rules=rules, upstreams={"up": {"servers": [address]}})
    base = f"http://127.0.0.1:{world.port}"
    words = ("--http2-prior-knowledge", "-w", "<%{http_code} %{http_version}>", "-u", "ann:secret")
    sent = ("curl", "-sS", *words, "-o", "/dev/null")
    body = ("--data-binary", "@-")
    out = await asyncio.gather(
        run(*sent, *body, f"{base}/basic", stdin=b"x" * 100_000),
        run(*sent, *body, f"{base}/asked", stdin=b"x" * 100_000),
        run(*sent, f"{base}/shut"),
    )
    assert out == ["<200 2>", "<200 2>", "<403 2>"]
    assert sorted(len(request.body) for request in backend.requests) == [100_000, 100_000]
    assert {request.get("X-User") for request in backend.requests} == {None, "ann"}


async def test_a_stream_of_http2_goes_as_fast_as_it_may(world: World) -> None:
    async def handler(_backend: Any, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        writer.write(http(bytes(60_000)))

    _, address = await world.backend(handler)
    await world.serve(address, limit_rate=20_000, limit_rate_after=30_000)
    began = time.perf_counter()
    words = ("-s", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{size_download}")
    out = await run("curl", *words, f"http://127.0.0.1:{world.port}/")
    assert out == "60000" and 0.2 < time.perf_counter() - began < 3
