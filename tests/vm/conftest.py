"""What runs in the virtual machine of scripts/test-vm uses the same worlds as the other tests of real packets."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "kernel")]
