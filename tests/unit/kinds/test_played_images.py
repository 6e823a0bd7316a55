"""Where stand-ins listen that play an image's program, and what they are told to say."""

from __future__ import annotations

from typing import Any

import pytest

from emulab.kinds.core.containers import container_fields
from emulab.kinds.core.podspec import Container
from emulab.kinds.standins import files_of, is_played, sockets_of
from emulab.kinds.standins.asked import Sockets, operands, options

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"


def sockets(image: str, metadata: dict[str, Any] | None = None, **container: Any) -> Sockets | None:
    pod = {"metadata": {"name": "p", "namespace": "n", **(metadata or {})}, "spec": {}}
    return sockets_of(Container.of({"name": "c", "image": image, **container}), pod)


def where(image: str, **container: Any) -> list[tuple[str, int]] | None:
    found = sockets(image, **container)
    return None if found is None else sorted(found)


@pytest.mark.parametrize(
    ("words", "listening"),
    [
        (["netexec"], [("TCP", 8080), ("UDP", 8081)]),
        (["netexec", "--http-port=80", "--udp-port", "-1"], [("TCP", 80)]),
        (["netexec", "--http-port", "8083", "--udp-port=8083"], [("TCP", 8083), ("UDP", 8083)]),
        (["serve-hostname"], [("TCP", 9376)]),
        (["serve-hostname", "--tcp", "--http=false", "--port=80"], [("TCP", 80)]),
        (["serve-hostname", "--tcp", "--udp", "--http=false"], [("TCP", 9376), ("UDP", 9376)]),
        (["pause"], []),
        ([], []),
        (["liveness"], [("TCP", 8080)]),
        (["http-echo", "--port=9000"], [("TCP", 9000)]),
        (["webhook", "--port=8443"], None),
    ],
)
def test_agnhost_listens_where_its_words_say(
    words: list[str], listening: list[tuple[str, int]] | None
) -> None:
    assert where(AGNHOST, args=words) == listening
    if words:
        assert where(AGNHOST, command=["/agnhost"], args=words) == listening


def test_porter_serves_what_its_variables_say() -> None:
    env = [
        {"name": "SERVE_PORT_80", "value": "eighty"},
        {"name": "SERVE_UDP_PORT_53", "value": "$(SERVE_PORT_80)-and-more"},
        {"name": "SERVE_SCTP_PORT_81", "value": "unspoken"},
        {"name": "OTHER", "value": "x"},
    ]
    found = sockets(AGNHOST, args=["porter"], env=env)
    assert found is not None
    assert {key: (one.says, one.options) for key, one in found.items()} == {
        ("TCP", 80): ("text", {"text": "eighty"}),
        ("UDP", 53): ("text", {"text": "eighty-and-more"}),
    }


def test_agnhost_that_declares_ports_and_says_nothing_is_anybody() -> None:
    assert sockets(AGNHOST, ports=[{"containerPort": 80}]) is None


def test_http_echo_says_its_text() -> None:
    env = [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    found = sockets("hashicorp/http-echo", args=["-text=I am $(WHO)", "-listen", ":8080"], env=env)
    assert found is not None and found["TCP", 8080].options == {"text": "I am p"}
    assert where("docker.io/hashicorp/http-echo:1.0", args=["-text", "x"]) == [("TCP", 5678)]
    assert where("hashicorp/http-echo", env=[{"name": "ECHO_TEXT", "value": "x"}]) == [("TCP", 5678)]
    assert sockets("hashicorp/http-echo") is None


def test_others() -> None:
    assert where("traefik/whoami") == [("TCP", 80)]
    assert where("traefik/whoami", args=["--port=8081"]) == [("TCP", 8081)]
    assert where("containous/whoami", env=[{"name": "WHOAMI_PORT_NUMBER", "value": "90"}]) == [("TCP", 90)]
    assert where("nginx:1.27", ports=[{"containerPort": 8443}]) == [("TCP", 80), ("TCP", 8443)]
    assert where("nginxinc/nginx-unprivileged") == [("TCP", 8080)]
    basic = "gcr.io/k8s-staging-gateway-api/echo-basic:v20240412"
    assert where(basic) == [("TCP", 3000), ("TCP", 3001)]
    secured = [{"name": name, "value": "/x"} for name in ("TLS_SERVER_CERT", "TLS_SERVER_PRIVKEY")]
    assert where(basic, env=secured) == [("TCP", 3000), ("TCP", 3001), ("TCP", 8443)]
    assert sockets(basic, env=[{"name": "GRPC_ECHO_SERVER", "value": "1"}]) is None


def test_nginx_that_is_configured_is_anybody() -> None:
    def mounted(path: str) -> Sockets | None:
        return sockets("nginx:1.27", volumeMounts=[{"name": "v", "mountPath": path}])

    conf = ("/etc/nginx", "/etc/nginx/", "/etc/nginx/conf.d", "/etc/nginx/conf.d/default.conf", "/etc")
    assert [mounted(path) for path in conf] == [None] * 5
    assert all(mounted(path) for path in ("/etc/nginx/ssl", "/etc/nginx-conf", "/data"))
    for path in ("/usr/share/nginx/html", "/usr/share/nginx/html/index.html"):
        found = mounted(path)
        assert found is not None and found["TCP", 80].files == {"index": "/usr/share/nginx/html/index.html"}
    found = mounted("/usr/share/nginx/html/more")
    assert found is not None and found["TCP", 80].files == {}


@pytest.mark.parametrize("image", ["example.com/shop/web", "my-nginx", "nginx/nginx-ingress", ""])
def test_images_of_other_names_are_nobodys(image: str) -> None:
    assert sockets(image) is None


def test_the_annotation_asks_for_a_stand_in_without_manners() -> None:
    assert sockets("nginx", {"annotations": {"emulab.dev/program": "echo"}}) is None


def test_servers_of_agnhost_are_played_and_its_other_programs_run() -> None:
    def played(*command: str) -> bool:
        return is_played(Container.of({"name": "c", "image": AGNHOST, "command": list(command)}))

    assert played("/agnhost", "netexec") and played("/agnhost", "pause")
    assert not played("/agnhost", "connect", "a:1")
    assert files_of(AGNHOST) == ("/agnhost", "/agnhost-2") and files_of("nginx") == ()


def test_a_shell_that_only_starts_agnhost_is_agnhost() -> None:
    def played(line: str, *more: str) -> bool:
        return is_played(
            Container.of({"name": "c", "image": AGNHOST, "command": ["/bin/bash", "-c", line, *more]})
        )

    netexec = "/agnhost netexec --http-port 80 --udp-listen-addresses $(HOST_IP)"
    assert played(netexec) and played("exec /agnhost pause\n")
    assert where(AGNHOST, command=["/bin/bash", "-c", netexec]) == [("TCP", 80), ("UDP", 8081)]
    serve = "/agnhost serve-hostname --udp --http=false --port 53"
    assert where(AGNHOST, command=["sh", "-c"], args=[serve]) == [("UDP", 53)]
    scripts = ("sleep 1; ", "A=b ", "test -e x && ", "$(cat x) ", "sleep 1\n")
    assert not any(played(before + "/agnhost pause") for before in scripts)
    assert not any(
        played("/agnhost pause" + more) for more in ("; sleep 1", " > /x", " 'a b'", " $HOME", "\nx")
    )
    assert not played("/agnhost connect a:1") and not played(netexec, "x")


def test_flags_are_read_as_go_reads_them() -> None:
    words = ["-a", "1", "--b=2=3", "--quiet", "word", "--c="]
    assert options(words, ("quiet",)) == {"a": "1", "b": "2=3", "quiet": "true", "c": ""}
    assert operands(words, ("quiet",)) == ["word"]


def test_a_description_says_what_is_played_and_where() -> None:
    container = {"name": "c", "image": AGNHOST, "args": ["netexec", "--udp-port=-1"]}
    told = dict(container_fields(container, {}))["Command"]
    assert told == ["netexec", "--udp-port=-1", "(emulab's stand-in plays it, and listens on 8080/TCP)"]
    echo = {"metadata": {"annotations": {"emulab.dev/program": "echo"}}}
    assert "not heeded" in str(dict(container_fields(container, {}, pod=echo))["Command"])
