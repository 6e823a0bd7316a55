"""NodeLocal DNSCache: pods ask a cache on their node, which asks the cluster's DNS over TCP. As root and as anyone."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from .crashes import User, eventually

WORLD = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {nodes: 2, dns: {nodeLocalCache: true}}
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec: {nodeName: node2, containers: [{name: c, command: [sleep, "10000"]}]}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: other.test}
spec: {records: [{name: www, type: A, value: 203.0.113.78, ttl: 300}]}
"""
COREFILE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: node-local-dns, namespace: kube-system}
data:
  Corefile: |
    cluster.local:53 {
        cache {
            success 9984 30
            denial 9984 5
        }
        bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__
        forward . __PILLAR__CLUSTER__DNS__ {
            force_tcp
        }
        pprof
    }
    .:53 {
        hosts {
            192.0.2.9 of-nodes.test
            fallthrough
        }
        forward . __PILLAR__UPSTREAM__SERVERS__
    }
"""
NAME = "kubernetes.default.svc.cluster.local"


def test_pods_ask_a_cache_of_their_node(user: User) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(WORLD)
        file.flush()
        Path(file.name).chmod(0o644)
        user.up(file.name)

        def run(*words: str, place: str = "pod/asker") -> str:
            result = user.run("exec", place, "--", *words)
            assert result.returncode == 0, result.stderr
            return result.stdout

        def dig(*words: str) -> list[str]:
            lines = run("dig", "+noall", "+answer", "+time=5", *words).splitlines()
            return [" ".join(line.split()[i] for i in (1, 4)) for line in lines]

        def of_cluster_dns(proto: str) -> int:
            """Queries that have come to the cluster's DNS."""
            pods = user.run("get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", "-o", "wide").stdout
            pages = [
                run("curl", "-s", f"http://{ip}:9153/metrics") for ip in re.findall(r"10\.244\.[0-9.]+", pods)
            ]
            found = re.findall(rf'requests_total{{.*proto="{proto}".*}} (\d+)', "".join(pages))
            assert len(pages) == 2
            return sum(map(int, found))

        assert "nameserver 169.254.20.10\n" in run("cat", "/etc/resolv.conf")
        assert dig(NAME) == ["5 10.96.0.1"] and of_cluster_dns("tcp") == 1
        assert dig("-x", "10.96.0.1") == ["5 kubernetes.default.svc.cluster.local."]
        assert (of_cluster_dns("tcp"), of_cluster_dns("udp")) == (2, 0)
        assert dig("www.other.test") == ["30 203.0.113.78"]  # by the node's own resolver
        assert (of_cluster_dns("tcp"), of_cluster_dns("udp")) == (2, 0)
        assert run("curl", "-s", "http://169.254.20.10:8080/health") == "OK"
        for port in (9253, 9353):  # CoreDNS' and node-cache's own, which are one registry's
            page = run("curl", "-s", f"http://10.0.0.12:{port}/metrics", place="node2")
            assert "coredns_cache_entries{" in page
            assert 'coredns_nodecache_setup_errors_total{errortype="iptables"} 0\n' in page

        told = user.run("dns", "poison", NAME, "10.9.9.9", "--at", "node-local-dns").stdout
        assert told.count("is 10.9.9.9 for 3") == 2, told  # one cache a node
        assert dig(NAME) == ["30 10.9.9.9"]
        assert "A 10.96.0.1" not in user.run("dns", "dump", NAME, "--at", "node-local-dns").stdout
        assert "flushed" in user.run("dns", "flush", "--at", "node-local-dns").stdout
        assert dig(NAME) == ["5 10.96.0.1"]

        Path(file.name).write_text(COREFILE)
        applied = user.run("apply", "-f", file.name)
        assert "ConfigMap/node-local-dns data.Corefile: line 10: pprof is not followed" in applied.stderr
        assert applied.stderr.count("not followed") == 1
        assert eventually(lambda: dig("of-nodes.test") == ["3600 192.0.2.9"])
        Path(file.name).write_text(WORLD.replace("true", "false"))
        refused = user.run("apply", "-f", file.name)
        assert refused.returncode == 1 and "dns.nodeLocalCache: can't be changed" in refused.stderr
