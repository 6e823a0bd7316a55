"""Every program that the code, the tests, the benchmarks and the pages call is installed by scripts/setup."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from emulab.cli import VERBS

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts"))

from pages.blocks import Command, steps

ROOT = Path(__file__).resolve().parents[3]

PACKAGES = {
    "apt-get": "",
    "bash": "",
    "bird": "bird2",
    "birdc": "bird2",
    "brctl": "bridge-utils",
    "bridge": "iproute2",
    "capinfos": "wireshark-common",
    "cat": "",
    "chmod": "",
    "chroot": "",
    "cmp": "",
    "connect": "",
    "conntrack": "conntrack",
    "cp": "",
    "curl": "curl",
    "cut": "",
    "date": "",
    "dig": "bind9-dnsutils",
    "dnsmasq": "dnsmasq-base",
    "dnsperf": "dnsperf",
    "dpkg": "",
    "echo": "",
    "emulab": "",
    "env": "",
    "export": "",
    "false": "",
    "find": "",
    "getent": "",
    "grep": "",
    "h2load": "nghttp2-client",
    "haproxy": "haproxy",
    "head": "",
    "hostname": "",
    "http-echo": "",
    "ip": "iproute2",
    "iperf3": "iperf3",
    "iptables": "iptables",
    "iptables-nft-save": "iptables",
    "ipvsadm": "ipvsadm",
    "kdig": "knot-dnsutils",
    "keepalived": "keepalived",
    "kill": "procps",
    "ldd": "",
    "ls": "",
    "mnexec": "mininet",
    "mount": "",
    "netexec": "",
    "nft": "nftables",
    "nghttp": "nghttp2-client",
    "nginx": "nginx",
    "no-such-program": "",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "pgrep": "procps",
    "ping": "iputils-ping",
    "printenv": "",
    "prometheus": "prometheus",
    "pwd": "",
    "pytest": "",
    "python3": "python3",
    "readlink": "",
    "rm": "",
    "sed": "",
    "serve-hostname": "",
    "sh": "",
    "sleep": "",
    "sockperf": "sockperf",
    "ss": "iproute2",
    "sysctl": "procps",
    "tail": "",
    "tar": "",
    "tc": "iproute2",
    "taskset": "util-linux",
    "tcpdump": "tcpdump",
    "test": "",
    "touch": "",
    "tracepath": "iputils-tracepath",
    "traceroute": "traceroute",
    "true": "",
    "tshark": "tshark",
    "tty": "",
    "unbound": "unbound",
    "unbound-checkconf": "unbound",
    "unbound-control": "unbound",
    "unshare": "util-linux",
    "wc": "",
    "webhook": "",
    "wrk": "wrk",
    "zstd": "zstd",
}
"""Program → Debian's package, "" for what is essential there, the shell's or emulab's own (agnhost's words)."""

STARTERS = {
    ("subprocess", "run"),
    ("subprocess", "Popen"),
    ("subprocess", "check_call"),
    ("subprocess", "check_output"),
    ("asyncio", "create_subprocess_exec"),
    ("shutil", "which"),
}
PROGRAM = re.compile(r"[a-z][a-z0-9+.-]*[a-z3]")
OPTION = re.compile(r"--?[A-Za-z].*")


def installed() -> set[str]:
    """What the scripts install, and say so."""
    lists = re.findall(r'^[A-Z]+_PACKAGES="(.*)"$', (ROOT / "scripts/setup").read_text(), re.MULTILINE)
    assert len(lists) == 6
    mininet = re.findall(
        r"^MININET_PACKAGES = \((.*)\)$", (ROOT / "scripts/benchmarks/bringup.py").read_text(), re.M
    )
    return {"python3", *" ".join(lists).split(), *re.findall(r"[a-z-]+", *mininet)}


def sources() -> Iterator[Path]:
    for folder in ("emulab", "tests", "scripts"):
        yield from (ROOT / folder).rglob("*.py")
    yield from (ROOT / "scripts" / name for name in ("record-traces", "tour"))


def constant(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def commands(tree: ast.AST) -> Iterator[str]:
    """What stands where a command begins: to be started, to be run in a place of a lab, or followed by an option."""
    for node in ast.walk(tree):
        words: list[ast.expr] = []
        if isinstance(node, ast.List | ast.Tuple):
            words = node.elts
            if len(words) > 1 and constant(words[0]) not in VERBS and OPTION.fullmatch(constant(words[1])):
                yield constant(words[0])
        elif isinstance(node, ast.Call):
            words = node.args
            match node.func:
                case ast.Attribute(value=ast.Name(id=module), attr=name) if (
                    module,
                    name,
                ) in STARTERS and words:
                    first = words[0].elts if isinstance(words[0], ast.List | ast.Tuple) else words
                    yield from map(constant, first[:1])
                case ast.Attribute(attr="exec"):
                    yield from map(constant, words[1:2])
                case ast.Name(id="output"):
                    yield from map(constant, words[2:3])
        yield from (constant(after) for before, after in pairwise(words) if constant(before) == "--")


def shown() -> Iterator[tuple[str, str]]:
    """The programs of the pages' command lines, each with its page."""
    for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))):
        for step in steps(page.read_text()):
            if isinstance(step, Command):
                line, _, _ = step.text.partition("\n")
                starts = re.findall(r"(?:^| \| | && | exec \S+ (?:-\S+ \S+ )*-- )([a-z]\S*)", line)
                yield from ((program, str(page.relative_to(ROOT))) for program in starts)


def test_every_program_is_in_the_table() -> None:
    found: dict[str, set[str]] = {}
    for path in sources():
        for program in commands(ast.parse(path.read_text())):
            found.setdefault(program, set()).add(str(path.relative_to(ROOT)))
    for program, page in shown():
        found.setdefault(program, set()).add(page)
    unknown = {p: sorted(files) for p, files in found.items() if PROGRAM.fullmatch(p) and p not in PACKAGES}
    assert not unknown, "say in PACKAGES which package has it, and have scripts/setup install that"
    assert {"conntrack", "curl", "dig", "ping", "tshark", "wrk"} <= found.keys(), (
        "what is surely used was found"
    )


def test_every_package_is_installed() -> None:
    assert {package for package in PACKAGES.values() if package} <= installed()
