"""What iptables-nft-restore complains of, in words that say which rule and what to do."""

from __future__ import annotations

import pytest

from emulab.kernel.rules.iptables import explain


@pytest.mark.parametrize(
    ("output", "problem", "remedy"),
    [
        (
            "iptables-nft-restore v1.8.9 (nf_tables): Couldn't load match `recent':No such file or directory\n\n"
            "Error occurred at line: 3\nTry `iptables-nft-restore -h' or 'iptables-nft-restore --help' for more"
            " information.\n",
            "Couldn't load match `recent':No such file or directory: -A T -m recent --set",
            "apt install iptables",
        ),
        (
            "Warning: Extension recent revision 0 not supported, missing kernel module?\n"
            "iptables-nft-restore v1.8.9 (nf_tables): \n"
            "line 3: RULE_APPEND failed (No such file or directory): rule in chain T\n",
            "Warning: Extension recent revision 0 not supported, missing kernel module?; line 3: RULE_APPEND failed"
            " (No such file or directory): rule in chain T: -A T -m recent --set",
            "use a kernel with iptables' extensions (CONFIG_NETFILTER_XT_…) (Debian: linux-image-amd64, not"
            " -cloud-; containers use their host's)",
        ),
        (
            "iptables-nft-restore: line 4 failed: No chain/target/match by that name.\n",
            "line 4 failed: No chain/target/match by that name.",
            "",
        ),
        (
            "iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied"
            " (you must be root)\n",
            "Could not fetch rule set generation id: Permission denied (you must be root)",
            "run as root, or allow user namespaces",
        ),
        ("", "it was ended", ""),
    ],
)
def test_complaints_name_the_rule_and_the_remedy(output: str, problem: str, remedy: str) -> None:
    script = "*nat\n:T - [0:0]\n-A T -m recent --set\nCOMMIT\n"
    assert explain(output, script) == (problem, remedy)
