"""Runs one benchmark: `python scripts/benchmarks VERB ARGUMENT…`, as scripts/bench does."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent


def main() -> int:
    sys.path[:1] = [
        str(SCRIPTS.parent),
        str(SCRIPTS),
    ]  # instead of this folder, whose modules are in a package
    sys.dont_write_bytecode = True
    sys.argv[0] = "scripts/bench"
    status: int = import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:])
    return status


if __name__ == "__main__":
    sys.exit(main())
