"""The commands in the topologies' comments can be pasted: each line is one, and does what the remark above it says."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from .tools import ROOT, TOPOLOGIES

sys.path.insert(0, str(ROOT / "scripts"))

from pages.blocks import Command
from pages.walk import run_steps

ANSWERS = re.compile(r"(?:^|, )([\w-]+) answers")
ALL_ANSWERED = re.compile(r"all (\d+) of \d+ more requests get 200")
PORTS, PROBES = re.compile(r"port (\d+)"), re.compile(r"\d+ probes agree$")
TWO_ADDRESSES = re.compile(r"(\d+\.\d+\.\d+\.\d+).* (\d+\.\d+\.\d+\.\d+)")


@pytest.mark.parametrize("topology", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_comment_can_be_pasted(topology: Path) -> None:
    commands = list(pasted(topology.read_text()))
    assert commands
    wrong = [
        f"{o.command.text}\n{o.wrong}"
        for o in run_steps(commands, f"e2e-{os.getpid()}-{topology.stem[:12]}-")
        if o.wrong
    ]
    assert not wrong, "\n\n".join(wrong)


def pasted(topology: str) -> list[Command]:
    """The commands of a topology's comment, each with what the remark above it says of what it prints."""
    found, remark = [], ""
    for number, line in enumerate(topology.splitlines(), 1):
        words = line.removeprefix("#   ")
        if words == line:
            continue
        if words.startswith("# "):
            remark = words.removeprefix("# ")
        else:
            found.append(Command(words, said(remark), number))
            remark = ""
    return found


def said(remark: str) -> str:
    if "is refused" in remark:  # the balancer resets who isn't welcome, connected already or not
        return "curl: ( …"
    if answers := ANSWERS.search(remark):
        return f'… "service": "{answers[1]}", …'
    if remark.endswith((": denied", ": allowed")):
        port = [80, *PORTS.findall(remark)][-1]
        return f"… port {port}/tcp: {remark.rpartition(': ')[2]}\n…"
    if probes := PROBES.search(remark):
        return f"…\n{probes[0]}"
    if "each of the nodes" in remark:
        return "\n".join(re.findall(r"node\d+", remark))
    if "some get 503" in remark:
        return "503\n…\n200"
    if count := ALL_ANSWERED.search(remark):
        return f"{count[1]} 200"
    if "404" in remark:
        return "HTTP/1.1 404 Not Found …"
    if "the trace fails" in remark:
        return "…\nFAILED at …"
    if "hello" in remark:
        return "hello …"
    addresses = TWO_ADDRESSES.search(remark)
    return "\n".join(addresses.groups()) if addresses else "…"
