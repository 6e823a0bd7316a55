"""How compared requests tell a refusal of the first SYN from one of the second, with a firewall in between."""

from __future__ import annotations

import socket
import subprocess
import threading
import time

from namespaces import isolated

from emulab.observe.target import parse
from emulab.twins.asking import try_once

TABLE = "add table ip t; add chain ip t input { type filter hook input priority 0; }; "
RULE = "add rule ip t input tcp dport 9"
REJECT = f"{RULE} reject"


def nft(script: str) -> str:
    return subprocess.run(("nft", script), check=True, stdout=subprocess.PIPE, text=True).stdout


def after_a_drop(script: str) -> None:
    """The first SYN is dropped for certain, however late it is, and whatever comes then meets other rules."""
    while " packets 0 " in nft("list chain ip t input"):
        time.sleep(0.01)
    nft(script)


@isolated
def test_only_a_syn_that_was_sent_again_is_refused_late() -> None:
    subprocess.run(("ip", "link", "set", "lo", "up"), check=True)
    target = parse("127.0.0.1:9")

    def category() -> str:
        return try_once(socket.socket(), "127.0.0.1", target, 60).category

    for then, word, late in (("", "TCP reset", ", late"), (REJECT, "ICMP port unreachable", "")):
        nft(f"{TABLE}flush chain ip t input; {RULE} counter drop")
        changing = threading.Thread(target=after_a_drop, args=(f"flush chain ip t input; {then}",))
        changing.start()
        assert category() == word + late
        changing.join()
        assert category() == word
