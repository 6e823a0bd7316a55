"""A user's Corefile in a lab: what administrators write there is what pods are answered, from the next query on."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

from .crashes import User

WORLD = """
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data:
  db.corp: |
    @ 60 IN SOA ns root (1 2h 30m 4w 1m)
    shop 60 IN CNAME web.default.svc.cluster.local.
  Corefile: |
    .:53 {
        errors
        health
        ready
        prometheus :9153
        reload
        log . {
            class denial error
        }
        dnssec
        autopath @kubernetes
        rewrite name shop.short.test web.default.svc.cluster.local
        hosts {
            10.9.9.9 legacy.corp.test
            fallthrough
        }
        template IN A ip.test {
            match ^(\\d+)\\.ip\\.test\\.$
            answer "{{ .Name }} 60 IN A 10.0.0.{{ index .Match 1 }}"
        }
        kubernetes cluster.local in-addr.arpa ip6.arpa {
            pods verified
            ttl 30
            fallthrough in-addr.arpa ip6.arpa
        }
        file /etc/coredns/db.corp corp.example
        forward . /etc/resolv.conf
        cache 30
    }
    stub.test:53 {
        forward . 198.51.100.54
    }
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: stub.test}
spec: {records: [{name: www, type: A, value: 203.0.113.77, ttl: 300}]}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: other.test}
spec: {records: [{name: www, type: A, value: 203.0.113.78, ttl: 300}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.50, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: edge}
data:
  edge.conf: |
    home.arpa:5353 {
        log home.arpa "{proto} {type} {name} {rcode} {>rflags}"
        template IN A hex.home.arpa {
            match ^x([0-9a-f]{2})[.]
            answer "{{ .Name }} 5 A 10.0.0.{{ parseInt (index .Match 1) 16 8 }}"
        }
        template IN A alias.home.arpa {
            answer "{{ .Name }} 5 CNAME gone.test."
        }
        hosts {
            10.1.1.1 nas.home.arpa
            ::ffff:10.1.1.2 mapped.home.arpa
        }
    }
---
apiVersion: v1
kind: Pod
metadata: {name: edge}
spec:
  containers:
    - name: c
      image: registry.k8s.io/coredns/coredns:v1.13.1
      args: [-conf, /etc/coredns/Corefile]
      volumeMounts: [{name: c, mountPath: /etc/coredns}]
  volumes: [{name: c, configMap: {name: edge, items: [{key: edge.conf, path: Corefile}]}}]
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec: {containers: [{name: c, command: [sleep, "10000"]}]}
"""


def test_a_corefile_is_followed(user: User) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(WORLD)
        file.flush()
        Path(file.name).chmod(0o644)
        up = user.run("up", file.name)
        user.note()
        assert up.returncode == 0, up.stderr
        assert "ConfigMap/coredns data.Corefile: line 10: dnssec is not followed" in up.stderr
        assert up.stderr.count("is not followed") == 1

        def answer(name: str) -> list[str]:
            told = user.run("exec", "pod/asker", "--", "dig", "+noall", "+answer", "+time=5", name)
            return [" ".join(line.split()) for line in told.stdout.splitlines()]

        assert answer("shop.short.test") == ["shop.short.test. 30 IN A 10.96.0.50"]
        assert answer("legacy.corp.test") == ["legacy.corp.test. 30 IN A 10.9.9.9"]
        assert answer("shop.corp.example")[1] == "web.default.svc.cluster.local. 30 IN A 10.96.0.50"
        assert answer("7.ip.test") == ["7.ip.test. 30 IN A 10.0.0.7"]
        assert answer("www.stub.test") == ["www.stub.test. 300 IN A 203.0.113.77"]  # its block has no cache
        assert answer("www.other.test") == ["www.other.test. 30 IN A 203.0.113.78"]
        assert answer("10-0-0-1.default.pod.cluster.local") == []  # no Pod has it
        own = json.loads(user.run("get", "pod", "asker", "-o", "json").stdout)["status"]["podIP"]
        verified = f"{own.replace('.', '-')}.default.pod.cluster.local"
        assert answer(verified) == [f"{verified}. 30 IN A {own}"]

        edge = json.loads(user.run("get", "pod", "edge", "-o", "json").stdout)["status"]["podIP"]
        of_edge = (
            "exec",
            "pod/asker",
            "--",
            "dig",
            "-p",
            "5353",
            "+noall",
            "+answer",
            "+comments",
            f"@{edge}",
        )
        for name, data in (
            ("nas", "A 10.1.1.1"),
            ("mapped", "A 10.1.1.2"),
            ("xc8.hex", "A 10.0.0.200"),
            ("alias", "CNAME gone.test."),  # of which nobody here knows
        ):
            said = " ".join(user.run(*of_edge, f"{name}.home.arpa").stdout.split())
            assert "status: NOERROR" in said and said.endswith(f" IN {data}"), said
        end = time.monotonic() + 20
        while "[INFO] udp A alias.home.arpa. NOERROR qr,aa,rd" not in (
            written := user.run("logs", "edge").stdout
        ):
            assert time.monotonic() < end, written

        guess = "www.other.test.default.svc.cluster.local"
        told = [line.split() for line in answer(guess)]  # its TTLs are what is left of another answer's
        assert [(line[0], *line[2:]) for line in told] == [
            (f"{guess}.", "IN", "CNAME", "www.other.test."),
            ("www.other.test.", "IN", "A", "203.0.113.78"),
        ]
        of_node = user.run("exec", "node1", "--", "dig", "+short", "@10.96.0.10", guess)
        assert of_node.returncode == 0 and of_node.stdout == ""  # who is no Pod has no search domains

        assert answer("gone.test") == answer("gone.test") == []
        logs = ("logs", "-n", "kube-system", "--selector", "k8s-app=kube-dns")
        end = time.monotonic() + 20
        while "gone.test" not in (written := user.run(*logs).stdout):
            assert time.monotonic() < end, written
        assert re.search(
            r'\[INFO\] 10\.244\.\d\.\d+:\d+ - \d+ "A IN gone\.test\. udp \d+ false 1232" NXDOMAIN qr,rd,ra ',
            written,
        )
        assert "legacy.corp.test" not in written

        told = json.loads(user.run("get", "pods", "-n", "kube-system", "-o", "json").stdout)["items"]
        lines: list[str] = []
        for address in [pod["status"]["podIP"] for pod in told]:
            curl = ("exec", "pod/asker", "--", "curl", "-s", "-m", "10")
            lines += user.run(*curl, f"http://{address}:9153/metrics").stdout.splitlines()
            assert user.run(*curl, f"http://{address}:8080/health").stdout == "OK"
            assert user.run(*curl, f"http://{address}:8181/ready").stdout == "OK"
        asked = 'coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="A",view="",zone="ZONE"} '
        found = [line.partition("} ") for line in lines if line.startswith("coredns_dns_requests_total")]
        counts = Counter[str]()
        for labels, _, count in found:
            counts[f"{labels}}} "] += int(count)
        assert counts[asked.replace("ZONE", ".")] == 11 and counts[asked.replace("ZONE", "stub.test.")] == 1
        searched = [line for line in lines if line.startswith("coredns_autopath_success_total{")]
        assert sum(int(line.split()[-1]) for line in searched) == 1
        assert any(line.startswith("coredns_proxy_request_duration_seconds_count") for line in lines)

        changed = WORLD.replace("10.9.9.9", "10.9.9.10")
        Path(file.name).write_text(changed)
        assert user.run("apply", "-f", file.name).returncode == 0
        assert answer("legacy.corp.test") == ["legacy.corp.test. 30 IN A 10.9.9.10"]

        Path(file.name).write_text(WORLD.replace("cache 30\n    }", "cache 30"))
        broken = user.run("apply", "-f", file.name)
        assert "one that runs goes on by the last Corefile that was right" in broken.stderr
        assert answer("legacy.corp.test") == ["legacy.corp.test. 30 IN A 10.9.9.10"]
        assert "ReloadFailed" in user.run("events", "-n", "kube-system").stdout
        end = time.monotonic() + 20
        while "Corefile changed but reload failed: line 31: " not in (written := user.run(*logs).stdout):
            assert time.monotonic() < end, written
        assert "[INFO] Reloading complete" in written

        # One that begins with it ends, and is tried again by and by; that it serves was never true.
        assert user.run("delete", "pod", "edge", "--now").returncode == 0
        written = WORLD.replace("hosts {\n            10.1.1.1", "hostss {\n            10.1.1.1")
        Path(file.name).write_text(written)
        assert user.run("apply", "-f", file.name).returncode == 0
        end = time.monotonic() + 30
        while "CrashLoopBackOff" not in (shown := user.run("get", "pod", "edge").stdout):
            assert time.monotonic() < end, shown
        waited = user.run("up", file.name, "--timeout", "2s").stderr  # which says why, as of any program
        assert (
            "it ended with status 1: /etc/coredns/Corefile - Error during parsing: line 10: unknown" in waited
        )
        assert "Error during parsing: line 10: unknown directive 'hostss'" in user.run("logs", "edge").stdout
        Path(file.name).write_text(WORLD)
        assert user.run("apply", "-f", file.name).returncode == 0
        assert user.run("wait", "--for=condition=Ready", "pod/edge", "--timeout=30s").returncode == 0
