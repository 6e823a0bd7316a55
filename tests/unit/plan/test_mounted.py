"""What stands in files that containers are given, and what stand-ins are told of it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from test_pods import standins, told

from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.mounted import KeptEntry, entries_at, text_at


def pod(volumes: list[dict[str, Any]], *mounts: dict[str, Any]) -> Object:
    containers = [{"name": "c", "image": "i", "volumeMounts": list(mounts)}]
    spec = {"containers": containers, "volumes": volumes}
    return Object(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": spec}
    )


def found(o: Object, path: str) -> list[KeptEntry]:
    return list(entries_at(o, "c", path))


S, M = SECRET.key("n", "s"), CONFIG_MAP.key("n", "m")
SECRETS = {"name": "v", "secret": {"secretName": "s"}}


def test_a_file_is_an_entry_of_what_is_mounted_above_it() -> None:
    one = pod([SECRETS], {"name": "v", "mountPath": "/etc/certs/"})
    assert found(one, "/etc/certs/tls.crt") == [KeptEntry(S, "tls.crt")]
    assert found(one, "/etc/certs-of-others/tls.crt") == [] and found(one, "/etc") == []


def test_the_nearest_mount_counts() -> None:
    maps = {"name": "m", "configMap": {"name": "m", "items": [{"key": "k", "path": "deep/file"}]}}
    mounts = ({"name": "v", "mountPath": "/etc"}, {"name": "m", "mountPath": "/etc/own"})
    one = pod([SECRETS, maps], *mounts)
    assert found(one, "/etc/own/deep/file") == [KeptEntry(M, "k")] and found(one, "/etc/own/k") == []
    assert found(one, "/etc/x") == [KeptEntry(S, "x")]


def test_a_path_within_a_volume_may_be_mounted() -> None:
    one = pod([SECRETS], {"name": "v", "mountPath": "/ca.pem", "subPath": "ca.crt"})
    assert found(one, "/ca.pem") == [KeptEntry(S, "ca.crt")]


def test_projected_volumes_have_several_sources() -> None:
    sources = [{"secret": {"name": "s"}}, {"configMap": {"name": "m"}}]
    one = pod([{"name": "v", "projected": {"sources": sources}}], {"name": "v", "mountPath": "/p"})
    assert found(one, "/p/x") == [KeptEntry(S, "x"), KeptEntry(M, "x")]
    data = {"x": "of the map"}
    kept = {
        M: Object(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "m", "namespace": "n"},
                "data": data,
            }
        )
    }
    asked: set[Key] = set()
    assert text_at(one, "c", "/p/x", kept.get, asked) == "of the map"
    assert asked == {S, M}
    assert text_at(one, "c", "/p/y", kept.get, asked) == ""


WORLD = """
apiVersion: v1
kind: Pod
metadata: {name: tls, namespace: app}
spec:
  nodeName: node1
  volumes: [{name: v, secret: {secretName: certs}}]
  containers:
    - name: c
      image: gateway/echo-basic
      env: [{name: TLS_SERVER_CERT, value: /certs/tls.crt}, {name: TLS_SERVER_PRIVKEY, value: /certs/tls.key}]
      volumeMounts: [{name: v, mountPath: /certs}]
"""


def secret(certificate: str) -> str:
    data = b64encode(certificate.encode()).decode()
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: certs, namespace: app}}
data: {{tls.crt: {data}, tls.key: {data}}}
"""


def test_who_plays_a_program_is_told_of_its_files() -> None:
    server, ips = standins(WORLD, "---", secret("PEM"))
    ports = told(server)["identities"][ips["tls"]]["ports"]
    assert ports["8443"]["options"] == {"port": "3000", "certificate": "PEM", "key": "PEM"}
    assert ports["3000"]["options"] == {"port": "3000"}
    server, ips = standins(WORLD)
    assert told(server)["identities"][ips["tls"]]["ports"]["8443"]["options"] == {"port": "3000"}
