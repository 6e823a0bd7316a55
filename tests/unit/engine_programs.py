"""Debian's nginx and haproxy look at a configuration as they do before it is used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from emulab.servers.engines.backendfiles import backend_files
from emulab.servers.engines.haproxy import places
from emulab.servers.engines.haproxy.conf import HaproxyPlace, haproxy_files
from emulab.servers.engines.nginx import access
from emulab.servers.engines.nginx.conf import NginxPlace, nginx_conf
from emulab.servers.engines.nginx.locations import CERTIFICATES
from emulab.servers.engines.shared import certificate_names
from emulab.servers.l7.config import L7Config
from emulab.servers.selfsigned import self_signed


@cache
def pair() -> tuple[str, str]:
    """A certificate of nobody, and its key."""
    return self_signed("fake", "a.test", ["a.test"])


def refused(config: L7Config, folder: Path) -> dict[str, str]:
    """What the programs have against a configuration, by their names; nothing where they take it."""
    said = {
        "nginx": nginx_says(config, folder / "nginx"),
        "haproxy": haproxy_says(config, folder / "haproxy"),
    }
    return {name: text for name, text in said.items() if text}


def nginx_says(config: L7Config, folder: Path) -> str:
    """What nginx has against a configuration."""
    sockets = {key: f"127.0.0.1:{8000 + number}" for number, key in enumerate(config.listen)}
    text = nginx_conf(config, NginxPlace(sockets, 1, 7, "root root", {}))
    files = {f"{CERTIFICATES}/fake.pem": "\n".join(pair()), **access.files(config)}
    files |= {f"{CERTIFICATES}/{name}": content for name, content in backend_files(config.routes).items()}
    for name, one in zip(certificate_names(config.certificates), config.certificates, strict=True):
        files[f"{CERTIFICATES}/{name}.pem"] = f"{one.certificate}\n{one.key}"
    text = re.sub(r"access_log syslog:\S+ lab;", "access_log off;", text)
    text = re.sub(r"listen unix:[^;]+;", "listen 127.0.0.1:9;", text)
    _write({**files, "/nginx.conf": text}, folder)
    (folder / "etc/nginx/run").mkdir(parents=True, exist_ok=True)
    return _said(["nginx", "-t", "-q", "-c", str(folder / "nginx.conf"), "-e", "stderr"])


def haproxy_says(config: L7Config, folder: Path) -> str:
    """What haproxy has against a configuration."""
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        place = HaproxyPlace(dict.fromkeys(config.listen, null), 1, {})
        files = dict(haproxy_files(config, place, "\n".join(reversed(pair()))))
    finally:
        os.close(null)
    # A socket's path has 97 characters at most, which a test's folder may have by itself.
    text = re.sub(r"bind (fd@\d*|unix@\S+)", "bind 127.0.0.1:1", files[places.CFG])
    files[places.CFG] = re.sub(r"log \S+/log\.sock ", "log 127.0.0.1:514 ", text)
    _write(files, folder)
    (folder / places.PLACES.state.removeprefix("/")).mkdir(parents=True, exist_ok=True)
    return _said(["haproxy", "-c", "-f", str(folder / places.CFG.removeprefix("/"))])


def _write(files: Mapping[str, str], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for path, text in files.items():
        here = folder / path.removeprefix("/")
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_text(re.sub(r"/etc/(nginx|haproxy)/", rf"{folder}/etc/\1/", text))


def _said(command: list[str]) -> str:
    assert shutil.which(command[0]), "scripts/setup test installs it"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stderr
