"""The real nginx as a container's command, with its configuration from a ConfigMap; of which the host sees nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import AS_ROOT, emulab, eventually, output

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.privilege]

USER = "www-data" if AS_ROOT else "root"
"""Whom the workers run as: a lab of an ordinary user has no other."""
# Folders of the host's that belong to others stay theirs in a lab of an ordinary user, who can't give them to root.
CONFIGURATION = """
error_log stderr notice;
worker_processes 2;
events {}
http {
  access_log /dev/stdout;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server {
    listen 8080;
    location / { root /usr/share/nginx/html; index index.html; try_files $uri $uri/ =404; }
    location /word { return 200 "WORD of $hostname\\n"; }
  }
}
"""
WATCHED = ("/run/nginx.pid", "/var/log/nginx", "/var/lib/nginx", "/etc/nginx", "/var/www", "/usr/share/nginx")
"""What nginx writes by itself, and what it reads."""


def world() -> list[Any]:
    run = ["nginx", "-c", "/config/nginx.conf", "-g", f"daemon off; user {USER};"]
    container = {
        "name": "nginx",
        "image": "nginx:1.27",
        "command": run,
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/word", "port": 8080}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "config", "mountPath": "/config"},
            {"name": "page", "mountPath": "/usr/share/nginx/html"},
        ],
        "lifecycle": {"preStop": {"exec": {"command": ["nginx", "-c", "/config/nginx.conf", "-s", "quit"]}}},
    }
    spec = {
        "containers": [container],
        "volumes": [
            {
                "name": "config",
                "configMap": {"name": "nginx", "items": [{"key": "conf", "path": "nginx.conf"}]},
            },
            {
                "name": "page",
                "configMap": {"name": "nginx", "items": [{"key": "page", "path": "index.html"}]},
            },
        ],
    }
    template = {"metadata": {"labels": {"app": "nginx"}}, "spec": spec}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nginx"}, "data": config("one")},
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "nginx"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "nginx"}}, "template": template},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "nginx"},
            "spec": {"selector": {"app": "nginx"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asks"},
            "spec": {"containers": [{"name": "c", "image": "curl", "command": ["sleep", "1000"]}]},
        },
    ]  # fmt: skip


def config(word: str) -> dict[str, str]:
    return {"conf": CONFIGURATION.replace("WORD", word), "page": f"page {word}\n"}


def host() -> dict[str, str]:
    """What the host has there, by path: what it is, whose, and what is in it."""
    found: dict[str, str] = {}
    for top in WATCHED:
        found[top] = _about(top)
        for folder, folders, files in os.walk(top):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                found[path] = _about(path)
    found["processes"] = " ".join(sorted(_nginx_outside()))
    return found


def _about(path: str) -> str:
    try:
        stat = os.lstat(path)
    except FileNotFoundError:
        return "nothing"
    text = ""
    if os.path.isfile(path) and os.access(path, os.R_OK):
        text = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return f"{stat.st_mode:o} {stat.st_uid} {stat.st_gid} {stat.st_mtime_ns} {text}"


def _nginx_outside() -> list[str]:
    """The numbers of processes named nginx in this network, but for those that other tests have started."""
    own = os.readlink("/proc/self/ns/net")
    found = []
    for folder in Path("/proc").iterdir():
        try:
            here = folder.name.isdecimal() and os.readlink(folder / "ns/net") == own
            if here and (folder / "comm").read_text() == "nginx\n" and not _is_of_a_test(folder.name):
                found.append(folder.name)
        except OSError:
            continue
    return found


def _is_of_a_test(process: str) -> bool:
    """Whether a test has started a process itself, and no lab."""
    while process not in ("0", "1"):
        words = Path(f"/proc/{process}/cmdline").read_bytes()
        if b"emulab.lab.supervisor" in words:
            return False
        if b"pytest" in words or b"sys.stdin.readline" in words:  # a worker of pytest-xdist
            return True
        process = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
    return False


BEFORE: dict[str, str] = {}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    BEFORE.update(host())
    async with Lab.from_text("\n---\n".join(map(json.dumps, world()))) as made:
        yield made


async def pods(lab: Lab) -> list[str]:
    found = await lab.get("Pod", namespace="default")
    return sorted(o["metadata"]["name"] for o in found if o["metadata"]["name"] != "asks")


async def curl(lab: Lab, path: str) -> str:
    return await output(lab, "pod/asks", "curl", "-sS", "--max-time", "5", f"http://nginx{path}")


async def test_it_answers_over_its_service(lab: Lab) -> None:
    names = await pods(lab)
    assert len(names) == 2
    said = {await curl(lab, "/word") for _ in range(20)}
    assert said == {f"one of {name}" for name in names}, "all of them, and no stand-in"
    assert await curl(lab, "/") == "page one"
    assert (
        await output(
            lab, "pod/asks", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://nginx/none"
        )
        == "404"
    )


async def test_it_is_a_container_of_its_own_processes_and_files(lab: Lab) -> None:
    for name in await pods(lab):
        seen = await output(
            lab, f"pod/{name}", "sh", "-c", "cat /run/nginx.pid; ls /var/log/nginx; ps -eo user:20,comm"
        )
        assert seen.splitlines()[0] == "1"
        assert [line.split()[0] for line in seen.splitlines() if line.endswith(" nginx")] == [
            "root",
            USER,
            USER,
        ]
        logs = (await emulab("-l", lab.name, "logs", name)).text
        assert "start worker processes" in logs and '"GET /word HTTP/1.1" 200' in logs


async def test_its_configuration_is_read_anew(lab: Lab) -> None:
    """As people do it: the ConfigMap is changed, and nginx told once its files have been."""
    changed = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nginx"}, "data": config("two")}
    await lab.apply(json.dumps(changed))

    async def page() -> bool:
        return await curl(lab, "/") == "page two"

    await eventually(page, 30)
    for name in await pods(lab):
        await output(lab, f"pod/{name}", "nginx", "-c", "/config/nginx.conf", "-s", "reload")

    async def words() -> bool:
        return {(await curl(lab, "/word")).split()[0] for _ in range(8)} == {"two"}

    await eventually(words, 30)


async def test_a_request_that_is_on_its_way_is_answered_when_it_ends(lab: Lab) -> None:
    """preStop has nginx end gracefully, so that a rollout loses none."""
    asked = asyncio.ensure_future(
        output(
            lab,
            "pod/asks",
            "sh",
            "-c",
            "for n in $(seq 100); do curl -sS --max-time 5 http://nginx/word; done",
        )
    )
    done = await emulab("-l", lab.name, "rollout", "restart", "deploy/nginx")
    assert done.status == 0
    done = await emulab("-l", lab.name, "rollout", "status", "deploy/nginx", "--timeout", "60s")
    assert done.status == 0, done.text
    assert len((await asked).splitlines()) == 100


async def test_nothing_is_left_on_the_host(lab: Lab) -> None:
    assert len(BEFORE) > 10
    assert host() == BEFORE
    await emulab("-l", lab.name, "down")
    assert host() == BEFORE
