"""`python -m emulab`."""

from __future__ import annotations

import sys

from emulab.cli import main

sys.exit(main())
