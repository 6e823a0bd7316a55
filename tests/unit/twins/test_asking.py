"""One try of one request, over loopback: what came of it, in words."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from loopback import closed_port, has_ipv6
from patience import LONG

from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.observe.target import parse
from emulab.twins import asking
from emulab.twins.asking import TryResult, try_once
from emulab.twins.owners import Owners
from emulab.twins.sampling import Sample

RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that takes one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            try:
                sock, _ = listening.accept()
            except OSError:  # nobody came
                return
            with sock:
                answer(sock)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)  # ends accept(), which close() doesn't
            thread.join(LONG)


def ask(target: str, udp: bool = False, timeout: float = LONG) -> TryResult:
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    return try_once(socket.socket(socket.AF_INET, kind), "127.0.0.1", parse(target), timeout)


def page(status: int, body: bytes) -> Callable[[socket.socket], None]:
    def answer(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    return answer


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)


@pytest.mark.parametrize("status", [200, 404, 503])
def test_an_http_answer(status: int) -> None:
    with server(page(status, b"hello")) as port:
        found = ask(f"http://127.0.0.1:{port}/")
    assert (found.category, found.answered, found.body) == (f"HTTP {status}", True, b"hello")
    assert found.local == "127.0.0.1"


def test_nobody_listens() -> None:
    assert ask(f"127.0.0.1:{closed_port()}").category == "TCP reset"
    assert ask(f"http://127.0.0.1:{closed_port()}/").category == "TCP reset"
    assert ask(f"127.0.0.1:{closed_port('udp')}/udp", udp=True).category == "ICMP port unreachable"


def test_a_connection_that_is_accepted_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(sock: socket.socket) -> None:
        sock.recv(1)

    with server(wait) as port:
        assert ask(f"127.0.0.1:{port}").category == "connected"
    monkeypatch.setattr(asking, "_LISTEN", 20)  # for a server that a busy machine keeps waiting
    with server(lambda sock: None) as port:
        assert ask(f"127.0.0.1:{port}").category == "closed after connecting"
    with server(reset) as port:
        assert ask(f"127.0.0.1:{port}").category == "reset after connecting"


def test_http_that_does_not_come() -> None:
    def wait(sock: socket.socket) -> None:
        while sock.recv(4096):
            pass

    with server(wait) as port:
        found = ask(f"http://127.0.0.1:{port}/", timeout=0.1)
    assert (found.category, found.answered) == ("no answer after connecting", False)
    with server(lambda sock: sock.recv(4096) and None) as port:
        assert ask(f"http://127.0.0.1:{port}/").category == "closed after connecting"
    with server(lambda sock: sock.sendall(b"220 smtp ready\r\n")) as port:
        assert ask(f"http://127.0.0.1:{port}/").category in ("no HTTP answer", "reset after connecting")
    with server(lambda sock: sock.sendall(b"no TLS\r\n")) as port:
        assert ask(f"https://127.0.0.1:{port}/").category in ("TLS failure", "reset after connecting")


def test_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

        def echo() -> None:
            data, sender = sock.recvfrom(4096)
            sock.sendto(data, sender)
            _, sender = sock.recvfrom(4096)
            sock.sendto(b"other", sender)

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()
        assert ask(f"127.0.0.1:{port}/udp", udp=True).category == "echo"
        assert ask(f"127.0.0.1:{port}/udp", udp=True).category == "datagram"
        thread.join()
        assert ask(f"127.0.0.1:{port}/udp", udp=True, timeout=0.05).category == "no answer"


@pytest.mark.parametrize(
    ("answer", "outcome"), [(b"", "datagram"), (b"pong", "datagram"), (bytes(12), "DNS NOERROR")]
)
def test_what_answers_at_port_53_need_not_be_dns(answer: bytes, outcome: str) -> None:
    own, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with own, server:
        own.settimeout(LONG)
        server.send(answer)
        assert asking._datagram(own, parse("127.0.0.1:53/udp")) == (outcome, b"")


@pytest.mark.skipif(not has_ipv6(), reason="loopback has no IPv6 here")
def test_refusals_in_ipv6_are_told_in_the_same_words() -> None:
    def refused(kind: socket.SocketKind, target: str) -> TryResult:
        with socket.socket(
            socket.AF_INET6, kind
        ) as holder:  # it keeps the port, and takes nothing from others
            holder.bind(("::1", 0))
            port = holder.getsockname()[1]
            if kind == socket.SOCK_DGRAM:
                holder.connect(("::1", 9))
            return try_once(socket.socket(socket.AF_INET6, kind), "::1", parse(target.format(port)), LONG)

    assert refused(socket.SOCK_STREAM, "loopback.test:{}").category == "TCP reset"
    datagram = refused(socket.SOCK_DGRAM, "loopback.test:{}/udp")
    assert datagram.category == "ICMP port unreachable" and datagram.local == "::1"


def test_a_late_refusal_is_told_apart() -> None:
    assert TryResult("TCP reset", False, 1.1, late=True).category == "TCP reset, late"
    assert TryResult("TCP reset", False, 1.1).category == "TCP reset", "the machine may be busy"
    assert TryResult("no answer", False, 2.0).category == "no answer"
    assert TryResult("HTTP 200", True, 1.1).category == "HTTP 200"


def test_answers_are_counted_by_what_they_say() -> None:
    told = {
        "namespace": "d",
        "service": "web",
        "path": "/",
        "pod": "a",
        "client": "10.0.0.9:1",
        "headers": {},
    }
    asker = Object({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "d", "name": "a"}})
    places = {"client": ["10.0.0.9"], "d.a": ["10.244.1.2"]}
    observed, owners = Sample(), Owners(Objects([asker]), places)
    observed.add(TryResult("HTTP 200", True, 0.1, json.dumps(told).encode(), "10.0.0.1"), owners)
    observed.add(TryResult("HTTP 200", True, 0.1, b"[1]", "10.0.0.1"), owners)
    observed.add(TryResult("TCP reset", False, 0.1), owners)
    assert observed.outcomes == {"HTTP 200": 2, "TCP reset": 1} and observed.answered == 2
    assert observed.endpoints == Counter({"d/a": 1}) and observed.sources == Counter({"client": 1})
    assert observed.answers["d/web /"] == 1
    assert [word.split()[0] for word in observed.answers] == ["d/web", "body"]
    assert not observed.proxied and not observed.hairpins
    told["headers"] = {"X-Forwarded-For": ["1.2.3.4"]}
    observed.add(TryResult("HTTP 200", True, 0.1, json.dumps(told).encode(), "10.0.0.1"), owners)
    assert observed.proxied
    observed.add(TryResult("HTTP 200", True, 0.1, json.dumps(told).encode(), "10.244.1.2"), owners)
    assert observed.hairpins == {"client": 1}


def test_a_late_refusal_counts_where_none_comes_at_once() -> None:
    busy = Sample(outcomes=Counter({"TCP reset, late": 1, "TCP reset": 1, "no answer": 1}))
    assert not busy.all_late
    busy.fold()
    assert busy.outcomes == {"TCP reset": 2, "no answer": 1}
    slow = Sample(outcomes=Counter({"TCP reset, late": 2}))
    assert slow.all_late
    slow.fold()
    assert slow.outcomes == {"TCP reset, late": 2}
