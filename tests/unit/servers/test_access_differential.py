"""Who may in, beside Debian's nginx with the directives that ingress-nginx writes: the same answers to all."""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import test_ingress_harness as harness
from authority import Authority
from loopback import closed_port
from patience import soon, until
from test_ingress_access import hashed
from test_ingress_harness import World, http, read_message
from test_ingress_tls import certificate, listen_tls, run

from emulab.servers.passwords import apr1
from emulab.servers.wire.proxyprotocol import SIGNATURE

world = harness.world

CONF = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  {http}
  server {{ listen 127.0.0.1:{port} {listen}; server_name a.test; {server}
    location / {{ {location} }}
  }}
}}
"""
Nginx = Callable[..., Awaitable[int]]


@pytest.fixture
async def nginx(tmp_path: Path) -> AsyncIterator[Nginx]:
    """Starts nginx with directives; the port that it listens at."""
    running: list[asyncio.subprocess.Process] = []

    async def start(http: str = "", server: str = "", location: str = "", listen: str = "") -> int:
        port = closed_port()
        conf = tmp_path / "nginx.conf"
        told = {"http": http, "server": server, "location": location, "listen": listen}
        conf.write_text(CONF.format(folder=tmp_path, port=port, **told))
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        words = (program, "-p", str(tmp_path), "-e", f"{tmp_path}/error.log", "-c", str(conf))
        running.append(await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.DEVNULL))

        def there() -> bool:
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        await until(there)
        return port

    yield start
    for process in running:
        process.kill()
        await process.wait()


async def raw(port: int, data: bytes) -> bytes:
    """What comes back of a connection, up to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await soon(reader.read())
    except ConnectionError:
        return b""
    finally:
        writer.close()


def asking(*fields: str, path: str = "/") -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: a.test", "Connection: close", *fields, "", ""]
    return "\r\n".join(lines).encode()


async def status(port: int, *fields: str, path: str = "/") -> str:
    """The status of an answer, and its challenge."""
    answer = (await raw(port, asking(*fields, path=path))).decode("latin-1")
    challenge = [line for line in answer.split("\r\n") if line.lower().startswith("www-authenticate")]
    return " ".join([answer[9:12], *challenge])


async def ours(world: World, *filters: dict[str, Any], **more: Any) -> Any:
    """The proxy before an upstream that answers 418, as nginx' location does."""

    async def handler(backend: Any, reader: Any, writer: Any, _number: int) -> None:
        while True:
            backend.requests.append(await read_message(reader))
            writer.write(http(b"", "418 I'm a teapot"))

    backend, address = await world.backend(handler)
    rule = {"host": "a.test", "path": "/", "path_type": "Prefix", "upstream": "up", "filters": list(filters)}
    await world.configure(rules=[rule], upstreams={"up": {"servers": [address]}}, **more)
    return backend


HERE, ELSEWHERE = ("127.0.0.0/8", "192.0.2.0/24")
USERS = "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n#eve:x\nbob:{PLAIN}secret:more\n\nann:{PLAIN}other\n"
GIVEN = [
    (),
    *(
        (f"Authorization: {scheme}{b64encode(pair.encode()).decode()}",)
        for scheme in ("Basic ", "basic  ", "Bearer ")
        for pair in ("ann:secret", "ann:other", "bob:secret", "eve:x", "#eve:x", ":secret", "ann", "nobody:")
    ),
    ("Authorization: Basic",),
    ("Authorization: Basic !!!",),
]


# `return` is done before access is looked at; a location that lets in answers 502, as nobody is behind it.
PASS = "proxy_pass http://127.0.0.1:1;"


@pytest.mark.parametrize("satisfy", ["all", "any"])
@pytest.mark.parametrize("deny", ["", ELSEWHERE, HERE])
@pytest.mark.parametrize("allow", ["", ELSEWHERE, HERE])
async def test_addresses_and_passwords(
    world: World, nginx: Nginx, tmp_path: Path, satisfy: str, deny: str, allow: str
) -> None:
    (tmp_path / "users").write_text(USERS)
    lists = (f"deny {deny};" if deny else "") + (f"allow {allow}; deny all;" if allow else "")
    basic = f'auth_basic "Who"; auth_basic_user_file {tmp_path}/users;'
    port = await nginx(location=f"{lists} {basic} satisfy {satisfy}; {PASS}", server="")
    control = {
        "type": "AccessControl",
        "basic": {"realm": "Who", "users": USERS},
        "any": satisfy == "any",
        **({"deny": {"cidrs": [deny]}} if deny else {}),
        **({"allow": {"cidrs": [allow]}} if allow else {}),
    }
    await ours(world, control)
    for given in GIVEN:
        theirs = (await status(port, *given)).replace("502", "418")
        assert await status(world.port, *given) == theirs, given


async def test_hashes(world: World, nginx: Nginx, tmp_path: Path) -> None:
    known = [
        apr1(b"secret", "$apr1$salt$"),
        hashed("$6$rounds=1000$salt"),
        hashed("$2y$04$abcdefghijklmnopqrstuu"),
        hashed("ab"),
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{SHA}5en6G6MezRroT3XKqkdPOmY",
        "{SSHA}" + b64encode(bytes(20) + b"salt").decode(),
        "{PLAIN}secret",
        "secret",
        "$9$unknown",
        "",
    ]
    text = "".join(f"u{number}:{one}\n" for number, one in enumerate(known))
    (tmp_path / "users").write_text(text)
    port = await nginx(location=f'auth_basic "Who"; auth_basic_user_file {tmp_path}/users; {PASS}')
    await ours(world, {"type": "AccessControl", "basic": {"realm": "Who", "users": text}})
    for number, one in enumerate(known):
        for password in ("secret", "Secret"):
            field = "Authorization: Basic " + b64encode(f"u{number}:{password}".encode()).decode()
            theirs = (await status(port, field)).replace("502", "418")
            assert await status(world.port, field) == theirs, (one, password)


@pytest.mark.parametrize("satisfy", ["all", "any"])
async def test_another_service(world: World, nginx: Nginx, satisfy: str) -> None:
    async def handler(_backend: Any, reader: Any, writer: Any, _number: int) -> None:
        request = await read_message(reader)
        code = request.start.split()[1].rpartition("=")[2]
        writer.write(http(b"x", f"{code} Said", 'WWW-Authenticate: Bearer realm="x"'))

    _, address = await world.backend(handler)
    port = await nginx(
        server=f"location = /auth {{ internal; proxy_pass http://{address}/check?code=$cookie_code; }}",
        location=f"auth_request /auth; allow {ELSEWHERE}; deny all; satisfy {satisfy}; {PASS}",
    )
    external = {"url": f"http://{address}/check?code=$cookie_code"}
    allow = {"cidrs": [ELSEWHERE]}
    await ours(
        world, {"type": "AccessControl", "external": external, "allow": allow, "any": satisfy == "any"}
    )
    for code in (200, 204, 302, 400, 401, 403, 404, 500, 503):
        field = f"Cookie: code={code}"
        theirs = (await status(port, field)).replace("502", "418")
        assert await status(world.port, field) == theirs, code


async def test_requests_a_second(world: World, nginx: Nginx) -> None:
    port = await nginx(
        http="limit_req_zone $binary_remote_addr zone=s:1m rate=2r/s;",
        location=f"limit_req zone=s burst=4 nodelay; limit_req_status 429; {PASS}",
    )
    limit = {"zone": "s", "rate": 2000, "burst": 4}
    await ours(world, {"type": "ClientLimits", "requests": [limit], "request_status": 429})

    async def pattern(at: int, wait: str) -> list[str]:
        found = [(await status(at)).replace(wait, "418") for _ in range(8)]
        await asyncio.sleep(1.25)  # for two more, and half a one
        return found + [(await status(at)).replace(wait, "418") for _ in range(4)]

    theirs, mine = await asyncio.gather(pattern(port, "502"), pattern(world.port, "-"))
    assert mine == theirs == ["418"] * 5 + ["429"] * 3 + ["418"] * 2 + ["429"] * 2


async def test_requests_under_way(world: World, nginx: Nginx) -> None:
    async def slow(_backend: Any, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        await asyncio.sleep(0.5)
        writer.write(http(b"", "418 I'm a teapot"))

    _, address = await world.backend(slow)
    port = await nginx(
        http="limit_conn_zone $binary_remote_addr zone=c:1m;",
        location=f"limit_conn c 2; proxy_pass http://{address};",
    )
    limits = {"type": "ClientLimits", "connections": {"zone": "c", "most": 2}}
    rule = {"host": "a.test", "path": "/", "path_type": "Prefix", "upstream": "up", "filters": [limits]}
    await world.configure(rules=[rule], upstreams={"up": {"servers": [address]}})
    for at in (port, world.port):
        for _ in range(2):
            assert sorted(await asyncio.gather(*(status(at) for _ in range(4)))) == [
                "418",
                "418",
                "503",
                "503",
            ]


FORWARDED = [
    "", "198.51.100.1", "198.51.100.1, 203.0.113.9", "203.0.113.9, 198.51.100.1", "203.0.113.9 , 198.51.100.1,",
    "198.51.100.1,198.51.100.2", "203.0.113.9:80", "[2001:db8::9]:80, 198.51.100.1", "2001:db8::9", "2001:db8:0::9",
    "unknown", "unknown, 198.51.100.1", "203.0.113.9, unknown", "203.0.113.9, unknown, 198.51.100.1", "203.0.113.9;x",
    " , ", "198.51.100.1  203.0.113.9",
]  # fmt: skip


@pytest.mark.parametrize(
    "trusted", [("127.0.0.0/8", "198.51.100.0/24"), ("0.0.0.0/0",), ("198.51.100.0/24",)]
)
async def test_who_asks(world: World, nginx: Nginx, trusted: tuple[str, ...]) -> None:
    froms = "".join(f"set_real_ip_from {one};" for one in trusted)
    port = await nginx(
        http=f"real_ip_header X-Forwarded-For; real_ip_recursive on; {froms}",
        location="return 200 $remote_addr;",
    )
    backend = await ours(world, options={"real_ip": True, "trusted": list(trusted)})
    for one in FORWARDED:
        field = (f"X-Forwarded-For: {one}",)
        theirs = (await raw(port, asking(*field))).decode().partition("\r\n\r\n")[2]
        await raw(world.port, asking(*field))
        assert backend.requests[-1].get("X-Real-IP") == theirs, one


def second(command: int, kind: int, block: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, kind, len(block)) + block


FOUR = bytes([198, 51, 100, 9, 203, 0, 113, 10]) + struct.pack("!HH", 4711, 443)
HEADERS = [
    b"PROXY TCP4 198.51.100.9 203.0.113.10 4711 443\r\n",
    b"PROXY TCP6 2001:db8::9 2001:db8::10 4711 443\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN what ever\r\n",
    second(1, 0x11, FOUR),
    second(1, 0x11, FOUR + b"\x04\0\1x"),
    second(0, 0x00, b""),
    second(1, 0x31, bytes(216)),
    b"",
    b"PROXY TCP4\r\n",
    b"PROXY TCP5 198.51.100.9 203.0.113.10 4711 443\r\n",
    b"PROXY TCP4 198.51.100.9 203.0.113.10 99999 443\r\n",
    second(1, 0x11, FOUR[:6]),
    SIGNATURE + b"\x11\x11\x00\x0c" + FOUR,
]


async def test_proxy_headers(world: World, nginx: Nginx) -> None:
    port = await nginx(
        http="real_ip_header proxy_protocol; set_real_ip_from 0.0.0.0/0;",
        location="return 200 $remote_addr;",
        listen="proxy_protocol",
    )
    backend = await ours(world, options={"proxy_protocol": True})
    for header in HEADERS:
        theirs = (await raw(port, header + asking())).decode().partition("\r\n\r\n")[2]
        before = len(backend.requests)
        answer = await raw(world.port, header + asking())
        mine = backend.requests[-1].get("X-Real-IP") if len(backend.requests) > before else ""
        assert (mine, bool(answer)) == (theirs, bool(theirs)), header


@pytest.mark.parametrize("verify", ["on", "optional", "optional_no_ca"])
async def test_certificates(world: World, nginx: Nginx, tmp_path: Path, verify: str) -> None:
    authority, other = Authority("CA"), Authority("Other, Inc.")
    between = Authority("Between", authority)
    own = certificate("a.test", "b.test")
    (tmp_path / "own.pem").write_text(own["certificate"] + own["key"])
    (tmp_path / "ca.pem").write_text(authority.pem)
    (tmp_path / "chain.pem").write_text(between.sign("chained")[1] + between.pem)
    files = {
        "none": (),
        "right": ("--cert", authority.client(tmp_path, 'ann é, + "x"')),
        "other": ("--cert", other.client(tmp_path, "eve")),
        "old": ("--cert", authority.client(tmp_path, "old", days=-1)),
        "chained": ("--cert", str(tmp_path / "chain.pem")),
    }
    port = await nginx(
        server=f"ssl_certificate {tmp_path}/own.pem; ssl_certificate_key {tmp_path}/own.pem;"
        f"ssl_client_certificate {tmp_path}/ca.pem; ssl_verify_client {verify}; ssl_verify_depth 1;",
        location='return 200 "$ssl_client_verify|$ssl_client_s_dn|$ssl_client_i_dn|$ssl_client_escaped_cert";',
        listen="ssl",
    )
    backend = await ours(world)
    mine = await listen_tls(world, own)
    wish = {"hosts": ["a.test"], "authorities": authority.pem, "verify": verify, "pass_certificate": True}
    await world.configure(verifications=[wish])

    async def got(at: int, *options: str) -> str:
        return await run(
            "curl", "-sk", "--resolve", f"a.test:{at}:127.0.0.1", *options, f"https://a.test:{at}/"
        )

    for name, options in files.items():
        theirs = await got(port, *options)
        before = len(backend.requests)
        answer = await got(mine, *options)
        if len(backend.requests) > before:
            request = backend.requests[-1]
            fields = ("verify", "subject-dn", "issuer-dn", "cert")
            answer = "|".join(request.get(f"ssl-client-{field}") or "" for field in fields)
        assert answer == _plain(theirs), name


def _plain(page: str) -> str:
    """A page of nginx without its version."""
    import re

    return re.sub(r"nginx/[\d.]+", "nginx", page)
