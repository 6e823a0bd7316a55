"""WireGuard's keys, beside those that OpenSSL makes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from emulab.plan.cni.curve25519 import private_key, public_key

HEAD = bytes.fromhex("302e020100300506032b656e04220420")
"""Before a private key of X25519 in PKCS #8 (RFC 8410)."""


@pytest.mark.parametrize("name", ["node1", "node2", "a node of another name"])
def test_a_public_key_is_openssls(name: str, tmp_path: Path) -> None:
    private, file = private_key(name), tmp_path / "key"
    file.write_bytes(HEAD + private)
    words = ["openssl", "pkey", "-inform", "DER", "-in", str(file), "-pubout", "-outform", "DER"]
    done = subprocess.run(words, capture_output=True, check=True)
    assert done.stdout[-32:] == public_key(private)
    assert private[0] & 7 == 0 and private[31] >> 6 == 1
